"""What the labels of one data set bring to another, measured on the labels of the other: heads in closed form, held-out rows.

Three heads are compared on the same held-out rows of B.  *Alone*: ridge regression on B's training rows.  *With A*: the same,
with A's labelled rows at a weight w, or with the scores of A's head as further columns at a scale a (w = a = 0, leaving A
out, is among the choices); w, a and the penalty are those with the least leave-one-out error on B's training rows, which
closed forms give without a refit.  *Pooled*: A's rows at full weight, which can do harm.  The gain is the paired difference
of the metric with its bootstrap interval over B's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh

from graft.core.errors import DataError
from graft.core.task import Task
from graft.nn.bootstrap import Difference, Interval
from graft.nn.heads import targets
from graft.relatedness.judging import Judge, Side

WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of a row of A beside a row of B
SCALES = (0.3, 1.0, 3.0)  # root mean square of the scores of A's head beside rows of length 1
STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-8, 5))  # penalty over the mean eigenvalue
INTERCEPT = 3.0  # value of the column that carries the intercept: large, so it is hardly penalised
FOLDS = 5
FEWEST = 20  # labelled rows of B
SHUFFLES = 39  # heads of shuffled labels of A that its head must beat
CHANCE = 0.05  # share of them that may do as well
DRAWS = 8  # training sets where their size is given


@dataclass(frozen=True)
class Gain:
    """What A's labels bring to B.

    Attributes:
        metric: Of B's task.
        labels: Labelled rows of B that a head is fitted on.
        guess: Score of the most frequent class, or of the mean.
        alone: Score with B's labels alone.
        together: Score with A's labels beside them.
        gain: ``together`` less ``alone``.
        pooled: Score with A's rows at full weight less ``alone``; None where the sides share no label.
        direct: Scores on B of what saw labels of A alone, by name: ``head``, ``means``.
        head: Score on B of A's head, or, where labels differ, of a map from its scores to B's labels, less the guess.
        head_p: Share of heads of shuffled labels of A that do as well, at least 1 / (``SHUFFLES`` + 1).
        shuffled: Their mean score.
        behind: Score of A's head on B less ``alone``; None where labels differ.
        used: Share of the fits that left A out, used its rows, or the scores of its head.
    """

    metric: str
    labels: int
    guess: Interval
    alone: Interval
    together: Interval
    gain: Difference
    pooled: Difference | None
    direct: dict[str, Interval]
    head: Difference
    head_p: float
    shuffled: float
    behind: Difference | None
    used: dict[str, float] = field(default_factory=dict)

    @property
    def speaks(self) -> bool:
        """Whether A's head does better on B than a guess, and than heads of shuffled labels."""
        return self.head.better and self.head_p <= CHANCE


@dataclass(frozen=True, eq=False)
class _Option:
    """A way to fit a head on rows Z (n, d') of B: beside them, rows of A as Z'Z and Z'T."""

    name: str
    Z: np.ndarray
    gram: np.ndarray | float = 0.0
    cross: np.ndarray | float = 0.0


def measured_gain(one: Side, two: Side, *, labels: int | None = None, level: float = 0.9, seed: int = 0) -> Gain:
    """Measure the gain of transferring from A to B on B's labelled rows.

    Args:
        one: A.
        two: B, with the same columns; its classes may be others.
        labels: Labelled rows of B to fit a head on, drawn ``DRAWS`` times, the others test it; None: all of B, by
            cross-validation.
        level: Coverage of the intervals.
        seed: Seed of folds, draws and resamples.

    Raises:
        DataError: B has fewer than twenty labelled rows, or fewer than ``labels`` and ten more.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> task = Task("classification", "table", ("a", "b"))
        >>> y = rng.integers(0, 2, 400)
        >>> X = rng.normal(size=(400, 30)) + 0.4 * y[:, None]
        >>> found = measured_gain(Side(X[:300], y[:300], task), Side(X[300:], y[300:], task), labels=12)
        >>> found.gain.value > 0, found.head.better
        (True, True)
    """
    if len(two.y) < max(FEWEST, (labels or 0) + 10):
        what = f"{len(two.y)} labelled rows are too few to measure a gain on"
        raise DataError(what, hint=f"give {max(FEWEST, (labels or 0) + 10)} or more")
    work = _Work(one, two, seed)
    splits = list(_splits(two, labels, seed))
    judge = Judge(two, splits, level, seed)
    names = ("alone", "rows", "scores")
    alone, _ = work.held_out(splits, ["alone"])
    together, used = work.held_out(splits, names)
    guess = [np.broadcast_to(_guess(two), (len(rows), two.task.outputs)) for rows in judge.rows]
    pooled = work.held_out(splits, ["pooled"])[0] if work.shared else None
    direct = {name: [outputs[rows] for rows in judge.rows] for name, outputs in work.direct(one.y).items()}
    if work.shared:
        others = [[work.direct(y)["head"][rows] for rows in judge.rows] for y in work.shuffles()]
    else:
        direct = {"mapped": work.mapped(splits, one.y)}
        others = [work.mapped(splits, y) for y in work.shuffles()]
    own = next(iter(direct.values()))
    scores = np.array([judge.value(outputs) for outputs in others])
    as_good = int((scores >= judge.value(own) - 1e-12).sum())
    return Gain(
        two.task.metric,
        int(np.mean([len(train) for train, _ in splits])),
        judge.score(guess),
        judge.score(alone),
        judge.score(together),
        judge.difference(together, alone),
        None if pooled is None else judge.difference(pooled, alone),
        {name: judge.score(outputs) for name, outputs in direct.items()},
        judge.difference(own, guess),
        (as_good + 1) / (len(scores) + 1),
        float(scores.mean()),
        judge.difference(own, alone) if work.shared else None,
        used,
    )


