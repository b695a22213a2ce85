"""Several data sets as one."""

import numpy as np
import pytest
from conftest import make_pictures, make_table

from graft.core.errors import DataError
from graft.data.joined import join
from graft.data.load import load


def test_rows_keep_their_order_and_content():
    one = load(([f"a{i}" for i in range(6)], ["+", "-"] * 3))
    two = load(([f"b{i}" for i in range(4)], ["+", "-"] * 2), like=one)
    both = join([one.select(np.array([5, 1])), two.select(np.array([2, 3]))])
    assert both.take() == ["a5", "a1", "b2", "b3"]
    assert both.take(np.array([3, 0, 2])) == ["b3", "a5", "b2"]
    assert both.labels.tolist() == ["-", "-", "+", "-"]
    assert both.select(np.array([2, 0])).take() == ["b2", "a5"]


def test_its_keys_are_those_of_the_parts():
    one = load((["x", "y"], ["+", "-"]))
    two = load((["y", "z"], ["+", "-"]), like=one)
    keys = join([one, two]).X.keys(np.arange(4))
    assert keys[1] == keys[2]
    assert len(set(keys.tolist())) == 3
    assert join([one, two]).fingerprint() != join([two, one]).fingerprint()


@pytest.mark.parametrize("make", [make_table, make_pictures])
def test_tables_and_pictures(make):
    X, y = make(12)
    one = load((X, y))
    both = join([one, load((X, y), like=one)])
    assert len(both) == 2 * len(one)
    taken, alone = both.take(np.array([len(one) + 1])), one.take(np.array([1]))
    if isinstance(taken, dict):
        assert all(np.array_equal(taken[key], alone[key]) for key in alone)
    else:
        assert np.array_equal(taken[0], alone[0])


def test_other_classes_are_refused():
    with pytest.raises(DataError, match="two has other classes"):
        join([load((["a", "b"], ["+", "-"])), load((["a", "b"], ["1", "2"]), name="two")])
