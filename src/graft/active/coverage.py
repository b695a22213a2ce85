"""Strategies that look at no label: rows that stand for many others, and are unlike those that are labelled.

With few labels they beat uncertainty, which then rests on next to nothing (Hacohen, Dekel & Weinshall 2022).
"""

from __future__ import annotations

import numpy as np

from graft.active.pool import Pool
from graft.core.rows import evenly_spaced
from graft.pretrain.kmeans import assign, find_centres

Choice = tuple[list[int], list[str]]
NEIGHBOURS = 20  # whose mean distance says how typical a row is
MOST_CLUSTERS = 300
SMALLEST = 5  # rows of a cluster that is worth a label of its own
BALLS = 5_000  # rows whose balls are compared
PURE = 0.95  # share of balls that must lie within one cluster
BLOCK = 2_048


def random(pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    """Draw rows evenly: what every other strategy has to beat, and the one whose labels may be used to judge a model."""
    rows = rng.permutation(pool.free)[:count].tolist()
    return rows, ["drawn at random"] * len(rows)


def typiclust(pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    """The most typical row of each of the largest clusters that hold no label yet.

    There are as many clusters as labels after this round; typical is 1 / (mean distance to the 20 nearest in the cluster).
    Where all clusters are labelled, those with fewest labels come first.  Hacohen, Dekel & Weinshall (2022), Active
    learning on a budget, ICML.
    """
    rows = np.concatenate([pool.known, pool.free])
    clusters = max(1, min(len(pool.known) + count, MOST_CLUSTERS, len(rows)))
    group = grouped(pool.space[rows], clusters, rng)
    sizes = np.bincount(group, minlength=clusters)
    labels = np.bincount(group[: len(pool.known)], minlength=clusters)
    free: dict[int, list[int]] = {}
    for place in range(len(pool.known), len(rows)):
        free.setdefault(int(group[place]), []).append(int(rows[place]))
    ranked = {c: _by_typicality(pool.space, np.asarray(members)) for c, members in free.items()}
    chosen: list[int] = []
    reasons: list[str] = []
    while len(chosen) < count and ranked:
        c = min(ranked, key=lambda c: (labels[c] + (sizes[c] < SMALLEST) * 10**6, -sizes[c], c))
        without = "none of them labelled yet" if not labels[c] else f"{labels[c]} of them labelled"
        chosen.append(ranked[c].pop(0))
        reasons.append(f"typical of {sizes[c]} similar rows, {without}")
        labels[c] += 1
        if not ranked[c]:
            del ranked[c]
    return chosen, reasons


def kmeans(pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    """The free row nearest to the middle of each of ``count`` clusters of the free rows."""
    group = grouped(pool.space[pool.free], min(count, len(pool.free)), rng)
    return middles(pool, pool.free, group, np.ones(len(pool.free)), "middle of {} similar rows")


def core_set(pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    """Again and again the row farthest from all that are labelled or chosen.  Sener & Savarese (2018), Core-set, ICLR."""
    chosen: list[int] = []
    distance = np.full(len(pool.free), np.inf)
    for row in pool.known:
        distance = np.minimum(distance, squared(pool.space[pool.free], pool.space[row]))
    for _ in range(min(count, len(pool.free))):
        place = int(distance.argmax()) if np.isfinite(distance).all() else int(rng.integers(len(pool.free)))
        chosen.append(int(pool.free[place]))
        distance = np.minimum(distance, squared(pool.space[pool.free], pool.space[chosen[-1]]))
        distance[place] = -1.0
    return chosen, ["far from every labelled row"] * len(chosen)


def probcover(pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    """Greedily the row whose ball holds most rows that no ball of a labelled row covers.

    The radius is the largest at which 95 % of the balls lie within one of as many clusters as there are classes.
    Yehuda et al. (2022), Active learning through a covering lens, NeurIPS.
    """
    rows = np.concatenate([pool.known, pool.free])
    space = pool.space[rows]
    radius = _radius(space, max(2, pool.task.outputs), rng)
    near = [np.flatnonzero(line) for part in _blocks(space, space) for line in part <= radius]
    uncovered = np.ones(len(rows), bool)
    for place in range(len(pool.known)):
        uncovered[near[place]] = False
    gain = np.array([int(uncovered[ball].sum()) for ball in near])
    gain[: len(pool.known)] = -1
    chosen: list[int] = []
    reasons: list[str] = []
    for _ in range(min(count, len(pool.free))):
        place = int(gain.argmax())
        chosen.append(int(rows[place]))
        reasons.append(f"close to {max(gain[place], 1)} rows that no labelled row is close to")
        fresh = near[place][uncovered[near[place]]]
        uncovered[fresh] = False
        for row in fresh:  # balls are symmetric: who holds the row loses it
            gain[near[row]] -= gain[near[row]] >= 0
        gain[place] = -1
    return chosen, reasons


# -- clusters and distances --------------------------------------------------------------------------------------------


def grouped(space: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Number of the cluster (n,) of each row; every cluster has one."""
    return (
        assign(space, find_centres(space, count, int(rng.integers(2**31)))) if count > 1 else np.zeros(len(space), int)
    )


def middles(pool: Pool, rows: np.ndarray, group: np.ndarray, weight: np.ndarray, words: str) -> Choice:
    """Choose the row nearest to the weighted mean of each group, large groups first."""
    found = []
    for c in np.unique(group):
        mine = np.flatnonzero(group == c)
        centre = np.average(pool.space[rows[mine]], axis=0, weights=weight[mine])
        place = mine[squared(pool.space[rows[mine]], centre).argmin()]
        found.append((len(mine), int(rows[place])))
    found.sort(key=lambda pair: (-pair[0], pair[1]))
    return [row for _, row in found], [words.format(size) for size, _ in found]


def _by_typicality(space: np.ndarray, members: np.ndarray) -> list[int]:
    """Members of a cluster, the most typical first."""
    some = members[evenly_spaced(len(members), BALLS)]
    count = min(NEIGHBOURS, len(some))
    mean = [
        np.sort(part, axis=1)[:, : count + 1].sum(axis=1) for part in _blocks(space[members], space[some], root=True)
    ]
    order: list[int] = members[np.argsort(np.concatenate(mean), kind="stable")].tolist()
    return order


def squared(rows: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Squared distances (n,) of rows (n, k) to one row (k,)."""
    found: np.ndarray = np.square(rows - row).sum(axis=1)
    return found


def _blocks(rows: np.ndarray, others: np.ndarray, *, root: bool = False) -> list[np.ndarray]:
    """Squared distances (or distances) to others, block by block of rows."""
    own, out = np.square(others).sum(axis=1), []
    for start in range(0, len(rows), BLOCK):
        part = rows[start : start + BLOCK]
        square = (np.square(part).sum(axis=1)[:, None] + own - 2 * part @ others.T).clip(0)
        out.append(np.sqrt(square) if root else square)
    return out


def _radius(space: np.ndarray, clusters: int, rng: np.random.Generator) -> float:
    """The largest squared radius, of some, at which nearly all balls are pure."""
    some = space[evenly_spaced(len(space), BALLS // 5)]
    group = grouped(some, min(clusters, len(some)), rng)
    square = np.concatenate(_blocks(some, some))
    other = np.where(group[:, None] != group, square, np.inf).min(axis=1)  # from here on a ball is not pure
    positive = square[square > 1e-9]
    smallest = float(np.quantile(positive, 0.001)) if len(positive) else 0.0
    return max(float(np.quantile(other, 1 - PURE)), smallest) * (1 - 1e-9)