def _guess(side: Side) -> np.ndarray:
    if side.task.is_classification:
        return np.bincount(side.y, minlength=side.task.outputs) / len(side.y)
    return np.array([side.y.mean()])


def _splits(two: Side, labels: int | None, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Training and test rows of B."""
    from sklearn.model_selection import StratifiedShuffleSplit

    from graft.ranking.probe import deal_folds

    if labels is None:
        folds = min(FOLDS, len(two.y) // 4)
        for repeat in range(3 if len(two.y) <= 500 else 1):
            fold = deal_folds(two.y, two.task, folds=folds, seed=seed + repeat, groups=two.groups)
            for number in range(folds):
                yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        return
    strata = two.y if two.task.is_classification else np.zeros(len(two.y), int)
    able = np.bincount(strata).min() >= 2 and labels >= len(np.unique(strata))
    if able:
        cut = StratifiedShuffleSplit(DRAWS, train_size=labels, random_state=seed)
        yield from cut.split(two.X, strata)
        return
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS):
        order = rng.permutation(len(two.y))
        yield np.sort(order[:labels]), np.sort(order[labels:])


class _Work:
    """Everything that heads on B are fitted with."""

    def __init__(self, one: Side, two: Side, seed: int) -> None:
        self.one, self.two = one, two
        self.T = _targets(two.y, two.task)
        mean = two.X.mean(axis=0)
        size = np.sqrt(max(float(np.square(two.X - mean).sum(axis=1).mean()), 1e-12))
        self.own, self.other = (two.X - mean) / size, (one.X - mean) / size
        both = two.task.is_classification and one.task.is_classification
        self.place = [two.task.classes.index(name) if name in two.task.classes else -1 for name in one.task.classes]
        values = one.task.kind == two.task.kind == "regression" and one.task.target == two.task.target
        self.shared = values or (both and sum(place >= 0 for place in self.place) >= 2)
        self.seed = seed
        self.root = _spectrum(self.other)
        self.options = {name: list(self._options(name)) for name in ("alone", "rows", "scores", "pooled")}

    def shuffles(self) -> Iterator[np.ndarray]:
        """A's labels in orders drawn at random."""
        rng = np.random.default_rng(self.seed)
        for _ in range(SHUFFLES):
            yield rng.permutation(self.one.y)

    def _head(self, y: np.ndarray) -> np.ndarray:
        """Scores (m, K) on B's rows of A's head, fitted to labels of A."""
        return _ridge_scores(self.root, self.other, _targets(y, self.one.task), self.own)

    def _scores(self, y: np.ndarray) -> np.ndarray:
        """The same, centred, of mean squared length 1."""
        found = self._head(y)
        found = found - found.mean(axis=0)
        scaled: np.ndarray = found / np.sqrt(max(float(np.square(found).sum(axis=1).mean()), 1e-12))
        return scaled

    def mapped(self, splits: Sequence[tuple[np.ndarray, np.ndarray]], y: np.ndarray) -> list[np.ndarray]:
        """Outputs on the test rows of B of a head on the scores of A's head alone."""
        option = _Option("mapped", _with_intercept(self._scores(y)))
        return [_fit([option], self.T, train, test)[1] for train, test in splits]

    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Z'Z and Z'T of A's rows, of the classes that B has, with B's targets."""
        one, two = self.one, self.two
        if two.task.is_classification:
            label = np.array(self.place)[one.y]
            kept = label >= 0
            Z, T = _with_intercept(self.other[kept]), _targets(label[kept], two.task)
        else:
            values = one.y * one.task.scale + one.task.center
            Z, T = _with_intercept(self.other), ((values - two.task.center) / two.task.scale)[:, None]
        return Z.T @ Z, Z.T @ T

    def _options(self, name: str) -> Iterator[_Option]:
        Z = _with_intercept(self.own)
        if name == "alone":
            yield _Option(name, Z)
        elif name == "scores":
            scores = self._scores(self.one.y)
            for scale in SCALES:
                yield _Option(name, np.hstack([Z, scale * scores]))
        elif self.shared:
            gram, cross = self._rows()
            for weight in WEIGHTS if name == "rows" else (1.0,):
                yield _Option(name, Z, weight * gram, weight * cross)

    def held_out(
        self, splits: Sequence[tuple[np.ndarray, np.ndarray]], names: Sequence[str]
    ) -> tuple[list[np.ndarray], dict[str, float]]:
        """Outputs on the test rows of every split, and the share of splits in which each way was chosen."""
        options = [one for name in names for one in self.options[name]]
        outputs, chosen = [], []
        for train, test in splits:
            name, found = _fit(options, self.T, train, test)
            outputs.append(found)
            chosen.append(name)
        return outputs, {name: chosen.count(name) / len(chosen) for name in names}

    def direct(self, y: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs on all rows of B of what was fitted to labels of A alone: a head, and class means."""
        if not self.shared:
            return {}
        found = self._head(y)
        if not self.two.task.is_classification:
            values = found[:, 0] * self.one.task.scale + self.one.task.center
            return {"head": ((values - self.two.task.center) / self.two.task.scale)[:, None]}
        there = np.unique(y)
        means = np.stack([self.other[y == c].mean(axis=0) for c in there])
        near = np.full(found.shape, -np.inf)
        near[:, there] = 2 * self.own @ means.T - np.square(means).sum(axis=1)
        return {"head": self._placed(found), "means": self._placed(near)}

    def _placed(self, scores: np.ndarray) -> np.ndarray:
        """Scores of A's classes (m, K) as those of B's (m, C); a class that A lacks is never chosen."""
        out = np.full((len(scores), self.two.task.outputs), -1e9)
        for number, place in enumerate(self.place):
            if place >= 0:
                out[:, place] = scores[:, number]
        return out


def _spectrum(X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular values and bases of centred rows, which every head of A shares."""
    u, values, basis = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    return u, values, basis


def _ridge_scores(
    root: tuple[np.ndarray, np.ndarray, np.ndarray], X: np.ndarray, T: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Predictions (m, k) for rows (m, d) of ridge regression of T (n, k) on X (n, d), the penalty of least left-out error."""
    u, values, basis = root
    mean = T.mean(axis=0)
    inner = u.T @ (T - mean)
    squares = np.square(values)
    least, best = np.inf, inner
    for strength in STRENGTHS:
        shrink = squares / (squares + strength * max(float(squares.mean()), 1e-12))
        left = 1.0 - 1.0 / len(T) - np.square(u) @ shrink
        error = float(np.square((T - mean - u @ (shrink[:, None] * inner)) / left.clip(1e-6)[:, None]).mean())
        if error < least:
            least, best = error, (shrink / values.clip(1e-9))[:, None] * inner
    scores: np.ndarray = (rows - X.mean(axis=0)) @ (basis.T @ best) + mean
    return scores


def _targets(y: np.ndarray, task: Task) -> np.ndarray:
    return np.asarray(targets(y, task)[: len(y)], np.float64)


def _with_intercept(X: np.ndarray) -> np.ndarray:
    return np.hstack([X, np.full((len(X), 1), INTERCEPT)])


def _fit(options: Sequence[_Option], T: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[str, np.ndarray]:
    """The option and the penalty of the least leave-one-out error on the training rows; its name, and outputs on test rows."""
    least, name, outputs = np.inf, "", T[test]
    for option in options:
        Z, own = option.Z[train], T[train]
        gram = Z.T @ Z + option.gram
        mean = max(float(np.trace(gram)) - INTERCEPT**2 * len(Z), 1e-9) / len(gram)
        values, basis = eigh(gram, check_finite=False, overwrite_a=True)
        inside, cross = Z @ basis, basis.T @ (Z.T @ own + option.cross)
        errors, found = [], []
        for strength in STRENGTHS:
            shrink = 1.0 / (values.clip(0) + strength * mean)
            left = (1.0 - np.square(inside) @ shrink).clip(1e-6)
            found.append(shrink[:, None] * cross)
            errors.append(float(np.square((own - inside @ found[-1]) / left[:, None]).mean()))
        best = int(np.argmin(errors))
        if errors[best] < least * (1 - 1e-9):
            least, name, outputs = errors[best], option.name, option.Z[test] @ (basis @ found[best])
    return name, outputs
