"""Proportional odds: one score for all classes, cut at thresholds, for classes that have an order.

Idea: low, medium and high lie on one line; a model that knows it has one weight per feature in the place of one per
feature and class.  Helps when: rows are few and the order is that of one cause (grades, stages, stars).  Hurts when: the
middle class is no mixture of its neighbours, or what tells two neighbours apart is not what tells others apart.
References: McCullagh (1980), Regression models for ordinal data, JRSS B 42; Agresti (2010), Analysis of ordinal
categorical data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.core.registry import MODALITIES, TRANSFERS
from graft.core.store import Store
from graft.core.types import Dataset
from graft.nn.ordinal import OF_FEATURES, STRENGTHS, Ordinal, fit_ordinal
from graft.transfer.base import BaseTransfer, Setting


@TRANSFERS.register("ordered")
class Ordered(BaseTransfer):
    """Proportional odds on the classical representation of the modality.

    P(y ≤ k | x) = σ(θ_k - w·x) with rising θ; the strength of the penalty on w is chosen on every fifth row.

    Args:
        max_rows: Rows used for training at most; a seeded sample above it.
        seed: Seed of the sample.

    Example:
        >>> import numpy as np
        >>> from graft.data.load import load
        >>> X, y = np.arange(30.0)[:, None], ["low"] * 10 + ["mid"] * 10 + ["high"] * 10
        >>> rows = load((X, y), order=("low", "mid", "high"))
        >>> Ordered().fit(rows).predict(X[[0, 14, 29]]).tolist()
        ['low', 'mid', 'high']
    """

    label = "proportional odds"
    name = "ordered"
    effort = "probe"
    kinds = ("ordinal",)
    simplicity = 1

    def __init__(self, *, max_rows: int = 20_000, seed: int = 0) -> None:
        self.max_rows = max_rows
        self.seed = seed

    @classmethod
    def seconds(cls, rows: int) -> float:
        return 0.2 + 2e-4 * min(rows, 20_000)

    def _fit(self, data: Dataset, setting: Setting) -> None:
        del setting
        if len(data) > self.max_rows:
            rows = np.random.default_rng(self.seed).choice(len(data), self.max_rows, replace=False)
            data = data.select(np.sort(rows))
        self.vectors_ = MODALITIES[data.task.modality].vectors().fit(data)
        X = self.vectors_.transform(data)
        self.scale_ = _spread(X)
        dense = isinstance(X, np.ndarray)
        strengths = STRENGTHS if dense else OF_FEATURES
        self.model_ = fit_ordinal(X * self.scale_ if dense else X, data.y, data.task.outputs, strengths=strengths)

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store
        X = self.vectors_.transform(data)
        return self.model_.outputs(X * self.scale_ if isinstance(X, np.ndarray) else X)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = self.vectors_.state()
        own = {"coef": self.model_.coef, "thresholds": self.model_.thresholds, "scale": self.scale_}
        own |= {f"vectors.{key}": value for key, value in arrays.items()}
        return {"vectors": state, "strength": self.model_.strength}, own

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        vectors = {key.removeprefix("vectors."): value for key, value in arrays.items() if key.startswith("vectors.")}
        self.vectors_ = MODALITIES[self.task_.modality].vectors().from_state(state["vectors"], vectors)
        self.model_ = Ordinal(arrays["coef"], arrays["thresholds"], state["strength"])
        self.scale_ = arrays["scale"]


def _spread(X: Any) -> np.ndarray:
    """What dense columns are multiplied with so that they have one spread (d,); sparse rows have length one already."""
    if not isinstance(X, np.ndarray):
        return np.ones(0)
    spread = X.std(axis=0, dtype=np.float64)
    return np.where(spread > 1e-6, 1 / spread.clip(1e-6), 0.0)
