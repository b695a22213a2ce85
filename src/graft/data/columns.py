"""Arrow columns as text, numbers and labels, and the storage they lie in: memory, or a memory-mapped file."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graft.core.errors import DataError, OutputError
from graft.data.blocks import Bad, Block

MEMORY = 1 << 25  # bytes of columns from which they are put on disk and memory-mapped
BAD = 1000  # unusable rows that are remembered by line; more are only counted
MISSING = ("", "na", "n/a", "nan", "null", "none", "-", "?")  # what stands for a missing number
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
DRESSED = r"^([+-]?)[$€£¥]?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)\s?[%$€£¥]?$"  # 1,234.5  $3.50  12%


@dataclass
class Stored:
    """All rows of a source: usable rows as columns, the lines they came from, and the unusable rows.

    ``bad`` holds the first ``BAD`` unusable rows, ``unusable`` counts them all, ``owner`` keeps a temporary file alive.
    """

    table: pa.Table
    lines: np.ndarray
    bad: list[Bad]
    unusable: int
    owner: Any = None


class Folder:
    """A temporary folder that goes away with the last storage that reads from it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="graft-"))
        self._end = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def store(parts: Iterator[Block], workdir: Path | None, *, tolerate: bool) -> Stored:
    """Gather blocks; beyond ``MEMORY`` bytes they go to an Arrow file in ``workdir`` that is memory-mapped.

    Args:
        parts: Blocks of one source.
        workdir: Where the file goes; None: a temporary folder that is removed with the data.
        tolerate: Whether to go on after ``BAD`` unusable rows.

    Raises:
        OutputError: The disk is full or ``workdir`` cannot be written.
    """
    tables: list[pa.Table] = []
    lines: list[np.ndarray] = []
    whole = Stored(pa.table({}), np.empty(0, np.int64), [], 0)
    sink: _Sink | None = None
    for part in parts:
        lines.append(part.lines)
        whole.unusable += len(part.bad)
        whole.bad += part.bad[: max(0, BAD - len(whole.bad))]
        if part.table.num_rows or not tables:
            tables.append(part.table)
        if whole.unusable >= BAD and not tolerate:
            break
        if sum(table.nbytes for table in tables) > MEMORY:
            sink = sink or _Sink(workdir, part.table.schema)
            sink.write(tables)
            tables = []
    whole.lines = np.concatenate(lines) if lines else whole.lines
    if sink is not None:
        sink.write(tables)
        whole.table, whole.owner = sink.finish()
    elif tables:
        full = [table for table in tables if table.num_rows] or tables[:1]
        whole.table = pa.concat_tables([_fit(table, full[0].schema) for table in full])
    return whole


class _Sink:
    """An Arrow file being written."""

    def __init__(self, workdir: Path | None, schema: pa.Schema) -> None:
        self.owner = Folder() if workdir is None else None
        folder = self.owner.path if self.owner else Path(workdir or ".")
        self.schema = schema
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(prefix="rows-", suffix=".arrow", dir=folder, delete=False) as handle:
                self.path = Path(handle.name)
            self.file = pa.OSFile(str(self.path), "wb")
        except OSError as error:
            raise OutputError(
                f"cannot write to {str(folder)!r} ({error.strerror})", hint="pass another workdir"
            ) from None
        self.writer = pa.ipc.new_file(self.file, schema)

    def write(self, tables: list[pa.Table]) -> None:
        try:
            for table in tables:
                if table.num_rows:
                    self.writer.write_table(_fit(table, self.schema))
        except OSError as error:
            raise OutputError(
                f"cannot write {str(self.path)!r} ({error})", hint="free disk space, or pass another workdir"
            ) from None

    def finish(self) -> tuple[pa.Table, Any]:
        self.writer.close()
        self.file.close()
        return pa.ipc.open_file(pa.memory_map(str(self.path))).read_all(), self.owner


