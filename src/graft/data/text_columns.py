"""Columns of free text inside tables, as a few numbers: TF-IDF along its strongest directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.core.task import Task
from graft.core.types import Dataset
from graft.data.rows import TextRows

TERMS = 1_000  # terms kept: those in most rows
WIDTH = 24  # directions at most


class TextColumn:
    """TF-IDF of a column of texts, then its coordinates along the first right singular vectors (latent semantic analysis).

    References:
        Deerwester et al. (1990). Indexing by latent semantic analysis. JASIS 41.

    Example:
        >>> texts = ["red wine", "white wine", "red car", "fast car"] * 3
        >>> TextColumn().fit(texts).transform(["red wine", ""]).shape
        (2, 4)
    """

    def __init__(self) -> None:
        self.vectors: Any = MODALITIES["text"].vectors()
        self.basis = np.zeros((0, 0))

    @property
    def width(self) -> int:
        """How many numbers a text becomes."""
        return int(self.basis.shape[1])

    def fit(self, texts: list[str]) -> TextColumn:
        """Learn terms and directions; texts without a word give no numbers."""
        from scipy.linalg import eigh

        filled = _rows([text for text in texts if text.strip()])
        try:
            self.vectors.fit(filled)
        except (DataError, ValueError):
            return self
        counts = np.asarray((self.vectors.transform(filled) > 0).sum(axis=0)).ravel()
        kept = np.sort(np.argsort(-counts, kind="stable")[:TERMS])
        kept = kept[counts[kept] > 1] if (counts > 1).any() else kept
        self.vectors.terms, self.vectors.idf = [self.vectors.terms[i] for i in kept], self.vectors.idf[kept]
        X = self.vectors.transform(filled)
        X.data = np.nan_to_num(X.data)
        width = min(WIDTH, min(X.shape) - 1)
        if width < 1:
            self.basis = np.eye(X.shape[1], 1)
            return self
        tall = X.shape[0] >= X.shape[1]
        gram = (X.T @ X if tall else X @ X.T).toarray()
        size = len(gram)
        values, vectors = eigh(gram, subset_by_index=[size - width, size - 1])
        values, vectors = values[::-1], vectors[:, ::-1]
        kept = values > 1e-9 * max(values[0], 1e-30)
        basis = vectors[:, kept] if tall else X.T @ vectors[:, kept] / np.sqrt(values[kept])
        width = basis.shape[1]
        strongest = basis[np.abs(basis).argmax(axis=0), np.arange(width)]
        self.basis = np.ascontiguousarray(basis * np.sign(strongest))  # a singular vector has no sign of its own
        return self

    def transform(self, texts: list[str]) -> np.ndarray:
        """Coordinates (n, width); zeros for a text without a known word."""
        if not self.width:
            return np.zeros((len(texts), 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            X = self.vectors.transform(_rows(texts))
        X.data = np.nan_to_num(X.data)
        return np.asarray(X @ self.basis)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What was learnt, as JSON and named arrays."""
        facts, arrays = self.vectors.state()
        return facts, {**arrays, "basis": self.basis}

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> TextColumn:
        """The inverse of ``state``."""
        column = cls()
        column.vectors = column.vectors.from_state(facts, arrays)
        column.basis = arrays["basis"]
        return column


def all_states(texts: dict[str, TextColumn]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The states of several columns by name; arrays carry the number of their column."""
    facts: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for number, (name, column) in enumerate(texts.items()):
        facts[name], own = column.state()
        arrays |= {f"text{number}.{key}": value for key, value in own.items()}
    return facts, arrays


def from_all_states(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, TextColumn]:
    """The inverse of ``all_states``."""
    found = {}
    for number, (name, state) in enumerate(facts.items()):
        own = {key.partition(".")[2]: value for key, value in arrays.items() if key.startswith(f"text{number}.")}
        found[name] = TextColumn.from_state(state, own)
    return found


def _rows(texts: list[str]) -> Dataset:
    return Dataset(TextRows.of(texts), None, Task("classification", "text"), np.arange(len(texts)), columns=("text",))
