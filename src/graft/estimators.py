"""AutoTransferClassifier and AutoTransferRegressor: everything ``graft fit`` does, as scikit-learn estimators."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from graft.auto import AutoFit, Config
from graft.core.errors import UsageError
from graft.core.store import Store
from graft.core.types import Dataset
from graft.data.load import load


class _AutoTransfer(BaseEstimator):
    """What classifier and regressor share."""

    kind = "classification"

    def __init__(
        self,
        *,
        budget: str | float | None = "auto",
        models: Sequence[str] = (),
        methods: Sequence[str] = (),
        folds: int = 0,
        level: float = 0.9,
        seed: int = 0,
        effort: str = "fast",
        max_latency: float | None = None,
        max_size: float | None = None,
        memory: str | int | None = None,
        ensemble: bool = False,
        order: Sequence[Any] = (),
        quantiles: Sequence[float] = (),
        cache: bool = True,
    ) -> None:
        self.budget = budget
        self.models = models
        self.methods = methods
        self.folds = folds
        self.level = level
        self.seed = seed
        self.effort = effort
        self.max_latency = max_latency
        self.max_size = max_size
        self.memory = memory
        self.ensemble = ensemble
        self.order = order
        self.quantiles = quantiles
        self.cache = cache

    def fit(self, X: Any, y: Any = None, *, unlabelled: Any = None) -> Self:
        """Choose, train and check a model.

        Args:
            X: Rows (texts, pictures, a table), a ``Dataset``, or anything ``graft.load_data`` takes.
            y: Labels; None where X carries them.
            unlabelled: Rows without a label that ways may learn from too; those of a ``Dataset`` with ``partly`` join them.

        Raises:
            UsageError: There are no labels, or they do not fit the estimator.
        """
        X, y = self._rows(X, reset=True), self._targets(X, y)
        kind = "ordinal" if len(self.order) else self.kind
        data = X if isinstance(X, Dataset) else load(X if y is None else (X, y), task=kind, order=tuple(self.order))
        if not data.task.served_by((self.kind,)):
            raise UsageError(f"{type(self).__name__} got a {data.task.kind} task")
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(Config)}
        several = {name: tuple(getattr(self, name)) for name in ("models", "methods", "quantiles")}
        config = Config(**{**options, **several})
        others = () if unlabelled is None else (load(unlabelled, labelled=False, like=data),)
        self.model_, self.run_ = AutoFit(data, config, Store() if self.cache else None, unlabelled=others).run()
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict class names or values (n,)."""
        outputs = self._outputs(X)
        return self.model_.task_.decode(outputs)

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "model_")
        return self.model_.outputs(self._rows(X, reset=False))

    def _rows(self, X: Any, *, reset: bool) -> Any:
        """Numbers in two dimensions, sparse ones too, are checked as scikit-learn does; all else is graft's to read."""
        if _is_numbers(X):
            least = 2 if reset else 1
            return validate_data(
                self, X, reset=reset, accept_sparse="csr", ensure_all_finite="allow-nan", ensure_min_samples=least
            )
        if hasattr(X, "columns") and hasattr(X, "iloc"):  # a frame keeps its columns of words
            validate_data(self, X, reset=reset, skip_check_array=True)
        return X

    def _targets(self, X: Any, y: Any) -> Any:
        if y is None:
            if _is_numbers(X):
                raise UsageError(f"{type(self).__name__} requires y to be passed, but the target y is None")
            return None
        return check_array(column_or_1d(y, warn=True), ensure_2d=False, dtype=None, input_name="y")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.sparse = True
        tags.target_tags.required = True
        return tags


def _is_numbers(X: Any) -> bool:
    """Whether X is a table of numbers: a sparse matrix, an array of up to two dimensions, or rows as lists."""
    if issparse(X):
        return True
    if isinstance(X, (list, tuple)):
        first = X[0] if len(X) else None
        return isinstance(first, (list, tuple)) and not any(isinstance(cell, str) for cell in first)
    if isinstance(X, (str, Dataset)) or hasattr(X, "columns") or hasattr(X, "column_names"):
        return False
    return hasattr(X, "__array__") and np.ndim(np.asarray(X)) <= 2 and np.asarray(X).dtype.kind not in "US"


