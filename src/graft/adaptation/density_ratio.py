"""Density ratio by classification: a classifier of the domain says how much like the target each source row looks.

Idea: weigh source rows by p_t(x) / p_s(x) = P(t | x) / P(s | x) · n_s / n_t, then train as usual.  Helps when: the target
draws the same kinds of rows in other shares (covariate shift), and both domains overlap.  Hurts when: the domains can be
told apart by words or columns that say nothing of the label; a few rows then carry all the weight.
References: Bickel, Brückner & Scheffer (2007); Shimodaira (2000) for the flattening.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from graft.adaptation.linear import fit_linear
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.adaptation.weights import flattened
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.sources.base import Backbone

FOLDS = 5
STEEPEST = 20.0  # log-odds beyond which a row is simply of its domain


def domain_ratio(source: Any, target: Any, *, C: float | None = None, seed: int = 0) -> np.ndarray:
    """Density of the target over that of the source at each source row (n_s,), by a classifier that did not see the row.

    Args:
        source: Source rows (n_s, d), an array or a CSR matrix.
        target: Target rows (n_t, d).
        C: Inverse strength of the classifier's regularisation; the likeliest on rows held out if not given.
        seed: Seed of the folds.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> source, target = rng.standard_normal((400, 1)), 1.0 + rng.standard_normal((400, 1))
        >>> bool(np.corrcoef(np.log(domain_ratio(source, target)), source[:, 0] - 0.5)[0, 1] > 0.95)
        True
    """
    from sklearn.model_selection import StratifiedKFold

    sizes = source.shape[0], target.shape[0]
    X = sparse.vstack([source, target], format="csr") if sparse.issparse(source) else np.concatenate([source, target])
    domain = np.repeat([0, 1], sizes)
    odds = np.zeros(sum(sizes))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(domain[:, None], domain):
        coef, intercept, C = fit_linear(X[train], domain[train], 2, C=C, seed=seed)  # the first fold chooses C
        scores = np.asarray(X[test] @ coef) + intercept
        odds[test] = scores[:, 1] - scores[:, 0]
    return np.exp(odds[: sizes[0]].clip(-STEEPEST, STEEPEST)) * sizes[0] / sizes[1]


@ADAPTATIONS.register("density_ratio")
class DensityRatio(FeatureAdaptation):
    """Weigh source rows by how much a classifier of the domain takes them for target rows.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone`` whose features are adapted; None for the rows themselves.
        effective: The least share of rows that the weights may be worth; steeper ones are flattened by a power.
        C: Inverse strength of the classifier's regularisation; None: chosen on source rows held out.
        seed: Seed of everything drawn.
    """

    label = "density ratio weighting"
    name = "density_ratio"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        effective: float = 0.5,
        C: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, C=C, seed=seed)
        self.effective = effective

    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        return rows.source, flattened(domain_ratio(rows.source, rows.target, seed=self.seed), self.effective)
