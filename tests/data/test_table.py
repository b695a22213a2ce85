import json

import numpy as np
import pytest

from graft.core.registry import MODALITIES
from graft.data import table
from graft.data.load import load
from graft.data.table import TableVectors

ROWS = {
    "age": ["20", "", "40", "30"], "city": ["L", "P", "", "L"], "flat": ["1", "1", "1", "1"], "label": list("xyxy"),
}  # fmt: skip


def test_numbers_are_standardised_and_categories_one_hot():
    data = load(ROWS)
    vectors = TableVectors().fit(data)
    got = vectors.transform(data)
    deviation = np.std([20, 30, 40, 30])
    expected = [[-10 / deviation, 0, 1, 0], [0, 1, 0, 1], [10 / deviation, 0, 0, 0], [0, 0, 1, 0]]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_unknown_levels_are_zeros_and_levels_are_capped(monkeypatch):
    train = load(ROWS)
    new = load({"age": [30], "city": ["Q"], "flat": [1]}, like=train, labelled=False)
    np.testing.assert_allclose(TableVectors().fit(train).transform(new), [[0, 0, 0, 0]], atol=1e-7)
    monkeypatch.setattr(table, "LEVELS", 1)
    assert TableVectors().fit(train).levels == {"city": ["L"]}


def test_state_round_trip_is_exact_and_rows_independent(monkeypatch):
    data = load(ROWS)
    vectors = TableVectors().fit(data)
    facts, arrays = vectors.state()
    again = TableVectors.from_state(json.loads(json.dumps(facts)), arrays)
    whole = vectors.transform(data)
    monkeypatch.setattr(table, "BLOCK", 1)
    np.testing.assert_array_equal(again.transform(data), whole)
    np.testing.assert_array_equal(vectors.transform(data.select(np.array([3, 0]))), whole[[3, 0]])


def test_describe_and_walk():
    data = load(ROWS)
    facts = json.loads(json.dumps(MODALITIES["table"].describe(data)))
    assert (facts["numbers"], facts["categories"]) == (1, 1)
    assert facts["missing"] == pytest.approx(2 / 8, abs=1e-4)
    assert facts["missing_by_column"] == {"city": 0.25, "age": 0.25}
    steps = dict(MODALITIES["table"].walk(data, 1))
    assert steps["raw"] == "age=?, city=P"
    assert "city=P" in steps["vector"]
