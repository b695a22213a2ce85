"""Proportional odds: ordered classes as intervals of one score, cut at thresholds that rise.

P(y ≤ k | x) = σ(θ_k - w·x) with θ_0 < θ_1 < … : as many weights as a regression has, whatever the number of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from graft.core.task import Task
from graft.core.types import Features
from graft.nn.layer_rows import LayerRows, choose_layers, layer_options, layer_scale

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # λ, among which rows that are held out choose
OF_FEATURES = (1e-4, 1e-3, 1e-2, 1e-1)  # of features whose rows have a length of one or so
HELD_OUT = 5  # every fifth row chooses
STEPS = 200  # of L-BFGS at most
FLOOR = 1e-12  # smallest probability in a logarithm
TIGHT = 1e-4  # pulls gaps between thresholds to 1, so that one around a class without rows stays finite


@dataclass(frozen=True, eq=False)
class Ordinal:
    """A fitted proportional-odds model.

    Attributes:
        coef: Weights w (d,).
        thresholds: θ (C - 1,), rising.
        strength: λ that was chosen.
        error: Mean negative log-likelihood of the rows that were held out for that; NaN where one λ was given.
    """

    coef: np.ndarray
    thresholds: np.ndarray
    strength: float
    error: float = float("nan")

    def outputs(self, X: Any) -> np.ndarray:
        """Class probabilities (n, C) of rows (n, d), dense or sparse."""
        return probabilities(np.asarray(X @ self.coef), self.thresholds)


def probabilities(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Class probabilities (n, C) of scores (n,).

    Example:
        >>> probabilities(np.array([0.0]), np.array([0.0])).tolist()
        [[0.5, 0.5]]
    """
    upto = expit(thresholds - np.asarray(scores, np.float64)[:, None])
    edges = np.hstack([np.zeros((len(upto), 1)), upto, np.ones((len(upto), 1))])
    return np.diff(edges, axis=1).clip(0)


