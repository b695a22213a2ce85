"""A race: candidates go through the same folds together, and those that fall behind are left out on the way.

Idea: a fold of every candidate tells which ones need no second.  After one fold, after half of them and after all, a
candidate stays if it is not behind the best so far by more than one standard error of their paired difference, so few
rows drop nobody and many rows drop early; where time is short the best go on.
References: Jamieson & Talwalkar (2016), successive halving; Birattari et al. (2002), racing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from graft.evaluate.metrics import score
from graft.evaluate.search import Trial
from graft.trust.guard import guard

BEHIND = 0.68  # level of the interval of the difference: one standard error to either side
CLEARLY = 0.98  # for a candidate alone: level at which it cannot win any more
ENOUGH = 50  # rows; fewer cannot tell


def rungs(folds: int) -> list[int]:
    """Folds after which the candidates are compared.

    Example:
        >>> rungs(5), rungs(2), rungs(1)
        ([1, 3, 5], [1, 2], [1])
    """
    return sorted({1, (folds + 1) // 2, folds})


def behind(trial: Trial, rivals: Iterable[Trial], task: object, y: np.ndarray, *, level: float, seed: int) -> str:
    """Name of the best rival, if the trial is worse than it on the rows that both have predicted; else empty.

    Args:
        trial: Predicted some rows.
        rivals: Trials; those that lack some of these rows are left aside.
        task: What is asked for.
        y: Encoded targets (n,).
        level: Coverage of the interval of the paired difference; worse means that it lies below zero.
        seed: Seed of the resamples.
    """
    assert trial.outputs is not None
    rows = np.flatnonzero(trial.rows)
    able = [one for one in rivals if one is not trial and one.outputs is not None and one.rows[rows].all()]
    if not able or len(rows) < ENOUGH:
        return ""
    best = max(able, key=lambda one: score(task, y[rows], one.outputs[rows]))
    pair = [(best.candidate.name, best.outputs[rows])]
    verdict = guard(task, y[rows], trial.outputs[rows], pair, level=level, seed=seed)
    return best.candidate.name if verdict.compared[0].difference[2] < 0 else ""


def promoted(
    trials: list[Trial],
    finished: list[Trial],
    task: object,
    y: np.ndarray,
    *,
    of: str,
    seconds: Callable[[Trial], float],
    left: float,
    seed: int,
    level: float = BEHIND,
) -> list[Trial]:
    """The trials that go on; the others are stopped, with the reason.

    Args:
        trials: All with the same folds done.
        finished: Trials with all folds done.
        task: What is asked for.
        y: Encoded targets (n,).
        of: How far they are, in words.
        seconds: Predicted time that the rest of a trial takes.
        left: Seconds left for all.
        seed: Seed of the resamples.
        level: Coverage of the interval beyond which a trial is behind.
    """
    staying = []
    for trial in trials:
        rival = behind(trial, [*trials, *finished], task, y, level=level, seed=seed)
        if rival:
            trial.state, trial.reason = "stopped", f"behind {rival} after {of}"
        else:
            staying.append(trial)
    staying.sort(key=lambda one: -score(task, y[one.rows], one.outputs[one.rows]))
    going, needed = [], 0.0
    for trial in staying:
        needed += seconds(trial)
        if going and needed > left:
            trial.state, trial.reason = "stopped", f"no time for more than {of}; others did better there"
        else:
            going.append(trial)
    return [trial for trial in trials if trial in going]
