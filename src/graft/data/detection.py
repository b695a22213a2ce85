"""Object detection: read pictures with boxes, whatever the form, and check every box against its picture.

Read are COCO JSON, Pascal VOC folders, YOLO text, and (X, y) of pictures and lists of ``{"label", "box"}``.  A row is a picture;
one without an object is background and a row like the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.ragged import is_ragged, ragged
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data.annotated_pictures import Counts, Found, Object, Picture, checked, in_shares
from graft.data.coco import find_file, is_coco, read_coco
from graft.data.image import SUFFIXES, fault
from graft.data.picture_sizes import size_of
from graft.data.rows import ImageRows
from graft.data.voc import is_voc, read_voc
from graft.data.yolo import is_yolo, read_yolo

TARGET = "boxes"


class BoxedRows(ImageRows):
    """Pictures of a detection, with what their file calls them."""

    def __init__(self, items: list[Any], numbers: list[Any]) -> None:
        super().__init__(items)
        self.numbers = numbers


def load_detected(
    source: Any,
    *,
    task: str | Task | None = None,
    like: dict[str, Any] | None = None,
    modality: str | None = None,
    encoding: str = "utf-8",
    labelled: bool = True,
    bad_rows: str = "error",
    name: str | None = None,
) -> Dataset | None:
    """A data set of pictures with boxes; None where the source is something else.

    Boxes that reach beyond their picture are clipped, with a note, those without an area are left out, with a note.  A box that
    lies wholly outside, has its edges in the wrong order or is in the wrong unit, a category that is not listed, and a picture
    that is not there or cannot be read make the picture unusable: an error, or with ``bad_rows="drop"`` a note.

    Args:
        source: What ``load`` takes.
        task: ``"detection"`` to insist, or the known task.
        like: Recipe of the data that a model was fitted on.
        modality: What was asked for; these are images.
        encoding: Of text files; these forms are UTF-8 whatever it says.
        labelled: Whether boxes are wanted.
        bad_rows: ``"error"`` or ``"drop"``.
        name: What to call the data.

    Raises:
        DataError: A picture or a box cannot be used, a class is not known to the model, or there is no box.
    """
    del encoding
    known = _task_of(like) if like else task if isinstance(task, Task) else None
    if modality not in {None, "image"} or (known and not known.is_detection) or task not in {None, "detection", known}:
        return None
    found = find(source)
    if found is None:
        if task == "detection" and known is None:
            hint = "use a COCO file, a VOC folder, YOLO's data.yaml, or (pictures, lists of {label, box})"
            raise DataError("these are no pictures with boxes", where=str(source)[:80], hint=hint)
        if labelled and known is not None:
            raise DataError("the pictures have no boxes", where=str(source)[:80], hint="use a COCO file, VOC or YOLO")
        return None
    if in_shares(found):
        what = "all edges lie between 0 and 1: these are shares of width and height, where pixels are expected"
        raise DataError(what, where=found.where, hint="multiply them by the size of the picture, or write YOLO")
    pictures, y, notes = _usable(found, labelled=labelled, drop=bad_rows == "drop")
    if not pictures:
        raise DataError("there are no pictures", where=found.where)
    base = known or Task("detection", "image", (), "map", TARGET)
    rows = BoxedRows([one.source for one in pictures], [one.number for one in pictures])
    data = Dataset(
        rows, None, base, np.arange(len(rows)), None, ("image",), name or found.name, (), np.arange(1, len(rows) + 1)
    )
    if labelled:
        used = {one["label"] for row in y for one in row}
        listed = tuple(kind for kind in found.classes if kind in used)
        data_task = known or Task.infer(ragged(y), modality="image", kind="detection", target=TARGET, classes=listed)
        unused = [kind for kind in found.classes if kind not in used]
        if unused and known is None:
            notes.append(f"{len(unused)} class(es) without a box are not learned: {', '.join(unused[:5])}")
        empty = sum(not row for row in y)
        notes += [f"{empty} picture(s) without an object are background"] if empty else []
        data = dataclasses.replace(data, y=data_task.encode(ragged(y)), task=data_task)
    keys = rows.keys(np.arange(len(rows)))
    repeated = len(keys) - len(np.unique(keys))
    notes += [f"{repeated} picture(s) repeat an earlier one"] if repeated else []
    return dataclasses.replace(data, notes=(*found.notes, *notes))


def _task_of(like: dict[str, Any]) -> Task:
    return Task(**{**like["task"], "classes": tuple(like["task"]["classes"])})


def find(source: Any) -> Found | None:
    """What annotated pictures a source is; None where it is none."""
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.is_dir():
            file = find_file(path)
            if file is not None:
                found = read_coco(file)
                return dataclasses.replace(found, name=path.resolve().name)
            return read_voc(path) if is_voc(path) else read_yolo(path) if is_yolo(path) else None
        if is_coco(path):
            return read_coco(path)
        return read_yolo(path) if path.is_file() and is_yolo(path) else None
    if isinstance(source, tuple) and len(source) == 2:
        return _in_memory(*source)
    return None


def _in_memory(X: Any, y: Any) -> Found | None:
    """Pictures, or their paths, with a list of ``{"label", "box"}`` each."""
    rows = list(y) if isinstance(y, list | tuple) or is_ragged(y) else []
    boxed = any(isinstance(one, dict) and "box" in one for row in rows if isinstance(row, list | tuple) for one in row)
    if not boxed or not all(isinstance(row, list | tuple) for row in rows):
        return None
    if len(X) != len(rows):
        raise DataError(
            f"{len(X)} pictures have {len(rows)} lists of boxes", hint="give one list, which may be empty, per picture"
        )
    pictures = []
    for place, (source, row) in enumerate(zip(X, rows, strict=True), 1):
        where = f"picture {place}"
        wrong = next((one for one in row if not (isinstance(one, dict) and {"label", "box"} <= set(one))), None)
        objects = [] if wrong is not None else [Object(str(one["label"]), one["box"], where) for one in row]
        why = "" if wrong is None else f'{wrong!r} is no {{"label": …, "box": …}}'
        pictures.append(Picture(Path(source) if isinstance(source, str) else source, where, objects, why))
    return Found(pictures, (), "data", "data")


def _usable(found: Found, *, labelled: bool, drop: bool) -> tuple[list[Picture], list[list[dict[str, Any]]], list[str]]:
    """Pictures that can be used with their boxes, and notes on the others."""
    pictures, y, counts, bad = [], [], Counts(), []
    for one in found.pictures:
        row: list[dict[str, Any]] = []
        why = one.fault or fault(one.source)
        where = one.where
        for each in one.objects if labelled and not why else ():
            box, wrong = checked(each, size_of(one.source), counts, relative=found.relative)
            if wrong:
                why, where = wrong, each.where
                break
            row += [{"label": each.label, "box": box}] if box is not None else []
        if not why:
            pictures.append(one)
            y.append(row)
        elif not drop:
            raise DataError(why, where=where, hint="--bad-rows drop leaves such pictures out")
        else:
            bad.append(f"{where}: {why}")
    notes = [f"{len(bad)} picture(s) left out: {'; '.join(bad[:3])}{' …' if len(bad) > 3 else ''}"] if bad else []
    return pictures, y, [*notes, *counts.notes()]


# -- prediction --------------------------------------------------------------------------------------------------------


def stream_pictures(
    source: Any, *, chunk: int
) -> Iterator[tuple[BoxedRows, np.ndarray, list[tuple[int, str]], str]] | None:
    """Pictures to predict, in chunks: rows, their 0-based places, unusable ones with the reason, and the name.

    None where the source is neither an annotated set nor a picture: a folder of pictures or a table of their names.
    """
    found = find(source)
    if (
        found is None
        and isinstance(source, str | Path)
        and Path(source).suffix.lower() in SUFFIXES
        and Path(source).is_file()
    ):
        found = Found([Picture(Path(source), Path(source).name)], (), Path(source).stem, str(source))
    return None if found is None else _chunks(found, chunk)


def _chunks(found: Found, chunk: int) -> Iterator[tuple[BoxedRows, np.ndarray, list[tuple[int, str]], str]]:
    for start in range(0, len(found.pictures), chunk):
        some = list(enumerate(found.pictures[start : start + chunk], start))
        # what is wrong with its annotation does not hinder a prediction
        reasons = [(number, fault(one.source)) for number, one in some]
        bad = [(number, why) for number, why in reasons if why]
        good = [(number, one) for (number, one), (_, why) in zip(some, reasons, strict=True) if not why]
        rows = BoxedRows([one.source for _, one in good], [one.number for _, one in good])
        yield rows, np.array([number for number, _ in good], np.int64), bad, found.name
