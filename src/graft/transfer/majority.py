"""Majority: the answer that ignores the input.  What does not beat it has learned nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.types import Dataset, Task
from graft.transfer.base import BaseTransfer, Setting


@TRANSFERS.register("majority")
class Majority(BaseTransfer):
    """Predict the class frequencies, or the mean, for every row."""

    label = "majority class"
    name = "majority"
    effort = "probe"

    @classmethod
    def called(cls, task: Task) -> str:
        """The class, or the mean."""
        return cls.label if task.is_classification else "mean of the labels"

    def _fit(self, data: Dataset, setting: Setting) -> None:
        del setting
        if data.task.is_classification:
            self.constant_ = np.bincount(data.y, minlength=data.task.outputs) / len(data)
        else:
            self.constant_ = np.asarray([data.y.mean()])

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store
        rows = np.tile(self.constant_, (len(data), 1))
        return rows if self.task_.is_classification else rows[:, 0]

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {"constant": self.constant_}

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del state
        self.constant_ = arrays["constant"]
