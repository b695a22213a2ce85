"""Quantiles of values: the pinball loss, a linear model that minimises it, and intervals of varying width that hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

SMOOTH = 0.02  # width, in deviations of the target, of the parabola in place of the kink
PENALTY = 0.02  # on squares of the weights of standardised columns
STEPS = 300


def pinball(y: np.ndarray, predicted: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """Pinball loss (n,), the mean over quantiles τ of max(τ (y - q), (τ - 1) (y - q)); least for the true quantiles.

    Args:
        y: Values (n,).
        predicted: Their predicted quantiles (n, Q).
        quantiles: τ (Q,).

    References:
        Koenker & Bassett (1978). Regression quantiles. Econometrica 46.

    Example:
        >>> pinball(np.array([1.0, -1.0]), np.zeros((2, 1)), [0.9]).tolist()
        [0.9, 0.1]
    """
    gap, tau = np.asarray(y)[:, None] - predicted, np.asarray(quantiles)
    mean: np.ndarray = np.maximum(tau * gap, (tau - 1) * gap).mean(axis=1).round(12)
    return mean


def fit_linear(X: np.ndarray, y: np.ndarray, quantiles: Sequence[float], *, penalty: float = PENALTY) -> np.ndarray:
    """Weights (d + 1, Q), the intercept last, that minimise the mean pinball loss plus penalty · |w|² / 2.

    The kink is rounded over ``SMOOTH``, so that L-BFGS finds the minimum.

    Args:
        X: Rows (n, d) of standardised columns.
        y: Values (n,) of like spread.
        quantiles: τ (Q,).
        penalty: On squares of the weights, not of the intercept.

    Example:
        >>> weights = fit_linear(np.zeros((101, 1)), np.linspace(0, 1, 101), [0.25, 0.75])
        >>> weights[-1].round(1).tolist()
        [0.2, 0.8]
    """
    rows = np.column_stack([X, np.ones(len(X))])
    found = []
    for tau in quantiles:

        def loss(w: np.ndarray, tau: float = tau) -> tuple[float, np.ndarray]:
            gap = y - rows @ w
            inside = np.abs(gap) < SMOOTH
            each = np.where(inside, gap**2 / (4 * SMOOTH) + SMOOTH / 4, np.abs(gap) / 2) + (tau - 0.5) * gap
            slope = np.where(inside, gap / (2 * SMOOTH), np.sign(gap) / 2) + tau - 0.5
            pull = np.append(penalty * w[:-1], 0.0)
            return float(each.mean() + penalty / 2 * w[:-1] @ w[:-1]), pull - rows.T @ slope / len(y)

        start = np.append(np.zeros(rows.shape[1] - 1), np.quantile(y, tau))
        found.append(minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x)
    return np.stack(found, axis=1)


def outside(y: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """How far values (n,) lie outside of intervals, negative inside: max(low - y, y - high).

    The conformal threshold of these on held-out rows, added at both ends, gives intervals that hold the truth as often as
    asked, as wide as the quantiles say (conformalised quantile regression).

    References:
        Romano, Patterson & Candès (2019). Conformalized quantile regression. NeurIPS.

    Example:
        >>> outside(np.array([3.0, 0.5]), np.zeros(2), np.ones(2)).tolist()
        [2.0, -0.5]
    """
    found: np.ndarray = np.maximum(low - y, y - high)
    return found
