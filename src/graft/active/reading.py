"""Data of which some rows, or none, have a label, read so that every row keeps the number it has in its file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data.columns import coded
from graft.data.guess import LABELS, find_column
from graft.data.inputs import Source, open_source
from graft.data.load import load
from graft.data.svmlight import is_svmlight


@dataclass(frozen=True)
class Partly:
    """Rows to label.

    Attributes:
        data: All usable rows; ``y`` is -1 (NaN) where there is no label, None where there is none at all.
        label: Name of the label column; it may not be there yet.
        classes: Classes that are known so far, from labels and by name; empty for values and at the very beginning.
    """

    data: Dataset
    label: str
    classes: tuple[str, ...]

    @property
    def labelled(self) -> np.ndarray:
        """Mask (N,) of the rows with a label."""
        y = self.data.y
        if y is None:
            return np.zeros(len(self.data), bool)
        found: np.ndarray = y >= 0 if self.data.task.is_classification else ~np.isnan(y)
        return found


def read_partly(
    source: str, *, label: str | None = None, classes: Sequence[str] = (), task: str | None = None, **options: Any
) -> Partly:
    """Read a file or folder whose label column has empty cells, is empty, or is missing.

    Args:
        source: What ``load`` takes, by its path.
        label: Label column; found if not given, and ``"label"`` where there is none.
        classes: Classes that may have no row yet.
        task: ``"classification"`` or ``"regression"``; read off the labels if not given.
        options: ``inputs``, ``modality``, ``encoding`` of ``load``.

    Raises:
        DataError: The rows cannot be read, or a label is none of ``classes``.
    """
    if Path(source).is_file() and is_svmlight(Path(source)):
        raise DataError("rows of svmlight carry their label in front", where=source, hint="use a CSV file")
    names, opened = _columns(source, options.get("encoding", "utf-8"))
    if label is not None and label not in names and difflib.get_close_matches(label.casefold(), names, 1, 0.75):
        find_column(label, names, role="label", where=opened.where)  # a slip of the pen: says what was meant
    if label is not None and label not in names:
        data = load(source, labelled=False, **options)
        return with_classes(_unlabelled(data, label, task), classes)
    try:
        data = load(source, label=label, partly=True, task=task, **options).one_label_per_row("graft label")
    except DataError as error:
        return _cold(source, label, classes, names, task, error, options)
    return with_classes(data, classes)


def _columns(source: str, encoding: str) -> tuple[list[str], Source]:
    """Names of the columns, and what the source is."""
    opened = open_source(source, encoding=encoding, labelled=False)
    first = next(opened.blocks, None)
    return ([] if first is None else list(first.table.column_names)), opened


def _unlabelled(data: Dataset, label: str, kind: str | None) -> Dataset:
    """Rows without any label, and what these will be."""
    task = dataclasses.replace(data.task, target=label)
    if kind == "regression":
        task = Task("regression", task.modality, (), "r2", label)
    return dataclasses.replace(data, y=None, task=task)


def _cold(
    source: str,
    label: str | None,
    classes: Sequence[str],
    names: list[str],
    kind: str | None,
    error: DataError,
    options: dict[str, Any],
) -> Partly:
    """Rows without labels, or with those of one class; what else was wrong is raised."""
    encoding = options.get("encoding", "utf-8")
    named = {name.casefold().strip(): name for name in reversed(names)}
    found = label or next((named[word] for word in LABELS if word in named), None)
    if found is None and len(names) > 1 and not len(labels_in(source, names[-1], encoding)[0]):
        found = names[-1]  # an empty last column is where the labels go
    data = load(source, label=found, labelled=False, **options)
    data = _unlabelled(data, found or "label", kind)
    seen, codes = (np.empty(0), None) if found is None else labels_in(source, found, encoding)
    if len(seen) > 1:
        raise error
    if codes is None or not len(seen) or kind == "regression":
        return with_classes(data, classes)
    task = Task("classification", data.task.modality, tuple(map(str, seen)), "accuracy", data.task.target)
    return with_classes(dataclasses.replace(data, y=codes[data.rows], task=task), classes)


def labels_in(source: str, column: str, encoding: str) -> tuple[np.ndarray, np.ndarray]:
    """Distinct labels of a column, and the number of each row's, -1 where the cell is empty.

    Raises:
        DataError: There is no such column.
    """
    opened = open_source(source, encoding=encoding, labelled=False)
    tables = [block.table for block in opened.blocks]
    name = find_column(column, tables[0].column_names if tables else [], role="label", where=opened.where)
    parts = [chunk for table in tables for chunk in table.column(name).chunks]
    return coded(pa.chunked_array(parts) if parts else pa.chunked_array([], pa.large_string()))


def with_classes(data: Dataset, classes: Sequence[str]) -> Partly:
    """The same rows with all classes that are known by name.

    Raises:
        DataError: A label is none of them.
    """
    task, given = data.task, tuple(dict.fromkeys(map(str, classes)))
    if not given:
        return Partly(data, task.target, task.classes)
    if not task.is_classification:
        raise DataError(f"{task.target!r} is to hold numbers, which have no classes", hint="leave --classes out")
    strange = [name for name in task.classes if name not in given]
    if strange:
        near = difflib.get_close_matches(strange[0], given, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "name all classes, or none"
        raise DataError(f"label {strange[0]!r} is none of the classes named", where=data.name, hint=hint)
    whole = tuple(sorted(given))
    y = data.y
    if y is not None:
        place = np.array([*(whole.index(name) for name in task.classes), -1])
        y = place[y]
    return Partly(dataclasses.replace(data, y=y, task=dataclasses.replace(task, classes=whole)), task.target, whole)


def with_labels(partly: Partly, found: dict[int, str]) -> Partly:
    """The same rows with labels of some of them, by 0-based row, taken in.

    Args:
        partly: The data.
        found: Labels that ``answers.checked`` has passed.
    """
    data, label = partly.data, partly.label
    there = partly.labelled
    names: list[str | None] = [None] * len(data)
    if there.any():
        for place, name in zip(np.flatnonzero(there).tolist(), data.select(there).labels.tolist(), strict=True):
            names[place] = str(name)
    place_of = {int(row): place for place, row in enumerate(data.rows)}
    for row, name in found.items():
        names[place_of[row]] = name
    known = np.array([name is not None for name in names])
    if not known.any():
        return partly
    values = np.array([name for name in names if name is not None], dtype=object)
    kind = data.task.kind
    classes = sorted({*partly.classes, *map(str, values)}) if kind != "regression" else []
    if kind == "regression" and not there.any():
        if len(np.unique(values)) < 2:
            return partly
        scaled = Task.infer(values.astype(np.float64), modality=data.task.modality, kind=kind, target=label)
        data = dataclasses.replace(data, task=scaled)
    if kind == "regression" or len(classes) > 1:
        infer = {"modality": data.task.modality, "kind": "classification", "target": label}
        task = data.task if kind == "regression" else Task.infer(np.array(classes), **infer)
    else:
        task = Task("classification", data.task.modality, tuple(classes), "accuracy", label)
    y = np.full(len(data), -1 if task.is_classification else np.nan, np.int64 if task.is_classification else np.float64)
    y[known] = task.encode(values if task.is_classification else values.astype(np.float64))
    return Partly(dataclasses.replace(data, y=y, task=task), label, task.classes)
