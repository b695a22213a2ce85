"""Classes by their attributes: two ways from labelled rows of some classes to scores of others, both in closed form or nearly.

Rows (n, d) have classes (n,), classes have attributes (C, a).  What is learned from rows of seen classes is a map from features to
attributes; a class without rows is scored by its attributes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from graft.core.errors import DataError

STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
FOLDS = 3  # in which seen classes are taken for unseen ones, to choose strengths


@dataclass(frozen=True, eq=False)
class Bilinear:
    """Scores xᵀ V a of rows x and attributes a: V (d, a) and the strengths it was fitted with."""

    map: np.ndarray
    strengths: tuple[float, float]

    def scores(self, X: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Scores (n, C)."""
        return np.asarray(X @ self.map @ attributes.T)


def fit_eszsl(X: np.ndarray, y: np.ndarray, attributes: np.ndarray, *, strengths: tuple[float, float]) -> Bilinear:
    """Embarrassingly simple zero-shot learning: V = (XᵀX + γI)⁻¹ XᵀY A (AᵀA + λI)⁻¹ with Y of +1 and -1.

    γ and λ are relative to the mean eigenvalue of XᵀX and AᵀA, so they do not depend on units.

    Args:
        X: Rows (n, d).
        y: Class numbers (n,), into the rows of ``attributes``.
        attributes: Of the seen classes (C, a).
        strengths: γ and λ.

    References:
        Romera-Paredes & Torr (2015). An embarrassingly simple approach to zero-shot learning. ICML.

    Example:
        >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> fit = fit_eszsl(X[:2], np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]]), strengths=(0.1, 0.1))
        >>> fit.scores(X, np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])).argmax(axis=1).tolist()[:2]
        [0, 1]
    """
    return _Eszsl(X, y, attributes).fit(strengths)


class _Eszsl:
    """Both decompositions, from which every pair of strengths follows."""

    def __init__(self, X: np.ndarray, y: np.ndarray, attributes: np.ndarray) -> None:
        A = np.asarray(attributes, dtype=np.float64)
        sums = np.zeros((len(A), X.shape[1]))
        np.add.at(sums, y, X)
        cross = 2 * sums.T - X.sum(axis=0)[:, None]  # XᵀY with Y = 2 onehot - 1
        self.left, self.rows = eigh(X.T @ X)
        self.right, self.columns = eigh(A.T @ A)
        self.left, self.right = self.left.clip(0), self.right.clip(0)
        self.inner = self.rows.T @ cross @ A @ self.columns
        self.unit = max(float(self.left.mean()), 1e-12), max(float(self.right.mean()), 1e-12)

    def fit(self, strengths: tuple[float, float]) -> Bilinear:
        shrunk = self.inner / (self.left + strengths[0] * self.unit[0])[:, None]
        shrunk = shrunk / (self.right + strengths[1] * self.unit[1])
        return Bilinear(self.rows @ shrunk @ self.columns.T, strengths)


def choose_eszsl(X: np.ndarray, y: np.ndarray, attributes: np.ndarray) -> tuple[float, float]:
    """Strengths by mean accuracy per class on seen classes that are left out, among themselves; 1 and 1 below four classes."""
    folds = class_folds(y, len(attributes))
    if not folds:
        return 1.0, 1.0
    pairs = [(a, b) for a in STRENGTHS[::-1] for b in STRENGTHS[::-1]]
    found = np.zeros(len(pairs))
    for out in folds:
        some = np.isin(y, out)
        kept = np.setdiff1d(np.unique(y), out)
        path = _Eszsl(X[~some], np.searchsorted(kept, y[~some]), attributes[kept])
        truth = np.searchsorted(out, y[some])
        found += [mean_accuracy(path.fit(pair).scores(X[some], attributes[out]), truth) for pair in pairs]
    return pairs[int(found.argmax())]


