"""Several data sets of one form as one: rows stay where they are stored."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.types import Dataset, Rows


class JoinedRows:
    """Storages one after the other.

    Args:
        parts: Storages of one kind.
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = list(parts)
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def _each(self, rows: np.ndarray, method: str) -> tuple[list[Any], np.ndarray]:
        """What each storage gives for its own rows, and where each row's place is among all of that."""
        rows = np.asarray(rows)
        part = np.searchsorted(self.starts, rows, side="right") - 1
        order = np.argsort(part, kind="stable")
        found = [
            getattr(self.parts[number], method)(rows[part == number] - self.starts[number])
            for number in range(len(self.parts))
            if (part == number).any()
        ]
        place = np.empty(len(rows), np.int64)
        place[order] = np.arange(len(rows))
        return found, place

    def take(self, rows: np.ndarray) -> Any:
        """Raw examples in the order of ``rows``."""
        found, place = self._each(rows, "take")
        if not found:
            return self.parts[0].take(np.asarray(rows))
        if isinstance(found[0], dict):
            return {name: np.concatenate([one[name] for one in found])[place] for name in found[0]}
        flat = [example for one in found for example in one]
        return [flat[position] for position in place]

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """64 bits of the content of each row."""
        found, place = self._each(rows, "keys")
        return np.concatenate(found)[place] if found else np.zeros(0, np.uint64)

    def digest(self) -> str:
        """Hash of the content of all rows, in order."""
        return hashlib.sha256("\1".join(part.digest() for part in self.parts).encode()).hexdigest()


def join(sets: Sequence[Dataset]) -> Dataset:
    """Rows of all sets in turn, as one labelled data set; the first one names task and columns.

    Args:
        sets: Labelled, each read like the first.

    Raises:
        DataError: Their tasks or columns differ.

    Example:
        >>> from graft.data.load import load
        >>> one = load((["good", "bad"], ["+", "-"]))
        >>> both = join([one, load((["fine", "poor"], ["+", "-"]), like=one)])
        >>> both.take(), both.labels.tolist()
        (['good', 'bad', 'fine', 'poor'], ['+', '-', '+', '-'])
    """
    first = sets[0]
    for other in sets[1:]:
        if other.task.modality != first.task.modality or other.task.classes != first.task.classes:
            raise DataError(f"{other.name} has other classes, or is of another kind, than {first.name}")
    rows = JoinedRows([each.X for each in sets])
    return dataclasses.replace(
        first,
        X=rows,
        y=None if first.y is None else np.concatenate([each.y for each in sets]),
        rows=np.concatenate([each.rows + start for each, start in zip(sets, rows.starts, strict=False)]),
        groups=None,
        name=" + ".join(each.name for each in sets),
        notes=tuple(f"{each.name}: {note}" for each in sets for note in each.notes),
        line_of=None,
    )
