"""Rows without a label, as transfers that are ``semi`` read them: some of them, side by side with the labelled ones.

They come in ``Setting.unlabelled``; ``BaseTransfer.fit`` puts those there that stand among the labelled rows (target -1).
A search hands the same setting to every fold, so the rows it holds out stay out: they have labels, and are not among them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graft.core.errors import BudgetError, DataError
from graft.core.types import Dataset, Features
from graft.data.splits import fold_count, folds
from graft.transfer.base import Setting

MOST_FOLDS = 3  # each costs a fit of every head


class Stack:
    """Values (n, D) of several storages, one below the other, read where they lie.

    Example:
        >>> both = Stack([np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])])
        >>> both[np.array([2, 0]), 1:2].tolist(), both.shape
        ([[6.0], [2.0]], (3, 2))
    """

    ndim = 2

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = tuple(parts)
        self.ends = np.cumsum([len(part) for part in parts])
        self.dtype = np.result_type(*(part.dtype for part in parts))
        self.shape = (int(self.ends[-1]), int(parts[0].shape[1]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        rows = np.arange(len(self))[rows]
        owner = np.searchsorted(self.ends, rows, side="right")
        out = np.empty((len(rows), len(range(*columns.indices(self.shape[1])))), self.dtype)
        for number in np.unique(owner):
            mine = owner == number
            start = self.ends[number] - len(self.parts[number])
            out[mine] = self.parts[number][rows[mine] - start, columns]
        return out


def side_by_side(read: Callable[[Dataset], Features], parts: Sequence[Dataset]) -> Features:
    """Features of the rows of all parts, in order; what covers half of one storage is read in one pass over it.

    Fewer rows are read part by part, so that those of a fold, which differ, and those without a label, which do not, have
    entries of their own in the cache.

    Args:
        read: Gives the features of a data set.
        parts: The labelled rows, then the others.
    """
    if all(part.X is parts[0].X for part in parts) and 2 * sum(map(len, parts)) >= len(parts[0].X):
        rows = np.concatenate([part.rows for part in parts])
        return read(dataclasses.replace(parts[0], rows=rows, y=None, groups=None))
    found = [read(part) for part in parts]
    sizes = [len(one.values) for one in found]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rows = np.concatenate([one.rows + start for one, start in zip(found, starts, strict=True)])
    return dataclasses.replace(found[0], values=Stack([one.values for one in found]), rows=rows, key="")  # type: ignore[arg-type]


def some_unlabelled(setting: Setting, data: Dataset, most: int, seed: int) -> list[Dataset]:
    """The rows without a label, at most so many of them, a seeded sample where there are more.

    Raises:
        DataError: They are of another form than the labelled rows.
    """
    total = sum(map(len, setting.unlabelled))
    kept = np.ones(total, bool)
    if total > most:
        kept[np.random.default_rng(seed).permutation(total)[most:]] = False
    parts, start = [], 0
    for part in setting.unlabelled:
        if part.task.modality != data.task.modality or set(part.columns) != set(data.columns):
            what = f"{part.name} has another form than {data.name}"
            raise DataError(what, hint=f"give rows without labels the columns {', '.join(data.columns) or 'of these'}")
        mine = part.select(kept[start : start + len(part)])
        start += len(part)
        parts += [mine] if len(mine) else []
    return parts


def cuts(data: Dataset, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds (train, test) of the labelled rows; none where they are too few to hold any out."""
    try:
        return folds(data, k=fold_count(data, MOST_FOLDS), seed=seed)
    except DataError:
        return []


def on_time(setting: Setting, name: str) -> None:
    """Stop where the clock has run out.

    Raises:
        BudgetError: It has.
    """
    if setting.clock.expired:
        raise BudgetError(f"no time was left for {name}", hint="give a larger budget, or fewer rows without a label")
