"""Leading directions of rows."""

import numpy as np
from scipy import sparse

from graft.adaptation.lowrank import are_counts, column_mean, directions, drawn, term_weights, unit_rows


def test_directions_are_those_of_an_exact_decomposition():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 30)) * np.geomspace(10, 0.01, 30) + 3.0
    basis, variance = directions([X], 5)
    _, values, exact = np.linalg.svd(X - X.mean(0), full_matrices=False)
    assert np.allclose(np.abs(np.sum(basis * exact[:5].T, axis=0)), 1.0, atol=1e-6)
    assert np.allclose(variance, values[:5] ** 2 / 60, rtol=1e-6)


def test_sparse_rows_give_what_dense_ones_give():
    X = sparse.random(50, 40, 0.1, format="csr", random_state=0)
    parts = [X[:20], X[20:]]
    for one, two in zip(directions(parts, 6), directions([part.toarray() for part in parts], 6), strict=True):
        assert np.allclose(one, two)
    assert np.allclose(column_mean(X), X.toarray().mean(0))


def test_rows_are_brought_to_length_one_and_drawn_once():
    X = sparse.random(50, 40, 0.2, format="csr", random_state=1)
    assert np.allclose(np.linalg.norm(unit_rows(X).toarray(), axis=1), 1.0)
    some = drawn(np.arange(100)[:, None], 10, 0).ravel()
    assert len(set(some)) == 10
    assert (np.diff(some) > 0).all()


def test_counts_are_told_from_weights_and_weighed_by_how_rare_they_are():
    counts = sparse.csr_matrix(np.array([[2.0, 0.0, 1.0], [1.0, 3.0, 0.0]]))
    assert are_counts(counts)
    assert not are_counts(counts * 0.5)
    assert not are_counts(counts.toarray())
    weight = term_weights(counts, counts)
    assert np.allclose(weight, np.log([1.0, 5 / 3, 5 / 3]))
    assert np.allclose(unit_rows(counts, weight).toarray(), [[0, 0, 1], [0, 1, 0]])
    assert term_weights(counts * 0.5, counts).size == 0
