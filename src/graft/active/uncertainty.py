"""Strategies that ask the probe: rows on which it hesitates, alone or spread over the space."""

from __future__ import annotations

import numpy as np

from graft.active.coverage import Choice, grouped, middles, squared
from graft.active.pool import Pool

CANDIDATES = 3  # rows per proposal among which diversity chooses: three to ten are alike, one is the plain margin
TINY = 1e-12


def _hesitation(pool: Pool, rows: np.ndarray) -> list[str]:
    """Between which classes the probe hesitates, in words."""
    assert pool.outputs is not None
    classes = pool.task.classes
    words = []
    for chances in pool.outputs[rows]:
        first, second = np.argsort(-chances, kind="stable")[:2]
        words.append(
            f"undecided between {classes[first]} ({chances[first]:.2f}) and {classes[second]} ({chances[second]:.2f})"
        )
    return words


def _margins(chances: np.ndarray) -> np.ndarray:
    """Largest less second largest probability (f,)."""
    top = np.partition(chances, -2, axis=1)
    found: np.ndarray = top[:, -1] - top[:, -2]
    return found


def margin(pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    """The smallest distance between the two likeliest classes.  Scheffer, Decomain & Wrobel (2001)."""
    del rng
    rows = pool.free[np.argsort(_margins(pool.chances()), kind="stable")[:count]]
    return rows.tolist(), _hesitation(pool, rows)


def entropy(pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    """The largest entropy of the class probabilities.  Settles (2009), Active learning literature survey."""
    del rng
    chances = pool.chances()
    found = -(chances * np.log(chances.clip(TINY))).sum(axis=1)
    rows = pool.free[np.argsort(-found, kind="stable")[:count]]
    return rows.tolist(), _hesitation(pool, rows)


def badge(pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    """k-means++ on the gradients (p - e_ŷ) xᵀ that a row would have if the probe were right: large ones, unlike each other.

    The inner product of two gradients is that of the rows times that of the p - e_ŷ, so none is ever written out.
    Ash et al. (2020), Deep batch active learning by diverse, uncertain gradient lower bounds, ICLR.
    """
    chances = pool.chances()
    rest = chances - np.eye(chances.shape[1])[chances.argmax(axis=1)]
    space = pool.space[pool.free]
    size = np.square(rest).sum(axis=1)  # rows of the space have length one
    chosen: list[int] = []
    distance = size.copy()
    for _ in range(min(count, len(space))):
        total = distance.sum()
        if not chosen:
            place = int(size.argmax())
        elif total > 0:
            place = int(np.searchsorted(np.cumsum(distance), rng.random() * total).clip(0, len(space) - 1))
        else:
            place = int(np.setdiff1d(np.arange(len(space)), chosen)[0])
        chosen.append(place)
        square = size + size[place] - 2 * (space @ space[place]) * (rest @ rest[place])
        distance = np.minimum(distance, square.clip(0))
        distance[chosen] = 0.0
    rows = pool.free[chosen]
    return rows.tolist(), [f"{words}, unlike the others here" for words in _hesitation(pool, rows)]


def diverse_margin(pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    """Of the three times as many rows with the smallest margin, the middle of each of ``count`` clusters.

    Citovsky et al. (2021), Batch active learning at scale, NeurIPS; Gupte et al. (2024), Revisiting active learning in the
    era of vision foundation models, for features that are not trained.
    """
    margins = _margins(pool.chances())
    count = min(count, len(pool.free))
    order = np.argsort(margins, kind="stable")[: CANDIDATES * count]
    rows = pool.free[order]
    if count == len(rows):
        return rows.tolist(), _hesitation(pool, rows)
    chosen, words = middles(
        pool, rows, grouped(pool.space[rows], count, rng), 1 - margins[order] + TINY, "stands for {} such rows"
    )
    found = dict(zip(chosen, words, strict=True))
    chosen = [row for row in rows.tolist() if row in found]  # the smallest margin first
    hesitation = _hesitation(pool, np.asarray(chosen))
    return chosen, [f"{one}; {found[row]}" for row, one in zip(chosen, hesitation, strict=True)]


def greedy_values(pool: Pool, count: int, rng: np.random.Generator) -> Choice:
    """For numbers: rows far from all labelled ones both in the space and in the predicted value.

    Wu, Lin & Huang (2019), Active learning for regression using greedy sampling, Information Sciences 474 (iGS).
    """
    del rng
    pool.chances()
    assert pool.outputs is not None
    space, values = pool.space[pool.free], pool.outputs[pool.free]
    least = np.full(len(space), np.inf)
    for row, y in zip(pool.known, pool.y, strict=True):
        least = np.minimum(least, np.sqrt(squared(space, pool.space[row])) * np.abs(values - y))
    chosen: list[int] = []
    for _ in range(min(count, len(space))):
        place = int(least.argmax())
        chosen.append(place)
        least = np.minimum(least, np.sqrt(squared(space, space[place])) * np.abs(values - values[place]))
        least[chosen] = -1.0
    rows = pool.free[chosen]
    return rows.tolist(), ["far from every labelled row, and so is its predicted value"] * len(rows)
