"""The strategies by name, and which one is taken where nobody asks for one.

What is best depends on the budget: with a few labels of each class a probe's doubts rest on next to nothing, and rows that
stand for many others teach most (Hacohen et al. 2022; Yehuda et al. 2022); later the rows on which it hesitates do, as long
as they are not all of one kind (Ash et al. 2020; Citovsky et al. 2021), and the plain margin is hard to beat by anything more
elaborate (Bahri et al. 2022, Is margin all you need?).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graft.active.coverage import Choice, core_set, kmeans, probcover, random, typiclust
from graft.active.pool import Pool
from graft.active.uncertainty import badge, diverse_margin, entropy, greedy_values, margin
from graft.core.errors import UsageError

Strategy = Callable[[Pool, int, np.random.Generator], Choice]
BLIND: dict[str, Strategy] = {
    "random": random, "kmeans": kmeans, "typiclust": typiclust, "probcover": probcover, "core_set": core_set,
}  # fmt: skip
FOR_CLASSES: dict[str, Strategy] = {
    "margin": margin, "entropy": entropy, "badge": badge, "diverse_margin": diverse_margin,
}  # fmt: skip
FOR_VALUES: dict[str, Strategy] = {"greedy_values": greedy_values}
STRATEGIES: dict[str, Strategy] = {**BLIND, **FOR_CLASSES, **FOR_VALUES}
FEW = 4  # labels per class from which the probe is asked: held-out training rows of three sets (benchmarks: active_constants)
FEW_VALUES = 20  # labels from which it is, where they are values


def choose(name: str, pool: Pool) -> tuple[str, str]:
    """The name of the strategy to take, and why, in a sentence.

    Args:
        name: One of ``STRATEGIES``, or ``"auto"``.
        pool: Says how many labels there are, and of what.

    Raises:
        UsageError: There is no such strategy, or it is for another kind of task.
    """
    classes = pool.task.is_classification
    if name != "auto":
        if name not in STRATEGIES:
            raise UsageError(f"no strategy {name!r}", hint=f"use auto, {', '.join(STRATEGIES)}")
        other = FOR_VALUES if classes else FOR_CLASSES
        if name in other:
            kinds = ("values", "classes") if classes else ("classes", "values")
            raise UsageError(f"the strategy {name} is for {kinds[0]}, these are {kinds[1]}", hint="use auto")
        return name, "as asked for"
    if pool.outputs is None:
        return "typiclust", "there are too few labels to learn from: rows that stand for many others come first"
    if classes:
        each = len(pool.known) / max(1, len(np.unique(pool.y)))
        if each < FEW:
            return "typiclust", (
                f"{each:.1f} labels per class are too few to trust a model's doubts: rows that stand for many others come first"
            )
        return "diverse_margin", (
            f"with {each:.0f} labels per class the model's doubts are worth following, spread over unlike rows"
        )
    if len(pool.known) < FEW_VALUES:
        return "typiclust", f"{len(pool.known)} labels are few: rows that stand for many others come first"
    return "greedy_values", "rows far from the labelled ones, in themselves and in what is predicted"
