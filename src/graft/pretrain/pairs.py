"""Pairs of words that stand near each other in held-out rows, to judge word vectors by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

PAIRS = 8  # drawn from each row, so that every row counts the same
COUNTED = 2_000_000  # training words in which pairs are counted for the baseline


@dataclass(frozen=True)
class Pairs:
    """Numbers of words, (N, 8) each: a centre, a word near it, and noise drawn by frequency.

    Noise of the same frequency is what makes the question hard: to know which words are common is not enough.
    """

    centre: np.ndarray
    near: np.ndarray
    noise: np.ndarray

    def __len__(self) -> int:
        return len(self.centre)

    @classmethod
    def draw(
        cls, rows: Iterable[list[str]], index: dict[str, int], often: np.ndarray, window: int, rng: np.random.Generator
    ) -> Pairs:
        """Draw pairs at most ``window`` known words apart from rows of words.

        Args:
            rows: The held-out rows.
            index: Number of each word.
            often: Share of each word (V,) in the training rows.
            window: Largest distance.
            rng: Draws.
        """
        centres, near = [np.zeros((0, PAIRS), np.int64)], [np.zeros((0, PAIRS), np.int64)]
        for words in rows:
            ids = np.array([index[word] for word in words if word in index], np.int64)
            gaps = range(1, min(window, len(ids) - 1) + 1)
            if not gaps:
                continue
            left = np.concatenate([np.arange(len(ids) - gap) for gap in gaps])
            right = np.concatenate([np.arange(gap, len(ids)) for gap in gaps])
            chosen = rng.integers(len(left), size=PAIRS)
            turned = rng.random(PAIRS) < 0.5
            a, b = left[chosen], right[chosen]
            centres.append(ids[np.where(turned, b, a)][None])
            near.append(ids[np.where(turned, a, b)][None])
        centre = np.concatenate(centres)
        return cls(centre, np.concatenate(near), rng.choice(len(often), size=centre.shape, p=often))


def above(near: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Share (N,) of the pairs of each row that score higher than noise; a tie is half a success.

    Over all rows this is the area under the ROC curve.

    Example:
        >>> above(np.array([[2.0, 1.0]]), np.array([[1.0, 1.0]])).tolist()
        [0.75]
    """
    return ((near > noise) + 0.5 * (near == noise)).mean(axis=1)


def counted(
    rows: Iterable[list[str]], index: dict[str, int], often: np.ndarray, window: int, pairs: Pairs
) -> tuple[np.ndarray, np.ndarray]:
    """How often the words of each pair stood near each other in training rows, over how often they stand at all.

    This is the order of pointwise mutual information, which skip-gram factorises.  Levy & Goldberg (2014).

    Returns:
        Scores (N, 8) of the near words and of the noise.
    """
    size = len(often)
    keys = [pairs.centre * size + other for other in (pairs.near, pairs.noise)]
    wanted = np.unique(np.concatenate([key.ravel() for key in keys]))
    ids: list[int] = []
    for words in rows:
        ids += [index[word] for word in words if word in index]
        ids += [-1] * window  # no pair across rows
        if len(ids) >= COUNTED:
            break
    tokens, found = np.array(ids, np.int64), np.zeros(len(wanted))
    for gap in range(1, window + 1):
        left, right = tokens[:-gap], tokens[gap:]
        real = (left >= 0) & (right >= 0)
        for a, b in ((left[real], right[real]), (right[real], left[real])):
            met = a * size + b
            at = np.searchsorted(wanted, met).clip(max=len(wanted) - 1)
            found += np.bincount(at[wanted[at] == met], minlength=len(wanted))
    near, noise = (
        found[np.searchsorted(wanted, key)] / often[other]
        for key, other in zip(keys, (pairs.near, pairs.noise), strict=True)
    )
    return near, noise
