"""Read comma- and tab-separated files: every row that does not fit its header is named by its line."""

from __future__ import annotations

import contextlib
import csv
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from graft.core.errors import DataError
from graft.data.blocks import CHARACTERS, Block, Gather, check_names
from graft.data.lines import Lines

_LIMIT = threading.Lock()


@contextlib.contextmanager
def _long_cells() -> Iterator[None]:
    """Let cells be as long as a block; the csv module's limit is global, so it is put back after every block."""
    with _LIMIT:
        before = csv.field_size_limit(CHARACTERS)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def delimited(path: Path, encoding: str, rows: int, columns: Sequence[str]) -> Iterator[Block]:  # noqa: ARG001
    """CSV by RFC 4180 (``""`` is a quote inside quotes); blank lines are no rows.

    A ``.csv`` whose header holds no comma may be separated by ``;``, tabs or ``|``.

    Raises:
        DataError: The header cannot be read, or a quote is never closed within 64 MB.
    """
    lines = Lines(path, encoding)
    with contextlib.closing(iter(lines)) as text:  # an error must not leave the file open
        reader = csv.reader(text, delimiter=_delimiter(lines, path))
        with _long_cells():
            names = _header(reader, lines, path)
        gather = Gather(names)
        more = True
        while more:
            with _long_cells():
                more = _fill(gather, reader, lines, rows)
            if len(gather):
                yield gather.block()


def _delimiter(lines: Lines, path: Path) -> str:
    if any(suffix.lower() in {".tsv", ".tab"} for suffix in path.suffixes):
        return "\t"
    first = lines.head.decode(lines.codec, "replace").lstrip("\ufeff\r\n").splitlines()
    header = first[0] if first else ""
    return next((mark for mark in ",;\t|" if mark in header), ",")


def _header(reader: Iterator[list[str]], lines: Lines, path: Path) -> list[str]:
    try:
        cells = next((row for row in reader if row), None)
    except csv.Error as error:
        raise DataError(f"the header cannot be read ({error})", where=f"{path}, line 1") from None
    if lines.odd:
        line, reason = next(iter(lines.odd.items()))
        raise DataError(reason, where=f"{path}, line {line}", hint=None if "NUL" in reason else lines.advice())
    if cells is None:
        raise DataError("the file is empty", where=str(path), hint="it needs a header line and rows below it")
    if lines.ended:
        raise DataError("a quote in the header is never closed", where=f"{path}, line 1")
    names = [name.strip() or f"column {i + 1}" for i, name in enumerate(cells)]
    check_names(names, path)
    return names


def _fill(gather: Gather, reader: Iterator[list[str]], lines: Lines, rows: int) -> bool:
    """Gather one block; False at the end of the file."""
    width, stop = len(gather.columns), lines.size + CHARACTERS
    odd = lines.odd
    while len(gather) < rows and lines.size < stop:
        start = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return False
        except csv.Error as error:
            if "field limit" in str(error):
                where, hint = f"{lines.path}, line {start}", 'close it, or write a quote inside a cell as ""'
                raise DataError("a quote is never closed", where=where, hint=hint) from None
            gather.wrong(start, str(error).split(" - ")[0])
            continue
        if odd:
            spoilt = [odd.pop(line) for line in range(start, lines.number + 1) if line in odd]
            if spoilt:
                gather.wrong(start, spoilt[0])
                continue
        if lines.ended:  # the parser asked for a line after the last one
            gather.wrong(start, "a quote is opened here and never closed")
        elif len(cells) == width:
            gather.good(cells, start)
        elif cells and (len(cells) > 1 or cells[0].strip()):
            gather.wrong(start, f"{len(cells)} cell{'s' * (len(cells) > 1)}, the header has {width}")
    return True
