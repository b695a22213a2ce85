"""A weighted linear classifier whose strength is chosen on source rows alone."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy import sparse

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # C of scikit-learn, on rows of mean squared norm 1
FOLDS = 3


def fit_linear(
    X: Any, y: np.ndarray, classes: int, *, weight: np.ndarray | None = None, C: float | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Multinomial logistic regression: coefficients (d, C), intercepts (C,) and the strength taken.

    It minimises C · n Σ w_i ℓ(x_i, y_i) / Σ w + ½ |W|² / s² with s² the mean squared norm of the rows, so neither the scale of
    the rows nor that of the weights matters.  C is the one whose weighted log-likelihood on held-out source rows is highest:
    importance-weighted cross-validation (Sugiyama et al. 2007) where the weights are density ratios.

    Args:
        X: Rows (n, d), an array or a CSR matrix, never made dense.
        y: Class indices (n,).
        classes: Number of classes C; a class without rows gets the lowest score.
        weight: Weight of each row (n,), not negative; all alike if not given.
        C: The strength; chosen if not given.
        seed: Seed of the folds.
    """
    weight = np.ones(X.shape[0]) if weight is None else np.asarray(weight, np.float64)
    weight = weight * len(weight) / weight.sum()
    scale = _scale(X)
    if C is None:
        C = _strength(X, y, weight, scale, seed)
    return *_solve(X, y, classes, weight, C / scale), C


def log_likelihoods(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Log-probability (n,) of the classes y (n,) by the softmax of scores (n, C)."""
    shifted = scores - scores.max(1, keepdims=True)
    found: np.ndarray = shifted[np.arange(len(y)), y] - np.log(np.exp(shifted).sum(1))
    return found


def _scale(X: Any) -> float:
    squares = X.multiply(X).sum() if sparse.issparse(X) else float(np.einsum("ij,ij->", X, X, dtype=np.float64))
    return max(float(squares) / X.shape[0], 1e-12)


def _strength(X: Any, y: np.ndarray, weight: np.ndarray, scale: float, seed: int) -> float:
    """The strength with the highest weighted likelihood of rows held out; the middle one where a class is too small."""
    from sklearn.model_selection import StratifiedKFold

    if np.bincount(y)[np.unique(y)].min() < FOLDS:
        return STRENGTHS[len(STRENGTHS) // 2]
    found = np.zeros(len(STRENGTHS))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(np.zeros(len(y)), y):
        for place, C in enumerate(STRENGTHS):
            coef, intercept = _solve(X[train], y[train], int(y.max()) + 1, weight[train], C / scale)
            scores = np.asarray(X[test] @ coef) + intercept
            found[place] += float(weight[test] @ log_likelihoods(scores, y[test]))
    return STRENGTHS[int(found.argmax())]


def _solve(X: Any, y: np.ndarray, classes: int, weight: np.ndarray, C: float) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    there = weight > 0
    if len(np.unique(y[there])) < 2:  # one class: nothing to separate
        intercept = np.full(classes, -10.0)
        intercept[y[there][:1]] = 10.0
        return np.zeros((X.shape[1], classes)), intercept
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last iterate is a valid classifier
        model = LogisticRegression(C=C, max_iter=300).fit(X, y, sample_weight=weight)
    coef, intercept = model.coef_.T, model.intercept_
    if len(model.classes_) == 2:
        coef, intercept = np.hstack([-coef / 2, coef / 2]), np.concatenate([-intercept / 2, intercept / 2])
    whole = np.zeros((X.shape[1], classes)), np.full(classes, intercept.min() - 10.0)
    whole[0][:, model.classes_], whole[1][model.classes_] = coef, intercept
    return whole
