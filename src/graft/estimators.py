"""AutoTransferClassifier and AutoTransferRegressor: everything ``graft fit`` does, as scikit-learn estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

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
        budget: str | float | None = "2m",
        models: Sequence[str] = (),
        methods: Sequence[str] = (),
        folds: int = 0,
        level: float = 0.9,
        seed: int = 0,
        cache: bool = True,
    ) -> None:
        self.budget = budget
        self.models = models
        self.methods = methods
        self.folds = folds
        self.level = level
        self.seed = seed
        self.cache = cache

    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose, train and check a model.

        Args:
            X: Rows (texts, pictures, a table), a ``Dataset``, or anything ``graft.load_data`` takes.
            y: Labels; None where X carries them.
        """
        data = X if isinstance(X, Dataset) else load(X if y is None else (X, y), task=self.kind)
        if data.task.kind != self.kind:
            raise UsageError(f"{type(self).__name__} got a {data.task.kind} task")
        config = Config(self.budget, tuple(self.models), tuple(self.methods), self.folds, self.level, self.seed)
        auto = AutoFit(data, config, Store() if self.cache else None)
        self.model_, self.run_ = auto.run()
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict class names or values (n,)."""
        return self.model_.predict(X)


class AutoTransferClassifier(ClassifierMixin, _AutoTransfer):
    """Choose a source and a way to transfer, train, and keep the simpler model where transfer does not help.

    Args:
        budget: Time for everything: seconds or text such as ``"2m"``; None for no limit.
        models: Sources to consider (URIs or folders); empty for all that are reachable and can read the data.
        methods: Transfers to consider; empty for all.
        folds: Number of folds; 0 chooses by the number of rows.
        level: Confidence level of intervals and guard.
        seed: Seed of everything random.
        cache: Keep features on disk for the next run.

    Attributes:
        model_: The fitted transfer.
        run_: The record of everything that was tried.
        classes_: Class names.

    Example:
        >>> from graft import AutoTransferClassifier
        >>> good, bad = ["great", "lovely", "superb", "a joyful"], ["dull", "awful", "boring", "a tedious"]
        >>> texts = [f"{word} {thing}" for thing in ("film", "book", "play", "song") for word in good + bad]
        >>> auto = AutoTransferClassifier(budget="1m", methods=("classical", "probe")).fit(texts, (["+"] * 4 + ["-"] * 4) * 4)
        >>> auto.predict(["a superb film"]).tolist()
        ['+']
    """

    kind = "classification"

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities (n, C), columns in the order of ``classes_``."""
        return self.model_.predict_proba(X)

    @property
    def classes_(self) -> np.ndarray:
        """Class names in column order."""
        return self.model_.classes_


class AutoTransferRegressor(RegressorMixin, _AutoTransfer):
    """The same for numbers; ``score`` is R².  See ``AutoTransferClassifier``."""

    kind = "regression"