def class_folds(y: np.ndarray, count: int) -> list[np.ndarray]:
    """Groups of two or more seen classes to leave out, each class in one; none below four seen classes."""
    seen = np.flatnonzero(np.bincount(y, minlength=count))
    folds = min(FOLDS, len(seen) // 2)
    return [seen[start::folds] for start in range(folds)] if folds > 1 else []


def mean_accuracy(scores: np.ndarray, y: np.ndarray) -> float:
    """Accuracy of scores (n, C) in each class of y (n,), and the mean over the classes."""
    right = scores.argmax(axis=1) == y
    counts = np.bincount(y)
    hits = np.bincount(y, right)
    return float((hits[counts > 0] / counts[counts > 0]).mean())


@dataclass(frozen=True, eq=False)
class Direct:
    """Logistic regressions of attributes: coefficients (d, a), intercepts (a,), shares (a,) among seen classes, cuts (a,)."""

    coef: np.ndarray
    intercept: np.ndarray
    share: np.ndarray
    cut: np.ndarray

    def scores(self, X: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Log p(class | x) + const (n, C): Σ_m log p(a_m | x) - log p(a_m), with a_m whether attribute m is above its cut."""
        logits = X @ self.coef + self.intercept
        yes, no = -np.logaddexp(0, -logits) - np.log(self.share), -np.logaddexp(0, logits) - np.log(1 - self.share)
        has = (attributes > self.cut).astype(np.float64)
        return np.asarray(yes @ has.T + no @ (1 - has).T)


def fit_dap(
    X: np.ndarray, y: np.ndarray, attributes: np.ndarray, *, C: float = 1.0, cut: np.ndarray | None = None
) -> Direct:
    """Direct attribute prediction: one logistic regression for each attribute, cut at its mean over the classes.

    Attributes that all seen classes share, or none has, say nothing and are left out (their coefficients are zero).

    Args:
        X: Rows (n, d).
        y: Class numbers (n,), into the rows of ``attributes``.
        attributes: Of the seen classes (C, a).
        C: Inverse penalty of scikit-learn.
        cut: Above which an attribute counts as present (a,); None: its mean over ``attributes``.

    Raises:
        DataError: Every attribute is the same in all seen classes.

    References:
        Lampert, Nickisch & Harmeling (2009). Learning to detect unseen object classes by between-class attribute transfer.
        CVPR.
    """
    from sklearn.linear_model import LogisticRegression

    A = np.asarray(attributes, dtype=np.float64)
    cut = A.mean(axis=0) if cut is None else cut
    present = np.unique(y)
    has = A - cut > 0
    differs = has[present].any(axis=0) & ~has[present].all(axis=0)
    if not differs.any():
        raise DataError("no attribute differs among the classes with rows")
    coef, intercept = np.zeros((X.shape[1], A.shape[1])), np.zeros(A.shape[1])
    share = np.full(A.shape[1], 0.5)
    for place in np.flatnonzero(differs):
        model = LogisticRegression(C=C, max_iter=1000).fit(X, has[y, place])
        coef[:, place], intercept[place] = model.coef_[0], model.intercept_[0]
        share[place] = has[present, place].mean()
    return Direct(coef, intercept, share, np.asarray(cut))


def choose_stacking(seen: np.ndarray, unseen: np.ndarray, y: np.ndarray, is_unseen: np.ndarray) -> float:
    """What to take off the scores of seen classes so that the harmonic mean of both accuracies is the largest.

    Rows of seen classes score higher in seen classes, as the map was fitted to these; without it almost nothing is given to
    the others.

    Args:
        seen: Scores (n, S) of the seen classes.
        unseen: Scores (n, U) of the unseen ones.
        y: Number (n,) of the class, within its own kind.
        is_unseen: Which rows belong to an unseen class (n,).

    References:
        Chao et al. (2016). An empirical study and analysis of generalized zero-shot learning. ECCV.  Xian et al. (2019).
        Zero-shot learning: a comprehensive evaluation of the good, the bad and the ugly. IEEE TPAMI 41.
    """
    gap = seen.max(axis=1) - unseen.max(axis=1)
    right = np.where(is_unseen, unseen.argmax(axis=1) == y, seen.argmax(axis=1) == y)
    cuts = np.unique(np.quantile(gap, np.linspace(0, 1, 201)))
    best, chosen = -1.0, 0.0
    for cut in cuts:
        taken = gap < cut  # rows that go to an unseen class
        a = (right & taken)[is_unseen].mean() if is_unseen.any() else 0.0
        b = (right & ~taken)[~is_unseen].mean() if (~is_unseen).any() else 0.0
        mean = 2 * a * b / (a + b) if a + b else 0.0
        if mean > best:
            best, chosen = mean, float(cut)
    return chosen
