"""Centred kernel alignment where rows differ: over columns that both sides share, and over classes that both sides share.

Linear CKA compares two representations of the same n items, ‖X'Y‖² / (‖X'X‖ ‖Y'Y‖) with centred columns.  Two data sets
have no row in common, so the items are what they do share: the d columns of one representation, or the K classes of both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.nn.bootstrap import Interval, interval

REPEATS = 30  # random halves of both sides
PERMUTATIONS = 200
FEWEST = 3  # classes: the means of two always lie on a line


def linear_cka(one: np.ndarray, two: np.ndarray) -> float:
    """Compute linear CKA of two representations (n, d) and (n, d') of the same n items, in [0, 1].

    1 where one is the other turned, moved and scaled; 0 where what varies in one is unrelated to what varies in the other.

    References:
        Kornblith, Norouzi, Lee & Hinton (2019), Similarity of neural network representations revisited, ICML.

    Example:
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
        >>> round(linear_cka(X, 3 * X[:, ::-1] + 1), 6)
        1.0
    """
    if len(one) != len(two):
        raise DataError(f"{len(one)} and {len(two)} items cannot be aligned", hint="give the same items on both sides")
    one, two = one - one.mean(axis=0), two - two.mean(axis=0)
    norm = np.linalg.norm(one.T @ one) * np.linalg.norm(two.T @ two)
    return float(np.linalg.norm(one.T @ two) ** 2 / norm) if norm > 0 else 0.0


def column_cka(one: np.ndarray, two: np.ndarray, *, level: float = 0.9, seed: int = 0) -> Interval:
    """Estimate linear CKA with columns as items: do the same columns vary together on both sides?

    With Gram matrices over columns, which are the covariances S and T (d, d), it is ⟨S, T⟩ / √(⟨S, S⟩ ⟨T, T⟩).  Estimated from
    few rows, ⟨S, S⟩ is too large; so it is taken between two halves of the rows, ⟨S₁, S₂⟩, and two samples of one
    distribution give 1 on average whatever their size.  The interval is that of random halves of both sides, drawn without
    replacement, whose spread is that of the whole.

    Args:
        one: Rows (n, d).
        two: Rows (m, d) with the same columns.
        level: Coverage of the interval.
        seed: Seed of the halves.

    Returns:
        (value, low, high), at most 1; nan where a side has no spread.

    Raises:
        DataError: Widths differ, or a side has fewer than eight rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 5)) * [5, 4, 3, 2, 1]
        >>> round(column_cka(X[:200], X[200:])[0], 1), round(column_cka(X[:200], X[200:, ::-1])[0], 1)
        (1.0, 0.3)
    """
    if one.shape[1] != two.shape[1]:
        raise DataError(f"sides have {one.shape[1]} and {two.shape[1]} columns", hint="give rows with the same columns")
    if min(len(one), len(two)) < 8:
        raise DataError("the alignment of columns needs eight rows of each side")
    rng = np.random.default_rng(seed)
    values, halves = [], []
    for _ in range(REPEATS):
        quarters = [[np.cov(X[part].T) for part in np.array_split(rng.permutation(len(X)), 4)] for X in (one, two)]
        values.append(_corrected(*([_both(q[0], q[1]), _both(q[2], q[3])] for q in quarters)))
        halves.append(_corrected(*([q[0], q[1]] for q in quarters)))
    value = float(np.mean(values))
    if not np.isfinite(value):
        return float("nan"), float("nan"), float("nan")
    _, low, high = interval(value, np.array(halves), level=level, size=min(len(one), len(two)))
    return min(1.0, value), min(1.0, low), min(1.0, high)


def _both(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    mean: np.ndarray = (one + two) / 2
    return mean


def _corrected(one: list[np.ndarray], two: list[np.ndarray]) -> float:
    """⟨S, T⟩ / √(⟨S₁, S₂⟩ ⟨T₁, T₂⟩) of two independent estimates of each covariance."""
    S, T = np.atleast_2d(_both(*one)), np.atleast_2d(_both(*two))
    own = float(np.vdot(one[0], one[1])) * float(np.vdot(two[0], two[1]))
    return float(np.vdot(S, T)) / np.sqrt(own) if own > 0 else float("nan")


def class_cka(
    one: np.ndarray, y_one: np.ndarray, two: np.ndarray, y_two: np.ndarray, *, level: float = 0.9, seed: int = 0
) -> dict[str, Any]:
    """Estimate linear CKA with classes as items: are the classes that are close on one side close on the other?

    Each side is its K class means (K, d); the columns need not be the same, so a table and another table, or two
    sources, can be compared.  Two class means always lie on a line, so K is three or more.  With few classes CKA is large by
    chance: beside it stands its mean over permutations of the classes of one side, and the share of them that are as large.

    Args:
        one: Rows (n, d).
        y_one: Their classes (n,), 0 to K - 1, every one of which occurs.
        two: Rows (m, d').
        y_two: Their classes (m,), the same K.
        level: Coverage of the interval over rows drawn again within their classes.
        seed: Seed of draws and permutations.

    Returns:
        ``value`` (value, low, high), ``chance``, ``p`` (at least 1 / (times + 1)), ``classes``.

    Raises:
        DataError: Fewer than three classes on a side.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = np.arange(120) % 6
        >>> centres = rng.normal(size=(6, 4))
        >>> found = class_cka(centres[y], y, centres[y] * 2 + rng.normal(size=(120, 4)), y)
        >>> found["value"][0] > 0.9, found["p"] < 0.05
        (True, True)
    """
    classes = np.intersect1d(y_one, y_two)
    if len(classes) < FEWEST:
        raise DataError(
            f"{len(classes)} classes in common are too few for an alignment", hint="three or more are needed"
        )
    rng = np.random.default_rng(seed)
    sides = [[X[y == c] for c in classes] for X, y in ((one, y_one), (two, y_two))]
    means = [np.stack([rows.mean(axis=0) for rows in side]) for side in sides]
    value = linear_cka(*means)
    draws = []
    for _ in range(REPEATS):
        again = [
            np.stack([rows[rng.integers(0, len(rows), len(rows))].mean(axis=0) for rows in side]) for side in sides
        ]
        draws.append(linear_cka(*again))
    _, low, high = interval(value, np.array(draws), level=level, size=min(len(one), len(two)))
    chance = np.array([linear_cka(means[0], means[1][rng.permutation(len(classes))]) for _ in range(PERMUTATIONS)])
    p = (int((chance >= value - 1e-12).sum()) + 1) / (PERMUTATIONS + 1)
    return {
        "value": (value, max(0.0, low), min(1.0, high)),
        "chance": float(chance.mean()),
        "p": p,
        "classes": len(classes),
    }
