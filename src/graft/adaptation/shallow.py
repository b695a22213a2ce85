"""Adaptation of rows that are numbers already: counts, columns, pixels, or cached features of a source."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse

from graft.adaptation.base import BaseAdaptation
from graft.adaptation.domains import Domains
from graft.adaptation.linear import fit_linear
from graft.core.registry import MODALITIES
from graft.core.store import Store
from graft.core.types import Dataset, ModelSpec
from graft.nn.heads import to_outputs
from graft.sources.base import Backbone
from graft.transfer.base import Setting


@dataclass(frozen=True, eq=False)
class Matrices:
    """Both domains as numbers.

    Attributes:
        source: Source rows (n_s, d), an array or a CSR matrix.
        y: Their class indices (n_s,).
        target: Target rows (n_t, d), of the same kind.
        origin: Which source domain each source row is from (n_s,).
        classes: Number of classes.
    """

    source: Any
    y: np.ndarray
    target: Any
    origin: np.ndarray
    classes: int


class FeatureAdaptation(BaseAdaptation):
    """Base of adaptations that end in a linear classifier.

    A subclass writes ``_learn``: the source rows as the classifier shall see them, and their weights; and, if target rows
    are seen otherwise than as they are, ``_see`` with ``_map`` and ``_set_map`` that keep what it needs.

    Rows are the vectors of the modality (weighted counts of text, standardised columns, pixels), or, with ``source``, the
    last layer of a frozen network.  Dense columns are brought to mean 0 and variance 1 over both domains, without labels.
    Labelled target rows, where there are a few, are learned from beside the source rows, and weigh as much in sum.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone`` whose features are adapted; None for the rows themselves.
        C: Inverse strength of the classifier's regularisation; None: chosen on source rows held out.
        seed: Seed of everything drawn.
    """

    simplicity = 2

    def __init__(
        self, source: str | ModelSpec | Backbone | None = None, *, C: float | None = None, seed: int = 0
    ) -> None:
        self.source = source
        self.C = C
        self.seed = seed

    @abstractmethod
    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        """Source rows (n_s, d') for the classifier, and their weights (n_s,) or None; keeps what ``_see`` needs."""

    def _see(self, X: Any) -> Any:
        """Target rows (n, d) as the classifier sees them (n, d')."""
        return X

    def _see_source(self, X: Any) -> Any:
        """Further source rows (n, d) as the classifier sees source rows (n, d'); as target rows where both go one way."""
        return self._see(X)

    def _map(self) -> dict[str, np.ndarray]:
        """Arrays that ``_see`` needs."""
        return {}

    def _set_map(self, arrays: dict[str, np.ndarray]) -> None:
        """The inverse of ``_map``."""

    def _adapt(self, domains: Domains, setting: Setting) -> None:
        source, target = domains.source, domains.target
        if self.source is None:
            self.vectors_ = MODALITIES[source.task.modality].vectors().fit(source)
        else:
            self.backbone_ = self._open()
        Xs, Xt = self._numbers(source, setting.store), self._numbers(target, setting.store)
        few = None
        if domains.few is not None and len(domains.few):
            few = self._numbers(domains.few, setting.store), domains.few.y
        self.fit_numbers(Matrices(Xs, source.y, Xt, domains.origin, source.task.outputs), few)

    def fit_numbers(self, rows: Matrices, few: tuple[Any, np.ndarray] | None = None) -> Self:
        """Learn from rows that are numbers already; ``scores`` then reads such rows, too.

        Args:
            rows: Both domains, before scaling.
            few: Labelled target rows (m, d) and their class indices (m,), where there are some.
        """
        Xs, Xt = rows.source, rows.target
        self.mean_ = self.deviation_ = np.zeros(0)
        if not sparse.issparse(Xs):
            count = len(Xs) + len(Xt)
            self.mean_ = (Xs.sum(0, dtype=np.float64) + Xt.sum(0, dtype=np.float64)) / count
            square = sum(((X - self.mean_) ** 2).sum(0) for X in (Xs, Xt)) / count
            self.deviation_ = np.sqrt(square).clip(1e-6)
        learned, weight = self._learn(dataclasses.replace(rows, source=self._scaled(Xs), target=self._scaled(Xt)))
        y = rows.y
        if few is not None:
            seen = self._see(self._scaled(few[0]))
            weight = np.ones(len(y)) if weight is None else weight
            weight = np.concatenate([weight, np.full(len(few[1]), weight.sum() / len(few[1]))])
            learned, y = _stack(learned, seen), np.concatenate([y, few[1]])
        self.coef_, self.intercept_, self.strength_ = fit_linear(
            learned, y, rows.classes, weight=weight, C=self.C, seed=self.seed
        )
        return self

    def scores(self, X: Any) -> np.ndarray:
        """Logits (n, C) of target rows that are numbers (n, d)."""
        seen = self._see(self._scaled(X))
        return np.asarray(seen @ self.coef_) + self.intercept_

    def seen(self, source: Any, target: Any) -> tuple[Any, Any]:
        """Rows of both domains (n_s, d) and (n_t, d) as the classifier sees them (n_s, d') and (n_t, d')."""
        return self._see_source(self._scaled(source)), self._see(self._scaled(target))

    def source_scores(self, X: Any) -> np.ndarray:
        """Logits (n, C) of source rows (n, d) that were not learned from."""
        seen = self._see_source(self._scaled(X))
        return np.asarray(seen @ self.coef_) + self.intercept_

    def _numbers(self, data: Dataset, store: Store | None) -> Any:
        if self.backbone_ is None:
            return self.vectors_.transform(data)
        return self._features(data, store).layer(-1)

    def _scaled(self, X: Any) -> Any:
        return (X - self.mean_) / self.deviation_ if len(self.mean_) else X

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        return to_outputs(self.scores(self._numbers(data, store)), self.task_)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state: dict[str, Any] = {}
        arrays = {"coef": self.coef_, "intercept": self.intercept_, "mean": self.mean_, "spread": self.deviation_}
        arrays |= {f"map.{key}": value for key, value in self._map().items()}
        if self.backbone_ is None:
            state["vectors"], own = self.vectors_.state()
            arrays |= {f"vectors.{key}": value for key, value in own.items()}
        return state, arrays

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.coef_, self.intercept_ = arrays["coef"], arrays["intercept"]
        self.mean_, self.deviation_ = arrays["mean"], arrays["spread"]
        self._set_map(_named(arrays, "map."))
        if "vectors" in state:
            vectors = MODALITIES[self.task_.modality].vectors()
            self.vectors_ = vectors.from_state(state["vectors"], _named(arrays, "vectors."))


def _named(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def _stack(one: Any, two: Any) -> Any:
    both = [one, two]
    return sparse.vstack(both, format="csr") if sparse.issparse(one) else np.concatenate(both)
