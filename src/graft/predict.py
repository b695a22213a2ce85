"""Predictions of a run for a file, row by row in order, and scores of runs and of sources with classes of their own."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from graft.core.errors import DataError, GraftError, OutputError, SourceError, UsageError
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data import boxes_written
from graft.data.load import load
from graft.data.stream import stream
from graft.data.table_codes import unseen
from graft.data.written import FORMS, form_of
from graft.evaluate.metrics import evaluate, held, mean_of, per_class
from graft.features import encode
from graft.sources.base import Backbone, open_model
from graft.transfer.base import BLOCK, SENTENCES, BaseTransfer, load_transfer

PICTURES = 256  # of a detection that are predicted at a time


def predict_file(
    run: Path,
    data: str,
    out: Path | None,
    *,
    encoding: str = "utf-8",
    overwrite: bool = False,
    coverage: float | None = None,
    form: str | None = None,
    notes: list[str] | None = None,
) -> list[tuple[int, str]]:
    """Write the predictions of a run for a file as CSV: ``prediction``, then ``p_<class>``.

    Several labels of a row are joined by the separator of the training data, ``|`` where they were lists or columns.

    Tagged sentences are written as JSON lines with spans, as columns or as a page, see ``form``.
    Quantiles of a regression, where it has them, come last (``q0.05``).
    With a coverage, ``set`` (classes between ``|``, the likeliest first), or ``low`` and ``high``, follow the prediction.
    Every input row gives one output row, in order; memory does not grow with the file.

    Args:
        run: Folder that ``graft fit`` wrote.
        data: File or folder.
        out: File to write; None for standard output.
        encoding: Of text files.
        overwrite: Whether the file may exist.
        coverage: Share of rows whose truth sets or intervals are to hold.
        form: Of tagged sentences: how they are written.
        notes: Filled with what was noticed of the rows as a whole: categories that training did not see.

    Returns:
        Rows that could not be read: (0-based number, reason).

    Raises:
        OutputError: The file exists or cannot be written.
        SourceError: ``run`` is not a run.
        DataError: The data lack a column the model needs.
        UsageError: ``coverage`` is no share, the run cannot promise one, or ``form`` is none of its task.
    """
    if out is not None:
        check_out(out, overwrite=overwrite)
    model = load_transfer(run)
    if model.task_.is_detection:
        if coverage is not None:
            raise UsageError("boxes have no sets of classes", hint="leave --coverage out")
        return _box_file(model, data, out, encoding=encoding, form=boxes_written.form_of(out, form))
    if model.task_.is_tagging:
        if coverage is not None:
            raise UsageError("tagged words have no sets of classes", hint="leave --coverage out")
        return _tag_file(model, data, out, encoding=encoding, form=form_of(out, form))
    if form not in {None, "csv"}:
        raise UsageError(f"a {model.task_.kind} is not written as {form}", hint="leave --format out")
    columns = _columns(model, coverage)
    strange: dict[str, Counter[str]] = {}
    bad: list[tuple[int, str]] = []
    chunks = stream(data, model.recipe_, chunk=BLOCK, encoding=encoding)
    first = next(chunks, None)  # a file that cannot be read is said before anything is written
    with writing(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for chunk in chain([first] if first is not None else [], chunks):
            bad += chunk.bad
            rows = {number: [""] * len(columns) for number, _ in chunk.bad}
            if len(chunk.data):
                _count(strange, model, chunk.data)
                rows |= dict(zip(chunk.row_numbers.tolist(), _cells(model, chunk.data, coverage), strict=True))
            writer.writerows(rows[number] for number in sorted(rows))
    for name, levels in strange.items() if notes is not None else ():
        few = ", ".join(map(repr, sorted(levels)[:5])) + (f" and {len(levels) - 5} more" if len(levels) > 5 else "")
        notes.append(f"column {name!r} has categories that training did not see: {few} ({sum(levels.values())} row(s))")
    return bad


def _count(strange: dict[str, Counter[str]], model: BaseTransfer, data: Dataset) -> None:
    """Add up categories that are unknown to the model."""
    known = getattr(model, "codes_", None) or getattr(model, "vectors_", None)
    if model.task_.modality != "table" or not hasattr(known, "levels"):
        return
    columns = data.take()
    for name, levels in unseen(known.levels, columns).items():
        counts = Counter(columns[name].tolist())
        strange.setdefault(name, Counter()).update({level: counts[level] for level in levels})


def _tag_file(model: BaseTransfer, data: str, out: Path | None, *, encoding: str, form: str) -> list[tuple[int, str]]:
    """Write tagged sentences in their order; those that cannot be read keep their place."""
    bad: list[tuple[int, str]] = []
    chunks = stream(data, model.recipe_, chunk=SENTENCES, encoding=encoding)
    first = next(chunks, None)
    with writing(out) as file:
        writer = FORMS[form](file, model.task_.classes, Path(data).name)
        writer.begin()
        for chunk in chain([first] if first is not None else [], chunks):
            bad += chunk.bad
            reasons = dict(chunk.bad)
            outputs = model.outputs(chunk.data) if len(chunk.data) else []
            tags = model.task_.decode(outputs) if len(outputs) else []
            index = {name: place for place, name in enumerate(model.task_.classes)}
            found = dict(
                zip(chunk.row_numbers.tolist(), zip(chunk.data.take(), tags, outputs, strict=True), strict=True)
            )
            for number in sorted([*reasons, *found]):
                if number in reasons:
                    writer.unreadable(reasons[number])
                    continue
                sentence, names, chances = found[number]
                writer.sentence(sentence, names, chances[np.arange(len(names)), [index[name] for name in names]])
        writer.end()
    return bad


def _box_file(model: BaseTransfer, data: str, out: Path | None, *, encoding: str, form: str) -> list[tuple[int, str]]:
    """Write the boxes of pictures in their order."""
    bad: list[tuple[int, str]] = []
    chunks = stream(data, model.recipe_, chunk=PICTURES, encoding=encoding)
    first = next(chunks, None)
    with writing(out) as file:
        writer = boxes_written.BoxWriter(file, form, model.task_, data)
        for chunk in chain([first] if first is not None else [], chunks):
            bad += chunk.bad
            outputs = model.outputs(chunk.data) if len(chunk.data) else []
            found = {int(number): place for place, number in enumerate(chunk.row_numbers)}
            reasons = dict(chunk.bad)
            for number in sorted([*reasons, *found]):
                if number in reasons:
                    writer.unreadable(number, reasons[number])
                else:
                    place = np.array([found[number]])
                    writer.pictures([number], chunk.data.select(place), outputs[place])
        writer.end()
    return bad


def _columns(model: BaseTransfer, coverage: float | None) -> list[str]:
    names = [f"p_{name}" for name in model.task_.classes]
    if model.spread_ is not None:
        names = [f"q{value:g}" for value in model.spread_.quantiles]
    if coverage is None:
        return ["prediction", *names]
    shape = (0, model.task_.outputs) if model.task_.classes else 0
    model.region(np.empty(shape), coverage)  # raises before anything is written
    return ["prediction", *(["set"] if model.task_.classes else ["low", "high"]), *names]


def _cells(model: BaseTransfer, data: Dataset, coverage: float | None) -> list[list[str]]:
    outputs, task = model.outputs(data), model.task_
    labels = task.decode(outputs)
    if task.is_multilabel:
        mark = task.separator or "|"
        return [[mark.join(some), *(f"{p:.6f}" for p in row)] for some, row in zip(labels, outputs, strict=True)]
    region = None if coverage is None else model.region(outputs, coverage, data)
    if not task.is_classification:
        ends = [[]] * len(labels) if region is None else region.tolist()
        if model.spread_ is not None:
            ends = [[*pair, *row] for pair, row in zip(ends, model.quantiles(data, outputs).tolist(), strict=True)]
        return [[f"{value:.8g}" for value in (label, *pair)] for label, pair in zip(labels, ends, strict=True)]
    held = (
        [[]] * len(labels) if region is None else [[_set(task, p, one)] for p, one in zip(outputs, region, strict=True)]
    )
    return [[label, *some, *(f"{p:.6f}" for p in row)] for label, some, row in zip(labels, held, outputs, strict=True)]


def _set(task: Task, probabilities: np.ndarray, inside: np.ndarray) -> str:
    return "|".join(task.classes[c] for c in np.argsort(-probabilities, kind="stable") if inside[c])


def check_out(out: Path, *, overwrite: bool) -> None:
    """Say what is wrong with the output before there is work to lose."""
    if out.is_dir():
        raise OutputError(f"{out} is a folder", hint="name a file, for example predictions.csv")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists", hint="choose another --out, or pass --overwrite")
    if not out.parent.is_dir():
        raise OutputError(f"cannot write {out}: no folder {out.parent}", hint="make it, or choose another --out")


@contextmanager
def writing(out: Path | None) -> Iterator[TextIO]:
    """A file that appears only when it is complete, or standard output (UTF-8 unless it is a terminal)."""
    if out is None:
        if not sys.stdout.isatty() and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        yield sys.stdout
        return
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
        temporary.replace(out)
    except GraftError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {out}: {error.strerror or error}", hint="free some space, or choose another --out"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def evaluate_model(
    model: str,
    data: str,
    *,
    label: str | None = None,
    encoding: str = "utf-8",
    level: float = 0.9,
    rename: dict[str, str] | None = None,
    coverage: float | None = None,
) -> dict[str, Any]:
    """Score a run, or a source's own classes as they are, on labelled data.

    Args:
        model: Folder of a run, or a URI.
        data: Labelled file or folder.
        label: Label column.
        encoding: Of text files.
        level: Confidence level of the intervals.
        rename: For a source: its class by the label of the data.
        coverage: For a run: also how often its sets or intervals at this coverage hold the truth, and how large they are.

    Returns:
        ``name``, ``data``, ``rows``, ``metrics`` {name: (value, low, high)} and ``notes``.
    """
    folder = Path(model)
    if (folder / "model.json").is_file():
        return _evaluate_run(folder, data, label=label, encoding=encoding, level=level, coverage=coverage)
    if coverage is not None:
        raise UsageError(f"{model} is a source, and only a run has sets and intervals", hint="leave --coverage out")
    return _evaluate_source(model, data, label=label, encoding=encoding, level=level, rename=rename or {})


def _evaluate_run(
    run: Path, data: str, *, label: str | None, encoding: str, level: float, coverage: float | None
) -> dict[str, Any]:
    model = load_transfer(run)
    table = load(data, label=label, like=model.recipe_, encoding=encoding)
    if table.y is None:
        raise DataError(f"{data} has no labels", hint="name the column with --label")
    outputs = model.outputs(table)
    metrics = evaluate(
        model.task_, table.y, outputs, groups=table.groups if table.task.is_tagging else None, level=level
    )
    facts = {"name": str(run), "data": table.name, "rows": len(table), "metrics": metrics, "notes": list(table.notes)}
    if table.task.is_ragged or table.task.is_multilabel:
        if coverage is not None:
            model.region(outputs, coverage)  # says why there is none
        return facts | {
            "per_class": per_class(model.task_, table.y, outputs),
            "unit": "spans" if table.task.is_tagging else "boxes" if table.task.is_detection else "rows",
        }
    spread = model.spread_
    if spread is not None:
        metrics["pinball_loss"] = mean_of(spread.judged(model, table, outputs), level=level)
    coverage = coverage or (spread.level if spread is not None and spread.level else None)
    if coverage is not None:
        metrics |= held(model.task_, table.y, model.region(outputs, coverage, table), level=level)
    return {"name": str(run), "data": table.name, "rows": len(table), "metrics": metrics, "notes": list(table.notes)}


def _evaluate_source(
    uri: str, data: str, *, label: str | None, encoding: str, level: float, rename: dict[str, str]
) -> dict[str, Any]:
    """Score a source over all of its own classes: the arg-max must be the class the data name."""
    backbone = open_model(uri)
    table = load(data, label=label, encoding=encoding, task="classification")
    notes = list(table.notes)
    if not backbone.spec.classes and backbone.outputs:
        notes.append(_assume_classes(backbone, table))
    classes = backbone.spec.classes
    if not classes:
        raise SourceError(f"{uri} has no classes of its own", hint="train a head with graft fit first")
    index = {_key(name): position for position, name in enumerate(classes)}
    wanted = [_key(rename.get(name, name)) for name in table.task.classes]
    missing = [name for name, key in zip(table.task.classes, wanted, strict=True) if key not in index]
    if missing:
        raise DataError(
            f"{uri} has no class {missing[0]!r}",
            hint=f"say which class it is with --rename {missing[0]}=CLASS (its classes: {', '.join(classes[:6])} …)",
        )
    truth = np.asarray([index[key] for key in wanted])[table.y]
    blocks = (slice(start, start + BLOCK) for start in range(0, len(table), BLOCK))
    parts = [encode(backbone, table.take(block)).probabilities for block in blocks]
    task = Task("classification", table.task.modality, tuple(classes), "accuracy", table.task.target)
    metrics = evaluate(task, truth, np.concatenate(parts), level=level, metrics=("accuracy", "log_loss"))
    notes.append(f"scored over all {len(classes)} classes of the source")
    return {"name": uri, "data": table.name, "rows": len(table), "metrics": metrics, "notes": notes}


def _assume_classes(backbone: Backbone, table: Dataset) -> str:
    """Take the data's classes for those of a source that does not name its own, if there are as many."""
    names, uri = table.task.classes, backbone.spec.uri
    if len(names) != backbone.outputs:
        what = f"{uri} does not name its {backbone.outputs} classes, and the data have {len(names)}"
        raise SourceError(what, hint="name them in classes.txt beside the model, one per line, in its order")
    backbone.spec = dataclasses.replace(backbone.spec, classes=names)
    return (
        f"the source names no classes: its {len(names)} outputs were taken for those of the data in alphabetical order"
    )


def _key(name: str) -> str:
    return " ".join(str(name).lower().replace("_", " ").split())
