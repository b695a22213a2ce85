"""Boxes around objects: geometry in pixels, and the arrays by which they are targets and outputs.

A box is (x1, y1, x2, y2) with x1 < x2 and y1 < y2: left, top, right and bottom edge in pixels of the picture, 0 at its upper
left corner.  Targets of a picture are (m, 5): box and class.  Outputs are (k, 6): box, class and score, the best first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graft.core.ragged import ragged

CLASS, SCORE = 4, 5  # columns behind the box
SURE = 0.3  # score from which a box is answered where no held-out rows chose another


def area(boxes: np.ndarray) -> np.ndarray:
    """Area (m,) of boxes (m, 4), 0 where the edges stand in the wrong order."""
    sides: np.ndarray = (boxes[:, 2:4] - boxes[:, :2]).clip(min=0)
    return np.asarray(sides.prod(axis=1))


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (m, k) of boxes (m, 4) and (k, 4); 0 where both have no area.

    Example:
        >>> iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]])).round(3).tolist()
        [[0.333]]
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:4], second[None, :, 2:4])
    shared = (high - low).clip(min=0).prod(axis=2)
    either = area(first)[:, None] + area(second)[None] - shared
    return np.asarray(shared / np.where(either > 0, either, 1))


def from_corner(boxes: np.ndarray) -> np.ndarray:
    """(x, y, width, height) of the upper left corner, as COCO writes boxes, to (x1, y1, x2, y2)."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], axis=1)


def to_corner(boxes: np.ndarray) -> np.ndarray:
    """The inverse of ``from_corner``."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]], axis=1)


def from_centre(boxes: np.ndarray) -> np.ndarray:
    """(x, y, width, height) of the centre, as YOLO and DETR have it, to (x1, y1, x2, y2)."""
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def to_centre(boxes: np.ndarray) -> np.ndarray:
    """The inverse of ``from_centre``."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:4]) / 2, boxes[:, 2:4] - boxes[:, :2]], axis=1)


def clipped(boxes: np.ndarray, width: float, height: float) -> np.ndarray:
    """What of the boxes (m, 4) lies in a picture of this size."""
    return np.asarray(np.clip(boxes[:, :4], 0, [width, height, width, height]))


def suppressed(found: np.ndarray, overlap: float, most: int) -> np.ndarray:
    """Outputs (k, 6) less those that overlap a better one of their class: non-maximum suppression; the best first.

    Example:
        >>> found = np.array([[0, 0, 4, 4, 0, 0.5], [0, 0, 4, 5, 0, 0.9], [0, 0, 4, 4, 1, 0.4]])
        >>> suppressed(found, 0.5, 9)[:, SCORE].tolist()
        [0.9, 0.4]
    """
    found = found[np.argsort(-found[:, SCORE], kind="stable")]
    near = (iou(found, found) > overlap) & (found[:, None, CLASS] == found[None, :, CLASS])
    kept: list[int] = []
    gone = np.zeros(len(found), bool)
    for place in range(len(found)):
        if not gone[place] and len(kept) < most:
            kept.append(place)
            gone |= near[place]
    return found[kept]


def encode(y: Iterable[Any], classes: Sequence[str]) -> tuple[np.ndarray, tuple[int, str] | None]:
    """Rows of ``{"label": name, "box": [x1, y1, x2, y2]}`` as arrays (m, 5), and the first (row, name) that is no class."""
    index = {name: place for place, name in enumerate(classes)}
    rows: list[np.ndarray | None] = []
    strange = None
    for number, row in enumerate(y):
        if row is None:
            rows.append(None)
            continue
        other = next((str(one["label"]) for one in row if str(one["label"]) not in index), None)
        if other is not None:
            strange = strange or (number, other)
        known = [one for one in row if str(one["label"]) in index]
        rows.append(np.array([[*one["box"], index[str(one["label"])]] for one in known], np.float64).reshape(-1, 5))
    return ragged(rows), strange


def decode(rows: np.ndarray, classes: Sequence[str], thresholds: Sequence[float] = (), *, outputs: bool) -> np.ndarray:
    """Targets, or outputs whose score reaches the threshold of its class, as lists of ``{"label", "box", "score"}`` (n,).

    Example:
        >>> decode(ragged([np.array([[1, 2, 3, 4, 0, 0.9]])]), ["cat"], outputs=True)[0]
        [{'label': 'cat', 'box': [1.0, 2.0, 3.0, 4.0], 'score': 0.9}]
    """
    least = np.asarray(thresholds if len(thresholds) else [SURE] * len(classes))
    found: list[list[dict[str, Any]] | None] = []
    for row in rows:
        if row is None:
            found.append(None)
            continue
        kept = row[row[:, SCORE] >= least[row[:, CLASS].astype(int)]] if outputs else row
        named = [
            {"label": classes[int(one[CLASS])], "box": one[:4]} | ({"score": one[SCORE]} if outputs else {})
            for one in kept.tolist()
        ]
        found.append(named)
    return ragged(found)
