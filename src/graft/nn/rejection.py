"""When a row belongs to none of the classes: a threshold on its best score, with the error that it makes."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from graft.core.errors import UsageError

LEAST = 30  # rows from which a mixture is fitted
NOISE = 1e-6  # by which equal rows may differ: scores are single precision


@dataclass(frozen=True)
class Rejection:
    """A threshold.

    Attributes:
        threshold: Rows whose best score is below it belong to no class.
        scale: Over which the decision fades, in the unit of the scores; of probabilities only.
        error: Share of rows of no class that get one all the same.
        how: Where that share comes from: ``"background"`` (counted) or ``"mixture"`` (of a model of the scores).
        lost: Share of rows of a class that get none, by the mixture; NaN where it is not known.
    """

    threshold: float
    scale: float
    error: float
    how: str
    lost: float = math.nan


def background_threshold(best: np.ndarray, rate: float) -> Rejection:
    """A threshold that at most ``rate`` of rows like these reach, whatever the distribution of their scores.

    A row is accepted if (1 + number of background rows that score as high) / (m + 1) ≤ rate.  If it is exchangeable with
    the background, that happens with probability ``rate`` at most.

    Args:
        best: Best score (m,) of rows that are known to belong to no class.
        rate: Error that is accepted, between 0 and 1.

    Raises:
        UsageError: There are too few rows for so small an error.

    References:
        Vovk, Gammerman & Shafer (2005). Algorithmic learning in a random world.  Bates et al. (2023). Testing for outliers
        with conformal p-values. Annals of Statistics 51.

    Example:
        >>> background_threshold(np.arange(19.0), 0.1).threshold > 17.0
        True
    """
    above = math.floor(rate * (len(best) + 1) + 1e-9) - 1
    if above < 0:
        needed = math.ceil(1 / rate - 1e-9) - 1
        raise UsageError(f"{len(best)} background rows cannot show an error of {rate:g}", hint=f"give {needed} or more")
    ordered = np.sort(np.asarray(best, dtype=np.float64))[::-1]
    threshold = float(ordered[above] + NOISE * max(1.0, abs(ordered[above])))
    return Rejection(threshold, max(float(np.std(ordered)), NOISE), rate, "background")


def mixture_threshold(best: np.ndarray, rate: float) -> Rejection | None:
    """A threshold from the best scores of unlabelled rows alone, taken for a mixture of two normal distributions.

    The lower one is taken for rows of no class; the threshold is its (1 - rate) quantile.  The error is that of the model of
    the scores: it is not counted on any row.

    Returns:
        None where one normal distribution describes the scores as well (Schwarz's criterion): then nothing tells the rows of
        no class apart.

    Args:
        best: Best score (n,) of unlabelled rows.
        rate: Error that is accepted.

    References:
        Schwarz (1978). Estimating the dimension of a model. Annals of Statistics 6.

    Example:
        >>> scores = np.concatenate([np.linspace(0, 1, 50), np.linspace(5, 6, 50)])
        >>> 0.9 < mixture_threshold(scores, 0.05).threshold < 5.0
        True
    """
    from sklearn.mixture import GaussianMixture

    values = np.asarray(best, dtype=np.float64)[:, None]
    if len(values) < LEAST or np.ptp(values) == 0:
        return None
    start = np.quantile(values, [0.1, 0.75])[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where it does not converge, the criterion below decides
        one = GaussianMixture(1, random_state=0).fit(values)
        two = GaussianMixture(2, means_init=start, random_state=0, max_iter=500).fit(values)
    if two.bic(values) >= one.bic(values):
        return None
    means, spreads = two.means_[:, 0], np.sqrt(two.covariances_[:, 0, 0])
    low, high = np.argsort(means)
    threshold = float(means[low] + spreads[low] * norm.ppf(1 - rate))
    lost = float(norm.cdf((threshold - means[high]) / spreads[high]))
    return Rejection(threshold, float(spreads[low]), rate, "mixture", lost)
