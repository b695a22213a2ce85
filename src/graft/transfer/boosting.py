"""Gradient boosting of trees: the model that tables are usually won with, and that every transfer has to beat there.

Idea: many small trees, each of which mends what those before it got wrong; numbers need no scale, categories no columns of
their own, missing values a side of each split.  Helps when: columns are of different kinds and act together.  Hurts when:
rows are few and the truth is a line, which the classical model finds with less; or new rows lie outside the old ones.
References: Friedman (2001), Greedy function approximation: a gradient boosting machine, Annals of Statistics 29; Ke et al.
(2017), LightGBM, NeurIPS; Grinsztajn et al. (2022), Why do tree-based models still outperform deep learning on tabular
data?, NeurIPS.
"""

from __future__ import annotations

import contextlib
import functools
import time
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from graft.core.errors import DataError
from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.types import Dataset
from graft.data.splits import holdout
from graft.data.table_codes import TableCodes
from graft.nn.heads import to_outputs
from graft.nn.trees import Forest
from graft.transfer.base import BaseTransfer, Setting

FEWEST = 100  # rows from which some are held out to choose the number of trees
PLAIN = 60  # rounds where too few rows are there to hold any out
HELD_OUT, MOST_HELD = 0.2, 5_000  # share of the rows held out, and rows at most
PATIENCE = 25  # rounds without a better score on held-out rows
LEAF = 20  # rows of a leaf at least; of few rows a twentieth
PARALLEL = 20_000  # rows from which two threads are worth their start
UNKNOWN = 10.0  # by how much the score of a class without a row is below the lowest


