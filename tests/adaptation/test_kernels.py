"""Gaussian kernels on landmarks."""

import numpy as np
from scipy import sparse

from graft.adaptation.kernels import from_arrays, gaussian, landmarks, nystrom_root, squared_distances, to_arrays


def test_distances_are_those_of_the_formula_for_sparse_rows_too():
    X, Y = (sparse.random(n, 20, 0.2, format="csr", random_state=n) for n in (7, 5))
    direct = ((X.toarray()[:, None] - Y.toarray()[None]) ** 2).sum(2)
    assert np.allclose(squared_distances(X, Y), direct)
    assert np.allclose(squared_distances(X.toarray(), Y.toarray()), direct)


def test_with_all_rows_as_landmarks_the_kernel_is_exact():
    X = np.random.default_rng(0).standard_normal((30, 3))
    root = nystrom_root(X, 1.0)
    mapped = gaussian(X, X, 1.0) @ root
    assert np.allclose(mapped @ mapped.T, gaussian(X, X, 1.0), atol=1e-6)


def test_landmarks_come_from_both_domains_and_are_kept():
    source, target = sparse.csr_matrix(np.ones((40, 3))), sparse.csr_matrix(2 * np.ones((40, 3)))
    marks = landmarks(source, target, 10)
    assert sorted(marks.toarray()[:, 0].tolist()) == [1.0] * 5 + [2.0] * 5
    assert (from_arrays("marks", to_arrays("marks", marks)) != marks).nnz == 0
