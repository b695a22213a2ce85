"""Score classes with and without labelled rows together: accuracy of both kinds, and their harmonic mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graft.core.errors import DataError
from graft.core.task import Task
from graft.nn.bootstrap import Interval, Weighted, bootstrap, interval


def mean_recall(y: np.ndarray, right: np.ndarray, classes: np.ndarray) -> Weighted:
    """Prepare the mean over ``classes`` of the share of their rows that are right."""
    true = (y[:, None] == classes[None]).astype(np.float64)
    columns = np.hstack([true * right[:, None], true])

    def value(weight: np.ndarray) -> np.ndarray:
        hits, support = np.split(weight @ columns, 2, axis=1)
        return np.asarray((hits / np.where(support > 0, support, 1)).sum(axis=1) / (support > 0).sum(axis=1).clip(1))

    return value


def harmonic(
    task: Task, y: np.ndarray, outputs: np.ndarray, seen: Sequence[str], *, level: float = 0.9, seed: int = 0
) -> dict[str, Interval]:
    """Mean accuracy per class of seen and of unseen classes, all competing, and 2su / (s + u), with bootstrap intervals.

    Args:
        task: All classes.
        y: Class numbers (n,).
        outputs: Probabilities (n, C).
        seen: Names of the classes that had labelled rows.
        level: Of the intervals.
        seed: Of the resamples.

    Raises:
        DataError: The rows hold only one kind of class.

    References:
        Xian et al. (2019). Zero-shot learning: a comprehensive evaluation of the good, the bad and the ugly. IEEE TPAMI 41.

    Example:
        >>> task = Task("classification", "table", ("cat", "zebra"))
        >>> harmonic(task, np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), ("cat",))["unseen"][0]
        0.5
    """
    known = np.array([name in seen for name in task.classes])
    present = np.unique(y)
    groups = {"seen": present[known[present]], "unseen": present[~known[present]]}
    empty = next((kind for kind, classes in groups.items() if not len(classes)), None)
    if empty:
        raise DataError(f"no row belongs to {'an unseen' if empty == 'unseen' else 'a seen'} class")
    right = (outputs.argmax(axis=1) == y).astype(np.float64)
    parts = {kind: mean_recall(y, right, classes) for kind, classes in groups.items()}

    def both(weight: np.ndarray) -> np.ndarray:
        a, b = parts["seen"](weight), parts["unseen"](weight)
        return np.asarray(2 * a * b / np.where(a + b > 0, a + b, 1))

    every = {**parts, "harmonic": both}
    draws = bootstrap(list(every.values()), len(y), seed=seed)
    once = np.ones((1, len(y)))
    points = [float(value(once)[0]) for value in every.values()]
    found = zip(every, points, draws.T, strict=True)
    return {kind: interval(point, drawn, level=level, size=len(y)) for kind, point, drawn in found}
