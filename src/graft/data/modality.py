"""What a modality plug-in does: facts about data, one example in words, and the classical representation."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from graft.core.types import Dataset


@runtime_checkable
class Vectorizer(Protocol):
    """The classical representation of raw examples, fitted on training rows only."""

    def fit(self, dataset: Dataset) -> Vectorizer:
        """Learn vocabulary, scales or sizes from training rows."""
        ...

    def transform(self, dataset: Dataset) -> Any:
        """Represent rows: CSR matrix or array (N, D), float32 or float64."""
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What was learnt, as JSON and named arrays."""
        ...

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> Vectorizer:
        """The inverse of ``state``; transforms are equal bit by bit."""
        ...


@runtime_checkable
class Modality(Protocol):
    """A kind of input: one file in ``data/`` that ends with ``MODALITIES.register("name")(Class())``.

    The vectorizer's class is reachable as ``vectorizer`` for ``from_state``.
    """

    vectorizer: type[Any]

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        """Facts about the rows as JSON."""
        ...

    def walk(self, dataset: Dataset, row: int) -> list[tuple[str, str]]:
        """One example through the pipeline in words: (step, what it looks like now)."""
        ...

    def vectors(self) -> Vectorizer:
        """A fresh classical representation."""
        ...
