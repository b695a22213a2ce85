"""What the two texts of a pair have in common, as numbers: for the classical baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

NAMES = (
    "common words", "first in second", "second in first", "common pairs of words", "common runs of letters", "likeness of lengths",
)  # fmt: skip
WEIGHT = 2.0  # of these numbers beside rows of counts that have length one
RUN = 3  # letters of a run


def overlap(pairs: Sequence[tuple[str, ...]], units: Callable[[str], list[str]]) -> np.ndarray:
    """Shares (n, 6) from 0 to 1, times ``WEIGHT``: of words, word pairs and runs of three letters that both texts have.

    Args:
        pairs: The texts; of more than two the first and the last are compared.
        units: Cuts a text into words.

    Example:
        >>> (overlap([("a red cat", "a red dog")], str.split)[0] / WEIGHT).round(2).tolist()
        [0.5, 0.67, 0.67, 0.33, 0.4, 1.0]
    """
    found = np.zeros((len(pairs), len(NAMES)))
    for row, pair in enumerate(pairs):
        one, two = units(pair[0]), units(pair[-1])
        letters = [
            {text[i : i + RUN] for i in range(max(1, len(text) - RUN + 1))}
            for text in (pair[0].lower(), pair[-1].lower())
        ]
        first, second = set(one), set(two)
        both = len(first & second)
        found[row] = (
            _share(first, second),
            both / max(1, len(first)),
            both / max(1, len(second)),
            _share(set(pairwise(one)), set(pairwise(two))),
            _share(*letters),
            min(len(one), len(two)) / max(1, len(one), len(two)),
        )
    return WEIGHT * found


def _share(first: set, second: set) -> float:
    return len(first & second) / max(1, len(first | second))
