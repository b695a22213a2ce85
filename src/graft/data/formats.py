"""Read CSV, TSV, JSON, Parquet, svmlight, FASTA, .ts and plain text in blocks of rows, each with its number and line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError
from graft.data.blocks import CHARACTERS, ROWS, Block, Gather, check_names
from graft.data.delimited import delimited
from graft.data.fasta import SUFFIXES as FASTA
from graft.data.fasta import fasta
from graft.data.lines import Lines
from graft.data.series_files import ts_file
from graft.data.svmlight import SUFFIXES, svmlight


def blocks(path: Path, *, encoding: str = "utf-8", rows: int = ROWS, columns: Sequence[str] = ()) -> Iterator[Block]:
    r"""Read a file in blocks of at most ``rows`` rows, unusable ones included.

    Args:
        path: A file whose suffix names a format of ``FORMATS``, ``.gz`` after it for the text forms.
        encoding: Of the text forms.
        rows: Rows of one block.
        columns: Columns that must appear even where the first block does not have them (JSON lines).

    Raises:
        DataError: There is no such file, it is empty, has two columns of one name, or is of an unknown format.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "d.csv"
        >>> _ = path.write_text("text,label\ngood,1\nbad\n")
        >>> [(b.table.num_rows, b.bad[0].line, b.bad[0].reason) for b in blocks(path)]
        [(1, 3, '1 cell, the header has 2')]
    """
    if not path.exists():
        names = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=1)
        raise DataError(f"no such file {str(path)!r}", hint=f"did you mean {near[0]!r}?" if near else "check the path")
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=str(path), hint="it needs a header line and rows below it")
    return _reader(path)(path, encoding, rows, columns)


def _reader(path: Path) -> Callable[[Path, str, int, Sequence[str]], Iterator[Block]]:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    known = {
        ".csv": delimited, ".tsv": delimited, ".tab": delimited, ".jsonl": json_lines, ".ndjson": json_lines,
        ".json": json_records, ".parquet": parquet, ".pq": parquet, ".txt": text_lines, **dict.fromkeys(SUFFIXES, svmlight),
        **dict.fromkeys(FASTA, fasta), ".ts": ts_file,
    }  # fmt: skip
    if not suffixes or suffixes[-1] not in known:
        raise DataError(f"unknown format {path.name!r}", hint=f"known: {', '.join(known)}; text forms also with .gz")
    return known[suffixes[-1]]


def text_lines(path: Path, encoding: str, rows: int, columns: Sequence[str]) -> Iterator[Block]:  # noqa: ARG001  (one signature)
    """Plain text: every line that is not blank is a row of the column ``text``."""
    lines = Lines(path, encoding)
    gather = Gather(("text",))
    start = 0
    for line in lines:
        odd = lines.odd.pop(lines.number, None)
        if odd:
            gather.wrong(lines.number, odd)
        elif line.strip():
            gather.good([line.strip()], lines.number)
        if len(gather) >= rows or lines.size - start > CHARACTERS:
            start = lines.size
            yield gather.block()
    if len(gather):
        yield gather.block()


def as_cell(value: Any) -> str | None:
    """One JSON value as text; lists and objects as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def json_lines(path: Path, encoding: str, rows: int, columns: Sequence[str]) -> Iterator[Block]:
    """One JSON object per line; the columns are the keys of the first block, later keys are not read."""
    lines = Lines(path, encoding)
    gather = Gather(())
    waiting: list[tuple[dict[str, Any] | str, int]] = []
    start = 0

    def flush() -> Block:
        if not gather.columns:
            keys = dict.fromkeys(key for item, _ in waiting if isinstance(item, dict) for key in item)
            gather.columns = list(dict.fromkeys([*keys, *(columns if keys else ())]))
        for item, line in waiting:
            if isinstance(item, str):
                gather.wrong(line, item)
            else:
                gather.good([as_cell(item.get(key)) for key in gather.columns], line)
        waiting.clear()
        return gather.block()

    for line in lines:
        if not line.strip():
            continue
        waiting.append((lines.odd.pop(lines.number, None) or _object(line), lines.number))
        if len(waiting) >= rows or lines.size - start > CHARACTERS:
            start = lines.size
            yield flush()
    if waiting:
        yield flush()


def _object(line: str) -> dict[str, Any] | str:
    """The object on one line, or what is wrong with it."""
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        if isinstance(error, RecursionError):
            return "JSON nested too deeply"
        return f"invalid JSON: {error.msg} at character {error.pos + 1}"
    return value if isinstance(value, dict) else f"a JSON {type(value).__name__}, not an object"


def json_records(path: Path, encoding: str, rows: int, columns: Sequence[str]) -> Iterator[Block]:
    """A JSON list of objects, read whole; a file with one object per line is read as JSON lines."""
    lines = Lines(path, encoding)
    text = "".join(lines)
    if lines.odd:
        line, reason = next(iter(lines.odd.items()))
        raise DataError(reason, where=f"{path}, line {line}", hint=lines.advice() if "NUL" not in reason else None)
    try:
        records = json.loads(text)
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{") and error.msg == "Extra data":
            yield from json_lines(path, encoding, rows, columns)
            return
        raise DataError(
            f"invalid JSON: {error.msg}", where=f"{path}, line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise DataError("JSON nested too deeply", where=str(path)) from None
    if not isinstance(records, list):
        raise DataError(
            "the JSON file holds no list", where=str(path), hint='write [{"text": …, "label": …}, …] or .jsonl'
        )
    names = list(dict.fromkeys(key for item in records if isinstance(item, dict) for key in item))
    gather = Gather(dict.fromkeys([*names, *columns]) if names else ())
    for i, item in enumerate(records):
        if isinstance(item, dict):
            gather.good([as_cell(item.get(key)) for key in gather.columns], i + 1)
        else:
            gather.wrong(i + 1, f"a JSON {type(item).__name__}, not an object")
        if len(gather) >= rows:
            yield gather.block()
    if len(gather):
        yield gather.block()


def parquet(path: Path, encoding: str, rows: int, columns: Sequence[str]) -> Iterator[Block]:  # noqa: ARG001  (one signature)
    """Parquet in batches; a row's line is its 1-based number."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"not a Parquet file ({error})", where=str(path)) from None
    with file:
        check_names(file.schema_arrow.names, path)
        start = 0
        try:
            for batch in file.iter_batches(batch_size=rows):
                numbers = np.arange(start, start + batch.num_rows)
                yield Block(plain(pa.Table.from_batches([batch])), numbers, numbers + 1)
                start += batch.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"damaged Parquet file ({error})", where=f"{path}, after row {start}") from None


def plain(table: pa.Table) -> pa.Table:
    """The same columns without dictionaries, views and extension types, text as ``large_string``."""
    columns = []
    for column in table.columns:
        if isinstance(column.type, pa.BaseExtensionType):
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)  # noqa: PLW2901
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_string(kind) or pa.types.is_string_view(kind):
            kind = pa.large_string()
        elif pa.types.is_binary(kind) or pa.types.is_binary_view(kind):
            kind = pa.large_binary()
        elif pa.types.is_null(kind):
            kind = pa.large_string()
        columns.append(column if column.type == kind else column.cast(kind))
    return pa.Table.from_arrays(columns, names=table.column_names)