def fit_ordinal(
    X: Any, y: np.ndarray, classes: int, *, strengths: Sequence[float] = STRENGTHS, steps: int = STEPS
) -> Ordinal:
    """Fit w and θ: the least mean of -ln P(y | x) + λ |w|² / 2, by L-BFGS.

    Where several λ are given, every fifth row is held out to choose one, and all rows are fitted with it.

    Args:
        X: Rows (n, d), dense or sparse, of columns of like spread.
        y: Ranks of the classes (n,), from 0.
        classes: Number of classes C.
        strengths: λ to compare.
        steps: Iterations at most.

    References:
        McCullagh (1980). Regression models for ordinal data. JRSS B 42.

    Example:
        >>> x = np.linspace(-3, 3, 60)[:, None]
        >>> found = fit_ordinal(x, (x[:, 0] > -1).astype(int) + (x[:, 0] > 1), 3)
        >>> found.outputs(np.array([[-3.0], [0.0], [3.0]])).argmax(axis=1).tolist()
        [0, 1, 2]
    """
    y = np.asarray(y, np.int64)
    if len(strengths) == 1 or len(y) < 2 * HELD_OUT:
        middle = strengths[len(strengths) // 2]
        return Ordinal(*_solve(X, y, classes, middle, steps), middle)
    held = np.zeros(len(y), bool)
    held[np.argsort(y, kind="stable")[HELD_OUT // 2 :: HELD_OUT]] = True  # of every class its share
    train, test, errors, start = X[np.flatnonzero(~held)], X[np.flatnonzero(held)], [], None
    for strength in sorted(strengths, reverse=True):  # from the strongest: each starts where the one before ended
        start = _solve(train, y[~held], classes, strength, steps, start)
        chances = Ordinal(*start, strength).outputs(test)[np.arange(int(held.sum())), y[held]]
        errors.append((float(-np.log(chances.clip(FLOOR)).mean()), -strength))
    error, negative = min(errors)
    return Ordinal(*_solve(X, y, classes, -negative, steps), -negative, error)


def _solve(
    X: Any, y: np.ndarray, classes: int, strength: float, steps: int, start: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (d,) and thresholds (C - 1,)."""
    width, rows = X.shape[1], np.arange(len(y))
    if start is None:
        upto = (np.bincount(y, minlength=classes).cumsum()[:-1] + 0.5) / (len(y) + 1)
        start = np.zeros(width), np.log(upto / (1 - upto))
    coef, cuts = start
    gaps = np.log(np.diff(cuts).clip(1e-3))

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        w, thresholds = values[:width], _rising(values[width:])
        upto = expit(thresholds - np.asarray(X @ w)[:, None])
        edges = np.hstack([np.zeros((len(y), 1)), upto, np.ones((len(y), 1))])
        high, low = edges[rows, y + 1], edges[rows, y]
        chance = (high - low).clip(FLOOR)
        slope = 1 - high - low  # of the loss by the score w·x
        pull = np.zeros((len(y), classes + 1))
        pull[rows, y + 1] = -high * (1 - high) / chance
        pull[rows, y] += low * (1 - low) / chance
        by_cut = pull.sum(axis=0)[1:-1] / len(y)
        logs = values[width + 1 :]
        widths = np.exp(logs.clip(-20, 20))
        by_gap = by_cut[::-1].cumsum()[::-1][1:] * widths + TIGHT * logs
        found = -np.log(chance).mean() + strength / 2 * w @ w + TIGHT / 2 * logs @ logs
        by_weight = np.asarray(X.T @ slope).ravel() / len(y) + strength * w
        return float(found), np.concatenate([by_weight, [by_cut.sum()], by_gap])

    first = np.concatenate([coef, cuts[:1], gaps])
    best = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": steps}).x
    return best[:width], _rising(best[width:])


def _rising(values: np.ndarray) -> np.ndarray:
    """Thresholds of the first of them and the logarithms of the gaps after it."""
    return np.concatenate([values[:1], values[0] + np.exp(values[1:].clip(-20, 20)).cumsum()])


@dataclass(frozen=True, eq=False)
class OrdinalHead:
    """Proportional odds on pooled features.

    Attributes:
        layers: Layers that are concatenated.
        scale: Divisor of each column (d,).
        model: The fitted model.
    """

    layers: tuple[int, ...]
    scale: np.ndarray
    model: Ordinal

    @property
    def error(self) -> float:
        """Held-out negative log-likelihood."""
        return self.model.error

    @property
    def strength(self) -> float:
        """Strength that was chosen."""
        return self.model.strength

    def outputs(self, features: Features, task: Task) -> np.ndarray:
        """Class probabilities (n, C)."""
        del task
        rows = LayerRows(features, self.layers, self.scale)
        parts = [self.model.outputs(rows[slice(s, s + 8192)].astype(np.float64)) for s in range(0, len(rows), 8192)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.model.thresholds) + 1))

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be saved."""
        layers, scale = np.asarray(self.layers, np.int64), np.asarray(self.scale, np.float32)
        model = {"coef": self.model.coef, "thresholds": self.model.thresholds}
        return {"layers": layers, "scale": scale, **model, "strength": np.asarray([self.strength])}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> OrdinalHead:
        """The inverse of ``arrays``."""
        model = Ordinal(arrays["coef"], arrays["thresholds"], float(arrays["strength"][0]))
        return cls(tuple(int(layer) for layer in arrays["layers"]), arrays["scale"], model)


def fit_ordinal_head(
    features: Features, y: np.ndarray, task: Task, *, layers: Sequence[int] | str = "auto"
) -> OrdinalHead:
    """Fit proportional odds on one layer or several, chosen, as the strength is, by the likelihood of held-out rows."""

    def one(some: Features, labels: np.ndarray, option: tuple[int, ...]) -> OrdinalHead:
        rows = LayerRows(some, option, layer_scale(some, option) * np.sqrt(sum(some.sizes[i] for i in option)))
        found = fit_ordinal(rows[:].astype(np.float64), labels, task.outputs, strengths=OF_FEATURES)
        return OrdinalHead(option, rows.scale, found)

    return choose_layers(features, y, layer_options(features, layers, most=1), one)
