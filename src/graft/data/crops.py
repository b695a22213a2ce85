"""The objects of pictures, and some of what lies between them, as pictures of their own: sources are ranked on these."""

from __future__ import annotations

import hashlib

import numpy as np

from graft.core.boxes import CLASS, iou
from graft.core.rows import evenly_spaced
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data.picture_sizes import sizes

BACKGROUND = "(background)"
MARGIN = 0.2  # of a box's sides that is seen around it
MOST = 600  # crops, evenly from all pictures
TRIES = 10  # places that a crop of the background is looked for in
APART = 0.2  # overlap with an object up to which a crop is background


class CropRows:
    """Parts of pictures, cut out when they are taken.

    Args:
        data: The whole pictures.
        place: Which picture of ``data`` each crop is of (n,).
        boxes: Left, top, right and bottom as shares of width and height (n, 4).
    """

    def __init__(self, data: Dataset, place: np.ndarray, boxes: np.ndarray) -> None:
        self.data, self.place, self.boxes = data, place, boxes

    def __len__(self) -> int:
        return len(self.place)

    def take(self, rows: np.ndarray) -> list[np.ndarray]:
        """Crops in the order of ``rows``, uint8 RGB (H, W, 3) each; a picture is read once."""
        order = np.arange(len(self))[rows]
        whole = {int(one): self.data.take(slice(int(one), int(one) + 1))[0] for one in np.unique(self.place[order])}
        return [self._cut(whole[int(self.place[row])], self.boxes[row]) for row in order]

    @staticmethod
    def _cut(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
        high, wide = picture.shape[:2]
        left, top = int(box[0] * wide), int(box[1] * high)
        right, bottom = max(left + 2, round(box[2] * wide)), max(top + 2, round(box[3] * high))
        return np.ascontiguousarray(picture[min(top, high - 2) : bottom, min(left, wide - 2) : right])

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """64-bit key per crop of its picture and its place (B,)."""
        pictures = self.data.X.keys(self.data.rows[self.place[rows]])  # type: ignore[attr-defined]
        parts = [
            int(key).to_bytes(8, "little") + self.boxes[row].tobytes() for key, row in zip(pictures, rows, strict=True)
        ]
        return np.array([int.from_bytes(hashlib.sha256(part).digest()[:8], "little") for part in parts], np.uint64)

    def digest(self) -> str:
        """Hash of all crops, in order."""
        return hashlib.sha256(b"crops" + self.keys(np.arange(len(self))).tobytes()).hexdigest()


def of_crops(data: Dataset, seed: int = 0) -> Dataset:
    """Objects as rows of a classification, with crops between them as one more class; a picture is a group.

    Args:
        data: A detection.
        seed: Of the places between objects.
    """
    assert data.y is not None
    rng = np.random.default_rng(seed)
    place, boxes, y = [], [], []
    rest = data.task.outputs
    for row, (objects, size) in enumerate(zip(data.y, sizes(data), strict=True)):
        shares = objects[:, :4] / np.tile(size, 2)
        grown = (shares[:, 2:] - shares[:, :2]) * MARGIN
        place += [row] * len(objects)
        boxes += list(np.concatenate([shares[:, :2] - grown, shares[:, 2:] + grown], axis=1).clip(0, 1))
        y += objects[:, CLASS].astype(int).tolist()
        side = (shares[:, 2:] - shares[:, :2]).mean(axis=0).clip(0.05, 0.9) if len(shares) else np.full(2, 0.3)
        for _ in range(TRIES):
            corner = rng.random(2) * (1 - side)
            free = np.concatenate([corner, corner + side])
            if not len(shares) or iou(free[None], shares).max() < APART:
                place.append(row)
                boxes.append(free)
                y.append(rest)
                break
    kept = evenly_spaced(len(y), MOST)
    found = np.unique(np.array(y)[kept])
    classes = np.array([*data.task.classes, BACKGROUND])[found]
    task = Task("classification", "image", tuple(classes.tolist()), "macro_f1", data.task.target)
    groups = np.array(place)[kept]
    rows = CropRows(data, groups, np.array(boxes)[kept])
    codes = np.searchsorted(found, np.array(y)[kept])
    return Dataset(rows, codes, task, np.arange(len(kept)), groups, ("image",), f"{data.name}, objects")
