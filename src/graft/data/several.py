"""Labels of which a row has several: cells with a separator, lists, or one column of 0 and 1 for each label."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graft.core.errors import DataError
from graft.core.labels import encode
from graft.core.rows import evenly_spaced
from graft.core.task import Task
from graft.data.columns import as_numbers, as_text, is_missing, take

SEPARATORS = ("|", ";", ",")  # in the order in which they are tried
LIST = ""  # the separator of labels that are a list
SAMPLE = 5_000  # rows that a separator is looked for in
LEAST = 0.05  # share of the cells that hold it at least
LONGEST = 40  # characters of a label: longer pieces are parts of a sentence
TRUTH = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "1": 1.0, "0": 0.0}


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def separator_of(column: pa.ChunkedArray) -> str | None:
    """What separates the labels of a row: ``"|"``, ``";"``, ``","``, or ``""`` for a list; None for one label per row.

    Cells hold several labels if, split at the separator, short pieces repeat: there are fewer of them than different
    cells, and most are in several different cells.  (Names such as "Smith, John" are as many as their pieces.)

    Example:
        >>> separator_of(pa.chunked_array([["a;b", "a", "b;c", "c", "a;c"]])), separator_of(pa.chunked_array([["a", "b"]]))
        (';', None)
    """
    if is_list(column.type):
        return LIST
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    some = take(as_text(column), evenly_spaced(len(column), SAMPLE))
    cells = [cell.strip() for cell in some.to_pylist() if cell and cell.strip()]
    if cells and all(cell.startswith("[") and cell.endswith("]") for cell in cells):
        return LIST if all(_json(cell) is not None for cell in cells[:100]) else None
    return next((mark for mark in SEPARATORS if _separates(mark, cells)), None)


def _separates(mark: str, cells: list[str]) -> bool:
    if sum(mark in cell for cell in cells) < max(1, LEAST * len(cells)):
        return False
    different = set(cells)
    if mark == "," and all(re.fullmatch(r"[\d\s,.+-]+", cell) for cell in different):
        return False  # decimal numbers
    seen: Counter[str] = Counter()
    for cell in different:
        seen.update(set(_split(cell, mark)))
    if len(seen) < 2 or len(seen) >= len(different) or max(map(len, seen)) > LONGEST:
        return False
    return sum(count > 1 for count in seen.values()) >= 0.5 * len(seen)


def _split(cell: str, mark: str) -> list[str]:
    return [piece for part in cell.split(mark) if (piece := part.strip())]


def _json(cell: str) -> list[Any] | None:
    try:
        found = json.loads(cell)
    except (json.JSONDecodeError, RecursionError):
        return None
    return found if isinstance(found, list) and not any(isinstance(one, list | dict) for one in found) else None


def names_of(column: pa.ChunkedArray, separator: str) -> list[tuple[str, ...] | None]:
    """The labels of each row, each once; an empty cell has none, and a list that is not there is unknown (None).

    Example:
        >>> names_of(pa.chunked_array([["b; a;b", None]]), ";"), names_of(pa.chunked_array([['["a"]', None]]), "")
        ([('b', 'a'), ()], [('a',), None])
    """
    if is_list(column.type):
        return [None if row is None else _clean(row) for row in column.to_pylist()]
    cells = as_text(column).to_pylist()
    if separator == LIST:
        return [None if cell is None or not cell.strip() else _clean(_json(cell) or ()) for cell in cells]
    return [_clean(_split(cell, separator)) if cell else () for cell in cells]


def _clean(names: Iterable[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for name in names if name is not None and (text := str(name).strip())))


def read_several(column: pa.ChunkedArray, task: str | Task | None) -> tuple[list[tuple[str, ...] | None], str] | None:
    """The labels of each row and their separator, where a row has several; None where it has one.

    Args:
        column: The label column.
        task: ``"multilabel"`` asks for several; another name, or task, for one; None looks at the cells.
    """
    known = task if isinstance(task, Task) else None
    if known is not None and not known.is_multilabel:
        return None
    if known is None and task not in {None, "multilabel"}:
        return None
    found = separator_of(column)
    if found is None and known is not None:
        found = known.separator or SEPARATORS[0]
    elif found is None and task == "multilabel":
        text = as_text(column)
        held = [mark for mark in SEPARATORS if pc.any(pc.match_substring(text, mark)).as_py()]
        found = held[0] if held else SEPARATORS[0]
    if known is not None and known.separator and found != LIST:
        found = known.separator
    return None if found is None else (names_of(column, found), found)


def several_labels(
    found: tuple[list[tuple[str, ...] | None], str],
    keep: np.ndarray,
    task: Any,
    *,
    modality: str,
    label: str,
    where: str,
) -> tuple[tuple[Task, np.ndarray], np.ndarray, list[str]]:
    """Task and targets (N, C), which of the rows to keep are unknown (N,), and notes.

    Args:
        found: What ``read_several`` gives.
        keep: Which rows are examples (N,).
        task: A known task, whose labels are the only ones; everything else is read off the rows.
        modality: Of the rows.
        label: Name of the column.
        where: What to call the file in messages.

    Raises:
        DataError: There are fewer than two labels.
    """
    names, separator = found
    rows = [row if inside else None for row, inside in zip(names, keep, strict=True)]
    notes = []
    if isinstance(task, Task):
        strange = Counter(name for row in rows for name in row or () if name not in task.classes)
        if strange:
            few = ", ".join(f"{name} ({count})" for name, count in strange.most_common(5))
            notes.append(f"{len(strange)} label(s) that the model does not know are passed over: {few}")
    else:
        try:
            task = Task.infer(rows, modality=modality, kind="multilabel", target=label)  # type: ignore[arg-type]
        except DataError as error:
            raise DataError(error.what, where=error.where or where, hint=error.hint) from None
        task = dataclasses.replace(task, separator=separator)
        notes.append(f"{label!r} holds several labels per row, {said(separator)}: the task is multilabel")
    y, _ = encode(rows, task.classes)
    return (task, y), np.isnan(y[:, 0]) & keep, notes


def said(separator: str) -> str:
    """How labels are told apart, in words."""
    return "as a list" if separator == LIST else f"separated by {separator!r}"


# -- columns of 0 and 1 ------------------------------------------------------------------------------------------------


def in_one_column(table: pa.Table, names: Sequence[str], *, where: str) -> pa.Table:
    """The table with one column of lists in the place of columns of 0 and 1; a row with an empty cell is unknown.

    Raises:
        DataError: A column is missing, or holds something else.
    """
    given = []
    for name in names:
        if name not in table.column_names:
            raise DataError(f"no label column {name!r}", where=where, hint=f"columns: {', '.join(table.column_names)}")
        given.append(_truth(table.column(name), name, where))
    y = np.stack(given, axis=1)
    rows = [None if np.isnan(row).any() else [names[c] for c in np.flatnonzero(row)] for row in y]
    return table.drop_columns(list(names)).append_column(
        ",".join(names), pa.array(rows, pa.large_list(pa.large_string()))
    )


def one_column(
    table: pa.Table, label: str | None, known: tuple[Any, Task] | None, *, where: str, labelled: bool = True
) -> tuple[pa.Table, str | None]:
    """Table and label column, where ``label`` names columns of 0 and 1 (a,b,c), or a known task has been read from such.

    Args:
        table: All columns.
        label: The label column that was asked for.
        known: Roles and task of another data set.
        where: What to call the file in messages.
        labelled: Whether labels are wanted at all.
    """
    wanted, columns = label or (known[0].label if known else None), ()
    if not labelled or wanted is None or wanted in table.column_names:
        return table, label
    if known is None and "," in wanted:
        columns = tuple(name.strip() for name in wanted.split(","))
    elif known is not None and known[1].is_multilabel and set(known[1].classes) <= set(table.column_names):
        columns = known[1].classes
    return (in_one_column(table, columns, where=where), ",".join(columns)) if columns else (table, label)


def _truth(column: pa.ChunkedArray, name: str, where: str) -> np.ndarray:
    values, strange = as_numbers(column)
    if strange.any():
        text = as_text(column)
        words = [
            None if gone else cell.strip().lower()
            for cell, gone in zip(text.to_pylist(), is_missing(text), strict=True)
        ]
        other = next((word for word in words if word is not None and word not in TRUTH), None)
        if other is not None:
            what = f"the label column {name!r} holds {other!r}, not 0 and 1"
            raise DataError(what, where=where, hint="name columns of 0 and 1, or one column of labels")
        return np.array([np.nan if word is None else TRUTH[word] for word in words])
    other = values[~np.isnan(values) & ~np.isin(values, (0.0, 1.0))]
    if len(other):
        what = f"the label column {name!r} holds {other[0]:g}, not 0 and 1"
        raise DataError(what, where=where, hint="name columns of 0 and 1, or one column of labels")
    return values


def in_memory(y: Any, rows: int) -> pa.Array | None:
    """Lists of labels, or an array or a frame (n, C) of 0 and 1, as a column of lists; None for anything else.

    Raises:
        DataError: There are not as many as rows, or an array holds something else.
    """
    if hasattr(y, "columns") and hasattr(y, "to_numpy"):
        names, values = [str(name) for name in y.columns], y.to_numpy()
    elif isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] > 1:
        width = len(str(y.shape[1] - 1))  # so that their order as words is that of the columns
        names, values = [f"{place:0{width}d}" for place in range(y.shape[1])], y
    else:
        held = isinstance(y, list | tuple) or str(getattr(y, "dtype", "")) == "object"
        several = [one for one in y if one is not None] if held else []
        if not several or not all(isinstance(one, list | tuple | set | frozenset) for one in several):
            return None
        lists = [None if one is None else sorted(map(str, one)) for one in y]
        return _as_many(pa.array(lists, pa.large_list(pa.large_string())), rows)
    values = np.asarray(values, np.float64)
    if not np.isin(values[~np.isnan(values)], (0.0, 1.0)).all():
        raise DataError("labels of several columns must be 0 and 1", hint="pass one label per row, or lists of labels")
    lists = [None if np.isnan(row).any() else [names[c] for c in np.flatnonzero(row)] for row in values]
    return _as_many(pa.array(lists, pa.large_list(pa.large_string())), rows)


def _as_many(column: pa.Array, rows: int) -> pa.Array:
    if len(column) != rows:
        raise DataError(f"{rows} rows but {len(column)} lists of labels", hint="pass one list per row")
    return column


# -- what to say -------------------------------------------------------------------------------------------------------


def remarks(y: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Notes on rows without a label, labels of one row, and labels of all rows."""
    counts, found = y.sum(axis=0), []
    empty = int((y.sum(axis=1) == 0).sum())
    if empty:
        found.append(f"{empty} row(s) have no label at all: they are learned from as rows that have none")
    for number, what in (
        (1, "with one row can be trained on but not scored"),
        (len(y), "on every row: nothing to learn"),
    ):
        names = [classes[c] for c in np.flatnonzero(counts == number)]
        if names and len(y) > 1:
            found.append(f"{len(names)} label(s) {what}: {', '.join(names[:5])}{' …' * (len(names) > 5)}")
    return found
