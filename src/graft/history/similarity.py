"""Which past tasks are like a new one, by their statistics."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graft.history.entries import Entry
from graft.history.statistics import Statistics

FLOORS = {  # smallest difference in a statistic that counts as one unit, whatever the spread of the past tasks
    "rows": 1.0, "rows_per_class": 1.0, "classes": 0.7, "entropy": 0.1, "size": 0.7, "spread": 0.3, "cjk": 0.3,
    "numbers": 0.3, "dimension": 0.7, "between": 0.1, "linear": 0.15, "classical": 0.15, "lead": 0.05,
}  # fmt: skip
OF_FEATURES = {"dimension", "between", "linear"}
FEW = 5  # past tasks from which their spread says something


def similar(entries: Sequence[Entry], task: Statistics, *, exclude: str = "") -> list[tuple[float, Entry]]:
    """Past runs of the same kind and modality with their distance, nearest first.

    The distance is the mean over the statistics that both have of |a - b| / max(floor, 1.4826 · MAD), with the median
    absolute deviation over the past tasks of this kind; below ``FEW`` of them the floor alone is the unit.

    Args:
        entries: Past runs, newest first; of equal distances the newer run comes first.
        task: Statistics of the new task.
        exclude: Fingerprint of data whose own runs are left out.
    """
    pool = [
        entry
        for entry in entries
        if entry.fingerprint != exclude
        and all(entry.statistics.get(name) == task.get(name) for name in ("kind", "modality"))
    ]
    total, count = np.zeros(len(pool)), np.zeros(len(pool))
    prints = [entry.fingerprint for entry in pool]
    first = np.array([prints.index(one) == place for place, one in enumerate(prints)], bool)  # one run of each data set
    for name, floor in FLOORS.items():
        here = task.get(name)
        if not isinstance(here, int | float):
            continue
        there = np.array([_comparable(entry.statistics, task, name) for entry in pool], np.float64)
        has = ~np.isnan(there)
        if has.any():
            past = there[has & first]
            spread = 1.4826 * float(np.median(np.abs(past - np.median(past)))) if len(past) >= FEW else 0.0
            total[has] += np.abs(there[has] - here) / max(floor, spread)
            count += has
    near = [(float(total[i] / count[i]), entry) for i, entry in enumerate(pool) if count[i]]
    return sorted(near, key=lambda pair: pair[0])


def _comparable(there: Statistics, here: Statistics, name: str) -> float:
    value = there.get(name)
    another = name in OF_FEATURES and there.get("features_of") != here.get("features_of")
    return math.nan if another or not isinstance(value, int | float) else float(value)
