"""Scores of heads on held-out rows, and their differences, over the same resamples of these rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graft.core.task import Task
from graft.nn.bootstrap import DECIDERS, Difference, Interval, Weighted, bootstrap, interval, paired


@dataclass(frozen=True, eq=False)
class Side:
    """A labelled data set as numbers.

    Attributes:
        X: Rows (n, d), the columns on one scale on both sides.
        y: Encoded targets (n,).
        task: What is asked for.
        groups: Rows that belong together (n,), or None.
    """

    X: np.ndarray
    y: np.ndarray
    task: Task
    groups: np.ndarray | None = None


class Judge:
    """Scores and differences over the same resamples of B's rows.

    Args:
        two: B.
        splits: Training and test rows of each fit; outputs are lists with one array per split, for its test rows.
        level: Coverage of the intervals.
        seed: Seed of the resamples.
    """

    def __init__(self, two: Side, splits: Sequence[tuple[np.ndarray, np.ndarray]], level: float, seed: int) -> None:
        self.two, self.level, self.seed = two, level, seed
        self.rows = [test for _, test in splits]
        self.turns = self._turns()

    def _turns(self) -> list[list[int]]:
        """Splits whose test rows together are the rows once: the folds of a repetition, or a draw alone."""
        found: list[list[int]] = [[]]
        seen = np.zeros(len(self.two.y), bool)
        for number, rows in enumerate(self.rows):
            if seen[rows].any():
                found.append([])
                seen[:] = False
            seen[rows] = True
            found[-1].append(number)
        return found

    def _draws(self, outputs: list[np.ndarray]) -> tuple[float, np.ndarray]:
        """Mean over the repetitions of the metric, and of its resamples (R,)."""
        prepare = DECIDERS[self.two.task.metric]
        statistics: list[Weighted] = []
        for turn in self.turns:
            rows = np.concatenate([self.rows[number] for number in turn])
            found = np.concatenate([outputs[number] for number in turn])
            statistics.append(_on(rows, prepare(self.two.y[rows], found)))
        size = len(self.two.y)
        return self.value(outputs), bootstrap(statistics, size, seed=self.seed, groups=self.two.groups).mean(axis=1)

    def value(self, outputs: list[np.ndarray]) -> float:
        """The metric alone."""
        prepare = DECIDERS[self.two.task.metric]
        found = []
        for turn in self.turns:
            rows = np.concatenate([self.rows[number] for number in turn])
            every = np.concatenate([outputs[number] for number in turn])
            found.append(prepare(self.two.y[rows], every)(np.ones((1, len(rows))))[0])
        return float(np.mean(found))

    def score(self, outputs: list[np.ndarray]) -> Interval:
        """The metric with its interval."""
        value, draws = self._draws(outputs)
        return interval(value, draws, level=self.level, size=self._size())

    def difference(self, one: list[np.ndarray], two: list[np.ndarray]) -> Difference:
        """The metric of the first less that of the second."""
        (value, draws), (other, others) = self._draws(one), self._draws(two)
        return paired(value - other, draws - others, level=self.level, size=self._size())

    def _size(self) -> int:
        return len(self.two.y) if self.two.groups is None else len(np.unique(self.two.groups))


def _on(rows: np.ndarray, metric: Weighted) -> Weighted:
    return lambda weight: metric(weight[:, rows])
