"""Temperature: one number that turns scores into probabilities without changing which class wins."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax

from graft.core.errors import DataError

SHARPEST = 1e3  # largest ratio of a typical spread of scores to the temperature: what separable scores get


def fit_temperature(
    scores: np.ndarray, y: np.ndarray, *, weight: np.ndarray | None = None, prior: float = 0.0
) -> float:
    """Fit the temperature T of softmax(scores / T) by negative log-likelihood.

    With β = 1/T the mean of logsumexp(βz) - βz_y is convex in β; its slope Σ_c p_c z_c - z_y is brought to zero.  Fit
    it on scores of rows that the model was not trained on.  Scores that separate the classes perfectly have no
    optimum: β stops at ``SHARPEST`` spreads; scores that point away from the labels give the flattest temperature.

    Args:
        scores: Logits, or any scores where larger is likelier, (n, C).
        y: Class indices (n,).
        weight: Weight of each row (n,).
        prior: Rows' worth of belief that any class could be right: label y counts (n + prior / C) / (n + prior), every
            other class its share of the rest.  With 1 a dozen rows without an error do not give certainty (Platt 1999).

    Returns:
        T > 0, in the unit of the scores.

    Raises:
        DataError: No rows, or scores that are not finite.

    References:
        Guo et al. (2017). On calibration of modern neural networks. ICML.

    Example:
        >>> import numpy as np
        >>> scores = np.log([[0.8, 0.2]] * 5) * 3  # three times too sure: right in four of five
        >>> round(fit_temperature(scores, np.array([0, 0, 0, 0, 1])), 6)
        3.0
    """
    z = np.asarray(scores, dtype=np.float64)
    if len(z) == 0 or not np.isfinite(z).all():
        raise DataError("a temperature needs finite scores of at least one row")
    share = np.full(len(z), 1 / len(z)) if weight is None else np.asarray(weight, dtype=np.float64) / np.sum(weight)
    z = z - z.mean(axis=1, keepdims=True)  # probabilities see only differences
    spread = float(np.sqrt(share @ np.square(z).mean(axis=1)))
    if spread == 0.0:
        return 1.0
    wins = z[np.arange(len(z)), y] * (len(z) / (len(z) + prior))  # the other classes share z's mean, which is 0

    def slope(log_beta: float) -> float:
        p = softmax(np.exp(log_beta) * z, axis=1)
        return float(share @ ((p * z).sum(axis=1) - wins))

    low, high = np.log(1e-3 / spread), np.log(SHARPEST / spread)
    if slope(low) >= 0:
        return float(np.exp(-low))
    if slope(high) <= 0:
        return float(np.exp(-high))
    return float(np.exp(-brentq(slope, low, high, xtol=1e-10)))


def nll(scores: np.ndarray, y: np.ndarray, *, weight: np.ndarray | None = None) -> float:
    """Compute the mean negative log-likelihood, in nats, of softmax(scores) (n, C) for classes y (n,).

    Example:
        >>> import numpy as np
        >>> round(nll(np.log([[0.5, 0.5], [0.1, 0.9]]), np.array([0, 1])), 4)
        0.3993
    """
    z = np.asarray(scores, dtype=np.float64)
    each = logsumexp(z, axis=1) - z[np.arange(len(z)), y]
    return float(np.average(each, weights=weight))
