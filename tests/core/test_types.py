import json

import numpy as np
import pytest

from graft.core.errors import DataError
from graft.core.types import Dataset, Features, ModelSpec, Ranking, RankRow, Run
from graft.data.load import load


@pytest.fixture
def data():
    return load((["zero", "one", "two", "three", "four", "five"], list("abcabc")))


def test_subsets_are_views_that_compose(data):
    part = data.select(np.array([5, 3, 1])).select(np.array([True, False, True]))
    assert part.take() == ["five", "one"]
    assert part.rows.tolist() == [5, 1]
    assert part.X is data.X
    assert part.labels.tolist() == ["c", "b"]
    assert part.take(slice(1, 2)) == ["one"]
    train, test = data.split(np.array([0, 1]), np.array([2]))
    assert (len(train), test.take()) == (2, ["two"])
    assert len(data.select(np.zeros(6, bool))) == 0


def test_the_fingerprint_sees_rows_labels_and_order(data):
    order = np.array([1, 0, 2, 3, 4, 5])
    again = load((["zero", "one", "two", "three", "four", "five"], list("abcabc")))
    assert data.fingerprint() == again.fingerprint()
    others = [
        data.select(order), data.select(np.arange(5)), load((["zero", "one", "two", "three", "four", "6"], list("abcabc"))),
        load((["zero", "one", "two", "three", "four", "five"], list("abcabd"))),
    ]  # fmt: skip
    prints = {item.fingerprint() for item in others}
    assert len(prints) == 4
    assert data.fingerprint() not in prints


def test_without_labels_there_are_none():
    data = load(["a", "b"], labelled=False)
    assert data.y is None
    assert data.select(np.array([0])).y is None
    assert data.fingerprint()
    with pytest.raises(DataError, match="has no labels"):
        data.labels  # noqa: B018
    assert isinstance(data, Dataset)


# -- features, rankings, runs ------------------------------------------------------------------------------------------


def test_layers_are_slices_of_columns():
    values = np.arange(24, dtype=np.float16).reshape(3, 8)
    features = Features(values, (2, 3, 3), np.array([2, 0]), ModelSpec("x:y", "y", "text"), "key")
    assert (len(features), features.layers) == (2, 3)
    assert features.layer(0).tolist() == [[16, 17], [0, 1]]
    assert features.layer(-1).tolist() == [[21, 22, 23], [5, 6, 7]]
    assert features.layer(2, 0).tolist() == [[21, 22, 23, 16, 17], [5, 6, 7, 0, 1]]
    assert features.layer(1, rows=slice(1, 2)).tolist() == [[2, 3, 4]]
    assert features.layer(0).dtype == np.float32
    assert features.select(np.array([1])).layer(0).tolist() == [[8, 9]]


def test_failures_are_not_usable():
    spec = ModelSpec("x:y", "y", "text", parameters=2_000_000)
    ranking = Ranking((RankRow(spec), RankRow(spec, failure="broken")))
    assert ranking.usable == ranking.rows[:1]
    assert str(spec) == "y (2.0 M parameters)"


def test_a_run_comes_back_from_json():
    run = Run(config={"seed": 1}, trials=[{"name": "x"}], answer={"score": [0.5, 0.4, 0.6]})
    text = json.dumps(run.to_json())
    assert Run.from_json(json.loads(text)) == run
    assert Run.from_json({**json.loads(text), "of a later version": 1}) == run
    assert Run.from_json({}) == Run()
