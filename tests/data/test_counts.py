import json

import numpy as np
from scipy.sparse import csr_matrix, issparse

from graft.core.registry import MODALITIES
from graft.data import counts
from graft.data.counts import CountVectors
from graft.data.load import load

DENSE = np.array([[0, 3, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]])
DATA = load((csr_matrix(DENSE), ["a", "b", "a", "b"]))


def test_vectors_are_weighted_logarithms_of_length_one():
    vectors = CountVectors().fit(DATA)
    got = vectors.transform(DATA)
    assert issparse(got)
    assert vectors.columns.tolist() == [0, 1, 2]
    idf = 1 + np.log(5 / (1 + np.array([1, 2, 1])))
    expected = np.log1p(DENSE[:, :3]) * idf
    expected[[0, 1, 3]] /= np.linalg.norm(expected[[0, 1, 3]], axis=1, keepdims=True)
    np.testing.assert_allclose(got.toarray(), expected)


def test_features_that_training_did_not_have_are_not_read():
    vectors = CountVectors().fit(DATA)
    new = load(csr_matrix([[0, 0, 0, 7], [2, 0, 0, 7]]), like=DATA, labelled=False)
    np.testing.assert_allclose(vectors.transform(new).toarray(), [[0, 0, 0], [1, 0, 0]])


def test_state_round_trip_is_exact_and_rows_independent(monkeypatch):
    vectors = CountVectors().fit(DATA)
    facts, arrays = vectors.state()
    again = CountVectors.from_state(json.loads(json.dumps(facts)), arrays)
    whole = vectors.transform(DATA).toarray()
    monkeypatch.setattr(counts, "BLOCK", 1)
    np.testing.assert_array_equal(again.transform(DATA).toarray(), whole)
    np.testing.assert_array_equal(vectors.transform(DATA.select(np.array([3, 0]))).toarray(), whole[[3, 0]])


def test_describe_and_walk():
    facts = json.loads(json.dumps(MODALITIES["counts"].describe(DATA)))
    assert facts == {
        "rows": 4, "features": 4, "filled": 0.25, "features_per_row": {"median": 1, "max": 2}, "empty": 1,
        "largest": 3.0, "whole_numbers": True, "duplicates": 0,
    }  # fmt: skip
    steps = dict(MODALITIES["counts"].walk(DATA, 0))
    assert (steps["raw"], steps["label"]) == ("feature_1=3, feature_2=1", "a")
    assert steps["vector"].startswith("2 of 3 features; heaviest: feature_1 0.")
    assert dict(MODALITIES["counts"].walk(DATA, 2))["raw"] == "no feature"
