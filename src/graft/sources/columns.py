"""Tables that share columns: those that a model was made with, found again in another table by name and kind."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from graft.data.table_codes import kind_of
from graft.sources.base import Coverage

SHOWN = 8  # columns that a sentence names


@dataclass(frozen=True)
class Match:
    """Columns of a model beside those of a table.

    Attributes:
        shared: The table's name of each of the model's columns that it has.
        missing: The model's columns that the table lacks, or has as another kind; they count as missing values.
        other: The table's columns that the model does not know.
    """

    shared: dict[str, str]
    missing: tuple[str, ...]
    other: tuple[str, ...]

    def sentence(self) -> str:
        """What was matched, in words; empty where both have the same columns."""
        if not self.missing and not self.other:
            return ""
        parts = [
            f"{len(self.shared)} of its {len(self.shared) + len(self.missing)} columns are in the data{_named(self.shared)}"
        ]
        parts += [f"missing ones count as unknown{_named(self.missing)}"] * bool(self.missing)
        parts += [f"the data have {len(self.other)} that it does not read{_named(self.other)}"] * bool(self.other)
        return "; ".join(parts)


def match(kinds: dict[str, str], columns: dict[str, np.ndarray]) -> Match:
    """Find a model's columns among those that ``TableRows`` took.

    Names are compared without case, and with spaces, dashes and underscores alike.

    Args:
        kinds: The model's: ``"number"``, ``"category"`` or ``"text"`` by name.
        columns: The table's.

    Example:
        >>> match({"Age": "number", "town": "category"}, {"age": np.ones(2), "size": np.ones(2)}).shared
        {'Age': 'age'}
    """
    found = {(_key(name), kind_of(values)): name for name, values in reversed(columns.items())}
    shared = {name: found[_key(name), kind] for name, kind in kinds.items() if (_key(name), kind) in found}
    missing = tuple(name for name in kinds if name not in shared)
    return Match(shared, missing, tuple(name for name in columns if name not in set(shared.values())))


def aligned(kinds: dict[str, str], columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model's columns with the table's values, and nothing where the table has none."""
    if all(name in columns and kind_of(columns[name]) == kind for name, kind in kinds.items()):
        return columns
    shared = match(kinds, columns).shared
    rows = len(next(iter(columns.values())))
    return {name: columns[shared[name]] if name in shared else _empty(kind, rows) for name, kind in kinds.items()}


def coverage(kinds: dict[str, str], columns: dict[str, np.ndarray]) -> Coverage:
    """Whether a model may be chosen for a table: at least half of the columns of either are shared."""
    found = match(kinds, columns)
    fewer = max(1, min(len(kinds), len(columns)))
    share = 1.0 if 2 * len(found.shared) >= fewer and found.shared else 0.8 * len(found.shared) / fewer
    return Coverage(share, found.sentence())


def _empty(kind: str, rows: int) -> np.ndarray:
    if kind == "number":
        return np.full(rows, np.nan)
    return np.full(rows, None, object) if kind == "category" else np.array([""] * rows, np.dtypes.StringDType())


def _key(name: str) -> str:
    return re.sub(r"[\s_\-]+", " ", name).strip().casefold()


def _named(names: dict[str, str] | tuple[str, ...]) -> str:
    if not names:
        return ""
    some = list(names)[:SHOWN]
    return f" ({', '.join(some)}{' …' if len(names) > SHOWN else ''})"
