"""COCO: one JSON file with ``images``, ``annotations`` and ``categories`` beside the pictures, and results to score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.boxes import CLASS, SCORE, to_corner
from graft.core.errors import DataError
from graft.data.annotated_pictures import Found, Object, Picture, missing

FOLDERS = ("annotations", ".")  # of a data set, in which its JSON files lie
HEAD = 1 << 16  # bytes at both ends in which a file is told from other JSON


def is_coco(path: Path) -> bool:
    """Whether a file is COCO's: an object whose keys are those of COCO, not a list of rows."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD)
        file.seek(max(0, path.stat().st_size - HEAD))
        ends = head + file.read(HEAD)
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and b'"images"' in ends and (
        b'"annotations"' in ends or b'"categories"' in ends
    )  # fmt: skip


def find_file(folder: Path) -> Path | None:
    """The COCO file of a folder; None where there is none.

    Raises:
        DataError: There are several, and none of them alone is for training.
    """
    found = [path for inner in FOLDERS for path in sorted((folder / inner).glob("*.json")) if is_coco(path)]
    if len(found) > 1:
        training = [path for path in found if "train" in path.stem.lower()]
        if len(training) != 1:
            names = ", ".join(path.name for path in found[:4])
            raise DataError(f"{folder} holds {len(found)} COCO files ({names})", hint="name the one to read")
        found = training
    return found[0] if found else None


def read_coco(path: Path) -> Found:
    """Read a file; annotations of crowds are left out with a note.

    Raises:
        DataError: It is no JSON, lacks a part, or annotates a picture that it does not list.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"invalid JSON: {error}", where=str(path)) from None
    parts = whole if isinstance(whole, dict) else {}
    if not isinstance(parts.get("images"), list):
        raise DataError("the file lists no images", where=str(path), hint='COCO has {"images": […], …}')
    names = {one.get("id"): str(one.get("name", one.get("id"))) for one in _records(parts, "categories", path)}
    folders = _folders(path)
    pictures: dict[Any, Picture] = {}
    for place, one in enumerate(_records(parts, "images", path), 1):
        number, file = one.get("id"), str(one.get("file_name", ""))
        if number in pictures:
            raise DataError(f"two images have the id {number!r}", where=f"{path.name}, image {place}")
        source = next((folder / file for folder in folders if (folder / file).is_file()), path.parent / file)
        fault = missing(source) if file else "the image has no file_name"
        pictures[number] = Picture(source, f"{path.name}, image {place} ({file})", [], fault, number)
    crowds = 0
    for place, one in enumerate(_records(parts, "annotations", path), 1):
        where = f"{path.name}, annotation {place}"
        if one.get("image_id") not in pictures:
            raise DataError(f"image {one.get('image_id')!r} is not listed", where=where)
        if one.get("iscrowd"):
            crowds += 1
            continue
        _add(pictures[one["image_id"]], one, names, where)
    notes = (f"{crowds} annotation(s) of crowds left out",) if crowds else ()
    classes = tuple(dict.fromkeys(names.values()))
    return Found(list(pictures.values()), classes, path.stem, path.name, notes=notes)


def _records(parts: dict[str, Any], name: str, path: Path) -> list[dict[str, Any]]:
    found = parts.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise DataError(f"{name!r} is no list of objects", where=path.name)
    return found


def _add(picture: Picture, one: dict[str, Any], names: dict[Any, str], where: str) -> None:
    kind, box = one.get("category_id"), one.get("bbox")
    if kind not in names:
        known = ", ".join(map(str, list(names)[:8]))
        picture.fault = (
            picture.fault or f"annotation {one.get('id', '?')} has category {kind!r}; listed are {known or 'none'}"
        )
    elif not isinstance(box, list) or len(box) != 4 or not all(isinstance(edge, int | float) for edge in box):
        picture.fault = picture.fault or f"annotation {one.get('id', '?')} has no bbox [x, y, width, height]"
    else:
        x, y, wide, high = box
        picture.objects.append(Object(names[kind], (x, y, x + wide, y + high), where))


def _folders(path: Path) -> list[Path]:
    """Where pictures may lie: beside the file, above it, and in folders called images or like its split."""
    split = path.stem.removeprefix("instances_")
    return [
        top / name for top in (path.parent, path.parent.parent) for name in ("images", "", split, f"images/{split}")
    ]


def results(outputs: np.ndarray, numbers: list[Any], kinds: list[Any]) -> list[dict[str, Any]]:
    """Boxes of pictures as COCO results: ``image_id``, ``category_id``, ``bbox`` and ``score``, all of them.

    Example:
        >>> results([np.array([[1.0, 2, 4, 6, 0, 0.5]])], [7], [3])
        [{'image_id': 7, 'category_id': 3, 'bbox': [1.0, 2.0, 3.0, 4.0], 'score': 0.5}]
    """
    return [
        {
            "image_id": number,
            "category_id": kinds[int(one[CLASS])],
            "bbox": [round(edge, 3) for edge in to_corner(one[None, :4])[0].tolist()],
            "score": round(float(one[SCORE]), 6),
        }
        for number, row in zip(numbers, outputs, strict=True)
        for one in row
    ]


def category_ids(path: Path, classes: tuple[str, ...]) -> list[Any]:
    """The id of each class in a COCO file, or its place from 1 on where the file does not know it."""
    known = {}
    if is_coco(path):
        parts = json.loads(path.read_text(encoding="utf-8-sig"))
        known = {str(one.get("name")): one.get("id") for one in parts.get("categories") or []}
    return [known.get(name, place) for place, name in enumerate(classes, 1)]