class AutoTransferClassifier(ClassifierMixin, _AutoTransfer):
    """Choose a source and a way to transfer, train, and keep the simpler model where transfer does not help.

    Args:
        budget: Time for everything: seconds or text such as ``"2m"``; None for no limit; ``"auto"``: that of the effort.
        models: Sources to consider (URIs or folders); empty for all that are reachable and can read the data.
        methods: Transfers to consider; empty for all.
        folds: Number of folds; 0 chooses by the number of rows.
        level: Confidence level of intervals and guard.
        seed: Seed of everything random.
        effort: ``"probe"`` (nothing is trained), ``"fast"``, or ``"thorough"`` (all ways, settings searched).
        max_latency: Milliseconds per row that the model may take.
        max_size: Megabytes that the model may take on disk.
        memory: Bytes that the run may take, or text such as ``"2GiB"``.
        ensemble: Whether a mean of several ways may be returned, which takes the time and the room of all of them.
        order: Classes from lowest to highest: near ones are then less wrong than far ones, and quadratic kappa decides.
        quantiles: Of a regression: quantiles to predict beside the value; ``model_.predict_quantiles`` gives them.
        cache: Keep features on disk for the next run.

    Attributes:
        model_: The fitted transfer.
        run_: The record of everything that was tried.
        classes_: Classes in the order of the columns of ``predict_proba``.

    Example:
        >>> from graft import AutoTransferClassifier
        >>> good, bad = ["great", "lovely", "superb", "a joyful"], ["dull", "awful", "boring", "a tedious"]
        >>> texts = [f"{word} {thing}" for thing in ("film", "book", "play", "song") for word in good + bad]
        >>> auto = AutoTransferClassifier(budget="1m", methods=("classical", "probe")).fit(texts, (["+"] * 4 + ["-"] * 4) * 4)
        >>> auto.predict(["a superb film"]).tolist()
        ['+']
    """

    kind = "classification"

    def fit(self, X: Any, y: Any = None, *, unlabelled: Any = None) -> Self:
        """Choose, train and check a model; ``y`` holds classes of any kind, or is None where X carries them."""
        y = self._targets(X, y)
        if y is not None:
            check_classification_targets(y)
        super().fit(X, y, unlabelled=unlabelled)
        task = self.model_.task_
        own = np.asarray(self.order) if len(self.order) else None  # from lowest to highest, those without a row too
        self.classes_ = np.asarray(task.classes, dtype=object) if y is None else np.unique(y) if own is None else own
        self.columns_ = task.encode(self.classes_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict classes (n,), as they were in ``y``."""
        outputs = self._outputs(X)  # says first whether it was fitted
        winners = self.model_.task_.winners(outputs)
        return self.classes_[np.argsort(self.columns_)[winners]]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (n, C), columns in the order of ``classes_``."""
        outputs = self._outputs(X)
        return outputs[:, self.columns_]


class AutoTransferMultilabel(_AutoTransfer):
    """The same for rows with several labels each: ``y`` holds lists of names, or is an array or frame (n, C) of 0 and 1.

    ``predict`` gives 0 and 1 (n, C) int64 in the order of ``classes_``, ``predict_proba`` probabilities (n, C); ``score`` is
    micro F1.

    Example:
        >>> from graft import AutoTransferMultilabel
        >>> rows = [f"{what} {n}" for n in range(10) for what in ("cheap and warm", "cheap", "warm", "plain")]
        >>> labels = [["low", "hot"], ["low"], ["hot"], []] * 10
        >>> auto = AutoTransferMultilabel(budget="1m", methods=("classical",)).fit(rows, labels)
        >>> auto.classes_.tolist(), auto.predict(["warm 3"]).tolist()
        (['hot', 'low'], [[1, 0]])
    """

    kind = "multilabel"

    def fit(self, X: Any, y: Any = None, *, unlabelled: Any = None) -> Self:
        """Choose, train and check a model; ``y`` is None where X carries the labels."""
        super().fit(X, y, unlabelled=unlabelled)
        self.classes_ = np.asarray(self.model_.task_.classes, dtype=object)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Which labels each row has: 0 and 1 (n, C)."""
        given: np.ndarray = self.model_.task_.encode(super().predict(X)).astype(np.int64)
        return given

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each label (n, C), columns in the order of ``classes_``."""
        return self._outputs(X)

    def score(self, X: Any, y: Any) -> float:
        """Micro F1 of labels (n,) of names, or (n, C) of 0 and 1."""
        rows = self._targets(X, y)
        rows = rows[list(self.classes_)] if hasattr(rows, "columns") else rows
        truth = self.model_.task_.encode(rows) if isinstance(rows, list) else np.asarray(rows)
        given = self.predict(X)
        return float(2 * (truth * given).sum() / max(1, truth.sum() + given.sum()))

    def _targets(self, X: Any, y: Any) -> Any:
        del X
        return list(y) if isinstance(y, list | tuple) or (y is not None and np.ndim(y) < 2) else y


class AutoTransferRegressor(RegressorMixin, _AutoTransfer):
    """The same for numbers; ``score`` is R².  See ``AutoTransferClassifier``."""

    kind = "regression"
