"""CORAL: source rows are recoloured until their covariance is that of the target.

Idea: x ← (x - μ_s) (C_s + εI)^-½ (C_t + εI)^½, then train as usual; target rows lose their own mean and nothing else.  Helps
when: the domains differ by scale and by how columns go together, as features of other cameras do.  Hurts when: the classes
have other shares in the target, or there are more columns than rows to estimate a covariance from.
Reference: Sun, Feng & Saenko (2016), Return of frustratingly easy domain adaptation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg, sparse

from graft.adaptation.lowrank import column_mean, directions, term_weights, unit_rows
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.sources.base import Backbone

WIDE = 1_000  # columns beyond which covariances live in the leading directions


def recolour(source: np.ndarray, target: np.ndarray, *, ridge: float = 1.0) -> np.ndarray:
    """A (d, d) = (C_s + εI)^-½ (C_t + εI)^½, with ε the mean variance of a column times ``ridge``.

    Args:
        source: Source rows (n_s, d).
        target: Target rows (n_t, d).
        ridge: 1 is the paper's εI on columns of variance 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> source, target = rng.standard_normal((99, 2)), rng.standard_normal((99, 2)) @ [[2.0, 0.0], [1.0, 0.5]]
        >>> moved = source @ recolour(source, target, ridge=0.0)
        >>> bool(np.allclose(np.cov(moved.T), np.cov(target.T)))
        True
    """
    both = [np.atleast_2d(np.cov(X, rowvar=False, bias=True)) for X in (source, target)]
    added = ridge * sum(float(np.trace(C)) for C in both) / (2 * len(both[0]))
    roots = []
    for covariance, power in zip(both, (-0.5, 0.5), strict=True):
        values, vectors = linalg.eigh(covariance)
        values = np.maximum(values + added, 1e-12 * max(float(values[-1]), 1e-300))
        roots.append((vectors * values**power) @ vectors.T)
    return roots[0] @ roots[1]


@ADAPTATIONS.register("coral")
class Coral(FeatureAdaptation):
    """Recolour the source rows with the covariance of the target.

    Sparse rows, at length one, and rows of more than a thousand columns are first turned into the leading directions of both
    domains; what lies outside of them is left out.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone`` whose features are adapted; None for the rows themselves.
        components: Leading directions of sparse or wide rows.
        ridge: Added to both covariances, over the mean variance of a column; None: 1, or 10 in leading directions.
        C: Inverse strength of the classifier's regularisation; None: chosen on source rows held out.
        seed: Seed of everything drawn.
    """

    label = "CORAL"
    name = "coral"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        components: int = 300,
        ridge: float | None = None,
        C: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, C=C, seed=seed)
        self.components, self.ridge = components, ridge

    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        self.terms_ = term_weights(rows.source, rows.target)
        source, target = unit_rows(rows.source, self.terms_), unit_rows(rows.target, self.terms_)
        self.basis_, ridge = np.zeros((0, 0)), 1.0
        if sparse.issparse(source) or source.shape[1] > WIDE:
            self.basis_ = directions([source, target], self.components, seed=self.seed)[0]
            source, target, ridge = source @ self.basis_, target @ self.basis_, 10.0
        self.centre_ = column_mean(target)
        ridge = ridge if self.ridge is None else self.ridge
        self.own_centre_, self.colour_ = column_mean(source), recolour(source, target, ridge=ridge)
        return (source - self.own_centre_) @ self.colour_, None

    def _see(self, X: Any) -> Any:
        return self._flat(X) - self.centre_

    def _see_source(self, X: Any) -> Any:
        return (self._flat(X) - self.own_centre_) @ self.colour_

    def _flat(self, X: Any) -> Any:
        return unit_rows(X, self.terms_) @ self.basis_ if self.basis_.size else X

    def _map(self) -> dict[str, np.ndarray]:
        return {"terms": self.terms_, "basis": self.basis_, "centre": self.centre_}

    def _set_map(self, arrays: dict[str, np.ndarray]) -> None:
        self.terms_, self.basis_, self.centre_ = arrays["terms"], arrays["basis"], arrays["centre"]
