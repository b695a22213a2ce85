"""KLIEP: the ratio of the two densities is a sum of bumps on target rows, fitted by likelihood.

Idea: w(x) = Σ_b α_b exp(-‖x - c_b‖² / 2σ²) with α ≥ 0 maximises Σ log w over target rows while its mean over source rows is
1; σ is the one whose w is likeliest on target rows held out.  Helps when: few columns, and a target that draws the
same rows in other shares.  Hurts when: there are many columns: all distances are alike and the ratio is flat, or wild.
Reference: Sugiyama et al. (2008), Direct importance estimation for covariate shift adaptation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.adaptation.kernels import gaussian, median_distance
from graft.adaptation.lowrank import drawn, term_weights, unit_rows
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.adaptation.weights import flattened
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.sources.base import Backbone

WIDTHS = (0.1, 0.2, 0.35, 0.6, 1.0, 2.0)  # over the median distance
FOLDS = 3
STEPS = 300
TINY = 1e-300


def fit_bumps(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """α (b,) that maximise Σ log(target α) with α ≥ 0 and mean(source α) = 1.

    With β = α · mean(source) the problem is that of the shares of a mixture, and β ← β · mean(target / (target β)) climbs
    without a step size.

    Args:
        source: Bumps at source rows (n_s, b).
        target: Bumps at target rows (n_t, b).

    Example:
        >>> fit_bumps(np.eye(2), np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).round(3).tolist()
        [1.5, 0.5]
    """
    means = source.mean(0).clip(1e-12)  # of each bump; one that no source row feels cannot carry weight for ever
    scaled = target / means
    share = np.full(len(means), 1.0 / len(means))
    for _ in range(STEPS):
        before = share
        share = share * ((1.0 / np.maximum(scaled @ share, TINY)) @ scaled) / len(scaled)
        share /= share.sum()
        if float(np.abs(share - before).max()) < 1e-7:
            break
    return share / means


def kliep(source: Any, target: Any, *, bumps: int = 100, seed: int = 0) -> tuple[np.ndarray, float]:
    """Density of the target over that of the source at each source row (n_s,), with mean 1, and the width taken.

    Args:
        source: Source rows (n_s, d), an array or a CSR matrix.
        target: Target rows (n_t, d).
        bumps: Target rows that carry a bump.
        seed: Seed of bumps and folds.
    """
    centres = drawn(target, bumps, seed)
    median = median_distance(source, target, seed=seed)
    fold = np.random.default_rng(seed).permutation(target.shape[0]) % FOLDS
    best, found, taken = -np.inf, np.ones(source.shape[0]), median
    for width in (median * factor for factor in WIDTHS):
        at_source, at_target = gaussian(source, centres, width), gaussian(target, centres, width)
        likelihood = 0.0
        for part in range(FOLDS):
            alpha = fit_bumps(at_source, at_target[fold != part])
            likelihood += float(np.log(np.maximum(at_target[fold == part] @ alpha, 1e-12)).sum())
        if likelihood > best:
            best, taken = likelihood, width
            found = at_source @ fit_bumps(at_source, at_target)
    return found, taken


@ADAPTATIONS.register("kliep")
class Kliep(FeatureAdaptation):
    """Weigh source rows by a density ratio that is fitted directly.  Sparse rows count at length one.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone`` whose features are adapted; None for the rows themselves.
        bumps: Target rows that carry a bump.
        effective: The least share of rows that the weights may be worth; steeper ones are flattened by a power.
        C: Inverse strength of the classifier's regularisation; None: chosen on source rows held out.
        seed: Seed of everything drawn.
    """

    label = "KLIEP weighting"
    name = "kliep"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        bumps: int = 100,
        effective: float = 0.2,
        C: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, C=C, seed=seed)
        self.bumps, self.effective = bumps, effective

    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        terms = term_weights(rows.source, rows.target)
        source, target = unit_rows(rows.source, terms), unit_rows(rows.target, terms)
        ratio, _ = kliep(source, target, bumps=self.bumps, seed=self.seed)
        return rows.source, flattened(ratio, self.effective)