@TRANSFERS.register("boosting")
class Boosting(BaseTransfer):
    """Histogram gradient boosting of scikit-learn on the columns of a table, kept as plain arrays.

    Categories are split as sets, missing values and categories that training did not see go where the rows of their kind
    did.  The number of rounds is chosen on held-out rows, then all rows are fitted; dates are read as their parts, texts
    along the directions of their words.

    Args:
        lr: Step of each round.
        leaves: Leaves of a tree at most.
        rounds: Rounds at most.
        seed: Seed of the rows held out.

    Example:
        >>> from graft.transfer.boosting import Boosting
        >>> rows = {"size": [1.0, 2.0, None, 4.0] * 20, "town": ["L", "P", "P", "L"] * 20}
        >>> Boosting().fit(rows, ["a", "b", "b", "a"] * 20).predict({"size": [None], "town": ["P"]}).tolist()
        ['b']
    """

    label = "boosted trees"
    name = "boosting"
    modalities = ("table",)
    effort = "probe"
    simplicity = 1
    space: ClassVar[dict[str, list[Any] | tuple[float, float]]] = {"lr": (0.02, 0.3), "leaves": [4, 8, 16, 31, 63]}

    def __init__(self, *, lr: float = 0.1, leaves: int = 31, rounds: int = 400, seed: int = 0) -> None:
        self.lr = lr
        self.leaves = leaves
        self.rounds = rounds
        self.seed = seed

    @classmethod
    def seconds(cls, rows: int) -> float:
        return 0.5 + 1e-4 * rows

    def _fit(self, data: Dataset, setting: Setting) -> None:
        self.codes_ = TableCodes().fit(data)
        self.forest_ = self._grown(self._columns(data, setting.store, setting), len(self.codes_.levels), data, setting)

    def _columns(self, data: Dataset, store: Store | None, setting: Setting | None = None) -> np.ndarray:
        """What the trees read (n, D): codes first."""
        del store, setting
        return self.codes_.transform(data)

    def _grown(self, X: np.ndarray, categories: int, data: Dataset, setting: Setting) -> Forest:
        """Trees on columns (n, D), the first of which hold codes."""
        y, task = data.y, data.task
        assert y is not None
        found = np.unique(y) if task.is_classification else np.zeros(2)
        if not X.shape[1] or len(found) < 2 or len(y) < 2:
            frequency = np.bincount(y, minlength=task.outputs) if task.is_classification else None
            flat = [float(y.mean())] if frequency is None else np.log((frequency + 0.1) / len(y))
            return Forest.constant(np.asarray(flat, np.float64))
        weight = task.sample_weights(y)
        rounds = self._chosen(X, categories, data, weight, setting)
        setting.progress("boosted trees", 0.5, f"{rounds} rounds")
        with _threads(len(y)):
            model = self._model(categories, rounds, task.is_classification, len(y)).fit(X, y, sample_weight=weight)
        forest = Forest.of(model)
        return forest.spread(found.astype(np.int64), task.outputs, below=UNKNOWN) if task.is_classification else forest

    def _chosen(
        self, X: np.ndarray, categories: int, data: Dataset, weight: np.ndarray | None, setting: Setting
    ) -> int:
        """Rounds after which held-out rows are predicted best; the search ends where a fit on all rows needs the time left."""
        y, task = data.y, data.task
        assert y is not None
        plain = min(self.rounds, PLAIN)
        if len(y) < FEWEST:
            return plain
        try:
            train, test = holdout(data, test=min(HELD_OUT, MOST_HELD / len(y)), seed=self.seed)
        except (DataError, ValueError):  # too few rows per class to hold any out
            return plain
        if task.is_classification and len(np.unique(y[train])) < len(np.unique(y)):
            return plain
        model = self._model(categories, 0, task.is_classification, len(train)).set_params(warm_start=True)
        classes = {name: place for place, name in enumerate(np.unique(y).tolist())}
        truth = np.array([classes[one] for one in y[test].tolist()]) if task.is_classification else y[test]
        held = np.ones(len(test)) if weight is None else weight[test]
        losses: list[float] = []
        sums, begun = np.zeros(0), time.perf_counter()
        with _threads(len(y)):
            while len(losses) < self.rounds and len(losses) - (int(np.argmin(losses)) if losses else 0) <= PATIENCE:
                model.set_params(max_iter=min(self.rounds, len(losses) + PATIENCE))
                model.fit(X[train], y[train], sample_weight=None if weight is None else weight[train])
                forest, done = Forest.of(model), len(losses)
                before = np.tile(forest.baseline, (len(test), 1)) if not done else sums
                each = forest.after_rounds(X[test], before, first=done)
                if not each.shape[1]:  # no split is left
                    break
                sums = each[:, -1]
                losses += _losses(each, truth, held)
                if setting.clock.left() < 2 * (time.perf_counter() - begun):
                    break
        return int(np.argmin(losses)) + 1 if losses else plain

    def _model(self, categories: int, rounds: int, classes: bool, rows: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        return kind(
            max_iter=max(1, rounds),
            learning_rate=self.lr,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=max(2, min(LEAF, rows // 20)),
            categorical_features=np.arange(categories) if categories else None,
            early_stopping=False,
            random_state=self.seed,
        )

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        return to_outputs(self.forest_.scores(self._columns(data, store)), self.task_)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = self.codes_.state()
        own = {f"forest.{key}": value for key, value in self.forest_.arrays().items()}
        return {"codes": state}, {**own, **{f"codes.{key}": value for key, value in arrays.items()}}

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        parts: dict[str, dict[str, np.ndarray]] = {"forest": {}, "codes": {}}
        for key, value in arrays.items():
            part, _, name = key.partition(".")
            parts[part][name] = value
        self.forest_ = Forest.from_arrays(parts["forest"])
        self.codes_ = TableCodes.from_state(state["codes"], parts["codes"])


def _losses(scores: np.ndarray, y: np.ndarray, weight: np.ndarray) -> list[float]:
    """Mean loss of scores (n, rounds, K) after each round: squares, or negative log-likelihood."""
    if y.dtype.kind == "f":
        return [float(np.average((y - one[:, 0]) ** 2, weights=weight)) for one in scores.swapaxes(0, 1)]
    if scores.shape[2] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=2)
    top = scores.max(axis=2, keepdims=True)
    logs = scores - top - np.log(np.exp(scores - top).sum(axis=2, keepdims=True))
    return [float(-np.average(one[np.arange(len(y)), y], weights=weight)) for one in logs.swapaxes(0, 1)]


@contextlib.contextmanager
def _threads(rows: int) -> Iterator[None]:
    """At most two threads, few enough that a sum does not depend on which of them ends first, and one for few rows.

    The columns' histograms are summed by one thread each; sums over rows have one part per thread, and a sum of two parts
    is the same in either order.
    """
    libraries = _libraries()
    now = [one["num_threads"] for one in libraries.info() if one["user_api"] == "openmp"]
    most = 1 if rows < PARALLEL else min([2, *now])
    with libraries.limit(limits=most, user_api="openmp"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@functools.cache
def _libraries() -> Any:
    import sklearn.ensemble  # noqa: F401  (its library must be there to be found)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
