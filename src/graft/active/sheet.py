"""The sheet that goes to a person and comes back: a CSV file with the rows to label, and an empty column for the labels."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graft.active.labeller import Proposal
from graft.core.errors import DataError
from graft.core.types import Dataset
from graft.data.columns import as_text, is_missing
from graft.data.inputs import open_source
from graft.data.splits import content_keys
from graft.predict import writing

ROW, KEY, SUGGESTION, PROBABILITY, REASON = "row", "key", "suggestion", "probability", "reason"
OWN = (ROW, KEY, SUGGESTION, PROBABILITY, REASON)


@dataclass(frozen=True)
class Answer:
    """A label that came back.

    Attributes:
        row: 0-based number of the row.
        key: What the sheet said of its content; None where it says nothing.
        label: The label, as it was written.
        where: Where it stands, for messages.
    """

    row: int
    key: str | None
    label: str
    where: str


def row_key(data: Dataset) -> list[str]:
    """A short name of the content of each row, which a spreadsheet leaves as it is."""
    return [f"k{key:016x}" for key in content_keys(data).tolist()]


def shown(data: Dataset, position: int) -> dict[str, str]:
    """What a person sees of a row, by column: texts, cells of a table, or the file."""
    place, modality = np.array([data.rows[position]]), data.task.modality
    if modality in {"text", "sequence"}:
        taken = data.X.take(place)[0]
        cells = taken if isinstance(taken, tuple) else (taken,)
        names = data.columns or tuple(f"text{i + 1}" for i in range(len(cells)))
        return {_free(name): " ".join(cell.split()) for name, cell in zip(names, cells, strict=True)}
    if modality == "table":
        columns: dict[str, Any] = data.X.take(place)
        return {_free(name): _cell(values[0]) for name, values in columns.items()}
    sources = getattr(data.X, "sources", None)
    item = next(iter(sources(place)), None) if sources else None
    name = _free(data.columns[0]) if data.columns else "file"
    return {name: str(item) if isinstance(item, str | Path) else f"{modality} {int(place[0]) + 1}"}


def _free(name: str) -> str:
    """The name of an input column beside those of the sheet."""
    return f"{name} (input)" if name in OWN else name


def _cell(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124  (NaN)
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def lines_of(data: Dataset, proposals: Sequence[Proposal], label: str) -> list[dict[str, str]]:
    """The lines of a sheet, with an empty cell for every label."""
    keys = row_key(data.select(np.array([one.position for one in proposals], np.int64)))
    lines = []
    for one, key in zip(proposals, keys, strict=True):
        sure = "" if one.probability is None else f"{one.probability:.3f}"
        lines.append(
            {ROW: str(one.row + 1), **shown(data, one.position), SUGGESTION: one.label or "", PROBABILITY: sure}
            | {REASON: one.reason, KEY: key, label: ""}
        )
    return lines


def write_sheet(out: Path | None, lines: Sequence[dict[str, str]]) -> None:
    """Write a sheet: a whole file or none, or standard output.

    Raises:
        OutputError: It cannot be written.
    """
    with writing(out) as file:
        names = list(dict.fromkeys(name for line in lines for name in line))
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def read_lines(path: Path, encoding: str = "utf-8") -> list[dict[str, str]]:
    """The lines of a sheet as they were written."""
    lines: list[dict[str, str]] = []
    for block in open_source(str(path), encoding=encoding, labelled=False).blocks:
        columns = {name: as_text(block.table.column(name)).to_pylist() for name in block.table.column_names}
        if block.bad:
            raise DataError(block.bad[0].reason, where=f"{path.name}, line {block.bad[0].line}")
        lines += [{name: cells[at] or "" for name, cells in columns.items()} for at in range(block.table.num_rows)]
    return lines


def read_answers(path: Path, label: str, *, encoding: str = "utf-8") -> tuple[list[Answer], int]:
    """The labels that a person wrote into a sheet, and how many cells are still empty.

    Raises:
        DataError: There is no such file, it is no sheet, or a row number is no number.
    """
    answers, empty = [], 0
    for block in open_source(str(path), encoding=encoding, labelled=False).blocks:
        if block.bad:
            raise DataError(block.bad[0].reason, where=f"{path.name}, line {block.bad[0].line}", hint="mend this line")
        names = block.table.column_names
        for name in (ROW, label):
            if name not in names:
                hint = f"its columns are {', '.join(names[:8])}; give the file that graft label DATA wrote"
                raise DataError(f"{path.name} has no column {name!r}", hint=hint)
        column = as_text(block.table.column(label))
        gone = is_missing(column)
        empty += int(gone.sum())
        rows, labels = as_text(block.table.column(ROW)).to_pylist(), column.to_pylist()
        keys = as_text(block.table.column(KEY)).to_pylist() if KEY in names else [None] * len(rows)
        for place in np.flatnonzero(~gone).tolist():
            where = f"{path.name}, line {block.lines[place]}"
            number = _number(rows[place], where)
            answers.append(Answer(number, (keys[place] or "").strip() or None, labels[place].strip(), where))
    return answers, empty


def _number(text: str | None, where: str) -> int:
    """The 0-based row that a cell names; 12.0, as a spreadsheet may write it, is 12."""
    try:
        value = float(text or "")
    except ValueError:
        value = -1.0
    if value < 1 or value != int(value):
        raise DataError(f"{text!r} is no number of a row", where=where, hint="leave the column row as it was written")
    return int(value) - 1
