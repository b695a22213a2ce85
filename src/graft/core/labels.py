"""Rows with several labels each: lists of names as 0/1 columns and back, the thresholds that decide, and the loss.

The targets of n rows are float64 (n, C): 1 where a row has a label, 0 where it has not; a row of NaN stands for unknown ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graft.core.ragged import ragged

MIDDLE = 0.5  # probability from which a label is given where no threshold was chosen
HEAVIEST = 10.0  # largest weight of the rows that have a rare label


def encode(rows: Iterable[Sequence[str] | None], classes: Sequence[str]) -> tuple[np.ndarray, tuple[int, str] | None]:
    """Targets (n, C) of rows of names, and the first name that is no class: (row, name), or None.

    Names that are no class are passed over; None is a row whose labels are unknown.

    Example:
        >>> encode([("a", "b"), (), None, ("c",)], ("a", "b"))
        (array([[ 1.,  1.],
               [ 0.,  0.],
               [nan, nan],
               [ 0.,  0.]]), (3, 'c'))
    """
    index, strange = {name: place for place, name in enumerate(classes)}, None
    rows = list(rows)
    y = np.zeros((len(rows), len(classes)))
    for number, names in enumerate(rows):
        if names is None:
            y[number] = np.nan
            continue
        for name in names:
            place = index.get(str(name))
            if place is not None:
                y[number, place] = 1.0
            elif strange is None:
                strange = (number, str(name))
    return y, strange


def decode(given: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Names (n,) of bool (n, C): an object array of tuples, in the order of the classes.

    Example:
        >>> decode(np.array([[True, True], [False, False]]), ("a", "b")).tolist()
        [('a', 'b'), ()]
    """
    return ragged(tuple(classes[int(place)] for place in np.flatnonzero(row)) for row in np.asarray(given, bool))


def over(outputs: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """Which labels probabilities (n, C) give, bool (n, C); thresholds of none mean one half."""
    found: np.ndarray = np.asarray(outputs) >= (np.asarray(thresholds) if len(thresholds) else MIDDLE)
    return found


def weights(rates: Sequence[float]) -> np.ndarray:
    """Weight √((1 - r) / r), 1 to 10, of the rows that have a label of rate r (C,).

    The root is a compromise, as for classes (``Task.class_weights``).
    """
    share = np.clip(np.asarray(rates, np.float64), 1e-6, 1.0)
    return np.sqrt((1 - share) / share).clip(1.0, HEAVIEST)


def loss(outputs: Any, y: Any, weight: Sequence[float] | np.ndarray | None = None) -> Any:
    """Mean binary cross-entropy over labels, per row (B,), of torch logits (B, C); a label's weight counts where it is given."""
    import torch
    import torch.nn.functional as F  # noqa: N812  (torch is imported by those who train)

    heavy = None if weight is None else torch.as_tensor(weight, dtype=outputs.dtype, device=outputs.device)
    truth = y.to(outputs.dtype)
    return F.binary_cross_entropy_with_logits(outputs, truth, pos_weight=heavy, reduction="none").mean(dim=1)
