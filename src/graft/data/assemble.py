"""Make examples of columns by their roles; training and prediction read every file through here."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError
from graft.core.labels import encode
from graft.core.task import Task
from graft.core.types import Rows
from graft.data.bands import Bands
from graft.data.biological import SequenceRows
from graft.data.columns import MISSING, as_numbers, as_text, coded, is_missing
from graft.data.dates import is_date, seconds
from graft.data.guess import GIVEN, Roles, find_column
from graft.data.recordings import AudioRows
from graft.data.rows import ImageRows, TableRows, TextRows
from graft.data.series_rows import SeriesRows
from graft.data.several import read_several
from graft.data.sparse import CountRows


def assemble(
    table: pa.Table,
    roles: Roles,
    *,
    base: Path | None = None,
    media: Any = None,
    owner: Any = None,
    strict: bool = True,
) -> tuple[Rows, dict[int, str]]:
    """Storage of examples, and the positions that hold no usable example with the reason.

    Args:
        table: Columns, one row per example.
        roles: What the columns are for.
        base: Folder that relative paths of images and sounds start from.
        media: Images, sounds or counts that came as arrays.
        owner: Kept alive with the storage.
        strict: Whether a word in a column of numbers or dates spoils its row; otherwise it counts as missing.
    """
    if roles.modality == "text":
        columns = [as_text(table.column(name)) for name in roles.inputs]
        empty = np.logical_and.reduce([is_missing(column) for column in columns])
        return TextRows(columns, owner, roles.kinds.get("long", "")), dict.fromkeys(
            np.flatnonzero(empty).tolist(), "empty text"
        )
    if roles.modality == "image":
        images = table.column(roles.inputs[0]) if media is None else media
        rows = _images(images, roles, base, owner, known=strict)
        return rows, unreadable(rows)
    if roles.modality == "audio":
        sounds = AudioRows(table.column(roles.inputs[0]) if media is None else media, base, owner)
        return sounds, unusable(sounds)
    if roles.modality in {"sequence", "series"}:
        steps = _steps(table, roles, owner)
        return steps, steps.faults()
    if roles.modality == "counts":
        return _counts(table, roles, media, owner), {}
    columns_by_name = {name: table.column(name) for name in roles.inputs}
    return TableRows(columns_by_name, roles.kinds, owner), _misfits(columns_by_name, roles.kinds) if strict else {}


def _misfits(columns: dict[str, pa.ChunkedArray], kinds: dict[str, str]) -> dict[int, str]:
    """Positions of cells that are no number, or no date, in columns of such, each with the reason."""
    reasons: dict[int, str] = {}
    for name, column in columns.items():
        if kinds[name] == "number":
            for place in np.flatnonzero(as_numbers(column)[1]).tolist():
                reasons.setdefault(place, f"column {name!r}: {str(column[place].as_py())[:40]!r} is not a number")
        elif kinds[name].startswith("date "):
            way = kinds[name].split(" ")[1]
            for place, text in enumerate(as_text(column).to_pylist()):
                cell = (text or "").strip()
                if cell.lower() not in MISSING and np.isnan(seconds(cell, day_first=way == "day-first")):
                    also = f" with the {way.replace('-', ' ')}" if is_date(cell) else ""
                    reasons.setdefault(place, f"column {name!r}: {cell[:40]!r} is not a date{also}")
    return reasons


def _steps(table: pa.Table, roles: Roles, owner: Any) -> SequenceRows | SeriesRows:
    if roles.modality == "sequence":
        return SequenceRows(as_text(table.column(roles.inputs[0])), roles.kinds, owner)
    return SeriesRows({name: table.column(name) for name in roles.inputs}, owner)


def _counts(table: pa.Table, roles: Roles, media: CountRows | None, owner: Any) -> CountRows:
    """Counts of a file, or of a matrix, whose features start at 0."""
    if not roles.kinds:
        return CountRows.read(table.column(roles.inputs[0]), owner) if media is None else media
    if media is None:
        return CountRows.follow(roles.kinds, table.column(roles.inputs[0]), first=None, owner=owner)
    return CountRows.follow(roles.kinds, media.column, first=0)


def _images(images: Any, roles: Roles, base: Path | None, owner: Any, *, known: bool) -> ImageRows:
    """Pictures by the channels of a recipe, or those that the pictures themselves have."""
    bands = Bands.from_kinds(roles.kinds)
    rows = ImageRows(images, base, owner, bands)
    return rows if known or bands is not None else rows.found_bands()


def unreadable(rows: ImageRows) -> dict[int, str]:
    """Positions of images that cannot be decoded, with file and reason; several at a time."""
    reasons: dict[int, str] = {}
    workers = min(4, os.cpu_count() or 1)
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")  # what Pillow says of damaged metadata; the picture counts
        for start in range(0, len(rows), 64):  # few at a time: encoded bytes are held meanwhile
            sources = list(rows.sources(np.arange(start, min(start + 64, len(rows)))))
            for place, (source, reason) in enumerate(zip(sources, pool.map(rows.fault, sources), strict=True), start):
                if reason:
                    file = f"{Path(source).name}: " if isinstance(source, str | Path) else ""
                    reasons[place] = f"unreadable image ({file}{reason})"
    return reasons


def unusable(sounds: AudioRows) -> dict[int, str]:
    """Positions of sounds that cannot be decoded, are silent or too short, with file and reason."""
    faults = enumerate(fact.fault for fact in sounds.facts(np.arange(len(sounds))))
    return {place: f"unusable sound ({sounds.name(place)}: {fault})" for place, fault in faults if fault}


def read_roles(recipe: dict[str, Any]) -> tuple[Roles, Task]:
    """Roles and task from the JSON form."""
    task = Task(**{**recipe["task"], "classes": tuple(recipe["task"]["classes"])})
    return Roles(recipe["modality"], tuple(recipe["inputs"]), recipe["label"], None, dict(recipe["kinds"])), task


def fit_roles(roles: Roles, table: pa.Table, *, where: str, modality: str | None = None, media: Any = None) -> Roles:
    """The roles of a recipe for another file: its input columns must be there.

    Args:
        roles: Those of the recipe.
        table: Columns of the other file.
        where: What to call it in messages.
        modality: What the source holds, where it leaves no choice.
        media: Images, sounds or counts that came as arrays.

    Raises:
        DataError: It holds images, sounds or counts where others are wanted, or an input column is missing.
    """
    if modality in GIVEN and modality != roles.modality:
        raise DataError(f"{GIVEN[modality]} cannot be read by a model of {roles.modality}", where=where)
    inputs: Sequence[str] = roles.inputs or (roles.modality,)
    if modality in GIVEN:
        inputs = () if media is not None else (modality,)
    elif (modality, roles.modality) == ("text", "sequence") and "text" in table.column_names:  # a list of sequences
        inputs = ("text",)
    else:
        inputs = [find_column(name, list(table.column_names), role="input", where=where) for name in inputs]
    return Roles(roles.modality, tuple(inputs), roles.label, None, roles.kinds)


def read_labels(column: pa.ChunkedArray, task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels by a known task: encoded (N,), which are missing (N,), and which the task does not know (N,)."""
    several = read_several(column, task) if task.is_multilabel else None
    if several is not None:  # a label that the model does not know is passed over, as it is where rows are loaded
        y = encode(several[0], task.classes)[0]
        return y, np.isnan(y[:, 0]), np.zeros(len(y), bool)
    if not task.is_classification:
        values, strange = as_numbers(column)
        gone = np.isnan(values) & ~strange
        return np.asarray(task.encode(np.where(np.isnan(values), task.center, values))), gone, strange
    names, codes = coded(column)
    known = np.full(len(names) + 1, -1, np.int64)
    for place, name in enumerate(names.tolist()):
        try:
            known[place] = task.encode(np.array([name], dtype=names.dtype))[0]
        except DataError:
            known[place] = -1
    encoded = known[codes]  # code -1 reads the last entry, which stays -1
    return encoded, codes < 0, (encoded < 0) & (codes >= 0)
