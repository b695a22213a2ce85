"""Optimal transport: source rows are carried onto the target at the least cost, rows of a class to rows of their own.

Idea: a plan γ between the rows minimises Σ γ_ij ‖x_i - z_j‖² + ε Σ γ log γ + η Σ_j Σ_c ‖γ_(rows of c) j‖; each source row goes to
the mean of the target rows it is sent to.  Helps when: the domains differ by a smooth move of all rows.  Hurts when: the
classes have other shares in the target: whole classes are then sent where others live.
References: Courty et al. (2017), Optimal transport for domain adaptation; Cuturi (2013) for the entropy; the solver is
that of POT, Flamary et al. (2021).
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from scipy import sparse

from graft.adaptation.kernels import squared_distances
from graft.adaptation.lowrank import directions, term_weights, unit_rows
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.core.registry import ADAPTATIONS
from graft.core.runtime import require
from graft.core.types import ModelSpec
from graft.sources.base import Backbone

BLOCK = 1_000  # rows of each side in one plan
PLACES = 4_000_000  # of the largest array in work: both sides times the classes
ROUNDS = 5  # of the conditional gradient, each with a plan of its own


def plan(source: np.ndarray, y: np.ndarray, target: np.ndarray, *, entropy: float, groups: float) -> np.ndarray:
    """γ (n_s, n_t): how much of each source row goes to each target row; rows sum to 1/n_s, columns to 1/n_t.

    Args:
        source: Source rows (n_s, d).
        y: Their class indices (n_s,).
        target: Target rows (n_t, d).
        entropy: ε, over the median cost.
        groups: η, over the median cost; 0 for no regard to classes.
    """
    ot = require("ot", extra="transport")
    cost = squared_distances(source, target)
    cost /= max(float(np.median(cost)), 1e-12)
    shares = [np.full(size, 1.0 / size) for size in cost.shape]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a plan that is not quite converged is a plan
        if groups <= 0:
            return np.asarray(ot.sinkhorn(*shares, cost, entropy, numItermax=200))
        return np.asarray(
            ot.da.sinkhorn_l1l2_gl(
                shares[0], y, shares[1], cost, entropy, eta=groups, numItermax=ROUNDS, numInnerItermax=100,
                stopInnerThr=1e-6,
            )
        )  # fmt: skip


def carried(gamma: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Where each source row goes (n_s, d): the mean of the target rows, weighed by its row of the plan.

    Example:
        >>> carried(np.array([[0.5, 0.0], [0.25, 0.25]]), np.array([[0.0], [2.0]])).tolist()
        [[0.0], [1.0]]
    """
    return gamma @ target / np.maximum(gamma.sum(1, keepdims=True), 1e-300)


@ADAPTATIONS.register("transport")
class Transport(FeatureAdaptation):
    """Carry the source rows onto the target, block by block, so that time is linear in the rows.

    Sparse rows, at length one, are first turned into the leading directions of both domains.  Target rows stay where they
    are, new ones too.  Needs the package POT.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone`` whose features are adapted; None for the rows themselves.
        entropy: How smooth the plan is, over the median cost.
        groups: How much a target row prefers source rows of one class.
        components: Leading directions of sparse rows.
        C: Inverse strength of the classifier's regularisation; None: chosen on source rows held out.
        seed: Seed of everything drawn.
    """

    label = "optimal transport"
    name = "transport"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        entropy: float = 0.02,
        groups: float = 0.1,
        components: int = 100,
        C: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, C=C, seed=seed)
        self.entropy, self.groups, self.components = entropy, groups, components

    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        self.terms_ = term_weights(rows.source, rows.target)
        source, target = unit_rows(rows.source, self.terms_), unit_rows(rows.target, self.terms_)
        self.basis_ = np.zeros((0, 0))
        if sparse.issparse(source):
            self.basis_ = directions([source, target], self.components, seed=self.seed)[0]
            source, target = source @ self.basis_, target @ self.basis_
        rng = np.random.default_rng(self.seed)
        block = min(BLOCK, math.isqrt(PLACES // max(rows.classes, 1)))
        parts = np.array_split(rng.permutation(len(source)), math.ceil(len(source) / block))
        size = min(block, len(target))
        order = np.concatenate(
            [rng.permutation(len(target)) for _ in range(math.ceil(len(parts) * size / len(target)))]
        )
        moved = np.empty_like(source)
        for place, part in enumerate(parts):
            there = target[order[place * size : (place + 1) * size]]
            gamma = plan(source[part], rows.y[part], there, entropy=self.entropy, groups=self.groups)
            moved[part] = carried(gamma, there)
        self.own_, self.move_ = source, moved - source
        return moved, None

    def _see(self, X: Any) -> Any:
        return unit_rows(X, self.terms_) @ self.basis_ if self.basis_.size else X

    def _see_source(self, X: Any) -> Any:
        """Each row goes as far as the nearest source row that was carried (Ferradans et al. 2014)."""
        places = self._see(X)
        blocks = [places[start : start + BLOCK] for start in range(0, len(places), BLOCK)]
        nearest = [squared_distances(block, self.own_).argmin(axis=1) for block in blocks]
        return places + self.move_[np.concatenate(nearest)]

    def _map(self) -> dict[str, np.ndarray]:
        return {"terms": self.terms_, "basis": self.basis_}

    def _set_map(self, arrays: dict[str, np.ndarray]) -> None:
        self.terms_, self.basis_ = arrays["terms"], arrays["basis"]
