"""Splits of rows with several labels that keep the share of every label: iterative stratification."""

from __future__ import annotations

import numpy as np


def assign_labels(
    unit: np.ndarray, y: np.ndarray, shares: np.ndarray, rng: np.random.Generator, *, home: int
) -> np.ndarray:
    """Part of each row (N,), so that every part has its share of the rows with each label.

    Again and again the label with the fewest rows left is taken, and each of its units goes to the part that lacks this
    label most; then the part that lacks rows most, then chance, decides.  Units without a label fill the parts up.  What
    has a label that no other unit has goes ``home``: it could be learned or tested, but never both.

    Args:
        unit: Number of the unit of each row (N,): rows that are never parted.
        y: Targets (N, C) of 0 and 1.
        shares: Share of each part (k,), of sum one.
        rng: Decides ties and order.
        home: Part of what cannot be split.

    References:
        Sechidis, Tsoumakas & Vlahavas (2011), On the stratification of multi-label data, ECML PKDD.

    Example:
        >>> y = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
        >>> part = assign_labels(np.arange(4), y, np.array([0.5, 0.5]), np.random.default_rng(0), home=0)
        >>> [y[part == each].sum(axis=0).tolist() for each in (0, 1)]
        [[1, 1], [1, 1]]
    """
    count = int(unit.max(initial=-1)) + 1
    has = np.zeros((count, y.shape[1]))
    np.add.at(has, unit, np.nan_to_num(y))
    rows = np.bincount(unit, minlength=count)
    part = np.full(count, -2)
    part[has[:, ((has > 0).sum(axis=0) == 1)].any(axis=1)] = home
    order = rng.permutation(count)
    order = order[np.argsort(-rows[order], kind="stable")]  # large units first, while there is room for them
    free = order[part[order] == -2]
    lack, room = np.outer(shares, has[free].sum(axis=0)), shares * rows[free].sum()
    left = has[free].sum(axis=0)
    while left.any():
        label = int(np.where(left > 0, left, np.inf).argmin())
        for one in free[(has[free, label] > 0) & (part[free] == -2)].tolist():
            part[one] = _place(lack[:, label], room, rng)
            lack[part[one]] -= has[one]
            room[part[one]] -= rows[one]
            left -= has[one]
    for one in free[part[free] == -2].tolist():
        part[one] = _place(room, room, rng)
        room[part[one]] -= rows[one]
    return np.asarray(part[unit])


def _place(lack: np.ndarray, room: np.ndarray, rng: np.random.Generator) -> int:
    """The part that lacks most; of equals the one with most room, then any."""
    best = np.flatnonzero(lack >= lack.max() - 1e-9)
    best = best[room[best] >= room[best].max() - 1e-9]
    return int(best[0] if len(best) == 1 else rng.choice(best))


def few_of_each(y: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows, sorted, among which every label has ``count`` (or all of a rarer one), the rarest labels first.

    A row counts for all of its labels, so that frequent ones may have more.

    Example:
        >>> few_of_each(np.array([[1, 1], [1, 0], [1, 0]]), 1, np.random.default_rng(0)).tolist()
        [0]
    """
    chosen = np.zeros(len(y), bool)
    for label in np.argsort(y.sum(axis=0), kind="stable"):
        missing = count - int(y[chosen, label].sum())
        others = np.flatnonzero((y[:, label] > 0) & ~chosen)
        if missing > 0:
            chosen[rng.choice(others, size=min(missing, len(others)), replace=False)] = True
    return np.flatnonzero(chosen)
