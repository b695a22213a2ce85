"""Bootstrap intervals of the deciding metrics, with all resamples at once.

A metric is prepared on targets and outputs and then is a function of row weights (R, n) -> (R,): weights of one give
its value, bootstrap counts its resamples, and the same counts on two models a paired comparison.  It lives in ``nn``
because ranking, evaluation and trust all stand on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from graft.core.ragged import flat, lengths
from graft.core.spans import best_tags, span_counts
from graft.nn import multilabel
from graft.nn.box_metrics import mean_average_precision

Weighted = Callable[[np.ndarray], np.ndarray]
Interval = tuple[float, float, float]

TIMES = 1000
_HELD = 1 << 21  # weights held at a time: 16 MB


def accuracy(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare the share of rows whose largest output (n, C) is that of the class y (n,)."""
    correct = (outputs.argmax(axis=1) == y).astype(np.float64)
    return lambda weight: weight @ correct / weight.sum(axis=1)


def macro_f1(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare the mean over classes of F1 = 2 TP / (support + predicted), as scikit-learn counts it.

    A class that is neither in y nor predicted is left out of the mean.  Targets (n, C) are several labels per row.
    """
    if y.ndim == 2:
        return multilabel.macro_f1(y, multilabel.decided(y, outputs, macro=True))
    size = outputs.shape[1]
    true, predicted = np.eye(size)[y], np.eye(size)[outputs.argmax(axis=1)]
    columns = np.hstack([true * predicted, true + predicted])

    def value(weight: np.ndarray) -> np.ndarray:
        hits, total = np.split(weight @ columns, 2, axis=1)
        f1 = 2 * hits / np.where(total > 0, total, 1)
        mean: np.ndarray = f1.sum(axis=1) / (total > 0).sum(axis=1)
        return mean

    return value


def micro_f1(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare the F1 of several labels per row, counted over all of them; thresholds come from other rows."""
    return multilabel.micro_f1(y, multilabel.decided(y, outputs))


def quadratic_kappa(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare Cohen's kappa with quadratic weights, 1 - Σ(y - f)² / E Σ(y - f)², where f is the median class of outputs (n, C).

    The expectation is over pairs of a target and an answer that have nothing to do with each other; 0 where neither varies.

    References:
        Cohen (1968). Weighted kappa. Psychological Bulletin 70.
    """
    f = (np.asarray(outputs).cumsum(axis=1) > 0.5 - 1e-9).argmax(axis=1).astype(np.float64)
    t = np.asarray(y, np.float64)
    columns = np.stack([np.square(t - f), np.square(t) + np.square(f), t, f], axis=1)

    def value(weight: np.ndarray) -> np.ndarray:
        observed, squares, first, second = (weight @ columns / weight.sum(axis=1, keepdims=True)).T
        expected = squares - 2 * first * second
        kappa: np.ndarray = 1 - observed / np.where(expected > 0, expected, 1)
        return np.where(expected > 0, kappa, 0.0)

    return value


def r2(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare R² = 1 - Σ(y - f)² / Σ(y - ȳ)², at most 1; 0 where the targets do not vary."""
    y = np.asarray(y, dtype=np.float64)
    centred = y - y.mean()  # the variance from sums is exact only near zero
    columns = np.stack([np.square(y - outputs.reshape(len(y))), np.square(centred), centred], axis=1)

    def value(weight: np.ndarray) -> np.ndarray:
        residual, square, linear = (weight @ columns).T
        spread = square - np.square(linear) / weight.sum(axis=1)
        explained: np.ndarray = 1 - residual / np.where(spread > 0, spread, 1)
        return np.where(spread > 0, explained, 0.0)

    return value


def entity_counts(y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Right, true and predicted spans of every sentence (n, 3), of the likeliest valid tags."""
    return span_counts(y, best_tags(outputs)).astype(np.float64)


def entity_f1(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare the strict F1 = 2 TP / (true + predicted) of spans, summed over sentences, as CoNLL counts it; 0 without any.

    Args:
        y: Tags of every sentence, arrays (T_i,).
        outputs: Probabilities of every sentence, arrays (T_i, C).
    """
    counts = entity_counts(y, outputs)

    def value(weight: np.ndarray) -> np.ndarray:
        hits, true, predicted = (weight @ counts).T
        return np.asarray(2 * hits / np.maximum(true + predicted, 1))

    return value


def share_of_spans(y: np.ndarray, outputs: np.ndarray, *, of: str) -> Weighted:
    """Prepare the share of the ``"predicted"`` spans that are right (precision), or of the ``"true"`` ones (recall)."""
    counts = entity_counts(y, outputs)
    column = {"true": 1, "predicted": 2}[of]

    def value(weight: np.ndarray) -> np.ndarray:
        summed = weight @ counts
        return np.asarray(summed[:, 0] / np.maximum(summed[:, column], 1))

    return value


def word_accuracy(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare the share of words whose tag is right, of the likeliest valid tags."""
    right = flat(best_tags(outputs)) == flat(y)
    words = lengths(y)
    row = np.repeat(np.arange(len(words)), words)
    counts = np.stack([np.bincount(row, right, len(words)), words], axis=1)

    def value(weight: np.ndarray) -> np.ndarray:
        hits, total = (weight @ counts).T
        return np.asarray(hits / np.maximum(total, 1))

    return value


DECIDERS: dict[str, Callable[[np.ndarray, np.ndarray], Weighted]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "micro_f1": micro_f1,
    "quadratic_kappa": quadratic_kappa,
    "r2": r2,
    "entity_f1": entity_f1,
    "map": mean_average_precision,
}


def resample(
    size: int, *, seed: int, times: int | None = None, groups: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield bootstrap counts (r, n) in chunks, ``times`` rows in all; whole groups are drawn where given.

    Equal arguments give equal counts, whatever is computed from them.  By default there are 1000 resamples, and 200
    above 20,000 rows, where ``interval`` takes the normal approximation.

    Example:
        >>> counts = next(resample(4, seed=0, times=3))
        >>> counts.shape, counts.sum(axis=1).tolist()
        ((3, 4), [4.0, 4.0, 4.0])
    """
    rng = np.random.default_rng(seed)
    times = times or (TIMES if size <= 20_000 else 200)
    member = None if groups is None else np.unique(groups, return_inverse=True)[1]
    units = size if member is None else int(member.max()) + 1
    step = max(1, _HELD // max(1, size))
    for start in range(0, times, step):
        count = min(step, times - start)
        drawn = rng.integers(0, units, (count, units)) + units * np.arange(count)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=count * units).reshape(count, units).astype(np.float64)
        yield counts if member is None else counts[:, member]


def independent(size: int, groups: np.ndarray | None, repeats: int) -> tuple[np.ndarray | None, int]:
    """What is drawn where ``size`` rows are ``repeats`` passes over the same ones: groups, and how many there are.

    Example:
        >>> independent(4, None, 2)[0].tolist(), independent(4, None, 1)
        ([0, 1, 0, 1], (None, 4))
    """
    if groups is not None:
        return groups, len(np.unique(groups))
    rows = size // repeats
    return (np.tile(np.arange(rows), repeats) if repeats > 1 else None), rows


def bootstrap(
    statistics: list[Weighted], size: int, *, seed: int, times: int | None = None, groups: np.ndarray | None = None
) -> np.ndarray:
    """Compute statistics (R, m) on the same R resamples of ``size`` rows."""
    chunks = resample(size, seed=seed, times=times, groups=groups)
    return np.concatenate([np.stack([one(counts) for one in statistics], axis=1) for counts in chunks])


def interval(value: float, draws: np.ndarray, *, level: float, size: int) -> Interval:
    """Turn resampled values into (value, low, high): expanded percentiles, or ± z·sd for fewer than 1000 resamples.

    Plain percentiles are too narrow for few rows; the quantiles are moved outward as Student's t and the divisor n - 1
    ask.

    Args:
        value: The value on the data.
        draws: Its values (R,) on the resamples.
        level: Coverage, for example 0.9.
        size: Number of independent rows or groups.

    References:
        Hesterberg (2015). What teachers should know about the bootstrap. The American Statistician 69.
    """
    freedom = max(1, size - 1)
    z = float(np.sqrt((freedom + 1) / freedom) * t.ppf((1 + level) / 2, freedom))
    if len(draws) < TIMES:
        half = z * float(np.std(draws))
        return value, value - half, value + half
    low, high = np.quantile(draws, [norm.cdf(-z), norm.cdf(z)])
    return value, float(min(low, value)), float(max(high, value))


@dataclass(frozen=True)
class Difference:
    """A paired difference of a metric, first minus second.

    Attributes:
        value: Difference on the data.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided probability of a difference this far from zero if there were none.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def better(self) -> bool:
        """Whether the first is better beyond noise."""
        return self.low > 0

    @property
    def worse(self) -> bool:
        """Whether the first is worse beyond noise."""
        return self.high < 0


def paired(value: float, draws: np.ndarray, *, level: float, size: int) -> Difference:
    """Judge a difference by its resamples (R,) from the same rows; p is at least 1 / (R + 1)."""
    _, low, high = interval(value, draws, level=level, size=size)
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    p = min(1.0, 2 * (int(tail) + 1) / (len(draws) + 1))
    return Difference(value, low, high, p)
