"""Choosing rows."""

from __future__ import annotations

import numpy as np


def evenly_spaced(total: int, most: int) -> np.ndarray:
    """Positions (min(total, most),) int64 of evenly spaced rows, the first and the last among them; all where few.

    Example:
        >>> evenly_spaced(10, 4).tolist(), evenly_spaced(2, 4).tolist()
        ([0, 3, 6, 9], [0, 1])
    """
    return np.unique(np.linspace(0, max(total - 1, 0), min(most, total)).astype(np.int64))
