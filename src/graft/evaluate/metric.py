"""What a metric is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graft.core.task import Task
from graft.nn.bootstrap import Weighted


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name.
        kind: The kind of task it belongs to, or several kinds with spaces between them.
        larger: Whether larger is better.
        prepare: Takes task, encoded targets (n,) and outputs, gives a function of weights (R, n) -> (R,).
    """

    name: str
    kind: str
    larger: bool
    prepare: Callable[[Task, np.ndarray, np.ndarray], Weighted]

    def suits(self, task: Task) -> bool:
        """Whether it belongs to a kind of the task."""
        return not set(self.kind.split()).isdisjoint(task.kinds)
