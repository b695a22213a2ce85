"""Several ways side by side."""

import numpy as np
import pytest

from graft.core.errors import UsageError
from graft.testing import toy_data
from graft.transfer.base import load_transfer
from graft.transfer.classical import Classical
from graft.transfer.ensemble import Ensemble
from graft.transfer.majority import Majority

MEMBERS = [{"transfer": "majority"}, {"transfer": "classical", "settings": {"C": 2.0}}]


def test_it_is_the_weighted_mean_of_its_members():
    data = toy_data("text")
    both = Ensemble(MEMBERS, weights=[1, 3]).fit(data)
    alone = 0.25 * Majority().fit(data).outputs(data) + 0.75 * Classical(C=2.0).fit(data).outputs(data)
    assert np.allclose(both.outputs(data), alone)


def test_members_are_saved_beside_it(tmp_path):
    data = toy_data("regression")
    both = Ensemble(MEMBERS).fit(data)
    both.save(tmp_path / "run")
    assert (tmp_path / "run" / "member-1" / "model.json").is_file()
    assert np.array_equal(load_transfer(tmp_path / "run").outputs(data), both.outputs(data))


@pytest.mark.parametrize("weights", [[1.0], [0, 0], [-1, 2]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(UsageError, match="2 members cannot have the weights"):
        Ensemble(MEMBERS, weights=weights).fit(toy_data("text"))
