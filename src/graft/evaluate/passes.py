"""Several held-out passes over the same rows, one after the other: a row counts once, however often it was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Passes(NamedTuple):
    """The passes of some models, side by side.

    Attributes:
        y: Encoded targets (R·n,), pass after pass.
        outputs: Held-out outputs (R·n, C) or (R·n,) of each model.
        groups: Group of each row (R·n,), or None.
        count: R.
    """

    y: np.ndarray
    outputs: list[np.ndarray]
    groups: np.ndarray | None
    count: int


def stacked(y: np.ndarray, models: Sequence[Sequence[np.ndarray]], groups: np.ndarray | None = None) -> Passes:
    """Put the passes of each model below each other; what had fewer passes than another is repeated.

    Metrics of the result are means over passes: those of one fitted model.  Means of the *outputs* would be those of an
    ensemble of R models, which is better than the one that is returned.  Repeats say nothing new of the rows: intervals
    draw whole rows (``repeats`` of ``evaluate``, ``guard`` and ``selected_score``).

    Args:
        y: Encoded targets (n,).
        models: Of each model, its held-out outputs (n, C) or (n,) of each pass.
        groups: Group of each row (n,).

    Example:
        >>> both = stacked(np.array([0, 1]), [[np.zeros(2), np.ones(2)], [np.full(2, 5.0)]])
        >>> both.y.tolist(), both.outputs[1].tolist(), both.count
        ([0, 1, 0, 1], [5.0, 5.0, 5.0, 5.0], 2)
    """
    most = max(map(len, models))
    if most == 1:
        return Passes(y, [passes[0] for passes in models], groups, 1)
    rows = [np.concatenate([passes[number % len(passes)] for number in range(most)]) for passes in models]
    return Passes(np.concatenate([y] * most), rows, None if groups is None else np.tile(groups, most), most)
