"""What clustering takes: a space to cluster in, k-means that repeats, numbers that stay, agreement of two groupings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graft.core.rows import evenly_spaced

FITTED = 10_000  # rows on which centres are found; the others go to the nearest
DIMENSIONS = 64  # principal components in which rows are clustered, at most
BLOCK = 8_192  # rows assigned at a time


@dataclass(frozen=True)
class Space:
    """Principal components of features, whitened and brought to length 1 where asked.  Caron et al. (2018).

    Attributes:
        mean: Of the features (D,).
        axes: Directions (D, k), divided by the deviation where whitened.
        unit: Whether rows have length 1.
    """

    mean: np.ndarray
    axes: np.ndarray
    unit: bool

    @classmethod
    def fit(cls, values: np.ndarray, *, whiten: bool) -> Space:
        """Learn from evenly spaced rows of (N, D)."""
        some = values[evenly_spaced(len(values), FITTED)].astype(np.float64)
        mean = some.mean(axis=0)
        centred = some - mean
        variances, axes = np.linalg.eigh(centred.T @ centred / len(some))
        kept = variances[::-1][: min(DIMENSIONS, max(1, len(some) - 1))]
        kept = kept[kept > 1e-6 * max(kept[0], 1e-30)]
        axes = axes[:, ::-1][:, : max(1, len(kept))]
        return cls(mean, axes / np.sqrt(kept) if whiten and len(kept) else axes, whiten)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Rows (N, k) float64."""
        found = (values - self.mean) @ self.axes
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12) if self.unit else found


def find_centres(values: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Centres (k, D) by Lloyd's k-means from a k-means++ start, the best of three.

    One thread: sums of several threads are added in the order in which they come, and a centre could differ in its last
    digits from run to run.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    some = values[evenly_spaced(len(values), FITTED)]
    with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
        warnings.simplefilter("ignore")  # fewer distinct rows than clusters: ``assign`` fills the empty ones
        model = KMeans(clusters, n_init=3, random_state=seed).fit(some)
    centres: np.ndarray = model.cluster_centers_
    return centres


def assign(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Number (N,) of the nearest centre; a cluster that gets no row takes the one farthest from its own centre.

    Raises:
        ValueError: There are fewer rows than centres.
    """
    if len(values) < len(centres):
        raise ValueError(f"{len(values)} rows cannot fill {len(centres)} clusters")
    labels, far = np.empty(len(values), np.int64), np.empty(len(values))
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        square = (centres**2).sum(1) - 2 * block @ centres.T
        labels[start : start + BLOCK] = square.argmin(axis=1)
        far[start : start + BLOCK] = square.min(axis=1) + (block**2).sum(1)
    counts = np.bincount(labels, minlength=len(centres))
    order = iter(np.argsort(-far, kind="stable"))
    for empty in np.flatnonzero(counts == 0):
        row = next(row for row in order if counts[labels[row]] > 1)
        counts[labels[row]] -= 1
        labels[row], counts[empty] = empty, 1
    return labels


def matched(labels: np.ndarray, before: np.ndarray, clusters: int) -> np.ndarray:
    """The same grouping with the numbers under which most rows stood before.

    The best one-to-one matching (Kuhn 1955), so that a classifier of clusters can go on where it was.
    """
    from scipy.optimize import linear_sum_assignment

    table = np.bincount(labels * clusters + before, minlength=clusters**2).reshape(clusters, clusters)
    new, old = linear_sum_assignment(table, maximize=True)
    names = np.empty(clusters, np.int64)
    names[new] = old
    renamed: np.ndarray = names[labels]
    return renamed


def balanced(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many row numbers as there are rows, in random order, every cluster alike often; small ones repeat rows."""
    groups = [np.flatnonzero(labels == cluster) for cluster in np.unique(labels)]
    share = -(-len(labels) // len(groups))
    parts = []
    for members in groups:
        times = -(-share // len(members))
        parts.append(np.concatenate([rng.permutation(members) for _ in range(times)])[:share])
    return rng.permutation(np.concatenate(parts))[: len(labels)]


def agreement(one: np.ndarray, two: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Prepare the normalised mutual information 2 I(A; B) / (H(A) + H(B)) of two groupings as a function of row weights.

    1 where they are the same up to names, 0 where they know nothing of each other, or both are one group.

    Example:
        >>> import numpy as np
        >>> float(agreement(np.array([0, 0, 1, 1]), np.array([5, 5, 3, 3]))(np.ones((1, 4)))[0])
        1.0
    """
    a, b = (np.unique(labels, return_inverse=True)[1] for labels in (one, two))
    shape = int(a.max()) + 1, int(b.max()) + 1
    cells = a * shape[1] + b

    def value(weights: np.ndarray) -> np.ndarray:
        found = []
        for weight in weights:
            table = np.bincount(cells, weight, shape[0] * shape[1]).reshape(shape) / weight.sum()
            parts = [_entropy(table.sum(axis=1)), _entropy(table.sum(axis=0))]
            mutual = sum(parts) - _entropy(table.ravel())
            found.append(2 * mutual / sum(parts) if sum(parts) > 0 else 0.0)
        return np.array(found).clip(0.0, 1.0)

    return value


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
