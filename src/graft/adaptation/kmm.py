"""Kernel mean matching: source rows are weighed so that their mean in a kernel's space is that of the target.

Idea: ½ ‖Σ w_i φ(x_i) / n_s - mean φ(target)‖² with 0 ≤ w ≤ B, and no density estimated.  Helps when: both domains overlap
and the target draws the same rows in other shares.  Hurts when: there are many columns, where all rows are equally far
from each other, and when weights at the bound throw most rows away.
References: Huang et al. (2007), Correcting sample selection bias by unlabeled data; Beck & Teboulle (2009) for the solver.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.adaptation.kernels import gaussian, landmarks, median_distance, nystrom_root
from graft.adaptation.lowrank import term_weights, unit_rows
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.sources.base import Backbone

STEPS = 500
CLOSE = 1e-6  # change of a weight at which the steps end


def match_mean(features: np.ndarray, goal: np.ndarray, *, bound: float, slack: float) -> np.ndarray:
    """Weights w (n,) that minimise ½ ‖features' w / n - goal‖² with 0 ≤ w ≤ bound and |mean w - 1| ≤ slack.

    Accelerated projected gradients: a step costs 2 n m, so time is linear in the rows.

    Args:
        features: Rows (n, m) in the space of the kernel.
        goal: Mean (m,) to reach.
        bound: Largest weight.
        slack: How far the mean weight may be from 1.

    Example:
        >>> match_mean(np.array([[0.0], [1.0]]), np.array([0.75]), bound=10.0, slack=0.0).round(3).tolist()
        [0.5, 1.5]
    """
    n = len(features)
    step = n * n / max(float(np.linalg.norm(features, 2)) ** 2, 1e-300)
    weight = ahead = np.ones(n)
    pace = 1.0
    for _ in range(STEPS):
        slope = features @ (features.T @ ahead / n - goal) / n
        moved = _project(ahead - step * slope, bound, slack)
        if float(slope @ (moved - weight)) > 0:  # the momentum points uphill: begin it anew
            pace = 1.0
        faster = (1.0 + np.sqrt(1.0 + 4.0 * pace * pace)) / 2.0
        ahead = moved + (pace - 1.0) / faster * (moved - weight)
        done = float(np.abs(moved - weight).max()) < CLOSE
        weight, pace = moved, faster
        if done:
            break
    return weight


def _project(weight: np.ndarray, bound: float, slack: float) -> np.ndarray:
    """The nearest weights within the bounds whose mean is within the slack: a shift, then a cut; found by bisection."""
    cut = weight.clip(0.0, bound)
    wanted = float(np.clip(cut.mean(), 1.0 - slack, 1.0 + slack))
    if abs(float(cut.mean()) - wanted) < 1e-12:
        return cut
    low, high = -float(weight.max()), bound - float(weight.min())  # all at 0, all at the bound
    for _ in range(60):
        shift = (low + high) / 2.0
        if (weight + shift).clip(0.0, bound).mean() < wanted:
            low = shift
        else:
            high = shift
    return (weight + high).clip(0.0, bound)


@ADAPTATIONS.register("kmm")
class KernelMeanMatching(FeatureAdaptation):
    """Weigh source rows so that their kernel mean is that of the target.

    The kernel is Gaussian with the median distance for its width, on landmarks; sparse rows count at length one.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone`` whose features are adapted; None for the rows themselves.
        bound: Largest weight B.
        points: Landmarks of the kernel.
        C: Inverse strength of the classifier's regularisation; None: chosen on source rows held out.
        seed: Seed of everything drawn.
    """

    label = "kernel mean matching"
    name = "kmm"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        bound: float = 2.0,
        points: int = 300,
        C: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, C=C, seed=seed)
        self.bound, self.points = bound, points

    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        terms = term_weights(rows.source, rows.target)
        source, target = unit_rows(rows.source, terms), unit_rows(rows.target, terms)
        width = median_distance(source, target, seed=self.seed)
        marks = landmarks(source, target, self.points, seed=self.seed)
        root = nystrom_root(marks, width)
        goal = gaussian(target, marks, width).mean(0) @ root
        slack = self.bound / np.sqrt(source.shape[0])  # as Huang et al. advise
        found = match_mean(gaussian(source, marks, width) @ root, goal, bound=self.bound, slack=min(slack, 0.5))
        return rows.source, found
