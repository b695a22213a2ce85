"""Which words, or other sparse columns, tell two domains apart: the few that a sparse linear domain classifier reads."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from graft.core.rows import evenly_spaced
from graft.unlabelled.distance import MOST, Column, where_shift

STEPS = 12  # doublings of the strength at most


def single_words(names: Sequence[str]) -> np.ndarray:
    """Places of the names without a space: of single words and pairs of words the single ones; all where none is single.

    Example:
        >>> single_words(["good", "good film", "film"]).tolist()
        [0, 2]
    """
    alone = np.flatnonzero([" " not in name for name in names])
    return alone if len(alone) else np.arange(len(names))


def telling_columns(
    source_features: Any,
    target_features: Any,
    names: Sequence[str] | None = None,
    *,
    top: int = 20,
    rate: float = 0.1,
    level: float = 0.9,
) -> list[Column]:
    """List the columns that a domain classifier with an ℓ1 penalty reads, those that move its answer most first.

    Of columns that say the same (a word, and every pair of words with it) such a classifier takes one, so the list has
    little repetition.  Its strength is doubled until it reads ``top`` columns; a column counts |w_j| times the column's
    standard deviation.  Only columns whose means differ by ``where_shift`` at its false discovery rate are listed, with
    what that says of them.  Linear in the entries; CSR stays CSR.

    Args:
        source_features: Rows (n_s, d), an array or CSR matrix.
        target_features: Rows (n_t, d).
        names: Names of the columns (d,); None: their numbers.
        top: Columns to list at most.
        rate: False discovery rate of ``where_shift``.
        level: Coverage of the intervals.

    Raises:
        DataError: Widths differ, or a domain has fewer than two rows.
        UsageError: Not one name per column.

    References:
        Tibshirani (1996), Regression shrinkage and selection via the lasso, J. Royal Statistical Society B 58.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X, Z = (sparse.csr_matrix(rng.random((200, 4)) < share) for share in ([0.5] * 4, [0.5, 0.9, 0.5, 0.5]))
        >>> [column.name for column in telling_columns(X.astype(float), Z.astype(float), ["a", "b", "c", "d"], top=2)]
        ['b']
    """
    where_shift(source_features[:2], target_features[:2], names, top=0)  # refuses what does not fit
    every = {
        int(one.name): one
        for one in where_shift(source_features, target_features, top=source_features.shape[1], rate=rate, level=level)
    }
    if not every:
        return []
    found = sorted(every)
    some = [X[evenly_spaced(X.shape[0], MOST)][:, found] for X in (source_features, target_features)]
    stack = sparse.vstack(some, format="csr") if sparse.issparse(some[0]) else np.concatenate(some)
    domain = np.repeat([0, 1], [X.shape[0] for X in some])
    spread = _deviations(stack)
    spread = np.where(spread > 0, spread, 1.0)
    scaled = (stack @ sparse.diags(1.0 / spread)).tocsr() if sparse.issparse(stack) else stack / spread
    weight = _sparse_weights(scaled, domain, top)
    order = [j for j in np.argsort(-np.abs(weight), kind="stable") if weight[j] != 0][:top]
    columns = [every[found[j]] for j in order]
    return [
        dataclasses.replace(one, name=str(names[int(one.name)]) if names is not None else one.name) for one in columns
    ]


def _deviations(X: Any) -> np.ndarray:
    if not sparse.issparse(X):
        return np.asarray(X.std(axis=0, dtype=np.float64))
    mean = np.asarray(X.mean(axis=0), np.float64).ravel()
    square = np.asarray(X.multiply(X).mean(axis=0), np.float64).ravel()
    deviations: np.ndarray = np.sqrt((square - mean**2).clip(0))
    return deviations


def _sparse_weights(X: Any, domain: np.ndarray, top: int) -> np.ndarray:
    """Weights (d,) of the sparsest classifier of the path that reads ``top`` columns, or of the last."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC, l1_min_c

    least = float(l1_min_c(X, domain, loss="squared_hinge"))
    weight = np.zeros(X.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the order of the largest weights is settled early
        for step in range(1, STEPS + 1):
            model = LinearSVC(
                penalty="l1", dual=False, C=least * 2**step, class_weight="balanced", max_iter=200, random_state=0
            )
            weight = model.fit(X, domain).coef_.ravel()
            if np.count_nonzero(weight) >= min(top, X.shape[1]):
                break
    return weight
