"""Quantiles around the predictions of any regression: what held-out rows say of how far, and where, a model errs.

A model of the quantiles of the residuals stands beside the one that predicts: boosted trees on the columns of a table, else
a linear model on the prediction and the strongest directions of the source's features.  It is fitted on predictions of rows
that the model had not seen, and conformal scores come from rows that it had not seen itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graft.core.errors import UsageError
from graft.core.types import Dataset
from graft.data.table_codes import TableCodes
from graft.features import encode
from graft.nn.conformal import kept, threshold
from graft.nn.quantiles import fit_linear, outside, pinball
from graft.nn.trees import Forest

ENOUGH = 200  # rows of a table from which trees find where the spread is wide
ROUNDS, LEAVES, LEAF = 40, 6, 20  # of the trees: small ones, as quantiles at the ends have few rows to go by
FOLDS = 5  # in which the rows are held out from the quantiles
DIRECTIONS = 6  # of the source's features
BLOCK = 4096  # rows whose features are held at a time


def parse_quantiles(text: str | None) -> tuple[float, ...]:
    """``0.05,0.5,0.95`` as numbers that rise.

    Raises:
        UsageError: They are no shares between 0 and 1, or one stands twice.

    Example:
        >>> parse_quantiles("0.95, 0.05")
        (0.05, 0.95)
    """
    try:
        return checked_quantiles([float(part) for part in (text or "").split(",") if part.strip()])
    except ValueError:
        raise UsageError(f"{text!r} are no quantiles", hint="write 0.05,0.5,0.95") from None


def checked_quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """Quantiles in rising order."""
    found = tuple(sorted(float(value) for value in values))
    if any(not 0 < value < 1 for value in found) or len(set(found)) != len(found):
        raise UsageError(
            f"{', '.join(map(str, values))} are no quantiles", hint="write numbers between 0 and 1, each once"
        )
    return found


@dataclass
class Spread:
    """Quantiles of the residuals of a regression, in standardised units.

    Attributes:
        quantiles: τ (Q,), rising.
        codes: How columns of a table are read; None where the linear model is used.
        forests: A forest per quantile.
        basis: Directions of the source's features (D, k), and their mean in the last column; None where there is no source.
        scale: Mean and deviation of each column of the linear model (2, d).
        weights: Of the linear model (d + 1, Q).
        scores: Conformal scores of the outermost quantiles, sorted.
        measured: Pinball loss, coverage and mean width on rows held out from all of it, in the user's own unit.
    """

    quantiles: tuple[float, ...]
    codes: TableCodes | None = None
    forests: list[Forest] = field(default_factory=list)
    basis: np.ndarray | None = None
    scale: np.ndarray = field(default_factory=lambda: np.zeros((2, 0)))
    weights: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def level(self) -> float:
        """Share of rows between the outermost quantiles; 0 where there is one quantile alone."""
        return round(self.quantiles[-1] - self.quantiles[0], 9)

    @classmethod
    def fit(
        cls, model: Any, data: Dataset, outputs: np.ndarray, quantiles: Sequence[float], *, seed: int = 0
    ) -> Spread:
        """Learn from held-out outputs (n,) of rows with labels.

        Args:
            model: The fitted transfer, for the source it has.
            data: The rows.
            outputs: What the way of fitting said of each while it was held out, standardised.
            quantiles: τ, between 0 and 1.
            seed: Seed of the folds.

        Raises:
            UsageError: The task is no regression, or a quantile is no share.
        """
        if data.task.kind != "regression" or data.y is None:
            raise UsageError(f"quantiles are for a regression, not for {data.task.kind}", hint="leave them out")
        spread = cls(checked_quantiles(quantiles))
        if data.task.modality == "table" and len(data) >= ENOUGH:
            spread.codes = TableCodes().fit(data)
        elif model.backbone_ is not None:
            values = _features(model.backbone_, data)
            mean = values.mean(axis=0)
            directions = np.linalg.svd(values - mean, full_matrices=False)[2][:DIRECTIONS]
            spread.basis = np.vstack([directions * np.sign(directions.sum(axis=1, keepdims=True) + 1e-30), mean]).T
        rows, residual = spread._rows(model, data, outputs), data.y - outputs
        unit = np.arange(len(data)) if data.groups is None else np.unique(data.groups, return_inverse=True)[1]
        fold = (np.random.default_rng(seed).permutation(int(unit.max()) + 1) % FOLDS)[unit]
        held = np.zeros((len(data), len(spread.quantiles)))
        for part in np.unique(fold):
            spread._learn(rows[fold != part], residual[fold != part])
            held[fold == part] = spread._residuals(rows[fold == part])
        far = outside(residual, held[:, 0], held[:, -1])
        spread.measured = _measured(spread, residual, held, far, fold, data.task.scale)
        spread.scores = kept(far)
        spread._learn(rows, residual)
        return spread

    def values(self, model: Any, data: Dataset, outputs: np.ndarray) -> np.ndarray:
        """Quantiles (n, Q) of each row, standardised, never falling from left to right."""
        return outputs[:, None] + self._residuals(self._rows(model, data, outputs))

    def interval(self, model: Any, data: Dataset, outputs: np.ndarray, coverage: float) -> np.ndarray:
        """Low and high (n, 2), standardised: the outermost quantiles, moved so that they hold a share ``coverage``."""
        if len(self.quantiles) < 2:
            raise UsageError("one quantile makes no interval", hint="fit with two or more: --quantiles 0.05,0.5,0.95")
        found, more = self.values(model, data, outputs), threshold(self.scores, coverage)
        low, high = found[:, 0] - more, found[:, -1] + more
        middle = (low + high) / 2
        return np.stack([np.minimum(low, middle), np.maximum(high, middle)], axis=1)

    def judged(self, model: Any, data: Dataset, outputs: np.ndarray) -> np.ndarray:
        """Pinball loss of each row (n,), in the user's own unit."""
        return pinball(data.y, self.values(model, data, outputs), self.quantiles) * data.task.scale

    def _rows(self, model: Any, data: Dataset, outputs: np.ndarray) -> np.ndarray:
        parts = [np.asarray(outputs, np.float64).reshape(-1, 1)]
        if self.codes is not None:
            parts = [self.codes.transform(data), *parts]
        elif self.basis is not None and len(data):
            parts.append((_features(model.backbone_, data) - self.basis[:, -1]) @ self.basis[:, :-1])
        elif self.basis is not None:
            parts.append(np.zeros((0, self.basis.shape[1] - 1)))
        return np.hstack(parts)

    def _learn(self, rows: np.ndarray, residual: np.ndarray) -> None:
        if self.codes is None:
            deviation = rows.std(axis=0)
            self.scale = np.stack([rows.mean(axis=0), np.where(deviation > 0, deviation, 1.0)])
            self.weights = fit_linear((rows - self.scale[0]) / self.scale[1], residual, self.quantiles)
            return
        from sklearn.ensemble import HistGradientBoostingRegressor

        codes = len(self.codes.levels)
        options = {"max_iter": ROUNDS, "max_leaf_nodes": LEAVES, "min_samples_leaf": LEAF, "early_stopping": False}
        options |= {"categorical_features": [*range(codes)] if codes else None, "random_state": 0}
        self.forests = [
            _grown(HistGradientBoostingRegressor(loss="quantile", quantile=tau, **options), rows, residual)
            for tau in self.quantiles
        ]

    def _residuals(self, rows: np.ndarray) -> np.ndarray:
        if self.codes is None:
            found = np.column_stack([(rows - self.scale[0]) / self.scale[1], np.ones(len(rows))]) @ self.weights
        else:
            found = np.hstack([forest.scores(rows) for forest in self.forests])
        return np.sort(found, axis=1)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What was learnt, as JSON and named arrays."""
        codes, arrays = self.codes.state() if self.codes is not None else (None, {})
        own = {f"codes.{key}": value for key, value in arrays.items()}
        own |= {"scale": self.scale, "weights": self.weights, "scores": self.scores}
        own |= {} if self.basis is None else {"basis": self.basis}
        for number, forest in enumerate(self.forests):
            own |= {f"forest{number}.{key}": value for key, value in forest.arrays().items()}
        return {"quantiles": list(self.quantiles), "codes": codes, "measured": self.measured}, own

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> Spread:
        """The inverse of ``state``."""
        parts: dict[str, dict[str, np.ndarray]] = {}
        for key, value in arrays.items():
            part, _, name = key.rpartition(".") if key.startswith("forest") else key.partition(".")
            parts.setdefault(part, {})[name] = value
        codes = None if facts["codes"] is None else TableCodes.from_state(facts["codes"], parts.get("codes", {}))
        forests = [Forest.from_arrays(parts[f"forest{i}"]) for i in range(len(facts["quantiles"]))] if codes else []
        plain = arrays["scale"], arrays["weights"], arrays["scores"]
        return cls(tuple(facts["quantiles"]), codes, forests, arrays.get("basis"), *plain, facts["measured"])


def _grown(model: Any, rows: np.ndarray, residual: np.ndarray) -> Forest:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="openmp"):
        return Forest.of(model.fit(rows, residual))


def _measured(
    spread: Spread, residual: np.ndarray, held: np.ndarray, far: np.ndarray, fold: np.ndarray, scale: float
) -> dict[str, float]:
    """Pinball loss of held-out quantiles; coverage and width of intervals whose threshold other rows chose."""
    found = {"pinball": float(pinball(residual, held, spread.quantiles).mean() * scale)}
    if len(spread.quantiles) > 1:
        more = np.zeros(len(far))
        for part in np.unique(fold):
            more[fold == part] = threshold(np.sort(far[fold != part]), spread.level)
        if np.isfinite(more).all():
            found |= {"level": spread.level, "coverage": float((far <= more).mean())}
            found["width"] = float((held[:, -1] - held[:, 0] + 2 * more).clip(0).mean() * scale)
    return found


def _features(backbone: Any, data: Dataset) -> np.ndarray:
    blocks = [slice(start, start + BLOCK) for start in range(0, len(data), BLOCK)]
    return np.concatenate([encode(backbone, data.take(block)).layer(-1).astype(np.float64) for block in blocks])
