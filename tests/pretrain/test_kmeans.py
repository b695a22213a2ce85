"""The parts of deep clustering."""

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from graft.pretrain.kmeans import Space, agreement, assign, balanced, find_centres, matched


def blobs(n=300, seed=0):
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % 3
    return np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0]])[kinds] + rng.normal(size=(n, 3)), kinds


def test_blobs_are_found_and_equal_seeds_find_equal_centres():
    values, kinds = blobs()
    centres = find_centres(values, 3, seed=1)
    labels = assign(values, centres)
    assert normalized_mutual_info_score(kinds, labels) == pytest.approx(1)
    assert np.array_equal(centres, find_centres(values, 3, seed=1))


def test_no_cluster_stays_empty():
    values = np.array([[0.0], [0.0], [0.0], [5.0]])
    labels = assign(values, np.array([[0.0], [90.0], [91.0]]))
    assert sorted(np.bincount(labels, minlength=3)) == [1, 1, 2]
    assert labels[3] in (1, 2)  # the row farthest from its centre moves first
    with pytest.raises(ValueError, match="2 rows cannot fill 3 clusters"):
        assign(values[:2], np.zeros((3, 1)))
    same = find_centres(np.zeros((8, 2)), 3, seed=0)
    assert set(assign(np.zeros((8, 2)), same)) == {0, 1, 2}


def test_names_stay_where_most_rows_stay():
    before = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    labels = np.array([2, 2, 0, 0, 0, 0, 1, 1])
    assert matched(labels, before, 3).tolist() == [0, 0, 1, 1, 1, 1, 2, 2]


def test_every_cluster_is_drawn_alike_often():
    labels = np.repeat([0, 1, 3], [90, 8, 2])
    order = balanced(labels, np.random.default_rng(0))
    assert len(order) == 100
    assert np.abs(np.bincount(labels[order], minlength=4)[[0, 1, 3]] - 100 / 3).max() < 2
    assert len(np.unique(order[labels[order] == 1])) == 8


def test_a_whitened_space_has_rows_of_length_one():
    values = blobs()[0] * [1, 10, 0.1]
    found = Space.fit(values, whiten=True)(values)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    plain = Space.fit(values, whiten=False)
    assert np.allclose(np.linalg.norm(plain(values), axis=1), np.linalg.norm(values - values.mean(axis=0), axis=1))
    assert Space.fit(np.ones((5, 3)), whiten=True)(np.ones((2, 3))).shape[0] == 2


def test_agreement_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 4, 200)
    two = np.where(rng.random(200) < 0.7, one, rng.integers(0, 5, 200))
    weights = np.stack([np.ones(200), rng.integers(0, 3, 200)]).astype(float)
    found = agreement(one, two)(weights)
    rows = np.repeat(np.arange(200), weights[1].astype(int))
    assert found[0] == pytest.approx(normalized_mutual_info_score(one, two))
    assert found[1] == pytest.approx(normalized_mutual_info_score(one[rows], two[rows]))
    assert agreement(np.zeros(5, int), np.zeros(5, int))(np.ones((1, 5)))[0] == 0
