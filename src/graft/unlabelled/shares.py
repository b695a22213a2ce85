"""Label shift: how often each class occurs on the target, estimated from a model's confusion on the source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

TIMES = 100  # resamples


@dataclass(frozen=True, eq=False)
class Shares:
    """Class shares on the target.

    Attributes:
        source: Shares of the held-out source rows (C,).
        target: Estimated shares on the target (C,).
        low: Lower ends (C,) of their intervals.
        high: Upper ends (C,).
        predicted: Shares of the predicted classes (C,) on the target, uncorrected.
    """

    source: np.ndarray
    target: np.ndarray
    low: np.ndarray
    high: np.ndarray
    predicted: np.ndarray


def target_shares(
    source_outputs: np.ndarray,
    source_y: np.ndarray,
    target_outputs: np.ndarray,
    *,
    level: float = 0.9,
    seed: int = 0,
    times: int = TIMES,
) -> Shares:
    """Estimate class shares on the target by black box shift estimation: solve Σ_c p_s(ŷ = k | y = c) q_c = p_t(ŷ = k).

    Solved by least squares with q at least 0 and sum 1.  Right under label shift, p(x | y) alike in both domains, and then
    for any classifier whose confusion matrix has full rank.  Intervals hold percentiles over resampled rows.

    Args:
        source_outputs: Class probabilities (n_v, C) of held-out source rows.
        source_y: Their classes (n_v,).
        target_outputs: Class probabilities (n_t, C) of target rows.
        level: Coverage of the intervals.
        seed: Seed of the resamples.
        times: Number of resamples.

    References:
        Lipton, Wang & Smola (2018), Detecting and correcting for label shift with black box predictors, ICML.

    Example:
        >>> import numpy as np
        >>> y = np.repeat([0, 1], 50)
        >>> source = np.eye(2)[np.where(np.arange(100) % 5 == 0, 1 - y, y)]  # one in five wrong
        >>> target = np.eye(2)[np.repeat([0, 1], [32, 68])]  # 0.8 · 0.2 + 0.2 · 0.8 = 0.32
        >>> target_shares(source, y, target).target.round(2).tolist()
        [0.2, 0.8]
    """
    classes = target_outputs.shape[1]
    held, seen = np.argmax(source_outputs, axis=1), np.argmax(target_outputs, axis=1)
    rng = np.random.default_rng(seed)
    source = np.bincount(source_y, minlength=classes) / len(source_y)
    found = _solve(held, source_y, seen, classes)
    draws = []
    for _ in range(times):
        one = rng.integers(0, len(held), len(held))
        two = rng.integers(0, len(seen), len(seen))
        draws.append(_solve(held[one], source_y[one], seen[two], classes))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    predicted = np.bincount(seen, minlength=classes) / len(seen)
    return Shares(source, found, np.minimum(low, found), np.maximum(high, found), predicted)


def _solve(held: np.ndarray, y: np.ndarray, seen: np.ndarray, classes: int) -> np.ndarray:
    joint = np.bincount(held * classes + y, minlength=classes * classes).reshape(classes, classes).astype(np.float64)
    support = joint.sum(axis=0)
    conditional = joint / np.where(support > 0, support, 1)
    predicted = np.bincount(seen, minlength=classes) / len(seen)
    heavy = 100.0  # the sum counts as a hundred equations
    q, _ = nnls(np.vstack([conditional, np.full(classes, heavy) * (support > 0)]), np.concatenate([predicted, [heavy]]))
    total = q.sum()
    shares: np.ndarray = q / total if total > 0 else support / max(support.sum(), 1)
    return shares


def share_distance(predicted: np.ndarray, shares: Shares) -> float:
    """Compute how far predicted shares (C,) lie outside what the source and label shift explain, in [0, 1].

    The total variation distance ½ Σ_c |p_c - b_c| to the nearest point b_c of the range that spans the source's share, the
    estimated target share with its interval, and the uncorrected share of the model that ``shares`` is from.

    Example:
        >>> import numpy as np
        >>> half = np.array([0.5, 0.5])
        >>> share_distance(np.array([1.0, 0.0]), Shares(half, half, half, half, half))
        0.5
    """
    every = np.stack([shares.source, shares.low, shares.high, shares.predicted])
    nearest = np.clip(predicted, every.min(axis=0), every.max(axis=0))
    return float(np.abs(predicted - nearest).sum() / 2)
