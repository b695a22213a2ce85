"""Multinomial logistic regression along a path of strengths, each start warm, the best one found on rows held out.

Least squares masks classes that lie between others, the more so the more classes there are (Hastie, Tibshirani &
Friedman, The Elements of Statistical Learning, section 4.2); the logistic loss does not, but has no closed form.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from graft.core.errors import DataError
from graft.nn.calibration import nll

STRENGTHS: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)  # the C of scikit-learn: from simple to flexible
EVERY = 5  # every fifth row of a class is held out to choose
UNSEEN = 20.0  # how far below all others the score of a class without rows lies


@dataclass(frozen=True, eq=False)
class Logistic:
    """A fitted logistic regression.

    Attributes:
        coef: Coefficients (d, k).
        intercept: Intercepts (k,).
        strength: The chosen inverse penalty C.
        held_out: Scores (m, k) of ``rows`` by the fit without them, at the chosen strength.
        rows: Positions (m,) of the rows that chose.
        error: Their mean negative log-likelihood.
    """

    coef: np.ndarray
    intercept: np.ndarray
    strength: float
    held_out: np.ndarray
    rows: np.ndarray
    error: float


def fit_logistic(
    X: np.ndarray,
    y: np.ndarray,
    classes: int,
    *,
    weight: np.ndarray | None = None,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Logistic:
    """Minimise C Σ_i w_i (-log p(y_i | x_i)) + ½‖B‖², with C chosen on every fifth row of each class.

    Strengths are tried from small C to large, each from the solution before, until the held-out likelihood falls; the
    chosen one is then fitted to all rows.  Where no class has five rows the middle strength is taken, and ``held_out``
    is empty.

    Args:
        X: Rows (n, d) of about unit variance.
        y: Class indices (n,).
        classes: Number k of classes; one without rows gets a score far below all others.
        weight: Weight (n,) of each row.
        strengths: Values of C, ascending.

    Raises:
        DataError: Fewer than two classes have rows.

    Example:
        >>> import numpy as np
        >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]] * 5)
        >>> fit = fit_logistic(X, (X[:, 0] > 0).astype(int), 2)
        >>> (X @ fit.coef + fit.intercept).argmax(axis=1)[:4].tolist()
        [0, 0, 1, 1]
    """
    if len(np.unique(y)) < 2:
        raise DataError("logistic regression needs rows of two classes")
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    centre = np.asarray(np.average(X, axis=0, weights=weight), dtype=X.dtype)
    X = X - centre
    held = _held(y)
    chosen, scores, error, start = strengths[len(strengths) // 2], np.empty((0, classes)), float("nan"), None
    if held.any():
        path = _Path(X[~held], y[~held], classes, weight[~held])
        error = np.inf
        for strength in strengths:
            coef, intercept = path.fit(strength)
            found = X[held] @ coef + intercept
            loss = nll(found, y[held], weight=weight[held])
            if loss >= error:
                break
            chosen, scores, error, start = strength, found, loss, path.state
    whole = _Path(X, y, classes, weight, start)
    coef, intercept = whole.fit(chosen)
    return Logistic(coef, intercept - centre @ coef, chosen, scores, np.flatnonzero(held), error)


def fit_each_label(X: np.ndarray, y: np.ndarray, *, strengths: tuple[float, ...] = STRENGTHS) -> Logistic:
    """One logistic regression for each of several labels (n, k) of 0 and 1; one C for all, chosen on a fifth of the rows.

    A label that all rows have, or none, gets the log-odds of its share and no coefficients.

    Example:
        >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]] * 5)
        >>> y = np.hstack([X > 0, X < 1.5]).astype(float)
        >>> fit = fit_each_label(X, y)
        >>> ((X @ fit.coef + fit.intercept) > 0)[:4].astype(int).tolist()
        [[0, 1], [0, 1], [1, 1], [1, 0]]
    """
    centre = np.asarray(X.mean(axis=0), dtype=X.dtype)
    X = X - centre
    held = np.random.default_rng(len(y)).permutation(len(y)) < len(y) // EVERY  # files may have a pattern
    chosen, scores, error = strengths[len(strengths) // 2], np.empty((0, y.shape[1])), float("nan")
    if len(y) >= 2 * EVERY:
        error = np.inf
        for strength in strengths:
            coef, intercept = _labels(X[~held], y[~held], strength)
            found = X[held] @ coef + intercept
            loss = float((np.logaddexp(0, found) - y[held] * found).mean())
            if loss >= error:
                break
            chosen, scores, error = strength, found, loss
    coef, intercept = _labels(X, y, chosen)
    return Logistic(coef, intercept - centre @ coef, chosen, scores, np.flatnonzero(held)[: len(scores)], error)


def _labels(X: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    share = (y.sum(axis=0) + 0.5) / (len(y) + 1)
    coef, intercept = np.zeros((X.shape[1], y.shape[1])), np.log(share / (1 - share))
    for c in np.flatnonzero((y.min(axis=0) == 0) & (y.max(axis=0) == 1)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last iterate is a valid one
            fit = LogisticRegression(C=strength, max_iter=200).fit(X, y[:, c])
        coef[:, c], intercept[c] = fit.coef_[0], fit.intercept_[0]
    return coef, intercept


class _Path:
    """Fits at one strength after the other, each from the solution before."""

    def __init__(
        self,
        X: np.ndarray,
        y: np.ndarray,
        classes: int,
        weight: np.ndarray,
        state: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        from sklearn.linear_model import LogisticRegression  # slow to import

        self.X, self.y, self.classes, self.weight = X, y, classes, weight
        self.model = LogisticRegression(max_iter=300, tol=1e-3, warm_start=True)
        if state is not None:
            self.model.coef_, self.model.intercept_ = state

    @property
    def state(self) -> tuple[np.ndarray, np.ndarray]:
        return self.model.coef_, self.model.intercept_

    def fit(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients (d, k) and intercepts (k,)."""
        self.model.C = strength
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # held-out rows judge the result, converged or not
            self.model.fit(self.X, self.y, sample_weight=self.weight)
        found, bias = np.asarray(self.model.coef_.T, dtype=np.float64), np.asarray(self.model.intercept_, np.float64)
        if len(bias) == 1:  # two classes have one score: half of it for one, half against the other
            found, bias = np.hstack([-found / 2, found / 2]), np.array([-bias[0] / 2, bias[0] / 2])
        coef, intercept = np.zeros((len(found), self.classes)), np.full(self.classes, bias.min() - UNSEEN)
        coef[:, self.model.classes_], intercept[self.model.classes_] = found, bias
        return coef, intercept


def _held(y: np.ndarray) -> np.ndarray:
    """Mask (n,): every fifth row of each class."""
    order = np.argsort(y, kind="stable")
    ordered = y[order]
    place = np.arange(len(y)) - np.searchsorted(ordered, ordered)
    held = np.zeros(len(y), dtype=bool)
    held[order] = place % EVERY == EVERY - 1
    return held
