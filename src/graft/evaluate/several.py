"""Metrics of rows with several labels each; what they count stands in ``nn.multilabel``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graft.core.task import Task
from graft.evaluate.metric import Metric
from graft.nn import multilabel
from graft.nn.bootstrap import Weighted


def given(task: Task, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Which labels are given, bool (n, C), by the thresholds of the task, or where it has none, by those of other rows."""
    return multilabel.decided(y, outputs, task.thresholds, macro=task.metric == "macro_f1")


def _of_given(
    count: Callable[[np.ndarray, np.ndarray], Weighted],
) -> Callable[[Task, np.ndarray, np.ndarray], Weighted]:
    return lambda task, y, outputs: count(y, given(task, y, outputs))


def _of_chances(
    count: Callable[[np.ndarray, np.ndarray], Weighted],
) -> Callable[[Task, np.ndarray, np.ndarray], Weighted]:
    return lambda _, y, outputs: count(y, outputs)


macro_f1 = _of_given(multilabel.macro_f1)
log_loss = _of_chances(multilabel.log_loss)
KIND = "multilabel"
SEVERAL = (
    Metric("micro_f1", KIND, larger=True, prepare=_of_given(multilabel.micro_f1)),
    Metric("mean_average_precision", KIND, larger=True, prepare=_of_chances(multilabel.mean_average_precision)),
    Metric("ranking_precision", KIND, larger=True, prepare=_of_chances(multilabel.ranking_precision)),
    Metric("subset_accuracy", KIND, larger=True, prepare=_of_given(multilabel.subset_accuracy)),
    Metric("hamming_loss", KIND, larger=False, prepare=_of_given(multilabel.hamming_loss)),
)
