"""YOLO: a text file per picture, a line per object: number of the class, centre and size as shares of the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from graft.core.boxes import from_centre
from graft.core.errors import DataError
from graft.data.annotated_pictures import Found, Object, Picture
from graft.data.image import SUFFIXES

LISTS = ("data.yaml", "data.yml", "dataset.yaml")  # files that name splits and classes
NAMES = ("classes.txt", "obj.names")  # files that name classes alone, one per line


def is_yolo(path: Path) -> bool:
    """Whether a path is such a file, or a folder with one, or a folder of pictures whose labels lie in a sibling."""
    if path.is_file():
        return path.suffix.lower() in {".yaml", ".yml"}
    if any((path / name).is_file() for name in LISTS):
        return True
    return _names_file(path) is not None and (
        (path / "labels").is_dir() or (_labels_of(path).is_dir() and any(_labels_of(path).glob("*.txt")))
    )


def read_yolo(path: Path) -> Found:
    """Read a list's training pictures, or the pictures of a folder; pictures without a file of labels are background.

    Raises:
        DataError: Classes or pictures are not named.
    """
    folder = path if path.is_dir() else path.parent
    listed = path if path.is_file() else next((path / name for name in LISTS if (path / name).is_file()), None)
    facts = _yaml(listed) if listed else {}
    names = _names(facts, listed) if listed else ()
    places = _places(facts, listed) if listed else []
    if not names:
        file = _names_file(folder)
        if file is None:
            raise DataError("the classes are not named", where=str(folder), hint="add classes.txt, one name per line")
        names = _names(_yaml(file), file) if file.name in LISTS else _lines(file)
    inner = folder / "images"
    places = places or [inner if inner.is_dir() else folder]
    files = [file for place in places for file in sorted(place.rglob("*")) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise DataError(
            "there are no pictures", where=str(places[0]), hint="they lie in images/, their labels in labels/"
        )
    pictures = [_picture(file, names) for file in files]
    return Found(pictures, names, folder.name, folder.name, relative=True)


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"invalid YAML: {' '.join(str(error).split())}", where=path.name) from None
    return found if isinstance(found, dict) else {}


def _names(facts: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = facts.get("names")
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    if not isinstance(names, list) or not names:
        raise DataError("no list of names", where=path.name, hint="write names: [cat, dog]")
    return tuple(map(str, names))


def _lines(path: Path) -> tuple[str, ...]:
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _places(facts: dict[str, Any], path: Path) -> list[Path]:
    """Folders of the training pictures."""
    training = facts.get("train") or []
    roots = [path.parent / str(facts.get("path") or "."), path.parent, path.parent.parent]
    found = []
    for name in training if isinstance(training, list) else [training]:
        clean = str(name).removeprefix("../")
        place = next((root / part for root in roots for part in (str(name), clean) if (root / part).is_dir()), None)
        if place is None:
            raise DataError(f"no folder {name!r}", where=path.name, hint="train: names a folder of pictures")
        found.append(place)
    return found


def _names_file(folder: Path) -> Path | None:
    """The file that names classes, in the folder or up to three above it."""
    tops = [folder, *folder.resolve().parents[:3]]
    return next((top / name for top in tops for name in (*NAMES, *LISTS) if (top / name).is_file()), None)


def _labels_of(place: Path) -> Path:
    """The folder of labels of a folder of pictures: the last ``images`` of its path is ``labels``."""
    parts = list(place.parts)
    for at in range(len(parts) - 1, -1, -1):
        if parts[at] == "images":
            return Path(*parts[:at], "labels", *parts[at + 1 :])
    return place


def _picture(file: Path, names: tuple[str, ...]) -> Picture:
    labels = (_labels_of(file.parent) / file.name).with_suffix(".txt")
    picture = Picture(file, file.name)
    if not labels.is_file() or labels.name in NAMES:
        return picture
    for number, line in enumerate(labels.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split()
        if not cells:
            continue
        try:
            kind, *box = int(cells[0]), *map(float, cells[1:])
        except ValueError:
            kind, box = -1, []
        if len(box) != 4:
            picture.fault = f"{labels.name}, line {number}: not a class and four numbers"
        elif not 0 <= kind < len(names):
            picture.fault = f"{labels.name}, line {number}: class {kind} of {len(names)} (they count from 0)"
        else:
            edges = from_centre(np.array([box]))[0]
            picture.objects.append(Object(names[kind], list(map(float, edges)), f"{labels.name}, line {number}"))
    return picture
