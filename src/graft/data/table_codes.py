"""Tables as trees read them: codes of categories, numbers as they are, NaN where something is missing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from graft.core.types import Dataset
from graft.data.text_columns import TextColumn, all_states, from_all_states

CODES = 254  # levels of a category that get a code of their own, the most frequent ones
BLOCK = 65_536  # rows transformed at a time


def kind_of(values: np.ndarray) -> str:
    """What a column that ``TableRows`` took holds: ``"number"``, ``"category"`` or ``"text"``."""
    return "category" if values.dtype == object else "text" if values.dtype.kind == "T" else "number"


def unseen(levels: dict[str, list[str]], columns: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """Levels, by column, that are none of those known, in alphabetical order."""
    strange = {
        name: sorted(set(columns[name].tolist()) - {None, *known}) for name, known in levels.items() if name in columns
    }
    return {name: found for name, found in strange.items() if found}


class TableCodes:
    """Columns (N, D) of float64 for trees: first codes of categories, then numbers, then texts along their directions.

    A level that training did not see, or that is not among its ``CODES`` most frequent, counts as missing; columns
    without a single value are left out.
    """

    def __init__(self) -> None:
        self.levels: dict[str, list[str]] = {}
        self.numbers: list[str] = []
        self.texts: dict[str, TextColumn] = {}

    def fit(self, dataset: Dataset) -> TableCodes:
        """Learn levels and the directions of texts."""
        for name, values in dataset.take().items():
            kind = kind_of(values)
            if kind == "number" and not np.isnan(values).all():
                self.numbers.append(name)
            elif kind == "text":
                self.texts[name] = TextColumn().fit(values.tolist())
            elif kind == "category":
                counts = Counter(level for level in values.tolist() if level is not None)
                common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:CODES]
                if common:
                    self.levels[name] = sorted(level for level, _ in common)
        return self

    @property
    def width(self) -> int:
        """Number of columns D; the first ``len(levels)`` hold codes."""
        return len(self.levels) + len(self.numbers) + sum(text.width for text in self.texts.values())

    @property
    def kinds(self) -> dict[str, str]:
        """Kind by column: number, category or text."""
        found = {**dict.fromkeys(self.numbers, "number"), **dict.fromkeys(self.levels, "category")}
        return found | dict.fromkeys(self.texts, "text")

    def names(self) -> list[str]:
        """What each column is."""
        texts = [f"{name} {i + 1}" for name, text in self.texts.items() for i in range(text.width)]
        return [*self.levels, *self.numbers, *texts]

    def transform(self, dataset: Dataset) -> np.ndarray:
        """Array (N, D) of float64."""
        parts = [self._block(dataset.take(slice(s, s + BLOCK))) for s in range(0, len(dataset), BLOCK)]
        return np.concatenate(parts) if parts else np.zeros((0, self.width))

    def _block(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        rows = len(next(iter(columns.values())))
        found = [np.zeros((rows, 0))]
        for name, levels in self.levels.items():
            index = {level: float(i) for i, level in enumerate(levels)}
            found.append(
                np.fromiter((index.get(level, np.nan) for level in columns[name].tolist()), np.float64, rows)[:, None]
            )
        found += [columns[name][:, None] for name in self.numbers]
        found += [text.transform(columns[name].tolist()) for name, text in self.texts.items()]
        return np.hstack(found)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Names and levels as JSON; what was learnt of texts as arrays."""
        texts, arrays = all_states(self.texts)
        return {"levels": self.levels, "numbers": self.numbers, "texts": texts}, arrays

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> TableCodes:
        """The inverse of ``state``."""
        codes = cls()
        codes.levels = {name: list(levels) for name, levels in facts["levels"].items()}
        codes.numbers = list(facts["numbers"])
        codes.texts = from_all_states(facts["texts"], arrays)
        return codes
