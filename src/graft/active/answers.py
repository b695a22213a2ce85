"""Bring labels back into the data: everything is checked first, and the new file appears when it is whole."""

from __future__ import annotations

import csv
import difflib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graft.active.reading import Partly
from graft.active.sheet import Answer, row_key
from graft.core.errors import DataError, OutputError, UsageError
from graft.data.columns import as_text
from graft.data.guess import FILES
from graft.data.inputs import open_source
from graft.data.lines import Lines
from graft.predict import check_out, writing

JSON, LINES, PARQUET = (".json",), (".jsonl", ".ndjson"), (".parquet", ".pq")
TABLES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


def checked(partly: Partly, answers: Sequence[Answer], *, new_classes: bool = False) -> dict[int, str]:
    """New labels by 0-based row; those that are there already are left out.

    Args:
        partly: The data.
        answers: What came back.
        new_classes: Whether a label may be of a class that was not known.

    Raises:
        DataError: A row is not in the data or has other content, a label is no known class or no number, or differs from
            one that is there already or was given twice.
    """
    data = partly.data
    where = {int(row): place for place, row in enumerate(data.rows)}
    keys, there = row_key(data), partly.labelled
    found: dict[int, str] = {}
    for one in answers:
        place = where.get(one.row)
        if place is None:
            what = f"there is no usable row {one.row + 1} in {data.name}, which has {len(data):,}"
            raise DataError(what, where=one.where, hint="is it the sheet of another file?")
        if one.key is not None and one.key != keys[place]:
            what = f"row {one.row + 1} of {data.name} is not the row that the sheet shows"
            raise DataError(what, where=one.where, hint="were rows moved? give the file that the sheet was made of")
        label = _checked_label(one, partly, new_classes=new_classes)
        before = str(data.select(np.array([place])).labels[0]) if there[place] else found.get(one.row)
        if before is not None and not _same(before, label, partly):
            what = f"row {one.row + 1} has the label {before!r} already, the sheet says {label!r}"
            raise DataError(what, where=one.where, hint=f"change it in {data.name} itself, or empty one of both cells")
        if not there[place]:
            found[one.row] = label
    return found


def _same(one: str, other: str, partly: Partly) -> bool:
    return one == other if partly.data.task.is_classification else bool(np.isclose(float(one), float(other)))


def _checked_label(one: Answer, partly: Partly, *, new_classes: bool) -> str:
    if not partly.data.task.is_classification:
        try:
            return str(float(one.label))
        except ValueError:
            raise DataError(f"label {one.label!r} is not a number", where=one.where) from None
    known = partly.classes
    if len(known) < 2 or new_classes or one.label in known:
        return one.label
    near = difflib.get_close_matches(one.label, known, n=1)
    few = ", ".join(known[:8]) + (" …" if len(known) > 8 else "")
    hint = f"did you mean {near[0]!r}? " if near else f"known are {few}; "
    raise DataError(f"label {one.label!r} is no known class", where=one.where, hint=f"{hint}--new-classes takes it")


def write_labelled(
    source: str,
    out: Path,
    label: str,
    found: dict[int, str],
    *,
    values: bool = False,
    modality: str = "text",
    encoding: str = "utf-8",
    overwrite: bool = False,
) -> None:
    """Write the data with the new labels in their column; all other cells and rows stay as they are.

    Delimited and plain text and folders become CSV (``--out`` may end in .tsv too), JSON becomes JSON lines, Parquet stays
    Parquet.

    Args:
        source: The data.
        out: File to write.
        label: The label column, which is added where there is none.
        found: New labels by 0-based row.
        values: Whether labels are numbers.
        modality: Of the rows: paths of pictures and sounds are relative to the file that holds them.
        encoding: Of the source; what is written is UTF-8.
        overwrite: Replace the file if it exists.

    Raises:
        OutputError: The file exists or cannot be written.
        UsageError: Its suffix does not fit.
    """
    path = Path(source)
    check_out(out, overwrite=overwrite)
    kind = "" if path.is_dir() else next(s.lower() for s in reversed(path.suffixes) if s.lower() != ".gz")
    wanted = LINES if kind in JSON + LINES else PARQUET if kind in PARQUET else tuple(TABLES)
    if out.suffix.lower() not in wanted:
        raise UsageError(f"{out.name} cannot hold all that {path.name} holds", hint=f"end --out in {wanted[0]}")
    if modality in FILES and path.is_file() and out.parent.resolve() != path.parent.resolve():
        raise UsageError(
            f"{path.name} names {FILES[modality]} relative to its folder", hint=f"write --out into {path.parent}"
        )
    if kind in JSON + LINES:
        _as_lines(path, out, label, found, values=values, encoding=encoding)
    elif kind in PARQUET:
        _as_parquet(path, out, label, found, values=values)
    else:
        _as_table(path, out, label, found, encoding=encoding)


