"""How well a head of A will do on B, which has no labels: an estimate from confidence, with errors measured on shifts of A.

Average thresholded confidence and the difference of confidences estimate an accuracy without labels.  How far they err is
seen where labels are known: A is divided, again and again, into a source and a pseudo-target that is shifted in a known
way.  The estimate that erred least there is given, moved by its mean error, with the prediction interval of its errors.  It
holds for shifts like the simulated ones; whether B is further away than those is said beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from graft.core.errors import DataError
from graft.core.registry import CRITERIA
from graft.core.task import Task
from graft.nn.bootstrap import Interval
from graft.nn.calibration import fit_temperature
from graft.nn.heads import targets, to_outputs
from graft.nn.ridge import Ridge, fit_ridge
from graft.unlabelled.distance import a_distance
from graft.unlabelled.simulate import simulated

SHIFTS = 24
ROWS = 1_500  # rows of A that the shifts are made of
ESTIMATES = ("atc", "doc", "held out")  # the last: as good as on A
LOOKED = 400  # rows of each side of a shift that its distance is taken from


@dataclass(frozen=True)
class Foreseen:
    """What A's head is expected to do on B.

    Attributes:
        accuracy: Expected accuracy on B, with its prediction interval.
        held_out: Its accuracy on rows of A, left out one at a time.
        guess: Share of A's most frequent class: what guessing gives if B's classes are distributed like A's.
        by: The estimate: ``atc``, ``doc`` or ``held out``.
        error: Its root mean square error on the shifts.
        shifts: Number of simulated shifts.
        furthest: Largest proxy A-distance among them.
        distance: That of A and B, measured in the same way.
    """

    accuracy: Interval
    held_out: float
    guess: float
    by: str
    error: float
    shifts: int
    furthest: float
    distance: float

    @property
    def beyond(self) -> bool:
        """Whether B lies further away than any simulated shift, so that the interval may be too narrow."""
        return self.distance > self.furthest


def foreseen(
    X: np.ndarray, y: np.ndarray, task: Task, target: np.ndarray, *, level: float = 0.9, seed: int = 0
) -> Foreseen:
    """Estimate the accuracy of a ridge head of A's rows on B's rows without a label of B.

    Args:
        X: A's rows (n, d).
        y: Their classes (n,).
        task: A's task.
        target: B's rows (m, d).
        level: Coverage of the prediction interval.
        seed: Seed of the shifts.

    Raises:
        DataError: The task is no classification, or A has fewer than forty rows.

    References:
        Garg et al. (2022), Leveraging unlabeled data to predict out-of-distribution performance, ICLR; Guillory et al.
        (2021), Predicting with confidence on unseen distributions, ICCV.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(0, 2, 300)
        >>> X = rng.normal(size=(300, 4)) + 1.5 * y[:, None]
        >>> found = foreseen(X[:200], y[:200], Task("classification", "table", ("a", "b")), X[200:])
        >>> found.accuracy[0] > 0.8, found.beyond
        (True, False)
    """
    if not task.is_classification:
        raise DataError("an accuracy can be foreseen for classes only")
    whole = _fit(X, y, task)
    found = _estimates(*whole, y, target, task)
    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(len(y))[:ROWS])
    errors: dict[str, list[float]] = {name: [] for name in ESTIMATES}
    away = []
    for shift in simulated(X[some], y[some], count=SHIFTS, seed=seed):
        source, pseudo = shift.of(X[some])
        known, truth = y[some][shift.source], y[some][shift.target]
        head = _fit(source, known, task)
        right = float((head[0].predict(pseudo).argmax(axis=1) == truth).mean())
        for name, value in _estimates(*head, known, pseudo, task).items():
            errors[name].append(value - right)
        away.append(a_distance(source, pseudo, seed=seed, most=LOOKED)[0])
    sizes = {name: float(np.sqrt(np.mean(np.square(values)))) for name, values in errors.items()}
    by = min(ESTIMATES, key=lambda name: sizes[name])
    own = np.array(errors[by])
    half = float(t.ppf((1 + level) / 2, len(own) - 1) * own.std(ddof=1) * np.sqrt(1 + 1 / len(own)))
    value = found[by] - float(own.mean())
    held = found["held out"]
    guess = float(np.bincount(y).max() / len(y))
    limited = tuple(float(np.clip(one, 0.0, 1.0)) for one in (value, value - half, value + half))
    distance = a_distance(X[some], target, seed=seed, most=LOOKED)[0]
    return Foreseen(
        (limited[0], limited[1], limited[2]), held, guess, by, sizes[by], len(own), float(max(away)), distance
    )


def _fit(X: np.ndarray, y: np.ndarray, task: Task) -> tuple[Ridge, float]:
    head = fit_ridge(X, targets(y, task))
    return head, fit_temperature(head.loo, y[head.rows], prior=1)


def _estimates(head: Ridge, temperature: float, y: np.ndarray, target: np.ndarray, task: Task) -> dict[str, float]:
    """Each estimate of the accuracy on target rows; rows that were left out one at a time play the held-out ones."""
    seen = {
        "source_outputs": to_outputs(head.loo, task, temperature),
        "source_y": y[head.rows],
        "target_outputs": to_outputs(head.predict(target), task, temperature),
    }
    found = {name: float(CRITERIA[name](**seen)) for name in ESTIMATES[:2]}
    found[ESTIMATES[2]] = float((head.loo.argmax(axis=1) == seen["source_y"]).mean())
    return found
