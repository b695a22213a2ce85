"""Load labelled data from files, folders, frames or arrays: ``load(source) -> Dataset``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError, UsageError
from graft.core.rows import evenly_spaced
from graft.core.task import IMBALANCE, Task
from graft.core.types import Dataset
from graft.data.assemble import assemble, fit_roles, read_labels, read_roles
from graft.data.bands import CHANNELS
from graft.data.biological import SequenceRows
from graft.data.columns import BAD, Stored, as_numbers, as_text, coded, store, take
from graft.data.detection import load_detected
from graft.data.fasta import HINT as HEADERS
from graft.data.guess import GIVEN, SAMPLE, Roles, find_column, guess
from graft.data.inputs import Source, open_source
from graft.data.letters import alphabet_of
from graft.data.long_texts import with_reading
from graft.data.series_tables import from_arrays, read_series
from graft.data.several import one_column, read_several, remarks, several_labels
from graft.data.stream import Chunk, recipe, stream
from graft.data.svmlight import QUERY
from graft.data.tagging import load_tagged

__all__ = ["Chunk", "load", "recipe", "stream"]


def load(
    source: Any,
    *,
    label: str | Sequence[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    group: str | None = None,
    task: str | Task | None = None,
    order: Sequence[str] = (),
    modality: str | None = None,
    strands: str = "one",
    long: str = "auto",
    encoding: str = "utf-8",
    labelled: bool = True,
    partly: bool = False,
    like: Dataset | dict[str, Any] | None = None,
    bad_rows: str = "error",
    workdir: str | Path | None = None,
    name: str | None = None,
) -> Dataset:
    """Load data and find out what it is; every guess and everything left out stands in ``Dataset.notes``.

    Args:
        source: A CSV, TSV, JSON lines, svmlight, FASTA (text forms also ``.gz``), JSON, Parquet or ``.ts`` file; a folder
            with one folder of images, sounds or series, or one FASTA file, per class; a DataFrame, ``datasets.Dataset`` or Arrow table; ``(X, y)`` or ``X`` with a 2-D
            array (table), a scipy sparse matrix (counts), a 3-D or 4-D array (images), a list of ``(samples, rate)``
            (sounds), a list of str or of str tuples (text).
        label: Label column; found by name or place if not given.  Several columns of 0 and 1 are one label each.
        inputs: Input columns; found if not given.  Several text columns give tuples.
        group: Column whose values are never split between training and test.
        task: ``"classification"``, ``"ordinal"`` (of classes with an order), ``"multilabel"``, ``"regression"``,
            ``"tagging"`` of words, or ``"detection"`` of boxes in pictures; read off the data if not given.
        order: Classes from lowest to highest, which make the task ordinal; without them it takes that of numbers.
        modality: ``"text"``, ``"image"``, ``"audio"``, ``"sequence"``, ``"series"`` or ``"table"``; guessed if not given.
        strands: ``"both"`` where the other strand of DNA has the same label: it is learned from and asked too.
        long: How networks read texts that are longer than they can read at once: in ``"windows"``, their beginning and end
            (``"head-tail"``), or their beginning (``"truncate"``); ``"auto"`` takes windows where many are long.
        encoding: Of text files.
        labelled: Whether labels are wanted; without them ``y`` is None.
        partly: Whether rows without a label stay, with the target -1 (NaN where targets are values).
        like: A data set, or its ``recipe``, whose columns and task this source must follow.
        bad_rows: ``"error"`` names the rows that cannot be read; ``"drop"`` leaves them out with a note.
        workdir: Where large data are put to be memory-mapped; a temporary folder if not given.
        name: What to call the data in messages; the file's name if not given.

    Raises:
        DataError: The source cannot be read or used; one line says what, where and what to do.

    Example:
        >>> data = load((["good", "bad", "fine", "awful"], ["+", "-", "+", "-"]))
        >>> len(data), data.task.classes, data.take()[:2]
        (4, ('+', '-'), ['good', 'bad'])
    """
    if len(order) and task not in {None, "ordinal"} and not isinstance(task, Task):
        raise UsageError(f"an order is for an ordinal task, not for {task}", hint="leave --order or --task out")
    if bad_rows not in {"error", "drop"}:
        raise UsageError(f"unknown bad_rows {bad_rows!r}", hint="use error or drop")
    like = recipe(like) if isinstance(like, Dataset) else like
    label = label if isinstance(label, str) or label is None else ",".join(label)
    asked: dict[str, Any] = {"encoding": encoding, "labelled": labelled, "bad_rows": bad_rows, "name": name}
    detected = load_detected(source, task=task, like=like, modality=modality, **asked)
    if detected is not None:
        return detected
    tagged = load_tagged(source, task=task, like=like, label=label, modality=modality, **asked)
    if tagged is not None:
        return tagged
    wanted = (inputs,) if isinstance(inputs, str) else tuple(inputs or ())
    known = read_roles(like) if like is not None else None
    hints = {"label": label, "inputs": wanted, "group": group, "modality": modality, "labelled": labelled}
    opened, stored, notes = _read(source, known and known[0], hints, encoding, workdir, bad_rows, partly=partly)
    stored.table, label = one_column(stored.table, label, known, where=opened.where, labelled=labelled)
    hints["label"] = label
    if known:
        roles, task = _known_roles(known[0], stored, opened, label=label, group=group), known[1]
    else:
        roles = with_reading(_roles(stored, opened, **hints), stored.table, long)
    strict = known is not None
    rows, spoilt = assemble(
        stored.table, roles, base=opened.base, media=opened.media, owner=stored.owner, strict=strict
    )
    _ask_strands(rows, strands)
    notes += [*roles.notes, *getattr(rows, "notes", ())]
    notes += _left_out(spoilt, stored, opened, strict=strict and bad_rows == "error", drop=bad_rows == "drop")
    keep = ~np.isin(np.arange(len(rows)), list(spoilt))
    known_task = task if isinstance(task, Task) else Task("classification", roles.modality)
    called = name or opened.name
    data = Dataset(rows, None, known_task, np.arange(len(rows)), None, roles.inputs, called, line_of=stored.lines)
    if labelled:
        data, keep = _label(
            data, stored.table, keep, task=task, order=order, roles=roles, opened=opened, notes=notes, partly=partly
        )
    if roles.group:
        data = dataclasses.replace(data, groups=_groups(stored.table.column(roles.group)))
    data = data.select(np.flatnonzero(keep))
    if labelled and not known:
        notes += _remarks(data.select(data.task.known(data.y)) if partly else data, opened)
    return dataclasses.replace(data, notes=tuple(notes))


def _read(
    source: Any, known: Roles | None, hints: dict[str, Any], encoding: str, workdir: str | Path | None, bad_rows: str, *, partly: bool
) -> tuple[Source, Stored, list[str]]:  # fmt: skip
    """What the source is, its rows, and notes; steps of time series become lists, which is then said in the hints."""
    roles = known or Roles("", ())
    series = "series" in (hints["modality"], roles.modality)
    labels = (hints["label"] or "").split(",")
    columns = [*hints["inputs"], *filter(None, (*labels, hints["group"])), *(() if series else roles.inputs)]
    source = _arrays_of_series(source) if series else source
    opened = open_source(source, encoding=encoding, columns=columns, labelled=hints["labelled"] and not partly)
    stored = store(opened.blocks, Path(workdir) if workdir else None, tolerate=bad_rows == "drop")
    notes = [*opened.notes, *_unusable(stored, opened, drop=bad_rows == "drop")]
    if series or (known is None and hints["modality"] is None and opened.modality is None):
        found = read_series(
            stored.table, stored.lines, asked=series, where=opened.where, label=hints["label"] or roles.label,
            group=hints["group"], inputs=hints["inputs"], known=roles.inputs,
        )  # fmt: skip
        if found is not None and found.notes:
            stored.table, stored.lines = found.table, found.lines
            notes += found.notes
            hints |= {"modality": "series", "inputs": ()}
    return opened, stored, notes


def _arrays_of_series(source: Any) -> Any:
    """(X, y) or X with series in memory as a table of lists."""
    if isinstance(source, tuple) and len(source) == 2:
        return from_arrays(source[0]), source[1]
    return from_arrays(source)


def _ask_strands(rows: Any, strands: str) -> None:
    if strands == "one":
        return
    if strands != "both":
        raise UsageError(f"unknown strands {strands!r}", hint="use one or both")
    if not isinstance(rows, SequenceRows):
        raise UsageError(
            "only sequences of DNA have two strands", hint="leave out --strands, or pass --modality sequence"
        )
    rows.ask_both_strands()


def _some(numbers: Sequence[int] | np.ndarray, unit: str) -> str:
    """``lines 3, 7, 9 and 4 more``."""
    first = ", ".join(str(int(number)) for number in numbers[:5])
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"{unit}{'s' * (len(numbers) > 1)} {first}{more}"


def _unusable(stored: Stored, opened: Source, *, drop: bool) -> list[str]:
    """Notes on rows that could not be read, or an error."""
    usable = len(stored.lines)
    if not usable and not stored.unusable:
        raise DataError("there are no rows" + (", only a header" * (opened.path is not None)), where=opened.where)
    if not stored.bad:
        return []
    fatal = next((bad for bad in stored.bad if "never closed" in bad.reason), None)
    bad = fatal or stored.bad[0]
    where = f"{opened.where}, {opened.unit} {bad.line}"
    if fatal:
        raise DataError(bad.reason, where=where, hint='close it, or write a quote inside a cell as ""')
    if not drop:
        others = [item.line for item in stored.bad[1:]]
        also = f"also {_some(others, opened.unit)}{'+' * (stored.unusable >= BAD)}; " if others else ""
        cure = (
            opened.advice()
            if " is not " in bad.reason and "0x" in bad.reason
            else "--bad-rows drop leaves such rows out"
        )
        raise DataError(bad.reason, where=where, hint=also + cure)
    if stored.unusable > usable:
        raise DataError(
            f"{stored.unusable} of {stored.unusable + usable} rows cannot be read", where=where, hint=bad.reason
        )
    lines = _some([item.line for item in stored.bad], opened.unit)
    return [f"{stored.unusable} unreadable row(s) left out: {lines} ({bad.reason})"]


def _known_roles(roles: Roles, stored: Stored, opened: Source, *, label: str | None, group: str | None) -> Roles:
    """The roles of another data set, found again in this one."""
    names, where = stored.table.column_names, opened.where
    roles = fit_roles(roles, stored.table, where=where, modality=opened.modality, media=opened.media)
    same = roles.label if roles.label in names or opened.label not in names else opened.label
    group = find_column(group, names, role="group", where=where) if group else None
    return dataclasses.replace(roles, label=label or same, group=group)


def _roles(stored: Stored, opened: Source, **hints: Any) -> Roles:
    if opened.modality in GIVEN:
        inputs = () if opened.media is not None else (opened.modality,)
        names = stored.table.column_names
        group = hints["group"] and find_column(hints["group"], names, role="group", where=opened.where)
        notes = (f"{QUERY} is left out (as group it keeps the rows of a query together)",)
        notes = notes if QUERY in names and opened.modality == "counts" and group != QUERY else ()
        return Roles(opened.modality, inputs, hints["label"] or opened.label, group, notes=notes)
    if not hints["modality"] and opened.modality == "text" and stored.table.num_rows:  # a list of texts
        first = as_text(stored.table.column(0))
        some = evenly_spaced(len(first), SAMPLE)
        alone = sum(name != opened.label for name in stored.table.column_names) == 1
        hints["modality"] = "sequence" if alone and alphabet_of(_strings(first, some)) else None
    hints["label"], hints["modality"] = hints["label"] or opened.label, hints["modality"] or opened.modality
    return guess(stored.table, where=opened.where, **hints)


def _strings(column: pa.ChunkedArray, rows: np.ndarray) -> list[str]:
    return [text for text in take(column, rows).to_pylist() if text]


def _left_out(spoilt: dict[int, str], stored: Stored, opened: Source, *, strict: bool, drop: bool) -> list[str]:
    """Notes on examples that are no examples; an error where most are."""
    if not spoilt:
        return []
    places = sorted(spoilt)
    lines = stored.lines[places]
    first = spoilt[places[0]]
    where = f"{opened.where}, {opened.unit} {lines[0]}"
    if len(spoilt) > len(stored.lines) / 2:
        raise DataError(f"{len(spoilt)} of {len(stored.lines)} rows cannot be used", where=where, hint=first)
    if ("is not a number" in first or "is not a date" in first) and strict:
        raise DataError(first, where=where, hint="leave the cell empty if it is unknown, or --bad-rows drop")
    odd = None if drop else next((place for place in places if CHANNELS in spoilt[place]), None)
    if odd is not None:
        where = f"{opened.where}, {opened.unit} {stored.lines[odd]}"
        hint = "all pictures need equally many channels; --bad-rows drop leaves the others out"
        raise DataError(spoilt[odd], where=where, hint=hint)
    kind = {"unreadable image": "image", "unusable sound": "sound"}.get(first.partition(" (")[0])
    if kind:
        few = "; ".join(spoilt[place] for place in places[:3]) + (" …" if len(places) > 3 else "")
        return [f"{len(spoilt)} {kind}(s) left out: {few}"]
    return [f"{len(spoilt)} row(s) left out: {first} ({_some(lines, opened.unit)})"]


def _label_column(roles: Roles, table: pa.Table, opened: Source) -> str:
    if roles.label is None and opened.modality == "sequence":
        raise DataError("the headers of the FASTA file name no class", where=opened.where, hint=HEADERS)
    if roles.label is None:
        raise DataError("the data have no labels", where=opened.where, hint="pass (X, y), or name the label column")
    return find_column(roles.label, table.column_names, role="label", where=opened.where)


def _label(
    data: Dataset,
    table: pa.Table,
    keep: np.ndarray,
    *,
    task: str | Task | None,
    order: Sequence[str],
    roles: Roles,
    opened: Source,
    notes: list[str],
    partly: bool,
) -> tuple[Dataset, np.ndarray]:  # fmt: skip
    """The data set with targets, and which rows have one."""
    label = _label_column(roles, table, opened)
    lines, column = data.line_of, table.column(label)
    assert lines is not None
    found = None if order else read_several(column, task)
    if found is not None:
        known, gone, more = several_labels(found, keep, task, modality=roles.modality, label=label, where=opened.where)
        notes += [*more, *_unknown(lines[gone], opened, partly=partly)]
        return dataclasses.replace(data, y=known[1], task=known[0]), keep if partly else keep & ~gone
    if isinstance(task, Task):
        y, gone, strange = read_labels(column, task)
        if (strange & keep).any():
            place = int(np.flatnonzero(strange & keep)[0])
            where = f"{opened.where}, {opened.unit} {lines[place]}"
            few = f"classes: {', '.join(task.classes[:8])}{' …' if len(task.classes) > 8 else ''}"
            what = f"label {str(column[place].as_py())!r} is not a class of the model"
            if not task.is_classification:
                what, few = f"label {str(column[place].as_py())!r} is not a number", ""
            raise DataError(what, where=where, hint=few or None)
    else:
        try:
            task, y, gone = _infer(column, keep, kind=task, order=order, roles=roles, lines=lines, opened=opened)
        except DataError as error:
            raise DataError(error.what, where=error.where or opened.where, hint=error.hint) from None
        if not task.is_classification:
            notes.append(f"{label!r} holds numbers: the task is regression (classification can be asked for)")
    gone = gone & keep
    if gone.any():
        if not (keep & ~gone).any():
            raise DataError(f"the label column {label!r} is empty", where=opened.where)
        done = "" if partly else " left out"
        notes.append(f"{int(gone.sum())} row(s) without a label{done} ({_some(lines[gone], opened.unit)})")
        y = np.where(gone, -1 if task.is_classification else np.nan, y)
    return dataclasses.replace(data, y=y, task=task), keep if partly else keep & ~gone


def _unknown(lines: np.ndarray, opened: Source, *, partly: bool) -> list[str]:
    done = "" if partly else " left out"
    return [f"{len(lines)} row(s) whose labels are unknown{done} ({_some(lines, opened.unit)})"] if len(lines) else []


def _infer(
    column: pa.ChunkedArray,
    keep: np.ndarray,
    *,
    kind: str | None,
    order: Sequence[str],
    roles: Roles,
    lines: np.ndarray,
    opened: Source,
) -> tuple[Task, np.ndarray, np.ndarray]:
    """Task, targets (N,) and which are missing, without one Python object per row."""
    label = str(roles.label)
    names, codes = coded(column)
    counts = np.bincount(codes[keep & (codes >= 0)], minlength=len(names))
    present = counts > 0
    if not present.any():
        raise DataError(f"the label column {label!r} is empty")
    if kind != "regression":
        task = Task.infer(names[present], modality=roles.modality, kind=kind, target=label, classes=order)
        kind = task.kind
    if kind == "regression":
        values, strange = as_numbers(column)
        if (strange & keep).any():
            place = int(np.flatnonzero(strange & keep)[0])
            where = f"{opened.where}, {opened.unit} {lines[place]}"
            raise DataError(f"label {str(column[place].as_py())!r} is not a number", where=where)
        there = ~np.isnan(values)
        task = Task.infer(values[there & keep], modality=roles.modality, kind="regression", target=label)
        return task, np.asarray(task.encode(np.where(there, values, task.center))), ~there
    if not task.is_ordinal:
        ratio = counts[present].max() / counts[present].min()
        task = dataclasses.replace(task, metric="macro_f1" if ratio > IMBALANCE else "accuracy")
    index = np.full(len(names) + 1, -1, np.int64)
    index[:-1][present] = task.encode(names[present])
    return task, index[codes], codes < 0


def _groups(column: pa.ChunkedArray) -> np.ndarray:
    """Group number of each row; a row without a group is a group of its own."""
    names, codes = coded(column)
    alone = codes < 0
    return np.where(alone, len(names) + np.cumsum(alone) - 1, codes)


def _remarks(data: Dataset, opened: Source) -> list[str]:
    """Notes on single-row classes, repeated rows, and repeated rows whose labels differ."""
    notes = []
    y, lines = data.y, data.line_of
    assert y is not None
    assert lines is not None
    if data.task.is_classification:
        counts = np.bincount(y, minlength=data.task.outputs)
        single = [data.task.classes[c] for c in np.flatnonzero(counts == 1)]
        if single:
            few = ", ".join(single[:5]) + (" …" if len(single) > 5 else "")
            notes.append(f"{len(single)} class(es) with one row can be trained on but not scored: {few}")
    if data.task.is_multilabel:
        notes += remarks(y, data.task.classes)
    keys = data.X.keys(data.rows)  # type: ignore[attr-defined]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[inverse] != np.arange(len(keys)))
    if len(repeated):
        notes.append(f"{len(repeated)} row(s) repeat an earlier row ({_some(lines[data.rows[repeated]], opened.unit)})")
        other = y[repeated] != y[first[inverse[repeated]]]
        differ = repeated[other.reshape(len(repeated), -1).any(axis=1)]
        pairs = [f"{lines[data.rows[first[inverse[i]]]]} and {lines[data.rows[i]]}" for i in differ[:3]]
        if pairs:
            more = " …" if len(differ) > 3 else ""
            notes.append(
                f"{len(differ)} repeated row(s) have different labels ({opened.unit}s {', '.join(pairs)}{more})"
            )
    return notes
