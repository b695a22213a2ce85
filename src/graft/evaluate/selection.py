"""The honest score of the best of many: what was chosen on some rows is scored on others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from graft.core.errors import UsageError
from graft.core.ragged import is_ragged
from graft.core.task import Task
from graft.evaluate.metrics import METRICS, checked, score
from graft.nn.bootstrap import Interval, independent, resample

TIMES = 1000
# Given the data, a mean over the 37 % of rows left out varies sqrt((1 - 0.368) / 0.368) times as much as one over a
# fresh sample of all rows would.
_OUT_OF_BAG = float(np.sqrt((1 - np.exp(-1)) / np.exp(-1)))


class Selected(NamedTuple):
    """The score of a selection.

    Attributes:
        score: (value, low, high) that the winner can be expected to reach on new rows.
        optimism: How much higher the winner's score on the rows it was chosen by is.
        name: The winner on all rows.
        wins: Share of the resamples that each configuration wins.
    """

    score: Interval
    optimism: float
    name: str
    wins: dict[str, float]


def selected_score(
    task: Task,
    y: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    *,
    metric: str | None = None,
    groups: np.ndarray | None = None,
    repeats: int = 1,
    seed: int = 0,
    level: float = 0.9,
    times: int = TIMES,
) -> Selected:
    """Correct the winner's cross-validated score for having been the best of several (BBC-CV).

    In each of ``times`` bootstrap resamples of the rows the best configuration on the drawn rows is scored on the rows
    that were not drawn; the mean of these is the score.  No model is fitted again.  It is slightly pessimistic, as
    63 % of the rows choose; with one configuration there is no optimism.  The interval holds the percentiles of these
    scores, drawn in by 1.31 as only 37 % of the rows score.

    Args:
        task: What is asked for.
        y: Encoded targets (n,).
        outputs: Name to held-out outputs (n, C) or (n,), NaN in rows that a configuration did not predict; it is then
            judged on the rows it has.
        metric: Name in ``METRICS``; None: the one that decides.
        groups: Group of each row (n,); whole groups are drawn.
        repeats: Passes over the same rows that the n rows are (``evaluate.passes``): a row is drawn with all of them.
        seed: Seed of the resamples.
        level: Coverage of the interval.
        times: Number of resamples.

    Raises:
        UsageError: There are no configurations.
        DataError: Outputs do not fit the task, or a configuration has no rows.

    References:
        Tsamardinos, Greasidou & Borboudakis (2018), Bootstrapping the out-of-sample predictions for efficient and
        accurate cross-validation, Machine Learning 107.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> y = np.arange(100) % 2
        >>> coins = {f"coin {i}": rng.random((100, 2)) for i in range(20)}
        >>> found = selected_score(Task("classification", "text", ("heads", "tails")), y, coins)
        >>> found.score[0] < 0.52 < 0.56 < found.score[0] + found.optimism
        True
    """
    if not outputs:
        raise UsageError("there is nothing to select from")
    chosen = METRICS[metric or task.metric]
    sign = 1.0 if chosen.larger else -1.0
    names, prepared, masks, naive = list(outputs), [], [], []
    for values in outputs.values():
        has, filled = _filled(task, y, np.asarray(values))
        naive.append(score(task, y[has], filled[has], metric=chosen.name))
        prepared.append(chosen.prepare(task, y, filled))
        masks.append(has.astype(np.float64))
    best = int(np.argmax(sign * np.asarray(naive)))
    drawn: list[np.ndarray] = []
    winners: list[np.ndarray] = []
    for counts in resample(len(y), seed=seed, times=times, groups=independent(len(y), groups, repeats)[0]):
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may miss all rows of a configuration
            inside, outside = (
                np.stack([one(weight * mask) for one, mask in zip(prepared, masks, strict=True)], axis=1)
                for weight in (counts, (counts == 0).astype(np.float64))
            )
        winner = np.where(np.isnan(inside), -np.inf, sign * inside).argmax(axis=1)
        drawn.append(np.take_along_axis(outside, winner[:, None], axis=1)[:, 0])
        winners.append(winner)
    left_out = np.concatenate(drawn)
    left_out = left_out[np.isfinite(left_out)]
    if len(left_out) == 0:  # one row, or one group: nothing is ever left out
        return Selected((naive[best], -np.inf, np.inf), 0.0, names[best], {names[best]: 1.0})
    value = float(left_out.mean()) if len(names) > 1 else naive[best]
    spread = (left_out - left_out.mean()) / _OUT_OF_BAG
    low, high = value + np.quantile(spread, [(1 - level) / 2, (1 + level) / 2])
    shares = np.bincount(np.concatenate(winners), minlength=len(names)) / times
    wins = dict(zip(names, shares.tolist(), strict=True))
    return Selected((value, float(low), float(high)), sign * (naive[best] - value), names[best], wins)


def _filled(task: Task, y: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have outputs (n,), and checked outputs with zeros for the others."""
    if is_ragged(values):
        has, filled = task.known(values), values.copy()
        for row in np.flatnonzero(~has):
            filled[row] = np.zeros((0, 6)) if task.is_detection else np.zeros((len(y[row]), task.outputs))
        return has, checked(task, y, filled)[1]
    has = ~np.isnan(values.astype(np.float64).reshape(len(y), -1)).any(axis=1)
    return has, checked(task, y, np.where(has.reshape(-1, *[1] * (np.ndim(values) - 1)), values, 0.0))[1]
