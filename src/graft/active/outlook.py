"""What more labels may bring: the learning curve so far, and a power law drawn on from it.

Rows are cut into folds; a probe is fitted on the first m rows of the others, in orders in which every beginning has the
classes in proportion, and scored on the fold.  Through the scores s(m) a curve a - b m^-c is laid with a ≤ 1, b ≥ 0 and c
between 0.2 and 2; the same on resamples of the scored rows gives the interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graft.core.task import Task
from graft.core.types import Features
from graft.evaluate.metrics import evaluate
from graft.nn.bootstrap import DECIDERS, Interval, Weighted, bootstrap, interval
from graft.nn.heads import fit_probe
from graft.ranking.probe import deal_folds, held_out

FOLDS = 5
LEAST = 10  # labels from which a score is worth its name
MOST = 1_000  # labels that the curve is drawn from: it is flat beyond, and fits take n³
ORDERS = 3  # orders of the rows of a fold
POINTS = 6  # sizes, each twice the one before
SHAPES = np.geomspace(0.2, 2.0, 24)  # values of c that are compared
TIMES = 300  # resamples
FLAT = 0.01  # gain of twice as many labels below which more of them hardly help
METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "quadratic_kappa": "quadratic kappa", "r2": "R²"}


@dataclass(frozen=True)
class Outlook:
    """What labels brought, and what more of them may bring.

    Attributes:
        metric: Name of the metric that decides.
        labels: Number of labels.
        score: Cross-validated score with its interval; None where there are too few labels.
        curve: (labels, score) of probes fitted on fewer.
        ahead: How many more labels are asked about.
        gain: What these may bring, with its interval; None where there is no curve to draw on.
        sentence: All this in words.
    """

    metric: str
    labels: int
    score: Interval | None
    curve: tuple[tuple[int, float], ...]
    ahead: int
    gain: Interval | None
    sentence: str


def outlook(
    features: Features,
    y: np.ndarray,
    task: Task,
    ahead: int,
    *,
    level: float = 0.9,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> Outlook:
    """Score a probe on the labels so far, and tell what ``ahead`` more may bring.

    Args:
        features: Of the labelled rows.
        y: Their targets (n,).
        task: What is asked for.
        ahead: How many more labels.
        level: Coverage of the intervals.
        seed: Of folds, orders and resamples.
        tick: Called after each fold; may raise to stop.
    """
    counts = np.bincount(y, minlength=task.outputs) if task.is_classification else np.array([len(y)])
    if len(y) < LEAST or np.count_nonzero(counts >= 2) < min(2, len(counts)):
        what = f"{len(y)} labels are too few to say how good a model is, or what more of them would bring."
        return Outlook(task.metric, len(y), None, (), ahead, None, what)
    fold = deal_folds(y, task, folds=FOLDS, seed=seed)
    outputs = held_out(features, y, task, fold, tick=tick)
    score = evaluate(task, y, outputs, metrics=(task.metric,), seed=seed, level=level)[task.metric]
    sizes, values, size = _curve(features, y, task, seed, tick)
    curve = tuple((int(m), float(one(np.ones((1, size)))[0])) for m, one in zip(sizes, values, strict=True))
    gain, flat = None, False
    if len(sizes) >= 3:
        draws = bootstrap(values, size, seed=seed, times=TIMES)
        point = np.array([[value for _, value in curve]])

        def more(count: int) -> Interval:
            ends = len(y), len(y) + count
            own, drawn = gained(sizes, point, *ends), gained(sizes, draws, *ends)
            value, low, high = interval(float(own[0]), drawn, level=level, size=size)
            return value, max(0.0, low), high

        gain, flat = more(ahead), more(len(y))[2] < FLAT
    return Outlook(task.metric, len(y), score, curve, ahead, gain, _sentence(task, ahead, gain, level, flat=flat))


def _sentence(task: Task, ahead: int, gain: Interval | None, level: float, *, flat: bool) -> str:
    name = METRICS.get(task.metric, task.metric)
    if gain is None:
        return "The curve is too short to be drawn on."
    span = f"{gain[0]:+.3f} [{gain[1]:+.3f}, {gain[2]:+.3f}]"
    if flat:
        return f"More labels will hardly help any more: even twice as many would bring less than {FLAT:g} {name}."
    return f"{ahead} more labels may bring {span} {name} ({level:.0%} interval of a power law through the curve)."


def _curve(
    features: Features, y: np.ndarray, task: Task, seed: int, tick: Callable[[], None]
) -> tuple[np.ndarray, list[Weighted], int]:
    """Sizes, the metric of each as a function of weights of the scored rows, and how many these are."""
    rng = np.random.default_rng([seed, 1])
    some = np.sort(rng.permutation(len(y))[:MOST])
    y, features = y[some], features.select(features.rows[some])
    fold = deal_folds(y, task, folds=FOLDS, seed=seed + 1)
    most = len(y) - int(np.bincount(fold).max())
    sizes = np.unique([most >> power for power in range(POINTS)])
    sizes = sizes[sizes >= max(4, task.outputs)]
    if not len(sizes):
        return sizes, [], len(y)
    layers = fit_probe(features, y, task).layers
    shape = (len(y), task.outputs) if task.is_classification else (len(y),)
    outputs = np.zeros((ORDERS, len(sizes), *shape))
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        held = features.select(features.rows[test])
        for turn in range(ORDERS):
            order = train[in_proportion(y[train], task, rng)]
            for place, size in enumerate(sizes):
                if size == sizes[-1] and turn and size == len(train):
                    outputs[turn, place, test] = outputs[0, place, test]
                    continue
                rows = np.sort(order[:size])
                head = fit_probe(features.select(features.rows[rows]), y[rows], task, layers=layers)
                outputs[turn, place, test] = head.outputs(held, task)
        tick()
    decide = DECIDERS[task.metric]
    return sizes, [_mean([decide(y, one) for one in outputs[:, place]]) for place in range(len(sizes))], len(y)


def _mean(parts: list[Weighted]) -> Weighted:
    return lambda weight: np.mean([part(weight) for part in parts], axis=0)


def in_proportion(y: np.ndarray, task: Task, rng: np.random.Generator) -> np.ndarray:
    """A random order (n,) of which every beginning has the classes in proportion.

    Example:
        >>> import numpy as np
        >>> task, y = Task("classification", "text", ("a", "b")), np.array([0] * 6 + [1] * 2)
        >>> order = in_proportion(y, task, np.random.default_rng(0))
        >>> np.bincount(y[order[:4]]).tolist()
        [3, 1]
    """
    order = rng.permutation(len(y))
    if not task.is_classification:
        return order
    labels = y[order]
    by_class = np.argsort(labels, kind="stable")
    place = np.arange(len(y)) - np.searchsorted(labels[by_class], labels[by_class])
    counts = np.bincount(labels)[labels[by_class]]
    found: np.ndarray = order[by_class[np.argsort((place + 0.5) / counts, kind="stable")]]
    return found


def gained(sizes: np.ndarray, scores: np.ndarray, now: int, then: int) -> np.ndarray:
    """What the power laws through scores (R, m) at sizes (m,) say of ``then`` labels less what they say of ``now`` (R,).

    a - b m^-c is linear in a and b, so for each c of ``SHAPES`` it is least squares with a ≤ 1, b ≥ 0, in closed form.

    Example:
        >>> import numpy as np
        >>> sizes = np.array([10, 20, 40, 80])
        >>> gained(sizes, (0.9 - 2 * sizes**-0.8)[None], 100, 200).round(2).tolist()
        [0.02]
    """
    best = np.full(len(scores), np.inf)
    gain = np.zeros(len(scores))
    mean = scores.mean(axis=1)
    for shape in SHAPES:
        x = sizes.astype(np.float64) ** -shape
        centred = x - x.mean()
        b = np.maximum(0.0, -(scores @ centred) / np.square(centred).sum())
        a = mean + b * x.mean()
        over = a > 1  # the constraint holds: a = 1, and b by itself
        b = np.where(over, ((1 - scores) @ x) / np.square(x).sum(), b)
        a = np.minimum(a, 1.0)
        error = np.square(a[:, None] - b[:, None] * x - scores).sum(axis=1)
        better = error < best
        best = np.where(better, error, best)
        gain = np.where(better, b * (float(now) ** -shape - float(then) ** -shape), gain)
    return gain
