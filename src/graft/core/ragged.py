"""Rows of different length: object arrays (n,) whose entries are arrays (T_i, …), and the same values end to end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


def ragged(parts: Iterable[Any]) -> np.ndarray:
    """An object array (n,) of the parts, whatever their shapes; numpy alone would stack parts of equal shape.

    Example:
        >>> ragged([np.array([1, 2]), np.array([3, 4])]).shape
        (2,)
    """
    items = list(parts)
    out = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        out[place] = item
    return out


def is_ragged(values: Any) -> bool:
    """Whether an array holds one array per row."""
    return isinstance(values, np.ndarray) and values.dtype == object


def lengths(values: np.ndarray) -> np.ndarray:
    """Length T_i of every row (n,)."""
    return np.fromiter((len(row) for row in values), np.int64, len(values))


def flat(values: np.ndarray) -> np.ndarray:
    """The values of all rows end to end (ΣT, …); an array that is not ragged as it is.

    Example:
        >>> flat(ragged([np.array([1, 2]), np.array([], int), np.array([3])])).tolist()
        [1, 2, 3]
    """
    if not is_ragged(values):
        return values
    return np.concatenate(list(values)) if len(values) else np.zeros(0)


def cut(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The inverse of ``flat``: an object array (n,) of views of the values (ΣT, …).

    Example:
        >>> [row.tolist() for row in cut(np.array([1, 2, 3]), np.array([2, 0, 1]))]
        [[1, 2], [], [3]]
    """
    ends = np.cumsum(counts)
    return ragged(
        values[end - count : end] for end, count in zip(ends.tolist(), np.asarray(counts).tolist(), strict=True)
    )


def lines(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Places (Σcounts,) of runs that begin at ``starts``, one run after the other.

    Example:
        >>> lines(np.array([5, 0]), np.array([2, 3])).tolist()
        [5, 6, 0, 1, 2]
    """
    counts = np.asarray(counts, np.int64)
    before = np.cumsum(counts) - counts
    return np.repeat(np.asarray(starts, np.int64) - before, counts) + np.arange(int(counts.sum()))
