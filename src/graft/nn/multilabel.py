"""Several labels per row: scores become probabilities, thresholds are chosen, and metrics count.

Targets are y (n, C) of 0 and 1, probabilities p (n, C).  Metrics are functions of row weights, as in ``nn.bootstrap``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit

from graft.core import labels

Weighted = Callable[[np.ndarray], np.ndarray]
STEPS = 30  # of Newton's method
OWN = 10  # rows that have a label from which it gets a threshold of its own
LEAST, MOST = 0.02, 0.98  # thresholds
TINY = 1e-12


# -- probabilities -----------------------------------------------------------------------------------------------------


def fit_sigmoid(scores: np.ndarray, y: np.ndarray, *, start: tuple[float, float], pull: float) -> np.ndarray:
    """Slope a ≥ 0 and bias b (2, C) of sigmoid(a·s + b) for each label, of least cross-entropy (Platt scaling).

    A pull ½·pull·((a - a_0)² + (b - b_0)²) to ``start`` keeps labels with few rows near it; targets are Platt's
    (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2), so that a dozen rows without an error do not give certainty.

    Args:
        scores: Any scores (n, C) of rows that were left out where larger is likelier.
        y: Targets (n, C) of 0 and 1.
        start: a_0 and b_0, where the search begins.
        pull: Strength of the pull, in rows.

    References:
        Platt (1999), Probabilistic outputs for support vector machines, Advances in Large Margin Classifiers.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(size=(4000, 1)) * 2
        >>> y = (rng.random((4000, 1)) < expit(logits)).astype(float)
        >>> fit_sigmoid(3 * logits, y, start=(1.0, 0.0), pull=0.01).round(1).ravel().tolist()
        [0.3, -0.0]
    """
    s, count = np.asarray(scores, np.float64), y.sum(axis=0)
    truth = np.where(y > 0, (count + 1) / (count + 2), 1 / (len(y) - count + 2))
    first = np.repeat(np.array(start)[:, None], s.shape[1], axis=1)
    found = first.copy()

    def cost(at: np.ndarray) -> np.ndarray:
        z = at[0] * s + at[1]
        each: np.ndarray = (np.logaddexp(0, z) - truth * z).sum(axis=0) + pull / 2 * np.square(at - first).sum(axis=0)
        return each

    best = cost(found)
    for _ in range(STEPS):
        p = expit(found[0] * s + found[1])
        error, bend = p - truth, p * (1 - p)
        slope = np.stack([(error * s).sum(axis=0), error.sum(axis=0)]) + pull * (found - first)
        aa, ab, bb = (bend * s * s).sum(axis=0) + pull, (bend * s).sum(axis=0), bend.sum(axis=0) + pull
        flat = np.maximum(aa * bb - ab * ab, TINY)
        step = np.stack([bb * slope[0] - ab * slope[1], aa * slope[1] - ab * slope[0]]) / flat
        for shrink in (1.0, 0.3, 0.1, 0.01):  # where a whole step goes too far
            asked = found - shrink * step
            asked[0] = asked[0].clip(0.0)
            value = cost(asked)
            better = value < best - TINY
            found, best = np.where(better, asked, found), np.where(better, value, best)
            step = np.where(better, 0.0, step)
        if not step.any() and np.abs(slope).max() < 1e-6:
            break
    return found


def logits(p: np.ndarray) -> np.ndarray:
    """Logarithm of the odds of probabilities."""
    inside = np.asarray(p, np.float64).clip(TINY, 1 - 1e-9)
    found: np.ndarray = np.log(inside / (1 - inside))
    return found


def recalibrated(p: np.ndarray, sigmoid: np.ndarray) -> np.ndarray:
    """Probabilities whose log-odds go through slope and bias (2, C)."""
    found: np.ndarray = expit(sigmoid[0] * logits(p) + sigmoid[1])
    return found


# -- decisions ---------------------------------------------------------------------------------------------------------


def thresholds(y: np.ndarray, p: np.ndarray, *, macro: bool) -> tuple[float, ...]:
    """The probability (C,) from which each label is given, for the best micro or macro F1 on rows held out.

    One for all labels; one for each where that is better on rows that did not choose it, and the label has enough rows.

    References:
        Lipton, Elkan & Narayanaswamy (2014), Optimal thresholding of classifiers to maximize F1 measure, ECML.

    Example:
        >>> y, p = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), np.array([[0.4, 0.1], [0.2, 0.1], [0.4, 0.3]])
        >>> [round(t, 2) for t in thresholds(y, p, macro=False)]
        [0.25, 0.25]
    """
    one = _global(y, p)
    each = _own(y, p, one)
    if (each == one).all() or len(y) < 4:
        return tuple(one.tolist())
    half = _half(len(y))
    count = macro_f1 if macro else micro_f1
    scores = []
    for own in (False, True):
        given = np.zeros(y.shape, bool)
        for part in (half, ~half):
            cut = _global(y[~part], p[~part])
            cut = _own(y[~part], p[~part], cut) if own else cut
            given[part] = p[part] >= cut
        scores.append(float(count(y, given)(np.ones((1, len(y))))[0]))
    return tuple((each if scores[1] > scores[0] else one).round(6).tolist())


def _half(rows: int) -> np.ndarray:
    """Which rows (n,) are in the first half of a draw that is always the same: files may alternate."""
    chosen: np.ndarray = np.random.default_rng(rows).permutation(rows) < rows // 2
    return chosen


def _global(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.full(y.shape[1], _best(y.ravel(), p.ravel()))


def _own(y: np.ndarray, p: np.ndarray, one: np.ndarray) -> np.ndarray:
    """Thresholds of labels with enough rows, each drawn half-way to that of all."""
    enough = y.sum(axis=0) >= OWN
    return np.array([(_best(y[:, c], p[:, c]) + one[c]) / 2 if enough[c] else one[c] for c in range(y.shape[1])])


def _best(y: np.ndarray, p: np.ndarray) -> float:
    """The threshold of the largest F1 = 2 TP / (true + given), half-way between two probabilities."""
    order = np.argsort(-p, kind="stable")
    ranked, hits = p[order], np.cumsum(y[order])
    if not len(ranked) or hits[-1] == 0:
        return labels.MIDDLE
    last = np.r_[ranked[1:] < ranked[:-1], True]  # equal probabilities are given together
    f1 = np.where(last, 2 * hits / (hits[-1] + np.arange(1, len(ranked) + 1)), -1.0)
    place = int(f1.argmax())
    below = ranked[place + 1] if place + 1 < len(ranked) else 0.0
    return float(np.clip((ranked[place] + below) / 2, LEAST, MOST))


def decided(y: np.ndarray, p: np.ndarray, chosen: Sequence[float] = (), *, macro: bool = False) -> np.ndarray:
    """Which labels are given, bool (n, C), by thresholds; where none are chosen, each half of the rows takes the other's.

    So a way is judged before its thresholds are known, and never by ones that its own rows chose.
    """
    if len(chosen) or len(y) < 4:
        return labels.over(p, chosen)
    given = np.zeros(y.shape, bool)
    half = _half(len(y))
    for mine in (half, ~half):
        cut = _global(y[~mine], p[~mine])
        given[mine] = p[mine] >= (_own(y[~mine], p[~mine], cut) if macro else cut)
    return given


# -- metrics -----------------------------------------------------------------------------------------------------------


def micro_f1(y: np.ndarray, given: np.ndarray) -> Weighted:
    """Prepare F1 = 2 TP / (true + given) summed over all labels of all rows; 0 where there is none."""
    columns = np.stack([(y * given).sum(axis=1), y.sum(axis=1) + given.sum(axis=1)], axis=1)

    def value(weight: np.ndarray) -> np.ndarray:
        hits, total = (weight @ columns).T
        return np.asarray(2 * hits / np.where(total > 0, total, 1))

    return value


def macro_f1(y: np.ndarray, given: np.ndarray) -> Weighted:
    """Prepare the mean F1 over labels; one that is neither true nor given is left out of the mean."""
    columns = np.hstack([y * given, y + given]).astype(np.float64)

    def value(weight: np.ndarray) -> np.ndarray:
        hits, total = np.split(weight @ columns, 2, axis=1)
        f1 = 2 * hits / np.where(total > 0, total, 1)
        return np.asarray(f1.sum(axis=1) / np.maximum((total > 0).sum(axis=1), 1))

    return value


def subset_accuracy(y: np.ndarray, given: np.ndarray) -> Weighted:
    """Prepare the share of rows all of whose labels are right."""
    return _mean(((y > 0) == given).all(axis=1).astype(np.float64))


def hamming_loss(y: np.ndarray, given: np.ndarray) -> Weighted:
    """Prepare the share of all labels of all rows that are wrong."""
    return _mean(((y > 0) != given).mean(axis=1))


def log_loss(y: np.ndarray, p: np.ndarray) -> Weighted:
    """Prepare the mean cross-entropy per row and label, in nats."""
    inside = p.clip(1e-15, 1 - 1e-15)
    return _mean(-(y * np.log(inside) + (1 - y) * np.log1p(-inside)).mean(axis=1))


def ranking_precision(y: np.ndarray, p: np.ndarray) -> Weighted:
    """Prepare the label ranking average precision: of a row's true labels, the share of true ones among those as high.

    1 for a row without labels, as scikit-learn counts it.

    References:
        Schapire & Singer (2000), BoosTexter: a boosting-based system for text categorization, Machine Learning 39.
    """
    true = y > 0
    order = np.argsort(-p, axis=1, kind="stable")
    ranked, ahead = np.take_along_axis(p, order, axis=1), np.cumsum(np.take_along_axis(true, order, axis=1), axis=1)
    last = np.array([np.searchsorted(-row, -row, side="right") for row in ranked]).reshape(p.shape)  # ties share a rank
    share = np.take_along_axis(ahead, last - 1, axis=1) / last
    total = (share * np.take_along_axis(true, order, axis=1)).sum(axis=1)
    count = true.sum(axis=1)
    return _mean(np.where(count > 0, total / count.clip(1), 1.0))


def mean_average_precision(y: np.ndarray, p: np.ndarray) -> Weighted:
    """Prepare the mean over labels of the average precision Σ_i (R_i - R_{i-1}) P_i down the rows by probability.

    A label without a row is left out of the mean; rows of equal probability are taken in order.
    """
    order = np.argsort(-p, axis=0, kind="stable")
    true = np.take_along_axis(y, order, axis=0)

    def value(weight: np.ndarray) -> np.ndarray:
        found, counted = np.zeros(len(weight)), np.zeros(len(weight))
        for c in range(y.shape[1]):
            heavy = weight[:, order[:, c]]
            hits = np.cumsum(heavy * true[:, c], axis=1)
            seen = np.cumsum(heavy, axis=1)
            area = (heavy * true[:, c] * hits / np.maximum(seen, TINY)).sum(axis=1)
            there = hits[:, -1] > 0
            found += np.where(there, area / np.where(there, hits[:, -1], 1), 0.0)
            counted += there
        return found / np.maximum(counted, 1)

    return value


def _mean(each: np.ndarray) -> Weighted:
    return lambda weight: weight @ each / weight.sum(axis=1)
