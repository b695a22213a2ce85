"""Predictions of a run for a file, row by row in order, and scores of runs and of sources with classes of their own."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from graft.core.errors import DataError, GraftError, OutputError, SourceError
from graft.core.types import Dataset, Task
from graft.data.load import load
from graft.data.stream import stream
from graft.evaluate.metrics import evaluate
from graft.features import encode
from graft.sources.base import Backbone, open_model
from graft.transfer.base import BLOCK, BaseTransfer, load_transfer


def predict_file(
    run: Path, data: str, out: Path | None, *, encoding: str = "utf-8", overwrite: bool = False
) -> list[tuple[int, str]]:
    """Write the predictions of a run for a file as CSV: ``prediction``, then ``p_<class>``.

    Every input row gives one output row, in order; memory does not grow with the file.

    Returns:
        Rows that could not be read: (0-based number, reason).

    Raises:
        OutputError: The file exists or cannot be written.
        SourceError: ``run`` is not a run.
        DataError: The data lack a column the model needs.
    """
    if out is not None:
        check_out(out, overwrite=overwrite)
    model = load_transfer(run)
    task = model.task_
    bad: list[tuple[int, str]] = []
    chunks = stream(data, model.recipe_, chunk=BLOCK, encoding=encoding)
    first = next(chunks, None)  # a file that cannot be read is said before anything is written
    with writing(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["prediction", *(f"p_{name}" for name in task.classes)])
        for chunk in chain([first] if first is not None else [], chunks):
            bad += chunk.bad
            rows = {number: [""] * (1 + len(task.classes)) for number, _ in chunk.bad}
            if len(chunk.data):
                rows |= dict(zip(chunk.row_numbers.tolist(), _cells(model, chunk.data), strict=True))
            writer.writerows(rows[number] for number in sorted(rows))
    return bad


def _cells(model: BaseTransfer, data: Dataset) -> list[list[str]]:
    outputs = model.outputs(data)
    labels = model.task_.decode(outputs)
    if not model.task_.is_classification:
        return [[f"{value:.8g}"] for value in labels]
    return [[label, *(f"{p:.6f}" for p in row)] for label, row in zip(labels, outputs, strict=True)]


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
) -> dict[str, Any]:
    """Score a run, or a source's own classes as they are, on labelled data.

    Returns:
        ``name``, ``data``, ``rows``, ``metrics`` {name: (value, low, high)} and ``notes``.
    """
    folder = Path(model)
    if (folder / "model.json").is_file():
        return _evaluate_run(folder, data, label=label, encoding=encoding, level=level)
    return _evaluate_source(model, data, label=label, encoding=encoding, level=level, rename=rename or {})


def _evaluate_run(run: Path, data: str, *, label: str | None, encoding: str, level: float) -> dict[str, Any]:
    model = load_transfer(run)
    table = load(data, label=label, like=model.recipe_, encoding=encoding)
    if table.y is None:
        raise DataError(f"{data} has no labels", hint="name the column with --label")
    metrics = evaluate(model.task_, table.y, model.outputs(table), level=level)
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
