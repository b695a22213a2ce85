"""Conformal prediction: sets of classes, or intervals of values, that hold the truth as often as asked."""

from __future__ import annotations

import math

import numpy as np

from graft.core.errors import UsageError

KEPT = (
    4_000  # scores that a model keeps; of more the quantiles, which at this number are exact to a fortieth of a point
)


def nonconformity(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How badly a prediction fits each row (n,), sorted: 1 - p_y of class probabilities (n, C), |ŷ - y| of values (n,).

    Of more than 4,000 rows evenly spaced order statistics are kept, each rounded upwards in rank.

    Example:
        >>> nonconformity(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([0, 1])).tolist()
        [0.2, 0.5]
    """
    values = np.asarray(outputs, np.float64)
    each = 1.0 - values[np.arange(len(values)), y] if values.ndim == 2 else np.abs(values - y)
    return kept(each)


def kept(scores: np.ndarray) -> np.ndarray:
    """Scores (n,) sorted; of many evenly spaced order statistics, each rounded upwards in rank."""
    found: np.ndarray = np.sort(scores).round(12)
    if len(found) <= KEPT:
        return found
    places = np.ceil(np.arange(1, KEPT + 1) * (len(found) / KEPT)).astype(int) - 1
    some: np.ndarray = found[places]
    return some


def threshold(scores: np.ndarray, coverage: float) -> float:
    """The ⌈(n + 1) · coverage⌉-th smallest of n scores of rows that were held out; infinite where n is too small for it.

    A new row drawn like them has a score of at most this with probability ``coverage`` or more, whatever the model and
    the data; held-out rows of a cross-validation give nearly that for the model fitted on all of them.

    Args:
        scores: Nonconformity of held-out rows (n,), sorted.
        coverage: Share of new rows whose truth is to be held, between 0 and 1.

    Raises:
        UsageError: ``coverage`` is no share.

    References:
        Vovk, Gammerman & Shafer (2005), Algorithmic learning in a random world.  Barber, Candès, Ramdas & Tibshirani
        (2021), Predictive inference with the jackknife+, for cross-validated scores.

    Example:
        >>> threshold(np.arange(1, 10) / 10, 0.8)
        0.8
        >>> threshold(np.arange(1, 10) / 10, 0.95)
        inf
    """
    if not 0 < coverage < 1:
        raise UsageError(f"a coverage of {coverage} is no share", hint="use a number between 0 and 1, such as 0.9")
    rank = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(scores[rank - 1]) if rank <= len(scores) else math.inf


def members(probabilities: np.ndarray, limit: float) -> np.ndarray:
    """Which classes are in the set of each row: those of 1 - p ≤ ``limit``, and always the likeliest; bool (n, C).

    Of all sets with the same coverage these are the smallest on average (Sadinle, Lei & Wasserman 2019, Least ambiguous
    set-valued classifiers with bounded error levels, JASA).

    Example:
        >>> members(np.array([[0.7, 0.3], [0.45, 0.55]]), 0.5).tolist()
        [[True, False], [False, True]]
    """
    inside: np.ndarray = (1.0 - np.asarray(probabilities, np.float64)) <= limit + 1e-12
    inside[np.arange(len(inside)), np.argmax(probabilities, axis=1)] = True
    return inside