def _fit(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return table if table.schema == schema else table.select(schema.names).cast(schema)


def take(column: pa.ChunkedArray, rows: np.ndarray) -> pa.Array:
    """Rows of a column in the given order, reading only the chunks that hold them.

    Arrow's own ``take`` may join all chunks first, which reads a memory-mapped file whole.
    """
    rows = np.asarray(rows, dtype=np.int64)
    if column.num_chunks == 1:
        return column.chunk(0).take(pa.array(rows))
    if not len(rows):
        return pa.array([], column.type)
    ends = np.cumsum([len(chunk) for chunk in column.chunks])
    where = np.searchsorted(ends, rows, side="right")
    order = np.argsort(where, kind="stable")
    parts = []
    for number in np.unique(where):
        chunk = column.chunk(int(number))
        inside = rows[where == number] - (ends[number] - len(chunk))
        whole = len(inside) == len(chunk) and bool((inside == np.arange(len(chunk))).all())
        parts.append(chunk if whole else chunk.take(pa.array(inside)))
    joined = pa.concat_arrays(parts)
    if (order == np.arange(len(order))).all():
        return joined
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return joined.take(pa.array(back))


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as text, missing cells kept; 1.0 is written 1 and true True, as labels are."""
    kind = column.type
    if pa.types.is_large_string(kind):
        return column
    if pa.types.is_boolean(kind):
        return pc.if_else(column, pa.scalar("True", pa.large_string()), pa.scalar("False", pa.large_string()))
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        if pc.all(pc.equal(column, pc.round(column))).as_py() and (pc.max(pc.abs(column)).as_py() or 0) < 2**53:
            column = column.cast(pa.int64())
    try:
        return column.cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"a column of {kind} is neither text nor numbers", hint="name other columns with inputs"
        ) from None


def is_missing(text: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Which cells are null, or hold nothing but white space (N,)."""
    if isinstance(text, pa.ChunkedArray):  # chunk by chunk: trimmed text is a copy of the text
        return np.concatenate([np.empty(0, bool), *map(is_missing, text.chunks)])
    blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(text)), 0)
    return np.asarray(pc.fill_null(blank, fill_value=True)).astype(bool)


def as_numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A column as float64 with NaN where there is no number (N,), and which cells hold something else (N,)."""
    kind = column.type
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        values = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), np.nan), dtype=np.float64).copy()
        strange = np.isinf(values)
        values[strange] = np.nan
        return values, strange
    text = _undressed(pc.utf8_trim_whitespace(as_text(column)))
    known = pc.fill_null(pc.match_substring_regex(text, NUMBER), fill_value=False)
    gone = pc.is_in(pc.utf8_lower(text), pa.array([None, *MISSING], pa.large_string()))
    plus = pc.starts_with(text, "+")
    bare = pc.if_else(plus, pc.utf8_slice_codeunits(text, 1), text)
    numbers = pc.if_else(known, bare, pa.scalar(None, pa.large_string())).cast(pa.float64())
    values = np.asarray(pc.fill_null(numbers, np.nan), dtype=np.float64).copy()
    strange = ~np.asarray(known).astype(bool) & ~np.asarray(gone).astype(bool) | np.isinf(values)
    values[strange] = np.nan
    return values, strange


def _undressed(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers without the commas between thousands, the sign of a currency and that of per cent; other text as it is."""
    dressed = pc.and_kleene(pc.match_substring_regex(text, DRESSED), pc.match_substring_regex(text, r"[,$€£¥%]"))
    if not pc.any(dressed).as_py():
        return text
    bare = pc.replace_substring_regex(pc.replace_substring(text, ",", ""), r"[$€£¥%]|\s", "")
    return pc.if_else(dressed, bare, text)


def coded(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct labels (K,) and the index of each row's label (N,), -1 where it is missing.

    Numbers with a fraction stay numbers; everything else is text without surrounding white space.
    """
    if pa.types.is_floating(column.type):
        values = np.asarray(pc.fill_null(column.cast(pa.float64()), np.nan), dtype=np.float64)
        distinct, codes = np.unique(values[~np.isnan(values)], return_inverse=True)
        found = np.full(len(values), -1, np.int64)
        found[~np.isnan(values)] = codes
        return distinct, found
    encoded = pc.dictionary_encode(pc.utf8_trim_whitespace(as_text(column)))
    encoded = encoded.combine_chunks() if encoded.num_chunks != 1 else encoded.chunk(0)
    if isinstance(encoded, pa.ChunkedArray):  # no rows at all
        return np.empty(0, object), np.empty(0, np.int64)
    names = np.array(encoded.dictionary.to_pylist(), dtype=object)
    codes = np.asarray(pc.fill_null(encoded.indices, -1)).astype(np.int64)
    blank = np.flatnonzero(names == "")
    if len(blank):
        codes = np.where(codes == blank[0], -1, codes - (codes > blank[0]))
        names = np.delete(names, blank[0])
    return names, codes