def _as_table(path: Path, out: Path, label: str, found: dict[int, str], *, encoding: str) -> None:
    opened = open_source(str(path), encoding=encoding, labelled=False)
    with writing(out) as file:
        writer = csv.writer(file, delimiter=TABLES[out.suffix.lower()], lineterminator="\n")
        for count, block in enumerate(opened.blocks):
            if block.bad:
                raise DataError(block.bad[0].reason, where=f"{path.name}, {opened.unit} {block.bad[0].line}")
            cells = {name: as_text(block.table.column(name)).to_pylist() for name in block.table.column_names}
            if path.is_dir():  # paths in a file are relative to its folder
                media = next(iter(cells))
                cells[media] = [os.path.relpath(path / item, out.parent) for item in cells[media]]
            cells.setdefault(label, [None] * block.table.num_rows)
            for place, number in enumerate(block.numbers.tolist()):
                if number in found:
                    cells[label][place] = found[number]
            if not count:
                writer.writerow(cells)
            writer.writerows(zip(*([cell or "" for cell in column] for column in cells.values()), strict=True))


def _as_lines(path: Path, out: Path, label: str, found: dict[int, str], *, values: bool, encoding: str) -> None:
    with writing(out) as file:
        for number, item in enumerate(_objects(path, encoding)):
            if number in found:
                item[label] = float(found[number]) if values else found[number]
            file.write(json.dumps(item, ensure_ascii=False) + "\n")


def _objects(path: Path, encoding: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON file, of which ``load`` has seen that they can be read."""
    lines = Lines(path, encoding)
    text = list(lines)
    whole = "".join(text).lstrip()
    if whole.startswith("["):
        yield from json.loads(whole)
    else:
        yield from (json.loads(line) for line in text if line.strip())


def _as_parquet(path: Path, out: Path, label: str, found: dict[int, str], *, values: bool) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    there = label in table.column_names
    cells = table.column(label).to_pylist() if there else [None] * table.num_rows
    for row, text in found.items():
        cells[row] = float(text) if values else text
    kind = table.schema.field(label).type if there else pa.float64() if values else pa.large_string()
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        cells = [_number(cell, kind, label) for cell in cells]
    column = pa.array(cells, kind if not pa.types.is_null(kind) else pa.large_string())
    place = table.column_names.index(label) if there else table.num_columns
    made = table.set_column(place, label, column) if there else table.append_column(label, column)
    with _placed(out) as temporary:
        pq.write_table(made, temporary)


def _number(cell: Any, kind: pa.DataType, label: str) -> Any:
    if cell is None or not isinstance(cell, str):
        return cell
    try:
        if pa.types.is_boolean(kind):
            return {"true": True, "false": False}[cell.lower()]
        return int(cell) if pa.types.is_integer(kind) else float(cell)
    except (ValueError, KeyError):
        raise DataError(f"label {cell!r} does not fit the column {label!r} of {kind}") from None


@contextmanager
def _placed(out: Path) -> Iterator[Path]:
    """A temporary file that takes the place of ``out`` when it is written."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(out)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}", hint="choose another --out") from error
    finally:
        temporary.unlink(missing_ok=True)
