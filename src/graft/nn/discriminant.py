"""Linear discriminant analysis with a shrunken covariance: Gaussian classes, in closed form, each row left out in turn.

Classes have means m_c, shares π_c and one covariance Σ = (1 - γ) S + γ μ I, with S the mean of (x_i - m_c)(x_i - m_c)ᵀ,
μ = trace S / d, and γ what brings Σ nearest to the truth on average.  Scores are log π_c - ½ (x - m_c)ᵀ Σ⁻¹ (x - m_c) up to a
number that all classes share, which is linear in x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from graft.core.errors import DataError
from graft.core.rows import evenly_spaced

BLOCK = 4096  # rows in work at a time
LEFT_OUT = 20_000  # rows whose left-out scores are kept
FLOOR = 1e-9  # of μ, added to Σ: columns without spread must not divide by zero
UNSEEN = 20.0  # how far below all others the score of a class without rows lies


@dataclass(frozen=True, eq=False)
class Discriminant:
    """A fitted discriminant.

    Attributes:
        coef: Coefficients (d, k).
        intercept: Intercepts (k,).
        shrinkage: γ, 0 to 1.
        loo: Scores (m, k) of ``rows``, each by the fit without it (γ and γ μ as they are).
        rows: Positions (m,) of those rows; the only row of a class cannot be left out.
        seen: Classes that have rows.
    """

    coef: np.ndarray
    intercept: np.ndarray
    shrinkage: float
    loo: np.ndarray
    rows: np.ndarray
    seen: np.ndarray


def fit_discriminant(
    X: Any, y: np.ndarray, classes: int, *, weight: np.ndarray | None = None, shrinkage: float | None = None
) -> Discriminant:
    """Fit linear discriminant analysis; two passes over the rows, and memory for d² numbers beside them.

    Args:
        X: Rows (n, d), an array or what gives rows in blocks.
        y: Class indices (n,).
        classes: Number k of classes; one without rows gets a score far below all others.
        weight: Weights (n,) of the rows in the shares of the classes.
        shrinkage: γ; None for that of Ledoit & Wolf.

    Raises:
        DataError: Fewer than two classes have rows, or values are not finite.

    References:
        Ledoit & Wolf (2004). A well-conditioned estimator for large-dimensional covariance matrices. J. Multivariate
        Analysis 88.  Sherman & Morrison (1950), for the rows left out.

    Example:
        >>> import numpy as np
        >>> X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
        >>> fit = fit_discriminant(X, np.array([0, 0, 1, 1]), 2)
        >>> (X @ fit.coef + fit.intercept).argmax(axis=1).tolist(), fit.loo.argmax(axis=1).tolist()
        ([0, 0, 1, 1], [0, 0, 1, 1])
    """
    y = np.asarray(y)
    counts = np.bincount(y, minlength=classes).astype(np.float64)
    seen = np.flatnonzero(counts)
    if len(seen) < 2:
        raise DataError("a discriminant needs rows of two classes")
    place = np.searchsorted(seen, y)  # number of a row's class among those that are seen
    weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    mass = np.bincount(place, weight)
    means = _means(X, place, counts[seen])
    if not np.isfinite(means).all():
        raise DataError("features hold values that are not finite")
    scatter, found = _scatter(X, place, means)
    gamma = found if shrinkage is None else float(shrinkage)
    n, d = len(y), scatter.shape[0]
    level = float(np.trace(scatter)) / n / d
    ridge = gamma * level + FLOOR * (level or 1.0)
    centre = counts[seen] @ means / n
    moved = means - centre
    solved = cho_solve((cholesky((1 - gamma) / n * scatter + ridge * np.eye(d), lower=True), True), moved.T)
    inner = -0.5 * np.einsum("kd,dk->k", moved, solved) + np.log(mass / mass.sum())
    coef, intercept = np.zeros((d, classes)), np.full(classes, inner.min() - UNSEEN)
    coef[:, seen], intercept[seen] = solved, inner - centre @ solved
    rows = evenly_spaced(n, LEFT_OUT)
    rows = rows[counts[y[rows]] > 1]
    factor = cholesky((1 - gamma) / max(1, n - 1) * scatter + ridge * np.eye(d), lower=True)
    left = _LeftOut(factor, means, counts[seen], mass, (1 - gamma) / max(1, n - 1))
    loo = np.full((len(rows), classes), -np.inf)
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        loo[start : start + len(some), seen] = left.scores(X[some], place[some], weight[some])
    unseen = np.setdiff1d(np.arange(classes), seen)
    loo[:, unseen] = loo[:, seen].min(axis=1, keepdims=True) - UNSEEN
    return Discriminant(coef, intercept, gamma, loo, rows, seen)


def _means(X: Any, place: np.ndarray, counts: np.ndarray) -> np.ndarray:
    means = np.zeros((len(counts), X.shape[1]))
    for start in range(0, len(place), BLOCK):
        rows = slice(start, start + BLOCK)
        member = np.eye(len(counts))[place[rows]]
        means += member.T @ X[rows].astype(np.float64)
    centred: np.ndarray = means / counts[:, None]
    return centred


def _scatter(X: Any, place: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, float]:
    """Σ_i r_i r_iᵀ (d, d) of rows about the mean of their class, and γ of Ledoit & Wolf."""
    n, d = len(place), X.shape[1]
    scatter, fourth = np.zeros((d, d)), 0.0
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        part = X[rows].astype(np.float64) - means[place[rows]]
        scatter += part.T @ part
        fourth += float(np.square(np.square(part).sum(axis=1)).sum())
    size = float(np.square(scatter).sum()) / n**2
    distance = size - (float(np.trace(scatter)) / n) ** 2 / d  # ‖S - μI‖²
    noise = (fourth / n - size) / n  # mean of ‖r rᵀ - S‖² / n
    return scatter, 1.0 if distance <= 0 else min(1.0, max(0.0, noise / distance))


class _LeftOut:
    """Scores of rows by the fit without them.

    Without row i of class c with n_c rows, m_c moves by -r / (n_c - 1) with r = x_i - m_c, and Σ loses
    β r rᵀ, β = (1 - γ) / (n - 1) · n_c / (n_c - 1); its inverse gains κ (Σ⁻¹ r)(Σ⁻¹ r)ᵀ, κ = β / (1 - β rᵀ Σ⁻¹ r).
    """

    def __init__(
        self, factor: np.ndarray, means: np.ndarray, counts: np.ndarray, mass: np.ndarray, share: float
    ) -> None:
        self.factor, self.counts, self.mass, self.share = factor, counts, mass, share
        self.centre = means.mean(axis=0)
        self.white = self._whiten(means)

    def _whiten(self, rows: np.ndarray) -> np.ndarray:
        white: np.ndarray = solve_triangular(self.factor, (rows - self.centre).T, lower=True).T
        return white

    def scores(self, rows: np.ndarray, place: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Scores (b, k) of rows (b, d) of the classes ``place``."""
        each = np.arange(len(rows))
        white = self._whiten(rows.astype(np.float64))
        length = np.square(white).sum(axis=1, keepdims=True)
        near = white @ self.white.T
        distance = length - 2 * near + np.square(self.white).sum(axis=1)
        own = distance[each, place]
        stretch = self.counts[place] / (self.counts[place] - 1)
        beta = self.share * stretch
        gain = (beta / (1 - beta * own))[:, None]
        # (x - m_k)ᵀ Σ⁻¹ r for every class k
        cross = length - near[each, place][:, None] - near + (self.white @ self.white.T)[place]
        distance = distance + gain * np.square(cross)
        distance[each, place] *= np.square(stretch)
        mass = np.tile(self.mass, (len(rows), 1))
        mass[each, place] -= weight
        found: np.ndarray = -0.5 * distance + np.log(mass / mass.sum(axis=1, keepdims=True))
        return found
