"""Read two data sets so that they can be compared: each may have labels, others than the first, or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.types import Dataset
from graft.data.load import load
from graft.data.rows import TableRows

FEWEST = 20  # rows of a side
KINDS = {
    "text": "texts",
    "image": "images",
    "audio": "sounds",
    "table": "a table",
    "counts": "sparse counts",
    "sequence": "sequences",
}
TASKS = ("classification", "regression")


def read_pair(
    one: Any,
    two: Any,
    *,
    label: str | None = None,
    other_label: str | None = None,
    encoding: str = "utf-8",
    workdir: Any = None,
) -> tuple[Dataset, Dataset]:
    """Both data sets; rows without a label have the target -1, or NaN for values.

    The second is read like the first where its columns and labels allow it; else with labels of its own, in the column
    of the same name or one found; else without labels.

    Args:
        one: A: a ``Dataset`` or what ``load`` reads.
        two: B.
        label: Label column of A; found if not given.
        other_label: Label column of B; that of A, or one found, if not given.
        encoding: Of text files.
        workdir: Where large data are put.

    Raises:
        DataError: A side cannot be read or has fewer than twenty rows, or the two are of different kinds.

    Example:
        >>> A = (["red fox"] * 20, ["x", "y"] * 10)
        >>> first, second = read_pair(A, ["blue sky"] * 20)
        >>> first.task.classes, second.y
        (('x', 'y'), None)
    """
    options = {"encoding": encoding, "workdir": workdir}
    first = one if isinstance(one, Dataset) else _first(one, label, options)
    second = two if isinstance(two, Dataset) else _second(two, other_label, first, options)
    for data in (first, second):
        if len(data) < FEWEST:
            raise DataError(f"{data.name} has {len(data)} rows", hint=f"a comparison needs {FEWEST} or more of each")
    _one_kind(first, second)
    return _told_apart(first, second, one, two)


def _first(source: Any, label: str | None, options: dict[str, Any]) -> Dataset:
    ways: list[Callable[[], Dataset]] = [lambda: load(source, partly=True, label=label, **options)]
    if not label:
        ways.append(lambda: load(source, labelled=False, **options))
    return _try(ways).one_label_per_row("graft compare")


def _second(source: Any, label: str | None, first: Dataset, options: dict[str, Any]) -> Dataset:
    labelled = first.y is not None
    like = lambda: load(source, like=first, partly=True, label=label, **options)  # noqa: E731
    same = lambda: load(source, label=label or first.task.target, partly=True, **options)  # noqa: E731
    bare = lambda: load(source, like=first, labelled=False, **options)  # noqa: E731
    own = lambda: load(source, partly=True, **options)  # noqa: E731
    alone = lambda: load(source, labelled=False, **options)  # noqa: E731
    if label:
        return _try([*([like] if labelled else []), same])
    # the last column of a table is guessed to be its label; that of a table that has all columns of A is none
    rest = [bare, own, alone] if first.task.modality == "table" else [own, bare, alone]
    return _try([*([like, same] if labelled else []), *rest])


def _try(ways: list[Callable[[], Dataset]]) -> Dataset:
    """The first way that works; the error of the first where none does."""
    failed: DataError | None = None
    for way in ways:
        try:
            return way()
        except DataError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _told_apart(first: Dataset, second: Dataset, one: Any, two: Any) -> tuple[Dataset, Dataset]:
    """With the folder before names that are the same, or a letter."""
    if first.name != second.name:
        return first, second
    folders = [Path(side).resolve().parent.name if isinstance(side, str | Path) else "" for side in (one, two)]
    if all(folders) and folders[0] != folders[1]:
        names = [f"{folder}/{first.name}" for folder in folders]
    else:
        names = [f"{first.name} A", f"{first.name} B"]
    return dataclasses.replace(first, name=names[0]), dataclasses.replace(second, name=names[1])


def _one_kind(one: Dataset, two: Dataset) -> None:
    if one.task.modality != two.task.modality:
        kinds = [f"{data.name} holds {KINDS.get(data.task.modality, data.task.modality)}" for data in (one, two)]
        raise DataError(f"nothing can be compared: {kinds[0]}, {kinds[1]}", hint="give two data sets of one kind")
    for data in (one, two):
        if data.task.kind not in TASKS:
            what = f"{data.name} is for {data.task.kind}, which cannot be compared"
            raise DataError(what, hint="give classes, values, or no labels")


def on_shared_columns(one: Dataset, two: Dataset) -> tuple[Dataset, Dataset]:
    """Tables with the columns of one name and kind that both have; other data as they are.

    Raises:
        DataError: Two tables have no such column.
    """
    if one.task.modality != "table" or one.columns == two.columns:
        return one, two
    kinds_one, kinds_two = (dict(getattr(data.X, "kinds", {})) for data in (one, two))
    both = [name for name in one.columns if name in kinds_two and kinds_two[name] == kinds_one[name]]
    if not both:
        columns = [", ".join(data.columns[:6]) for data in (one, two)]
        what = f"{one.name} and {two.name} have no column in common: {columns[0]}; and {columns[1]}"
        raise DataError(what, hint="columns are the same where their names are")
    return _with(one, both), _with(two, both)


def _with(data: Dataset, names: list[str]) -> Dataset:
    """A table with some of its columns."""
    rows = data.X
    assert isinstance(rows, TableRows)
    kept = TableRows(
        {name: rows.columns[name] for name in names}, {name: rows.kinds[name] for name in names}, rows.owner
    )
    return dataclasses.replace(data, X=kept, columns=tuple(names))


def labelled_rows(data: Dataset) -> Dataset | None:
    """The rows that have a label; None where there are none, or only one class."""
    if data.y is None:
        return None
    there = data.y >= 0 if data.task.is_classification else np.isfinite(data.y)
    if not there.any() or len(np.unique(data.y[there])) < 2:
        return None
    return data if there.all() else data.select(np.flatnonzero(there))
