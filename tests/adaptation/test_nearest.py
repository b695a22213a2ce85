"""Nearest-neighbour weighting."""

import numpy as np
from scipy import sparse

from graft.adaptation import nearest
from graft.adaptation.nearest import NearestNeighbour, cell_weights
from graft.testing import check_transfer, toy_data


def test_weights_count_the_target_rows_in_each_cell(monkeypatch):
    rng = np.random.default_rng(0)
    source, target = rng.standard_normal((20, 2)), rng.standard_normal((60, 2))
    cells = np.bincount(((target[:, None] - source[None]) ** 2).sum(2).argmin(1), minlength=20)
    assert np.allclose(cell_weights(source, target), (1 + cells / 3) / 2)
    monkeypatch.setattr(nearest, "CLOSE", 100)  # five rows at a time
    assert np.allclose(cell_weights(sparse.csr_matrix(source), sparse.csr_matrix(target)), (1 + cells / 3) / 2)


def test_the_same_rows_on_both_sides_weigh_the_same():
    X = np.random.default_rng(1).standard_normal((30, 4))
    assert np.array_equal(cell_weights(X, X), np.ones(30))


def test_it_keeps_the_contract():
    check_transfer(NearestNeighbour, toy_data("text"))
