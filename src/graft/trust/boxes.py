"""Which pictures a detector gets most wrong, drawn with the boxes that are true and those that were found."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from graft.core.boxes import CLASS, SCORE, iou
from graft.core.ragged import ragged
from graft.core.task import Task
from graft.nn.box_metrics import matches

TRUE, RIGHT, WRONG = (
    (0, 114, 178),
    (0, 158, 115),
    (213, 94, 0),
)  # blue, green, vermilion: told apart without red and green
FOUND = 0.5  # overlap from which an object counts as found
MOST = 60  # boxes that are drawn of either kind


def errors(task: Task, y: np.ndarray, outputs: np.ndarray) -> list[dict[str, Any]]:
    """Of every picture: its number, objects missed and boxes too many, and the answer that reaches the thresholds (k, 6).

    Args:
        task: A detection with its thresholds.
        y: Objects of every picture, arrays (m, 5).
        outputs: Boxes of every picture, arrays (k, 6).
    """
    least = np.asarray(task.thresholds)
    result = []
    for row, (true, found) in enumerate(zip(y, outputs, strict=True)):
        given = found[found[:, SCORE] >= least[found[:, CLASS].astype(int)]]
        right = sum(int(one.hits.sum()) for one in matches(ragged([true]), ragged([given]), (FOUND,)))
        result.append({"row": row, "missed": len(true) - right, "extra": len(given) - right, "given": given})
    return result


def hard_pictures(task: Task, y: np.ndarray, outputs: np.ndarray, top: int) -> list[dict[str, Any]]:
    """The pictures with most errors, then others as examples: ``row``, ``label``, ``prediction`` and ``given``."""
    ordered = sorted(errors(task, y, outputs), key=lambda one: (-one["missed"] - one["extra"], one["row"]))
    worst = ordered[:top]
    return [
        {
            "row": one["row"],
            "label": counted(task, y[one["row"]]),
            "prediction": counted(task, one["given"]),
            "given": one["given"],
        }
        for one in worst
    ]


def counted(task: Task, boxes: np.ndarray) -> str:
    """How many boxes of each class: ``3 cat, 1 dog``; – for none."""
    found = Counter(task.classes[int(kind)] for kind in boxes[:, CLASS])
    return ", ".join(f"{count} {name}" for name, count in found.most_common()) or "–"


def box_sentences(task: Task, y: np.ndarray, outputs: np.ndarray) -> list[str]:
    """Say how many objects are missed and how many boxes are too many, and which class is missed most."""
    found = errors(task, y, outputs)
    missed, extra = (sum(one[key] for one in found) for key in ("missed", "extra"))
    total = sum(map(len, y))
    lines = [f"{missed} of {total} objects are missed, and {extra} boxes hold none"]
    shares = [
        (1 - float(one.hits[0][one.scores >= least].sum()) / one.objects.sum(), name)
        for name, one, least in zip(task.classes, matches(y, outputs, (FOUND,)), task.thresholds, strict=False)
        if one.objects.sum()
    ]
    if shares and max(shares)[0] > 0:
        share, name = max(shares)
        lines.append(f"{name} is missed most: {share:.0%} of its objects")
    return lines


def drawn(picture: np.ndarray, true: np.ndarray, given: np.ndarray, size: tuple[float, float], side: int) -> np.ndarray:
    """A picture with its objects in blue, and the boxes found in green, or vermilion where they hold no object.

    Args:
        picture: uint8 (H, W, 3), perhaps smaller than the one in whose pixels the boxes are.
        true: Objects (m, 5).
        given: Boxes (k, 6).
        size: Width and height in whose pixels the boxes are.
        side: Longer side of the result.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    scale = np.tile([image.width / size[0], image.height / size[1]], 2)
    pen = ImageDraw.Draw(image)
    for one in true[:MOST]:
        pen.rectangle((one[:4] * scale).tolist(), outline=TRUE, width=3)
    for one in given[:MOST]:
        same = true[true[:, CLASS] == one[CLASS], :4]
        hit = len(same) and iou(one[None, :4], same).max() >= FOUND
        pen.rectangle((one[:4] * scale).tolist(), outline=RIGHT if hit else WRONG, width=1)
    return np.asarray(image)
