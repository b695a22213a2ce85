"""Pictures with boxes as a file gives them, and what is right about the boxes once the size of the picture is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graft.core.boxes import area, clipped

TOUCH = 1.0  # pixels beyond the picture that are no news: edges are counted from 0 or from 1


class Object(NamedTuple):
    """One annotated object: its class, its box (x1, y1, x2, y2), and where that stands."""

    label: str
    box: Sequence[Any]
    where: str


@dataclass
class Picture:
    """A picture as a file names it.

    Attributes:
        source: Its file, or the picture itself.
        where: Where it stands, for messages.
        objects: What is annotated, none for background.
        fault: Why it cannot be used; empty if it can.
        number: What the file calls it (the ``id`` of COCO), for predictions.
    """

    source: Any
    where: str
    objects: list[Object] = field(default_factory=list)
    fault: str = ""
    number: Any = None


@dataclass
class Found:
    """Annotated pictures.

    Attributes:
        pictures: In the order of the file.
        classes: Class names where the file lists them, in its order.
        name: What to call the data.
        where: File or folder, for messages.
        relative: Whether boxes are shares of width and height, else pixels.
        notes: What was noticed.
    """

    pictures: list[Picture]
    classes: tuple[str, ...]
    name: str
    where: str
    relative: bool = False
    notes: tuple[str, ...] = ()


@dataclass
class Counts:
    """What was done to boxes: how many, and where the first was."""

    clipped: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """A sentence each."""
        said = ((self.clipped, "reach beyond their picture: clipped"), (self.empty, "have no area: left out"))
        return [f"{len(places)} box(es) {what} ({_some(places)})" for places, what in said if places]


def _some(places: Sequence[str]) -> str:
    return ", ".join(places[:3]) + (" …" if len(places) > 3 else "")


def checked(one: Object, size: tuple[int, int], counts: Counts, *, relative: bool) -> tuple[list[float] | None, str]:
    """A box in pixels inside of its picture, None where it has no area; and what is wrong with it, empty if nothing is.

    Args:
        one: The object.
        size: Width and height of the picture in pixels.
        counts: Told what is clipped or left out.
        relative: Whether the box is in shares of width and height.

    Example:
        >>> counts = Counts()
        >>> checked(Object("cat", (-5, 2, 4, 8), "a.jpg"), (10, 10), counts, relative=False), counts.notes()
        (([0.0, 2.0, 4.0, 8.0], ''), ['1 box(es) reach beyond their picture: clipped (a.jpg)'])
    """
    try:
        edges = [float(edge) for edge in one.box]
    except (TypeError, ValueError):
        edges = []
    if len(edges) != 4 or not all(map(math.isfinite, edges)):
        return None, f"{list(one.box)!r} is no box: four finite numbers are needed"
    if relative and max(abs(edge) for edge in edges) > 2:
        return None, f"the box {_shown(edges)} is in pixels where shares of width and height (0 to 1) are expected"
    if edges[2] < edges[0] or edges[3] < edges[1]:
        return None, f"the box {_shown(edges)} has its edges in the wrong order (left, top, right, bottom)"
    wide, high = size
    box = np.array([edges]) * ([wide, high, wide, high] if relative else 1.0)
    if area(box)[0] <= 0:
        counts.empty.append(one.where)
        return None, ""
    inside = clipped(box, wide, high)
    if area(inside)[0] <= 0:
        return None, f"the box {_shown(box[0].tolist())} lies outside of its picture of {wide} x {high} px"
    if np.abs(inside - box).max() > TOUCH:
        counts.clipped.append(one.where)
    return inside[0].tolist(), ""


def in_shares(found: Found) -> bool:
    """Whether boxes that should be pixels are shares of width and height: all edges lie between 0 and 1."""
    edges = [
        edge for one in found.pictures for each in one.objects for edge in each.box if isinstance(edge, int | float)
    ]
    return not found.relative and bool(edges) and all(0 <= edge <= 1 for edge in edges)


def _shown(edges: Sequence[float]) -> str:
    return "(" + ", ".join(f"{edge:g}" for edge in edges) + ")"


def missing(path: Path) -> str:
    """Why the file of a picture cannot be used; empty if it is there."""
    return "" if path.is_file() else f"no picture {path.name!r}"
