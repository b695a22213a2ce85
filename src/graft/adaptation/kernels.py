"""Gaussian kernels between rows that may be sparse, and a few landmarks that stand for all rows.

Reference: Williams & Seeger (2000), Using the Nyström method to speed up kernel machines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg, sparse

from graft.adaptation.lowrank import drawn

SAMPLE = 500  # rows of each domain that the width is measured on
BLOCK = 4_096  # rows in work at a time
FAINT = 1e-8  # share of the largest eigenvalue below which a direction of the landmarks is noise


def squared_distances(X: Any, Y: Any) -> np.ndarray:
    """Squared Euclidean distances (n, m) between rows, arrays or CSR matrices."""
    inner = X @ Y.T
    inner = inner.toarray() if sparse.issparse(inner) else inner
    return np.maximum(_squares(X)[:, None] + _squares(Y)[None] - 2.0 * inner, 0.0)


def _squares(X: Any) -> np.ndarray:
    return np.asarray(X.multiply(X).sum(1)).ravel() if sparse.issparse(X) else np.einsum("ij,ij->i", X, X)


def gaussian(X: Any, Y: Any, width: float) -> np.ndarray:
    """exp(-‖x - y‖² / 2 width²) (n, m)."""
    kernel = np.empty((X.shape[0], Y.shape[0]))
    for start in range(0, len(kernel), BLOCK):
        rows = slice(start, start + BLOCK)
        np.exp(squared_distances(X[rows], Y) / (-2.0 * width * width), out=kernel[rows])
    return kernel


def median_distance(X: Any, Y: Any, *, seed: int = 0) -> float:
    """Median distance between a row of X and one of Y; never 0.

    Example:
        >>> median_distance(np.zeros((3, 1)), np.array([[3.0], [4.0], [5.0]]))
        4.0
    """
    some = squared_distances(drawn(X, SAMPLE, seed), drawn(Y, SAMPLE, seed + 1))
    return max(float(np.sqrt(np.median(some))), 1e-6)


def landmarks(source: Any, target: Any, size: int, *, seed: int = 0) -> Any:
    """Rows (≤ size, d) that stand for both domains, half from each where both have as many."""
    target = drawn(target, size // 2, seed)
    both = [drawn(source, size - target.shape[0], seed + 1), target]
    return sparse.vstack(both, format="csr") if sparse.issparse(source) else np.concatenate(both)


def nystrom_root(points: Any, width: float) -> np.ndarray:
    """R (m, r) with k(x, points) R R' k(points, z) ≈ k(x, z): the inverse square root of the landmarks' kernel."""
    values, vectors = linalg.eigh(gaussian(points, points, width))
    there = values > FAINT * values[-1]
    return np.ascontiguousarray(vectors[:, there] / np.sqrt(values[there]))


def to_arrays(name: str, X: Any) -> dict[str, np.ndarray]:
    """Arrays that keep rows, dense or CSR, under a name."""
    if not sparse.issparse(X):
        return {name: np.ascontiguousarray(X)}
    keys = ("data", "indices", "indptr")
    return {f"{name}.{key}": getattr(X, key) for key in keys} | {f"{name}.shape": np.asarray(X.shape, np.int64)}


def from_arrays(name: str, arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of ``to_arrays``."""
    if name in arrays:
        return arrays[name]
    data, indices, indptr, shape = (arrays[f"{name}.{key}"] for key in ("data", "indices", "indptr", "shape"))
    return sparse.csr_matrix((data, indices, indptr), shape=tuple(int(n) for n in shape))
