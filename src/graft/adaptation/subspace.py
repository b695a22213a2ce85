"""Subspace alignment: the principal directions of the source are turned onto those of the target.

Idea: with bases P_s and P_t of both domains, source rows become X_s P_s P_s' P_t and target rows X_t P_t.  Helps when: both
domains vary in few directions, which are turned against each other.  Hurts when: the label hides in small directions, or
the classes have other shares in the target, which moves its mean.
Reference: Fernando et al. (2013), Unsupervised visual domain adaptation using subspace alignment.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.adaptation.linear import fit_linear, log_likelihoods
from graft.adaptation.lowrank import column_mean, directions, unit_rows
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.sources.base import Backbone

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # of the subspace, compared on source rows held out
EVERY = 3  # every third row of a class is held out


def align(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """M (d, k) = P_s P_s' P_t, which takes source rows to the coordinates of the target.

    Args:
        source: Orthonormal basis P_s (d, k).
        target: Orthonormal basis P_t (d, k).

    Example:
        >>> plane = np.eye(3)[:, :2]
        >>> align(plane, plane).tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    return source @ (source.T @ target)


@ADAPTATIONS.register("subspace")
class SubspaceAlignment(FeatureAdaptation):
    """Turn the principal directions of the source onto those of the target.  Sparse rows count at length one.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone`` whose features are adapted; None for the rows themselves.
        components: Size of the subspace; None: the likeliest on source rows held out.
        C: Inverse strength of the classifier's regularisation; None: chosen on source rows held out.
        seed: Seed of everything drawn.
    """

    label = "subspace alignment"
    name = "subspace"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        components: int | None = None,
        C: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, C=C, seed=seed)
        self.components = components

    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        source, target = unit_rows(rows.source), unit_rows(rows.target)
        size = self.components or SIZES[-1]
        mine, _ = directions([source], size, seed=self.seed)
        theirs, _ = directions([target], size, seed=self.seed)
        most = min(mine.shape[1], theirs.shape[1])
        centred = source @ mine - column_mean(source) @ mine  # (n_s, k): all that is needed of the source rows
        turn = mine.T @ theirs
        if self.components is None:
            sizes = sorted({min(size, most) for size in SIZES})
            most = max(sizes, key=lambda k: _likelihood(centred[:, :k] @ turn[:k, :k], rows.y, rows.classes))
        self.basis_ = np.ascontiguousarray(theirs[:, :most])
        self.centre_ = column_mean(target) @ self.basis_
        self.own_basis_ = mine[:, :most] @ turn[:most, :most]
        self.own_centre_ = column_mean(source) @ self.own_basis_
        return centred[:, :most] @ turn[:most, :most], None

    def _see(self, X: Any) -> Any:
        return unit_rows(X) @ self.basis_ - self.centre_

    def _see_source(self, X: Any) -> Any:
        return unit_rows(X) @ self.own_basis_ - self.own_centre_

    def _map(self) -> dict[str, np.ndarray]:
        return {"basis": self.basis_, "centre": self.centre_}

    def _set_map(self, arrays: dict[str, np.ndarray]) -> None:
        self.basis_, self.centre_ = arrays["basis"], arrays["centre"]


def _likelihood(X: np.ndarray, y: np.ndarray, classes: int) -> float:
    """Mean log-likelihood of every third row of each class under a classifier of the others."""
    place = np.empty(len(y), np.int64)
    for c in np.unique(y):
        place[y == c] = np.arange(int((y == c).sum()))
    out = place % EVERY == EVERY - 1
    if not out.any():
        return 0.0
    coef, intercept, _ = fit_linear(X[~out], y[~out], classes, C=1.0)
    return float(log_likelihoods(X[out] @ coef + intercept, y[out]).mean())
