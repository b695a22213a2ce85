"""Boxes that were found, in files: a line per box, a line per picture, or the results that COCO's tools score."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from graft.core.errors import UsageError
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data.coco import category_ids, results

FORMS = ("csv", "jsonl", "json")
COLUMNS = ("picture", "file", "label", "score", "x1", "y1", "x2", "y2")


def form_of(out: Path | None, asked: str | None) -> str:
    """The form that is asked for, or that the name of the file says; CSV without either.

    Raises:
        UsageError: Boxes are not written in this form.

    Example:
        >>> form_of(Path("a.json"), None), form_of(Path("a.txt"), None), form_of(None, "jsonl")
        ('json', 'csv', 'jsonl')
    """
    if asked is not None and asked not in FORMS:
        raise UsageError(f"boxes are not written as {asked}", hint=f"use {', '.join(FORMS)} (COCO results)")
    ending = out.suffix.lower().removeprefix(".") if out is not None else ""
    return asked or {"ndjson": "jsonl"}.get(ending, ending if ending in FORMS else "csv")


class BoxWriter:
    """Writes pictures in their order.

    ``csv`` and ``jsonl`` hold the boxes that reach the threshold of their class; COCO results hold all of them with their
    scores, as mAP needs them, and use the ids of pictures and categories of the file that is predicted.

    Args:
        file: Where to write.
        form: One of ``FORMS``.
        task: The model's.
        data: The file that is predicted, whose ids are used.
    """

    def __init__(self, file: TextIO, form: str, task: Task, data: str) -> None:
        self.file, self.form, self.task = file, form, task
        self.all: list[dict[str, Any]] = []
        path = Path(data)
        self.ids = category_ids(path, task.classes) if form == "json" else []
        self.lines = csv.writer(file, lineterminator="\n")
        if form == "csv":
            self.lines.writerow(COLUMNS)

    def pictures(self, numbers: Sequence[int], rows: Dataset, outputs: np.ndarray) -> None:
        """Write what was found in pictures; ``numbers`` count them from 0."""
        sources = list(rows.X.sources(rows.rows))  # type: ignore[attr-defined]
        names = [Path(source).name if isinstance(source, str | Path) else "" for source in sources]
        if self.form == "json":
            own = getattr(rows.X, "numbers", None)
            known = [None if own is None else own[row] for row in rows.rows.tolist()]
            ids = [number + 1 if one is None else one for number, one in zip(numbers, known, strict=True)]
            self.all += results(outputs, ids, self.ids)
            return
        for number, name, found in zip(numbers, names, self.task.decode(outputs), strict=True):
            rounded = [
                one | {"box": [round(edge, 2) for edge in one["box"]], "score": round(one["score"], 6)} for one in found
            ]
            if self.form == "jsonl":
                line = {"picture": int(number) + 1, "file": name, "boxes": rounded}
                self.file.write(json.dumps(line, ensure_ascii=False) + "\n")
                continue
            for one in rounded:
                self.lines.writerow([int(number) + 1, name, one["label"], one["score"], *one["box"]])

    def unreadable(self, number: int, reason: str) -> None:
        """A picture that cannot be read has no boxes."""
        if self.form == "jsonl":
            line = {"picture": number + 1, "boxes": None, "error": reason}
            self.file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def end(self) -> None:
        """Write what is written whole."""
        if self.form == "json":
            self.file.write(json.dumps(self.all, ensure_ascii=False) + "\n")
