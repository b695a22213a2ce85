"""Choosing rows, and cutting an order of them into batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

WINDOW = 50  # batches of similar length are cut from windows of this many


def evenly_spaced(total: int, most: int) -> np.ndarray:
    """Positions (min(total, most),) int64 of evenly spaced rows, the first and the last among them; all where few.

    Example:
        >>> evenly_spaced(10, 4).tolist(), evenly_spaced(2, 4).tolist()
        ([0, 3, 6, 9], [0, 1])
    """
    return np.unique(np.linspace(0, max(total - 1, 0), min(most, total)).astype(np.int64))


def in_batches(
    order: np.ndarray, size: int, lengths: np.ndarray | None, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Cut an order of rows into batches of ``size``; where lengths (N,) are given, rows of similar length go together.

    Sorting inside windows of the order keeps nearly all padding away and leaves the order random; the batches of a window
    come in random order too.
    """
    for start in range(0, len(order), size * WINDOW):
        window = order[start : start + size * WINDOW]
        if lengths is not None:
            window = window[np.argsort(lengths[window], kind="stable")]
        cuts = [window[at : at + size] for at in range(0, len(window), size)]
        for index in rng.permutation(len(cuts)):
            yield cuts[index]
