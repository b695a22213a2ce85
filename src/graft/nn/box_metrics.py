"""Average precision of boxes as COCO defines it, as a function of picture weights, so that pictures can be resampled.

Which box finds which object is decided once per picture; a weight then counts a picture several times or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graft.core.boxes import CLASS, SCORE, iou

Weighted = Callable[[np.ndarray], np.ndarray]
OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # of box and object, from which it is found
RECALLS = np.linspace(0, 1, 101)  # at which precision is read
MOST = 100  # boxes of one class in a picture that count, the best
_TINY = float(np.spacing(1))


@dataclass(frozen=True)
class Matches:
    """Boxes of one class in all pictures, the best first.

    Attributes:
        picture: Picture of each box (K,).
        scores: Their scores (K,).
        hits: Whether each finds an object, by overlap (T, K).
        objects: Objects of each picture (n,).
    """

    picture: np.ndarray
    scores: np.ndarray
    hits: np.ndarray
    objects: np.ndarray


def matched(truth: np.ndarray, found: np.ndarray, overlaps: Sequence[float]) -> np.ndarray:
    """Which boxes find an object, bool (T, K): in order of their score each takes the free object that it overlaps most.

    Args:
        truth: Objects of one class in one picture (m, 4).
        found: Boxes of this class (K, 4), the best first.
        overlaps: Least overlap of box and object.
    """
    hits = np.zeros((len(overlaps), len(found)), bool)
    if not len(truth) or not len(found):
        return hits
    shared = iou(found, truth)
    for level, least in enumerate(overlaps):
        free = np.ones(len(truth), bool)
        for box in np.flatnonzero(shared.max(axis=1) >= least).tolist():
            open_ = np.where(free, shared[box], -1.0)
            best = len(open_) - 1 - int(open_[::-1].argmax())  # of equals the last, as the COCO tools have it
            if open_[best] >= min(least, 1 - 1e-10):
                hits[level, box] = True
                free[best] = False
    return hits


def matches(y: np.ndarray, outputs: np.ndarray, overlaps: Sequence[float] = OVERLAPS) -> list[Matches]:
    """What finds what, class by class, up to the last class that occurs.

    Args:
        y: Objects of every picture, arrays (m, 5).
        outputs: Boxes of every picture, arrays (k, 6).
        overlaps: Least overlap of box and object.
    """
    names = max((int(row[:, CLASS].max()) for part in (y, outputs) for row in part if len(row)), default=-1)
    result = []
    for number in range(names + 1):
        picture, scores, hits, objects = [], [], [], []
        for place, (true, row) in enumerate(zip(y, outputs, strict=True)):
            mine = row[row[:, CLASS] == number]
            mine = mine[np.argsort(-mine[:, SCORE], kind="stable")][:MOST]
            own = true[true[:, CLASS] == number]
            picture.append(np.full(len(mine), place))
            scores.append(mine[:, SCORE])
            hits.append(matched(own, mine, overlaps))
            objects.append(len(own))
        order = np.argsort(-np.concatenate(scores), kind="stable")
        together = np.concatenate(hits, axis=1)[:, order]
        result.append(
            Matches(np.concatenate(picture)[order], np.concatenate(scores)[order], together, np.array(objects))
        )
    return result


def average_precision(one: Matches, weight: np.ndarray) -> np.ndarray:
    """Average precision (R, T) of one class under picture weights (R, n); NaN where there is no object.

    Precision at a recall is the highest at that recall or beyond; it is read at 101 recalls and averaged.

    References:
        Lin et al. (2014), Microsoft COCO: common objects in context, ECCV; Everingham et al. (2010) for the envelope.
    """
    total = weight @ one.objects
    taken = weight[:, one.picture]
    so_far = taken.cumsum(axis=1)
    result = np.zeros((len(weight), len(one.hits)))
    for level, hits in enumerate(one.hits):
        places = np.flatnonzero(hits)  # between two of them precision only falls
        if not len(places):
            continue
        right = taken[:, places].cumsum(axis=1)
        precision = right / (so_far[:, places] + _TINY)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = right / np.where(total > 0, total, 1)[:, None]
        for row in range(len(weight)):
            at = np.searchsorted(recall[row], RECALLS, side="left")
            inside = at < len(places)
            result[row, level] = precision[row, at[inside]].sum() / len(RECALLS)
    return np.where((total > 0)[:, None], result, np.nan)


def mean_average_precision(y: np.ndarray, outputs: np.ndarray, overlaps: Sequence[float] = OVERLAPS) -> Weighted:
    """Prepare the mean over classes with objects, and over overlaps, of the average precision; 0 where nothing is there.

    With the ten overlaps 0.5, 0.55 … 0.95 it is COCO's mAP@[.5:.95], with 0.5 alone its mAP@.5.

    Example:
        >>> from graft.core.ragged import ragged
        >>> y = ragged([np.array([[0.0, 0, 4, 4, 0]])])
        >>> found = ragged([np.array([[0.0, 0, 4, 3, 0, 0.9]])])
        >>> float(mean_average_precision(y, found)(np.ones((1, 1)))[0].round(3))
        0.6
    """
    known = matches(y, outputs, overlaps)

    def value(weight: np.ndarray) -> np.ndarray:
        if not known:
            return np.zeros(len(weight))
        each = np.stack([average_precision(one, weight).mean(axis=1) for one in known])
        there = ~np.isnan(each)
        result: np.ndarray = np.where(there, each, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        return result

    return value


def recall_of_objects(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare the share of the objects that some box overlaps by half, averaged over classes."""
    known = matches(y, outputs, (0.5,))

    def value(weight: np.ndarray) -> np.ndarray:
        if not known:
            return np.zeros(len(weight))
        shares, there = [], []
        for one in known:
            total, right = weight @ one.objects, weight[:, one.picture] @ one.hits[0]
            shares.append(right / np.where(total > 0, total, 1))
            there.append(total > 0)
        return np.asarray(np.sum(shares, axis=0) / np.maximum(np.sum(there, axis=0), 1))

    return value


def thresholds(y: np.ndarray, outputs: np.ndarray, classes: int, otherwise: float) -> tuple[float, ...]:
    """Score of each class from which its boxes have the highest F1 at an overlap of one half."""
    chosen = [otherwise] * classes
    for number, one in enumerate(matches(y, outputs, (0.5,))):
        if one.hits.any():
            right = one.hits[0].cumsum()
            f1 = 2 * right / (np.arange(1, len(right) + 1) + one.objects.sum())
            chosen[number] = round(float(one.scores[int(f1.argmax())]), 6)
    return tuple(chosen)


def curve(one: Matches, points: int = 21) -> list[list[float]]:
    """Recall and the highest precision at that recall or beyond, at an overlap of one half (first of ``hits``)."""
    right = one.hits[0].cumsum()
    precision = right / np.arange(1, len(right) + 1) if len(right) else np.zeros(0)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = right / max(1, int(one.objects.sum()))
    found = []
    for level in np.linspace(0, 1, points):
        at = int(np.searchsorted(recall, level, side="left"))
        found.append([round(float(level), 4), round(float(precision[at]), 4) if at < len(precision) else 0.0])
    return found
