"""BaseAdaptation: a transfer that also learns from unlabelled rows of the domain it will predict."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from graft.adaptation.domains import Domains, from_rows, pair
from graft.core.errors import UsageError
from graft.core.types import Dataset
from graft.data.load import recipe
from graft.transfer.base import BaseTransfer, Setting


class BaseAdaptation(BaseTransfer):
    """Base of all adaptations.  A subclass writes ``_adapt``, ``_outputs``, ``_arrays`` and ``_restore``.

    Everything else is as for any transfer: ``predict``, ``predict_proba``, ``save`` and ``load_transfer``.  The labels of
    the target cannot reach a method: ``Domains`` holds none.

    Attributes:
        trains: Whether a network is trained (minutes) or not (seconds).
        tried: Whether ``graft adapt`` tries it where nobody names methods.
        several: Whether it treats several source domains as such; otherwise their rows are pooled.
    """

    adapts: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    trains: ClassVar[bool] = False
    several: ClassVar[bool] = False
    tried: ClassVar[bool] = True

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_domain: Sequence[int] | np.ndarray | None = None,
        setting: Setting | None = None,
    ) -> Self:
        """Learn from labelled source rows and unlabelled target rows.

        Args:
            X: ``Domains``; or rows of both, with ``sample_domain``; or labelled rows alone, which then stand for both.
            y: Labels of raw rows; those of the target are ignored.
            sample_domain: For each row: 0 or more, a source domain; below 0, the target.
            setting: Clock, progress, cache and checkpoint.

        Raises:
            DataError: The domains do not go together.
            UsageError: The task is none of its ``kinds``.
        """
        if sample_domain is not None:
            X = from_rows(X, y, sample_domain)
        if not isinstance(X, Domains):
            return super().fit(X, y, setting=setting)
        task = X.source.task
        if not task.served_by(self.kinds):
            raise UsageError(f"{self.label} is for {' and '.join(self.kinds)}, not {task.kind}")
        self.task_, self.recipe_, self.curve_ = task, recipe(X.source), []
        self.backbone_, self.temperature_, self.precision_ = None, 1.0, None
        self._adapt(X, setting or Setting())
        return self

    def _fit(self, data: Dataset, setting: Setting) -> None:
        self._adapt(pair(data, dataclasses.replace(data, y=None)), setting)

    @abstractmethod
    def _adapt(self, domains: Domains, setting: Setting) -> None:
        """Learn; ``task_`` and ``recipe_`` are set."""
