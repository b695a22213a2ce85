"""Read svmlight (LIBSVM) files line by line: a label, then ``index:count`` pairs whose indices increase.

scikit-learn's reader takes a whole file and does not say which line is wrong; this one reads blocks and does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from graft.data.blocks import CHARACTERS, Bad, Block
from graft.data.lines import Lines
from graft.data.sparse import LARGEST, as_lists

SUFFIXES = (".svmlight", ".libsvm", ".svm")
COLUMN, LABEL, QUERY = "counts", "label", "qid"
PAIRS = re.compile(r"(?:\s*\d+:[-+.\deE]+(?=\s|$))*\s*")  # what float() reads, or nearly


def is_svmlight(path: Path) -> bool:
    """Whether the name says so, ``.gz`` after it or not.

    Example:
        >>> is_svmlight(Path("a.svm.gz")), is_svmlight(Path("a.csv"))
        (True, False)
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return bool(suffixes) and suffixes[-1] in SUFFIXES


def svmlight(path: Path, encoding: str, rows: int, columns: Sequence[str]) -> Iterator[Block]:  # noqa: ARG001  (one signature)
    """Sparse rows: column ``label``, ``qid`` where the first row has one, and ``counts`` with numbers as in the file.

    What follows ``#`` is a remark.  A line that begins with a pair has no label.
    """
    lines = Lines(path, encoding)
    found: _Found | None = None
    start = 0
    for line in lines:
        odd = lines.odd.pop(lines.number, None)
        text = line.partition("#")[0].strip()
        if not text and not odd:
            continue
        if found is None:
            found = _Found(queries=f" {QUERY}:" in text)
        found.add(text, lines.number, odd)
        if len(found) >= rows or lines.size - start > CHARACTERS:
            start = lines.size
            yield found.block()
    if found is not None and len(found):
        yield found.block()


class _Found:
    """Rows on their way into a block."""

    def __init__(self, *, queries: bool) -> None:
        self.queries, self.number = queries, 0
        self._empty()

    def _empty(self) -> None:
        self.labels: list[str | None] = []
        self.groups: list[str | None] = []
        self.indices: list[np.ndarray] = []
        self.values: list[np.ndarray] = []
        self.numbers: list[int] = []
        self.lines: list[int] = []
        self.bad: list[Bad] = []

    def __len__(self) -> int:
        return len(self.labels) + len(self.bad)

    def add(self, text: str, line: int, odd: str | None) -> None:
        """One line."""
        if odd:
            self.bad.append(Bad(self.number, line, odd))
            self.number += 1
            return
        try:
            label, rest = _label(text)
            group, rest = _group(rest)
            indices, values = _pairs(rest)
        except ValueError as error:
            self.bad.append(Bad(self.number, line, str(error)))
        else:
            self.labels.append(label)
            self.groups.append(group)
            self.indices.append(indices)
            self.values.append(values)
            self.numbers.append(self.number)
            self.lines.append(line)
        self.number += 1

    def block(self) -> Block:
        """What was gathered, and start anew."""
        lengths = np.array([len(one) for one in self.indices], np.int64)
        indices = np.concatenate([np.empty(0, np.int32), *self.indices])
        values = np.concatenate([np.empty(0, np.float32), *self.values])
        columns = {LABEL: pa.array(self.labels, pa.large_string())}
        if self.queries:
            columns[QUERY] = pa.array(self.groups, pa.large_string())
        columns[COLUMN] = as_lists(lengths, indices, values)
        numbers, lines = np.array(self.numbers, np.int64), np.array(self.lines, np.int64)
        block = Block(pa.table(columns), numbers, lines, tuple(self.bad))
        self._empty()
        return block


def _label(text: str) -> tuple[str | None, str]:
    """The label as text, 1.0 and +1 as 1, and the rest of the line."""
    first, rest = (*text.split(None, 1), "")[:2]
    if ":" in first:
        return None, text
    if "," in first:
        raise ValueError(f"several labels, {first!r}: a row has one class")
    value = _number(first, "label")
    return (str(int(value)) if value == int(value) else repr(value)), rest


def _group(rest: str) -> tuple[str | None, str]:
    """The query that the row belongs to, and the rest of the line."""
    if not rest.startswith(f"{QUERY}:"):
        return None, rest
    query, more = (*rest.split(None, 1), "")[:2]
    return query.partition(":")[2], more


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{what} {text!r} is not a number") from None
    if not np.isfinite(value):
        raise ValueError(f"{what} is {text}")
    return value


def _pairs(rest: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n,) int32 as in the file, and counts (n,) float32; zeros are left out."""
    try:
        numbers = np.array(list(map(float, rest.replace(":", " ").split()))) if PAIRS.fullmatch(rest) else None
    except ValueError:
        numbers = None
    if numbers is None:
        raise ValueError(_fault(rest))
    indices, values = numbers[::2], numbers[1::2]
    if len(indices) and indices.max() >= LARGEST:
        raise ValueError(f"index {indices.max():.0f} is too large")
    falls = np.flatnonzero(np.diff(indices) <= 0)
    if len(falls):
        before, after = indices[falls[0]], indices[falls[0] + 1]
        raise ValueError(f"index {after:.0f} follows {before:.0f}: indices must increase")
    wrong = np.flatnonzero((values < 0) | ~np.isfinite(values))
    if len(wrong):
        raise ValueError(f"feature {indices[wrong[0]]:.0f} is {values[wrong[0]]:g}: counts are 0 or more")
    kept = values != 0
    return indices[kept].astype(np.int32), values[kept].astype(np.float32)


def _fault(rest: str) -> str:
    """What is wrong with the first pair that is none."""
    for pair in rest.split():
        index, colon, value = pair.partition(":")
        if not colon:
            return f"{pair[:40]!r} is no index:count"
        if index == QUERY:
            return f"{QUERY} stands behind features"
        if not (index.isascii() and index.isdecimal()):
            return f"index {index[:40]!r} is not a number from 0"
        try:
            _number(value[:40], f"feature {index}")
        except ValueError as error:
            return str(error)
    return "it cannot be read as a label and index:count"
