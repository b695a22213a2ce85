"""The score that decides: the closed-form probe, cross-validated, with every choice made on the training folds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from graft.nn.heads import fit_probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from graft.core.task import Task
    from graft.core.types import Features

FOLDS = 5
MANY = 1000  # rows from which three folds do: the probe's learning curve is flat there, and time grows with n²


def fold_count(rows: int) -> int:
    """Folds of the cross-validation for this many rows."""
    return FOLDS if rows < MANY else 3


def deal_folds(y: np.ndarray, task: Task, *, folds: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Deal rows into folds: shuffled, classes spread evenly, groups kept whole.

    Groups (or single rows) are dealt one after the other, ordered by their first row's class, so that every fold gets
    the same number of each class up to one.

    Returns:
        Fold (n,) of each row, 0 to folds - 1.

    Example:
        >>> import numpy as np
        >>> from graft.core.task import Task
        >>> y = np.array([0, 0, 0, 0, 1, 1])
        >>> fold = deal_folds(y, Task("classification", "text", ("a", "b")), folds=2, seed=0)
        >>> [np.bincount(y[fold == f]).tolist() for f in (0, 1)]
        [[2, 1], [2, 1]]
    """
    member = np.arange(len(y)) if groups is None else np.unique(groups, return_inverse=True)[1]
    _, first = np.unique(member, return_index=True)
    order = np.random.default_rng(seed).permutation(len(first))
    if task.is_classification:
        order = order[np.argsort(y[first][order], kind="stable")]
    dealt = np.empty(len(first), dtype=np.int64)
    dealt[order] = np.arange(len(first)) % min(folds, len(first))
    fold: np.ndarray = dealt[member]
    return fold


def held_out(
    features: Features,
    y: np.ndarray,
    task: Task,
    fold: np.ndarray,
    *,
    layers: str = "auto",
    tick: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Predict every row by a probe that was fitted on the other folds.

    Layers, ridge strength and temperature are chosen inside the training folds, so the score of these outputs is not
    the best of many.

    Args:
        features: Pooled activations of the rows.
        y: Encoded targets (n,).
        task: What is asked for.
        fold: Fold (n,) of each row.
        layers: ``"auto"`` (the best of last, upper half and all), or ``"last"``.
        tick: Called after each fold; may raise to stop.

    Returns:
        Class probabilities (n, C), or standardised values (n,).
    """
    outputs = np.empty((len(y), task.outputs) if task.has_columns else len(y))
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        head = fit_probe(features.select(features.rows[train]), y[train], task, layers=layers)
        outputs[test] = head.outputs(features.select(features.rows[test]), task)
        tick()
    return outputs
