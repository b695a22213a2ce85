"""Sparse counts: how many features rows have; weighted logarithms of counts (TF-IDF) as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.core.types import Dataset
from graft.data.sparse import chosen, frequencies, stacked

TERMS = 200_000  # features kept at most: those of the most rows
BLOCK = 8_192  # rows read at a time


class CountVectors:
    """ln(1 + x) · (1 + ln((1 + N) / (1 + n_j))), rows of length 1, over the features that training rows have.

    The logarithm takes counts of repeated words for less than new words, as TF-IDF does; on reviews as counts of word
    pairs a linear SVM reads it better than counts as they are or only whether they are zero.
    """

    def __init__(self) -> None:
        self.columns = np.empty(0, np.int32)
        self.idf = np.empty(0)

    def fit(self, dataset: Dataset) -> CountVectors:
        """Learn which features there are, and their weights."""
        self.columns, rows = frequencies(dataset, TERMS)
        self.idf = 1 + np.log((1 + len(dataset)) / (1 + rows))
        return self

    def transform(self, dataset: Dataset) -> Any:
        """CSR float64 (N, D)."""
        from scipy.sparse import csr_matrix, vstack

        parts = [csr_matrix((0, self.width))]
        for start in range(0, len(dataset), BLOCK):
            part = stacked([chosen(row, self.columns) for row in dataset.take(slice(start, start + BLOCK))], self.width)
            part = part.astype(np.float64)
            part.data = np.log1p(part.data) * self.idf[part.indices]
            lengths = np.diff(part.indptr)
            norms = np.sqrt(np.bincount(np.repeat(np.arange(len(lengths)), lengths), part.data**2, len(lengths)))
            part.data /= np.repeat(norms, lengths)
            parts.append(part)
        return vstack(parts, format="csr")

    @property
    def width(self) -> int:
        """Number of features D."""
        return len(self.columns)

    def names(self, words: Sequence[str] | None = None) -> list[str]:
        """What each column counts: ``feature_7``, or the word in the place of a vocabulary, the first feature's first.

        Raises:
            DataError: The vocabulary has no word for a feature.
        """
        if words is None:
            return [f"feature_{column}" for column in self.columns]
        if len(self.columns) and self.columns[-1] >= len(words):
            what = f"the vocabulary has {len(words)} words, the rows have a feature number {self.columns[-1] + 1}"
            raise DataError(what, hint="one word per line, in the order of the features")
        return [words[column] for column in self.columns]

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Numbers of the features, and their weights, as arrays."""
        return {}, {"columns": self.columns, "idf": self.idf}

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> CountVectors:
        """The inverse of ``state``."""
        del facts
        vectors = cls()
        vectors.columns, vectors.idf = arrays["columns"], arrays["idf"]
        return vectors


class _Counts:
    """Facts, walk and vectors of sparse counts."""

    vectorizer = CountVectors

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        """Rows, features, the share of them that rows have, features per row, the largest count, repeated rows."""
        features = dataset.X.features  # type: ignore[attr-defined]
        sizes, largest, whole = [0], 0.0, True
        for start in range(0, len(dataset), BLOCK):
            for row in dataset.take(slice(start, start + BLOCK)):
                sizes.append(len(row))
                largest = max(largest, float(row.values.max(initial=0)))
                whole = whole and bool((row.values == np.round(row.values)).all())
        some = np.array(sizes[1:] or [0])
        keys = dataset.X.keys(dataset.rows)  # type: ignore[attr-defined]
        return {
            "rows": len(dataset),
            "features": features,
            "filled": round(float(some.mean() / features), 6),
            "features_per_row": {"median": int(np.median(some)), "max": int(some.max())},
            "empty": int((some == 0).sum()) if len(dataset) else 0,
            "largest": largest,
            "whole_numbers": whole,
            "duplicates": len(keys) - len(np.unique(keys)),
        }

    def walk(self, dataset: Dataset, row: int) -> list[tuple[str, str]]:
        """One row: what it has, and the heaviest features of its vector."""
        one = dataset.select(np.array([row]))
        raw, vectors = one.take()[0], CountVectors().fit(dataset)
        pairs = [f"feature_{index}={value:g}" for index, value in zip(raw.indices[:8], raw.values[:8], strict=True)]
        more = f" and {len(raw) - 8} more" if len(raw) > 8 else ""
        steps = [("raw", (", ".join(pairs) + more) or "no feature")]
        if dataset.y is not None:
            steps.append(("label", str(one.labels[0])))
        vector = vectors.transform(one)
        order = np.argsort(-vector.data, kind="stable")[:6]
        heavy = ", ".join(f"feature_{vectors.columns[vector.indices[i]]} {vector.data[i]:.2f}" for i in order)
        return [*steps, ("vector", f"{vector.nnz} of {vectors.width} features; heaviest: {heavy or 'none'}")]

    def vectors(self) -> CountVectors:
        """Weighted logarithms of counts."""
        return CountVectors()


MODALITIES.register("counts")(_Counts())
