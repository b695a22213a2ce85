"""Shifts of one labelled set, made otherwise than those that graft learns its rule on: covariate, label, corruption, subset.

Rows are divided into source, target without labels, and test rows of the target; corruption changes the last two alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

KEPT = 0.15  # of the rows of a class stay on each side at least


@dataclass(frozen=True, eq=False)
class Rows:
    """A labelled set.

    Attributes:
        X: Numbers (n, d), letters (n, d), or texts (n,).
        y: Classes (n,) as text.
        Z: Numbers (n, k) that shifts are drawn along: the columns, or the leading directions of texts.
        side: Pixels of a side, where rows are square pictures.
    """

    X: np.ndarray
    y: np.ndarray
    Z: np.ndarray
    side: int = 0


Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def drifted(rows: Rows, kind: str, *, count: int, seed: int) -> tuple[Rows, Rows, Rows]:
    """Source, target and test rows of a shift: at most ``count`` rows each of the first two.

    Args:
        rows: All rows.
        kind: ``covariate``, ``label``, ``subset``, ``none``, or a corruption (``CORRUPTIONS``).
        count: Rows of a side.
        seed: Seed of everything drawn.
    """
    rng = np.random.default_rng([seed, sum(map(ord, kind))])
    odds = ODDS[kind](rows, rng) if kind in ODDS else np.zeros(len(rows.y))
    away = _sides(odds, rows.y, rng)
    source, target = (rng.permutation(np.flatnonzero(mask)) for mask in (~away, away))
    count = min(count, len(source), max(len(target) // 2, 60))
    parts = [source[:count], target[:count], target[count:] if len(target) > count + 100 else target]
    found = [_taken(rows, np.sort(part)) for part in parts]
    change = CORRUPTIONS.get(kind)
    if change is None:
        return found[0], found[1], found[2]
    again = rng.integers(1 << 30)  # the same change on both
    moved = [_changed(one, change, rows, int(again)) for one in found[1:]]
    return found[0], moved[0], moved[1]


def _sides(odds: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mask (n,) of the target: half of the rows by their log-odds, some of every class on each side."""
    order = np.argsort(-(odds + rng.logistic(size=len(y))), kind="stable")
    away = np.zeros(len(y), bool)
    away[order[: len(y) // 2]] = True
    for c in np.unique(y):
        own = order[y[order] == c]
        least = max(3, int(KEPT * len(own)))
        away[own[:least]], away[own[-least:]] = True, False
    return away


def _taken(rows: Rows, places: np.ndarray) -> Rows:
    return Rows(rows.X[places], rows.y[places], rows.Z[places], rows.side)


def _changed(rows: Rows, change: Callable[..., np.ndarray], whole: Rows, seed: int) -> Rows:
    return dataclasses.replace(rows, X=change(rows.X, whole, np.random.default_rng(seed)))


# -- which rows are likelier in the target --------------------------------------------------------------------------------


def _covariate(rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """A bent function of two columns: one side of one, and the middle of another."""
    spread = rows.Z.std(axis=0)
    one, two = rng.choice(np.argsort(-spread)[: max(2, len(spread) // 3)], 2, replace=False)
    ranks = [np.argsort(np.argsort(rows.Z[:, j], kind="stable")) / len(rows.Z) - 0.5 for j in (one, two)]
    return 5.0 * ranks[0] + 6.0 * (0.25 - np.abs(ranks[1]))


def _label(rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """Shares of classes drawn at random on both sides."""
    names, code = np.unique(rows.y, return_inverse=True)
    shares = rng.dirichlet(np.full(len(names), 1.5), 2).clip(0.03)
    odds: np.ndarray = np.log(shares[0] / shares[1])[code]
    return odds


def _subset(rows: Rows, rng: np.random.Generator) -> np.ndarray:
    """Of two groups of rows of each class, one is likelier in the target."""
    from sklearn.cluster import KMeans

    odds = np.zeros(len(rows.y))
    Z = (rows.Z - rows.Z.mean(axis=0)) / rows.Z.std(axis=0).clip(1e-9)
    for c in np.unique(rows.y):
        own = np.flatnonzero(rows.y == c)
        if len(own) >= 10:
            group = KMeans(2, n_init=2, random_state=int(rng.integers(1 << 30))).fit_predict(Z[own])
            odds[own] = 2.5 * (2 * group - 1) * rng.choice([-1, 1])
    return odds


# -- what happens to target rows -------------------------------------------------------------------------------------------


def _noise(X: np.ndarray, whole: Rows, rng: np.random.Generator) -> np.ndarray:
    """Noise, of each column's own size, on half of the columns."""
    hit = rng.random(X.shape[1]) < 0.5
    return X + hit * rng.normal(0.0, 0.8, X.shape) * whole.X.std(axis=0)


def _units(X: np.ndarray, whole: Rows, rng: np.random.Generator) -> np.ndarray:
    """Other gains and offsets of half of the columns."""
    hit = rng.random(X.shape[1]) < 0.5
    gain = np.where(hit, rng.uniform(0.6, 1.6, X.shape[1]), 1.0)
    return X * gain + hit * rng.normal(0.0, 0.5, X.shape[1]) * whole.X.std(axis=0)


def _missing(X: np.ndarray, whole: Rows, rng: np.random.Generator) -> np.ndarray:
    """Three cells in ten at the column's median."""
    return np.where(rng.random(X.shape) < 0.3, np.median(whole.X, axis=0), X)


def _blur(X: np.ndarray, whole: Rows, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001  (one signature)
    """The mean of three by three pixels."""
    from scipy.ndimage import uniform_filter

    pictures = X.reshape(-1, whole.side, whole.side)
    return uniform_filter(pictures, size=(1, 3, 3), mode="constant").reshape(X.shape)


def _moved(X: np.ndarray, whole: Rows, rng: np.random.Generator) -> np.ndarray:
    """All pictures one or two pixels aside."""
    step = max(1, whole.side // 10)
    return np.roll(X.reshape(-1, whole.side, whole.side), rng.choice([-step, step], 2), axis=(1, 2)).reshape(X.shape)


def _faded(X: np.ndarray, whole: Rows, rng: np.random.Generator) -> np.ndarray:
    """Less contrast on a brighter ground."""
    return X * rng.uniform(0.3, 0.6) + rng.uniform(0.2, 0.4) * whole.X.max()


def _dropped(X: np.ndarray, whole: Rows, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """Four words in ten are left out."""
    some = [[word for word in text.split() if rng.random() > 0.4] or text.split()[:1] for text in X]
    return np.array([" ".join(words) for words in some], dtype=object)


def _misspelt(X: np.ndarray, whole: Rows, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001
    """Two letters change places in three words of ten."""

    def spelt(word: str) -> str:
        if len(word) < 3 or rng.random() > 0.3:
            return word
        at = int(rng.integers(len(word) - 1))
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return np.array([" ".join(map(spelt, text.split())) for text in X], dtype=object)


def _mutated(X: np.ndarray, whole: Rows, rng: np.random.Generator) -> np.ndarray:
    """One letter in five is drawn anew from those of its place."""
    other = np.stack([rng.choice(whole.X[:, j], len(X)) for j in range(X.shape[1])], axis=1)
    return np.where(rng.random(X.shape) < 0.2, other, X)


ODDS = {"covariate": _covariate, "label": _label, "subset": _subset}
CORRUPTIONS = {
    "noise": _noise,
    "units": _units,
    "missing": _missing,
    "blur": _blur,
    "moved": _moved,
    "faded": _faded,
    "dropped": _dropped,
    "misspelt": _misspelt,
    "mutated": _mutated,
}
