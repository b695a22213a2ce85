"""Time series in files of their own: one each in folders by class, or many in the .ts form of the UEA and UCR archives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError
from graft.data.blocks import Block
from graft.data.columns import as_numbers
from graft.data.lines import Lines
from graft.data.series_rows import CHANNEL, channels, list_column
from graft.data.series_tables import TIMES, ranks

FILES = (".csv", ".tsv", ".txt")
LABEL = "label"


def open_folder(folders: Sequence[Path], root: Path, encoding: str) -> Block | None:
    """One series per file, the class being the folder; columns of numbers are channels, one named as a time orders them.

    Returns:
        A column ``file``, the channels, and ``label``; None where there are no such files.

    Raises:
        DataError: A file has other channels than the first.
    """
    files = [
        (item, folder.name)
        for folder in folders
        for item in sorted(folder.rglob("*"))
        if item.suffix.lower() in FILES and not item.name.startswith(".")
    ]
    if not files:
        return None
    parts, names = [], None
    for path, _ in files:
        own, values = _numbers(path, encoding)
        names = own if names is None else names
        if len(own) != len(names):
            what = f"{len(own)} channel(s), the first file has {len(names)}"
            raise DataError(what, where=str(path.relative_to(root)), hint="every file needs the same columns")
        parts.append(values)
    table = {"file": pa.array([str(path.relative_to(root)) for path, _ in files], pa.large_string())}
    called = [CHANNEL] if len(names or ()) == 1 else list(names or ())
    table |= {name: list_column([values[:, place] for values in parts]) for place, name in enumerate(called)}
    table[LABEL] = pa.array([name for _, name in files], pa.large_string())
    numbers = np.arange(len(files))
    return Block(pa.table(table), numbers, numbers + 1)


def _numbers(path: Path, encoding: str) -> tuple[list[str], np.ndarray]:
    """Channels of one file: their names and values (T, C), with or without a header line."""
    rows: list[list[str]] = []
    mark = ""
    for line in Lines(path, encoding):
        content = line.strip()
        if content:
            mark = mark or next((one for one in ",;\t" if one in content), "")
            rows.append([cell.strip() for cell in (content.split(mark) if mark else content.split())])
    if not rows:
        raise DataError("the file is empty", where=str(path), hint="remove it, or write a line per step")
    width = len(rows[0])
    wrong = next((number for number, row in enumerate(rows, 1) if len(row) != width), None)
    if wrong:
        raise DataError(f"{len(rows[wrong - 1])} cells, the first line has {width}", where=f"{path}, line {wrong}")
    head = rows[0] if any(as_numbers(pa.chunked_array([pa.array([cell])]))[1][0] for cell in rows[0]) else None
    columns = [
        pa.chunked_array([pa.array(cells, pa.large_string())]) for cells in zip(*rows[head is not None :], strict=True)
    ]
    names = head or [f"channel {place + 1}" for place in range(width)]
    time = next((place for place, name in enumerate(names) if name.casefold() in TIMES), None)
    order = slice(None) if time is None or not columns else np.argsort(ranks(columns[time]), kind="stable")
    kept = [place for place in range(len(columns)) if place != time]
    values = [as_numbers(columns[place])[0][order] for place in kept]
    whole = np.stack(values, axis=1) if values else np.zeros((0, max(1, width - (time is not None))))
    return [names[place] for place in kept] or [CHANNEL], whole


def ts_file(path: Path, encoding: str, rows: int, columns: Sequence[str]) -> Iterator[Block]:
    """The .ts form of the UEA and UCR archives: channels between colons, steps between commas, the class (or value) last.

    Raises:
        DataError: It has time stamps, or a line has another number of channels than the first.
    """
    del rows, columns
    labelled, begun = False, False
    series: list[np.ndarray] = []
    labels: list[str] = []
    numbers: list[int] = []
    lines = Lines(path, encoding)
    for line in lines:
        content, where = line.strip(), f"{path}, line {lines.number}"
        if not content or content.startswith("#"):
            continue
        if begun:
            cells = content.split(":")
            labels += [cells.pop().strip()] if labelled else []
            series.append(_channels(cells, where, series[0].shape[1] if series else None))
            numbers.append(lines.number)
            continue
        name, *said = content.casefold().split()
        if name == "@timestamps" and said[-1:] == ["true"]:
            hint = "write id,time,value as CSV"
            raise DataError("series with time stamps cannot be read", where=where, hint=hint)
        labelled = said[:1] == ["true"] if name in {"@classlabel", "@targetlabel"} else labelled
        begun = name == "@data"
    if not series:
        raise DataError("no series after @data", where=str(path), hint="it needs a line @data and series below it")
    table: dict[str, Any] = dict(channels(series)) | ({LABEL: pa.array(labels, pa.large_string())} if labelled else {})
    yield Block(pa.table(table), np.arange(len(series)), np.array(numbers))


def _channels(cells: list[str], where: str, count: int | None) -> np.ndarray:
    """One series (T, C) from its channels as text."""
    if count is not None and len(cells) != count:
        raise DataError(f"{len(cells)} channel(s), the first series has {count}", where=where)
    parts = [[_value(cell, where) for cell in channel.split(",")] for channel in cells]
    whole = np.full((max(map(len, parts), default=0), len(parts)), np.nan)
    for place, values in enumerate(parts):
        whole[: len(values), place] = values
    return whole


def _value(cell: str, where: str) -> float:
    try:
        return float("nan" if cell.strip() in {"?", ""} else cell)
    except ValueError:
        raise DataError(f"{cell.strip()[:40]!r} is not a number", where=where) from None
