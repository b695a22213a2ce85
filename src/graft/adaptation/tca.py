"""Transfer component analysis: directions that vary much and in which the two domains have the same mean.

Idea: in the space of a kernel, maximise the variance w' S w over w' (δ δ' + μ I) w, with δ the difference of the domains'
means, so that the components' maximum mean discrepancy is small.  Helps when: the shift is a move in few directions.
Hurts when: the direction in which the domains differ is the one that tells the classes apart.
References: Pan et al. (2011), Domain adaptation via transfer component analysis; Williams & Seeger (2000) for landmarks, on
which the kernel's space is finite and time linear in the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

from graft.adaptation.kernels import from_arrays, gaussian, landmarks, median_distance, nystrom_root, to_arrays
from graft.adaptation.lowrank import term_weights, unit_rows
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.sources.base import Backbone


def transfer_components(source: np.ndarray, target: np.ndarray, size: int, *, mu: float) -> np.ndarray:
    """W (d, k) with W' S W = I over both domains, those first that lose least variance to the discrepancy.

    The penalty is the norm of w in the kernel's space.

    Args:
        source: Source rows (n_s, d) in the kernel's space.
        target: Target rows (n_t, d).
        size: Components k at most.
        mu: Penalty of the norm, over the mean variance of a direction.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> source, target = rng.standard_normal((80, 2)), rng.standard_normal((80, 2)) + [9.0, 0.0]
        >>> W = transfer_components(source, target, 1, mu=0.1)
        >>> bool(abs((source.mean(0) - target.mean(0)) @ W)[0] < 0.1)
        True
    """
    within = np.concatenate([source, target])
    within = within - within.mean(0)
    scatter = within.T @ within / len(within)
    gap = source.mean(0) - target.mean(0)
    level = max(float(np.trace(scatter)) / len(scatter), 1e-300)
    values, vectors = linalg.eigh(scatter, np.outer(gap, gap) + mu * level * np.eye(len(gap)))
    keep = np.argsort(-values, kind="stable")[:size]
    keep = keep[values[keep] > 1e-10 * values.max()]
    lengths = np.sqrt((vectors[:, keep] * (scatter @ vectors[:, keep])).sum(0))
    return np.ascontiguousarray(vectors[:, keep] / lengths)


@ADAPTATIONS.register("tca")
class TransferComponents(FeatureAdaptation):
    """Learn in the transfer components of a Gaussian kernel on landmarks.  Sparse rows count at length one.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone`` whose features are adapted; None for the rows themselves.
        components: How many.
        mu: Penalty of a component's norm, over the mean variance of a direction.
        points: Landmarks of the kernel, half from each domain.
        C: Inverse strength of the classifier's regularisation; None: chosen on source rows held out.
        seed: Seed of everything drawn.
    """

    label = "transfer component analysis"
    name = "tca"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        components: int = 20,
        mu: float = 1.0,
        points: int = 600,
        C: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, C=C, seed=seed)
        self.components, self.mu, self.points = components, mu, points

    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        self.terms_ = term_weights(rows.source, rows.target)
        source, target = unit_rows(rows.source, self.terms_), unit_rows(rows.target, self.terms_)
        self.width_ = median_distance(source, target, seed=self.seed)
        self.marks_ = landmarks(source, target, self.points, seed=self.seed)
        root = nystrom_root(self.marks_, self.width_)
        at_source, at_target = (gaussian(X, self.marks_, self.width_) @ root for X in (source, target))
        W = transfer_components(at_source, at_target, self.components, mu=self.mu)
        self.turn_ = np.ascontiguousarray(root @ W)
        self.centre_ = (at_source.mean(0) + at_target.mean(0)) / 2.0 @ W
        return at_source @ W - self.centre_, None

    def _see(self, X: Any) -> Any:
        return gaussian(unit_rows(X, self.terms_), self.marks_, self.width_) @ self.turn_ - self.centre_

    def _map(self) -> dict[str, np.ndarray]:
        rest = {"terms": self.terms_, "turn": self.turn_, "centre": self.centre_, "width": np.asarray([self.width_])}
        return rest | to_arrays("marks", self.marks_)

    def _set_map(self, arrays: dict[str, np.ndarray]) -> None:
        self.turn_, self.centre_, self.width_ = arrays["turn"], arrays["centre"], float(arrays["width"][0])
        self.terms_, self.marks_ = arrays["terms"], from_arrays("marks", arrays)
