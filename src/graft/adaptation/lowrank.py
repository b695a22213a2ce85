"""Leading directions of rows that may be sparse, in time linear in the rows; a sparse matrix is never made dense.

Reference: Halko, Martinsson & Tropp (2011), Finding structure with randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import linalg, sparse

EXTRA = 10  # directions searched beyond those wanted
FEW = 3  # times as many rows as directions wanted: up to there all singular vectors are found at once
WHOLE = 20_000_000  # entries of the matrix, which is then made
SMALL = 1e-3  # of the largest singular value, below which a direction counts as without spread
PASSES = 3  # over the rows, each of which makes the small ones fade


def drawn(X: Any, most: int, seed: int) -> Any:
    """At most so many rows of X, drawn without repetition and in their order."""
    if X.shape[0] <= most:
        return X
    return X[np.sort(np.random.default_rng(seed).choice(X.shape[0], most, replace=False))]


def are_counts(X: Any) -> bool:
    """Whether rows are CSR and hold nothing but whole numbers from 0 on."""
    return bool(sparse.issparse(X) and X.nnz and (X.data >= 0).all() and (X.data == np.rint(X.data)).all())


def term_weights(source: Any, target: Any) -> np.ndarray:
    """ln((1 + n) / (1 + n_j)) of each column (d,) over both domains, n_j rows having it; empty where rows are no counts.

    Without it the leading directions of counts are those of the most frequent words.  Spärck Jones (1972).

    Example:
        >>> term_weights(sparse.csr_matrix([[1.0, 2.0]]), sparse.csr_matrix([[0.0, 1.0]])).round(2).tolist()
        [0.41, 0.0]
    """
    if not (are_counts(source) and are_counts(target)):
        return np.zeros(0)
    found = sum(np.bincount(X.indices[X.data != 0], minlength=X.shape[1]) for X in (source, target))
    return np.log((1.0 + source.shape[0] + target.shape[0]) / (1.0 + found))


def unit_rows(X: Any, weight: np.ndarray | None = None) -> Any:
    """Rows of a CSR matrix at length 1, so that the length of a text says nothing; dense rows as they are.

    Args:
        X: Rows (n, d).
        weight: Counts are made binary and multiplied by these weights (d,) first; nothing where empty.

    Example:
        >>> unit_rows(sparse.csr_matrix([[3.0, 4.0], [0.0, 0.0]])).toarray().round(3).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    if not sparse.issparse(X):
        return X
    if weight is not None and weight.size:
        X = sparse.csr_matrix(((X.data != 0) * weight[X.indices], X.indices, X.indptr), shape=X.shape)
    lengths = np.sqrt(np.asarray(X.multiply(X).sum(1)).ravel())
    return (sparse.diags(1.0 / np.where(lengths > 0, lengths, 1.0)) @ X).tocsr()


def column_mean(X: Any) -> np.ndarray:
    """Mean of the rows (d,)."""
    return np.asarray(X.mean(0)).ravel()


def leading(
    forward: Callable[[np.ndarray], np.ndarray],
    backward: Callable[[np.ndarray], np.ndarray],
    rows: int,
    columns: int,
    size: int,
    *,
    seed: int,
    dtype: Any = np.float64,
) -> tuple[np.ndarray, np.ndarray]:
    """Leading right singular vectors (d, k) and singular values (k,) of a matrix A (n, d) that is only multiplied.

    Args:
        forward: P (d, j) to A P (n, j).
        backward: Q (n, j) to Aᵀ Q (d, j).
        rows: n.
        columns: d.
        size: How many; k is the least of it, n and d.
        seed: Seed of the start.
        dtype: Precision of the start.
    """
    k = min(size, rows, columns)
    if rows <= min(columns, FEW * (k + EXTRA)) and rows * columns <= WHOLE:
        return _of_few_rows(backward(np.eye(rows, dtype=dtype)), k)
    probe = np.random.default_rng(seed).standard_normal((columns, min(k + EXTRA, rows, columns))).astype(dtype)
    for _ in range(PASSES - 1):  # any basis will do on the way, and that of LU costs a third of an orthonormal one
        probe = linalg.lu(backward(forward(probe)), permute_l=True, overwrite_a=True, check_finite=False)[0]
    basis, small = np.linalg.qr(backward(np.linalg.qr(forward(probe))[0]))
    turn, values, _ = np.linalg.svd(small)
    return np.ascontiguousarray((basis @ turn)[:, :k]), values[:k]


def _of_few_rows(across: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The same from A' (d, n) itself: exact, by the eigenvectors of A A'."""
    values, turn = linalg.eigh(across.T @ across, check_finite=False)
    order = np.argsort(-values, kind="stable")[:k]
    basis = across @ turn[:, order]
    lengths = np.sqrt(np.square(basis).sum(axis=0))
    if lengths.min() > SMALL * lengths.max():
        return np.ascontiguousarray(basis / lengths), lengths
    full = np.linalg.qr(basis)[0]  # directions without spread are any that are orthogonal to the others
    return np.ascontiguousarray(full), lengths


def directions(parts: Sequence[Any], size: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Principal directions (d, k) of rows, each part about its own mean, and their variances (k,).

    Args:
        parts: Rows (n_i, d), arrays or CSR matrices.
        size: How many directions at most.
        seed: Seed of the start.

    Example:
        >>> line = np.outer(np.arange(5.0), [3.0, 4.0])
        >>> basis, variance = directions([line, line + 100.0], 1)
        >>> np.abs(basis.ravel()).round(6).tolist(), float(variance[0].round(6))
        ([0.6, 0.8], 50.0)
    """
    means = [column_mean(part) for part in parts]
    cuts = np.cumsum([part.shape[0] for part in parts])

    def forward(probe: np.ndarray) -> np.ndarray:
        return np.concatenate([part @ probe - mean @ probe for part, mean in zip(parts, means, strict=True)])

    def backward(image: np.ndarray) -> np.ndarray:
        pieces = np.split(image, cuts[:-1])
        each = zip(parts, means, pieces, strict=True)
        return sum(part.T @ piece - np.outer(mean, piece.sum(0)) for part, mean, piece in each)

    basis, values = leading(forward, backward, int(cuts[-1]), parts[0].shape[1], size, seed=seed)
    return basis, values**2 / cuts[-1]
