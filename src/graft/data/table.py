"""Tables: counts of columns by kind; standardised numbers, one-hot categories and directions of texts as vectors."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from graft.core.registry import MODALITIES
from graft.core.types import Dataset
from graft.data.table_codes import kind_of
from graft.data.text_columns import TextColumn, all_states, from_all_states

LEVELS = 100  # levels of a category that get a column of their own; the rarer ones share none
BLOCK = 65_536  # rows transformed at a time


class TableVectors:
    """(x - mean) / deviation of numbers, the median where one is missing and a flag for that; one-hot categories.

    A level that training did not see, or that is not among its ``LEVELS`` most frequent, is all zeros.  Texts come last, as
    coordinates along the directions of ``TextColumn``.
    """

    def __init__(self) -> None:
        self.numbers: list[str] = []
        self.median = self.center = self.scale = np.empty(0)
        self.flagged: list[str] = []
        self.levels: dict[str, list[str]] = {}
        self.texts: dict[str, TextColumn] = {}

    def fit(self, dataset: Dataset) -> TableVectors:
        """Learn medians, means, deviations and levels; a constant column gets deviation 1, so it is all zeros."""
        columns = dataset.take()
        self.numbers = [name for name, values in columns.items() if kind_of(values) == "number"]
        facts = []
        for name in self.numbers:
            gone = np.isnan(columns[name])
            known = columns[name][~gone]
            median = float(np.median(known)) if len(known) else 0.0
            filled = np.where(gone, median, columns[name])
            facts.append((median, float(filled.mean()), float(filled.std()) or 1.0))
            if gone.any():
                self.flagged.append(name)
        self.median, self.center, self.scale = (np.array([fact[i] for fact in facts], np.float64) for i in range(3))
        for name, values in columns.items():
            if kind_of(values) == "text":
                self.texts[name] = TextColumn().fit(values.tolist())
            elif kind_of(values) == "category":
                counts = Counter(level for level in values.tolist() if level is not None)
                common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:LEVELS]
                self.levels[name] = sorted(level for level, _ in common)
        return self

    def transform(self, dataset: Dataset) -> np.ndarray:
        """Array (N, D) of float32."""
        parts = [self._block(dataset.take(slice(s, s + BLOCK))) for s in range(0, len(dataset), BLOCK)]
        return np.concatenate(parts) if parts else np.zeros((0, self.width), np.float32)

    @property
    def width(self) -> int:
        """Number of columns D."""
        texts = sum(text.width for text in self.texts.values())
        return len(self.numbers) + len(self.flagged) + sum(map(len, self.levels.values())) + texts

    @property
    def kinds(self) -> dict[str, str]:
        """Kind by column: number, category or text."""
        found = {**dict.fromkeys(self.numbers, "number"), **dict.fromkeys(self.levels, "category")}
        return found | dict.fromkeys(self.texts, "text")

    def names(self) -> list[str]:
        """What each of the D numbers is."""
        levels = [f"{name}={level}" for name, found in self.levels.items() for level in found]
        texts = [f"{name} {i + 1}" for name, text in self.texts.items() for i in range(text.width)]
        return [*self.numbers, *(f"{name} missing" for name in self.flagged), *levels, *texts]

    def _block(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        rows = len(next(iter(columns.values())))
        out = np.zeros((rows, self.width), np.float32)
        for i, name in enumerate(self.numbers):
            filled = np.where(np.isnan(columns[name]), self.median[i], columns[name])
            out[:, i] = (filled - self.center[i]) / self.scale[i]
        place = len(self.numbers)
        for name in self.flagged:
            out[:, place] = np.isnan(columns[name])
            place += 1
        for name, levels in self.levels.items():
            index = {level: i for i, level in enumerate(levels)}
            codes = np.fromiter((index.get(level, -1) for level in columns[name].tolist()), np.int64, rows)
            known = np.flatnonzero(codes >= 0)
            out[known, place + codes[known]] = 1
            place += len(levels)
        for name, text in self.texts.items():
            out[:, place : place + text.width] = text.transform(columns[name].tolist())
            place += text.width
        return out

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Names and levels as JSON; medians, means and deviations as arrays."""
        texts, arrays = all_states(self.texts)
        facts = {"numbers": self.numbers, "flagged": self.flagged, "levels": self.levels}
        facts |= {"texts": texts} if texts else {}
        return facts, {"median": self.median, "center": self.center, "scale": self.scale, **arrays}

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> TableVectors:
        """The inverse of ``state``."""
        vectors = cls()
        vectors.numbers, vectors.flagged = list(facts["numbers"]), list(facts["flagged"])
        vectors.levels = {name: list(levels) for name, levels in facts["levels"].items()}
        vectors.median, vectors.center, vectors.scale = (arrays[name] for name in ("median", "center", "scale"))
        vectors.texts = from_all_states(facts.get("texts", {}), arrays)
        return vectors


class _Table:
    """Facts, walk and vectors of tables."""

    vectorizer = TableVectors

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        """Rows, columns by kind, the share of missing cells in all and the columns that miss most."""
        columns = dataset.take()
        kinds = {name: kind_of(values) for name, values in columns.items()}
        missing = {name: float(np.mean(_missing(values))) for name, values in columns.items() if len(values)}
        worst = sorted(((share, name) for name, share in missing.items() if share), reverse=True)[:5]
        keys = dataset.X.keys(dataset.rows) if hasattr(dataset.X, "keys") else np.arange(len(dataset))
        return {
            "rows": len(dataset),
            "numbers": sum(kind == "number" for kind in kinds.values()),
            "categories": sum(kind == "category" for kind in kinds.values()),
            "texts": sum(kind == "text" for kind in kinds.values()),
            "missing": round(float(np.mean(list(missing.values()))), 4) if missing else 0.0,
            "missing_by_column": {name: round(share, 4) for share, name in worst},
            "duplicates": len(keys) - len(np.unique(keys)),
        }

    def walk(self, dataset: Dataset, row: int) -> list[tuple[str, str]]:
        """One row: as read, and what the classical vector says of each column."""
        one = dataset.select(np.array([row]))
        vectors = TableVectors().fit(dataset)
        raw = {name: values[0] for name, values in one.take().items()}
        vector = vectors.transform(one)[0]
        scaled = [f"{name} {vector[i]:+.2f}" for i, name in enumerate(vectors.numbers)]
        hot = [f"{name}={raw[name]}" for name, levels in vectors.levels.items() if raw[name] in levels]
        steps = [("raw", ", ".join(f"{name}={'?' if _gone(v) else v}" for name, v in raw.items()))]
        if dataset.y is not None:
            steps.append(("label", str(one.labels[0])))
        return [*steps, ("vector", f"{len(vector)} numbers: {', '.join([*scaled, *hot][:12])}")]

    def vectors(self) -> TableVectors:
        """Standardised numbers and one-hot categories."""
        return TableVectors()


def _missing(values: np.ndarray) -> np.ndarray:
    """Which cells of a column are empty (n,)."""
    if kind_of(values) == "number":
        gone: np.ndarray = np.isnan(values)
        return gone
    return np.array([not value for value in values.tolist()], bool)


def _gone(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


MODALITIES.register("table")(_Table())
