"""Blocks of rows on their way from a file into columns, every row with its number and file line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError

ROWS = 65_536  # rows of a block while loading
CHARACTERS = 1 << 26  # and at most about 64 MB, so that rows of megabytes stay few


class Bad(NamedTuple):
    """A row that cannot be used: its 0-based number, its file line (or row) and why."""

    number: int
    line: int
    reason: str


@dataclass(frozen=True)
class Block:
    """Consecutive input rows: the usable ones as columns, the others by name.

    Attributes:
        table: Columns of the usable rows.
        numbers: 0-based input position of each usable row (N,).
        lines: Where each usable row stands in its file (N,).
        bad: The rows left out.
        media: Images or sounds given as arrays, one per usable row, where there are any.
    """

    table: pa.Table
    numbers: np.ndarray
    lines: np.ndarray
    bad: tuple[Bad, ...] = ()
    media: Any = None


class Gather:
    """Collects rows of cells into blocks: width is checked by the caller, encodability here."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self.number = 0
        self.cells: list[Sequence[str | None]] = []
        self.numbers: list[int] = []
        self.lines: list[int] = []
        self.bad: list[Bad] = []

    def __len__(self) -> int:
        return len(self.cells) + len(self.bad)

    def good(self, cells: Sequence[str | None], line: int) -> None:
        """Add a usable row."""
        self.cells.append(cells)
        self.numbers.append(self.number)
        self.lines.append(line)
        self.number += 1

    def wrong(self, line: int, reason: str) -> None:
        """Add a row that cannot be used."""
        self.bad.append(Bad(self.number, line, reason))
        self.number += 1

    def block(self) -> Block:
        """What was gathered, and start anew."""
        try:
            table = self._table()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 cannot
            self._leave_out_halves()
            table = self._table()
        whole = Block(table, np.array(self.numbers, np.int64), np.array(self.lines, np.int64), tuple(sorted(self.bad)))
        self.cells, self.numbers, self.lines, self.bad = [], [], [], []
        return whole

    def _table(self) -> pa.Table:
        columns = zip(*self.cells, strict=True) if self.cells else [()] * len(self.columns)
        return pa.Table.from_arrays([pa.array(column, pa.large_string()) for column in columns], names=self.columns)

    def _leave_out_halves(self) -> None:
        rows = list(zip(self.cells, self.numbers, self.lines, strict=True))
        whole = [all(_encodable(cell) for cell in cells) for cells, _, _ in rows]
        self.bad += [
            Bad(n, line, "half of a surrogate pair") for (_, n, line), ok in zip(rows, whole, strict=True) if not ok
        ]
        kept = [row for row, ok in zip(rows, whole, strict=True) if ok]
        self.cells, self.numbers, self.lines = ([row[i] for row in kept] for i in range(3))


def _encodable(cell: str | None) -> bool:
    try:
        (cell or "").encode()
    except UnicodeEncodeError:
        return False
    return True


def check_names(names: Sequence[str], path: Path) -> None:
    """Refuse two columns of one name."""
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise DataError(f"two columns are named {twice[0]!r}", where=str(path), hint="rename one of them")
