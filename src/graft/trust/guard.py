"""The guard: a transfer is kept only if it is better than everything simpler, beyond noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from graft.core.task import Task
from graft.evaluate.metrics import checked
from graft.nn.bootstrap import DECIDERS, Difference, Interval, bootstrap, independent, paired

FEW = 25  # rows judged differently by two models up to which accuracy is compared exactly


@dataclass(frozen=True)
class Compared:
    """The chosen model against one simpler model, on the same rows.

    Attributes:
        name: The simpler model.
        score: Its score.
        difference: Chosen minus simpler, (value, low, high), in the unit of the metric.
        p: Two-sided probability of a difference this large if there were none.
        better: Whether the chosen is better beyond noise.
        worse: Whether the chosen is worse beyond noise.
    """

    name: str
    score: float
    difference: Interval
    p: float
    better: bool
    worse: bool


@dataclass(frozen=True)
class Verdict:
    """What the guard decided.

    Attributes:
        chosen: The model that was put forward.
        returned: The model to use.
        decision: ``"transfer"`` if that is the chosen one, else ``"simpler"``.
        sentence: The reason, in words.
        compared: All comparisons, simplest first.
    """

    chosen: str
    returned: str
    decision: str
    sentence: str
    compared: tuple[Compared, ...] = ()


def guard(
    task: Task,
    y: np.ndarray,
    chosen: np.ndarray,
    simpler: Sequence[tuple[str, np.ndarray]],
    *,
    chosen_name: str = "the transfer",
    groups: np.ndarray | None = None,
    repeats: int = 1,
    tried: int = 1,
    level: float = 0.9,
    seed: int = 0,
) -> Verdict:
    """Keep the chosen model, or return a simpler one that it does not beat beyond noise.

    The chosen model must beat every simpler one, so no correction for many is needed there.  Otherwise the simplest
    of those that are not beaten is returned, unless another of them beats it beyond noise.  With few rows intervals
    are wide, hardly anything is beaten, and the simpler model wins: that is meant.  Not being better beyond noise is
    no proof of being equal.  A model that is worse beyond noise is refused for that reason.

    Differences are compared on the same bootstrap resamples; accuracies without groups that differ in at most 25 rows
    exactly: McNemar's test, and Clopper and Pearson's interval of the share of these rows that the chosen wins.  Where rows
    were predicted several times, a row is won by the mean of its differences: a part of a row at most, which varies less
    than a whole one, so both are on the safe side.

    Args:
        task: What is asked for; its metric decides.
        y: Encoded targets (n,).
        chosen: Held-out outputs (n, C) or (n,) of the chosen model.
        simpler: Names and held-out outputs on the same rows, ordered from the simplest up.
        chosen_name: What to call the chosen model.
        groups: Group of each row (n,); whole groups are drawn.
        repeats: Passes over the same rows that the n rows are (``evaluate.passes``).
        tried: Number of models that the chosen one was the best of on these rows.  Being the best of many equals looks
            like being better; each comparison is then made at level 1 - (1 - level) / tried.
        level: Coverage of the intervals; 0.9 asks for 95 % confidence in the direction.
        seed: Seed of the resamples.

    Raises:
        DataError: Outputs do not fit the task.

    References:
        McNemar (1947), Note on the sampling error of the difference between correlated proportions, Psychometrika 12;
        Berger (1982), Multiparameter hypothesis testing, Technometrics 24 (all must be beaten: no correction).

    Example:
        >>> import numpy as np
        >>> y = np.arange(200) % 2
        >>> majority, good = np.tile([0.6, 0.4], (200, 1)), np.eye(2)[np.where(np.arange(200) < 180, y, 1 - y)]
        >>> task = Task("classification", "text", ("a", "b"))
        >>> guard(task, y, good, [("majority", majority)], chosen_name="a probe").decision
        'transfer'
        >>> guard(task, y, majority, [("a probe", good)], chosen_name="nothing").returned
        'a probe'
    """
    judge = _Judge(
        task,
        y,
        [chosen, *(outputs for _, outputs in simpler)],
        groups,
        repeats=repeats,
        level=1 - (1 - level) / tried,
        seed=seed,
    )
    names = [chosen_name, *(name for name, _ in simpler)]
    compared = []
    for index, name in enumerate(names[1:], 1):
        gap = judge.difference(0, index)
        interval = (gap.value, gap.low, gap.high)
        compared.append(Compared(name, float(judge.scores[index]), interval, gap.p, gap.better, gap.worse))
    unbeaten = [index for index, one in enumerate(compared, 1) if not one.better]
    returned = 0
    for index in unbeaten:
        if not any(judge.difference(other, index).better for other in unbeaten if other > index):
            returned = index
            break
    decision = "simpler" if returned else "transfer"
    sentence = _sentence(chosen_name, compared, returned, task.metric)
    return Verdict(chosen_name, names[returned], decision, sentence, tuple(compared))


class _Judge:
    """Paired comparisons of models on the same rows and resamples."""

    def __init__(
        self,
        task: Task,
        y: np.ndarray,
        outputs: Sequence[np.ndarray],
        groups: np.ndarray | None,
        *,
        repeats: int,
        level: float,
        seed: int,
    ) -> None:
        agreed = [checked(task, y, each)[1] for each in outputs]
        metrics = [DECIDERS[task.metric](np.asarray(y), each) for each in agreed]
        self.scores = np.array([float(metric(np.ones((1, len(y))))[0]) for metric in metrics])
        together, self.size = independent(len(y), groups, repeats)
        self.draws = bootstrap(metrics, len(y), seed=seed, groups=together)
        self.level = level
        exact = task.metric == "accuracy" and groups is None
        self.correct = None
        if exact:
            hits = np.stack([each.argmax(axis=1) == y for each in agreed])
            self.correct = hits.reshape(len(hits), repeats, -1).mean(axis=1)

    def difference(self, first: int, second: int) -> Difference:
        """First minus second."""
        value = float(self.scores[first] - self.scores[second])
        if self.correct is not None:
            gap = self.correct[first] - self.correct[second]
            wins, losses = float(gap.clip(0).sum()), float((-gap).clip(0).sum())
            if wins + losses <= FEW:
                return _exact(wins, losses, self.size, self.level)
        return paired(value, self.draws[:, first] - self.draws[:, second], level=self.level, size=self.size)


def _exact(wins: float, losses: float, n: int, level: float) -> Difference:
    """Difference of two accuracies that differ in few rows, or parts of rows, given how many these are."""
    total, tail = wins + losses, (1 - level) / 2
    if total == 0:
        return Difference(0.0, 0.0, 0.0, 1.0)
    low = beta.ppf(tail, wins, losses + 1) if wins else 0.0
    high = beta.ppf(1 - tail, wins + 1, losses) if losses else 1.0
    p = min(1.0, 2 * float(beta.cdf(0.5, max(wins, losses), min(wins, losses) + 1)))  # both tails of the binomial
    return Difference((wins - losses) / n, float(total / n * (2 * low - 1)), float(total / n * (2 * high - 1)), p)


def _sentence(chosen: str, compared: Sequence[Compared], returned: int, metric: str) -> str:
    """The reason in one sentence."""
    if not compared:
        return f"there is nothing simpler to compare {chosen} with; kept"
    if not returned:
        rival = min(compared, key=lambda one: one.difference[0])
        return f"{chosen} is better than {rival.name} by {points(rival.difference, metric)}; kept"
    simple = compared[returned - 1]
    if simple.worse:
        text = f"{chosen} is worse than {simple.name} by {points(simple.difference, metric, sign=-1)}"
        return f"{text}; refused, {simple.name} is returned"
    text = f"{chosen} is not better than {simple.name} beyond noise: {points(simple.difference, metric)}"
    worse = [one.name for one in compared if one.worse]
    return text + (f", and worse than {worse[0]}" if worse else "") + f"; the simpler {simple.name} is returned"


def points(difference: Interval, metric: str, *, sign: int = 1) -> str:
    """A difference in points, or in units of R²."""
    value, low, high = difference if sign > 0 else (-difference[0], -difference[2], -difference[1])
    if metric == "quadratic_kappa":
        return f"{value:.3f} kappa [{low:.3f}, {high:.3f}]"
    if metric == "map":
        return f"{value:.3f} mAP [{low:.3f}, {high:.3f}]"
    if metric == "r2":
        return f"{value:.3f} R² [{low:.3f}, {high:.3f}]"
    return f"{100 * value:.1f} points [{100 * low:.1f}, {100 * high:.1f}]"
