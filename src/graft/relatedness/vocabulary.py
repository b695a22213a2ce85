"""What the columns of two data sets have in common: words that occur in both, columns of the same name, features in use."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from graft.core.registry import MODALITIES
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset
from graft.data.sparse import frequencies

ROWS = 5_000  # rows of each side that words are counted in


def in_common(one: Dataset, two: Dataset) -> dict[str, Any]:
    """Compute what share of one side's words, columns or features the other has too.

    Returns:
        ``unit`` (``"words"``, ``"columns"``, ``"features"``, or ``""`` where there is nothing to count), ``share``: those in
        both of those in either; and for words and features ``covered``: of their occurrences in the second, the share
        that the first knows, beside ``own``: the same from one half of the second to its other half.

    Example:
        >>> from graft.data.load import load
        >>> found = in_common(load(["red fox runs"] * 4, labelled=False), load(["red wolf runs"] * 4, labelled=False))
        >>> found["share"], round(found["covered"], 2), found["own"]
        (0.5, 0.67, 1.0)
    """
    modality = one.task.modality
    if modality == "table":
        both, either = set(one.columns) & set(two.columns), set(one.columns) | set(two.columns)
        return {"unit": "columns", "share": len(both) / max(1, len(either)), "both": len(both), "either": len(either)}
    if modality == "text":
        first, (half, rest) = words(one), _halves(two, words)
    elif modality == "counts":
        first, (half, rest) = _features(one), _halves(two, _features)
    else:
        return {"unit": "", "share": None}
    second = half + rest
    both, either = set(first) & set(second), set(first) | set(second)
    return {
        "unit": "words" if modality == "text" else "features",
        "share": len(both) / max(1, len(either)),
        "both": len(both),
        "either": len(either),
        "covered": _covered(second, first),
        "own": (_covered(half, rest) + _covered(rest, half)) / 2,
    }


def words(data: Dataset) -> Counter[str]:
    """Number of rows that hold each word, or each character of a script without spaces."""
    some = data.select(evenly_spaced(len(data), ROWS))
    vectors = MODALITIES["text"].vectors().fit(some)
    rows = np.asarray((vectors.transform(some) > 0).sum(axis=0)).ravel()
    names, single = vectors.names(), vectors.unit == "word"
    kept = [j for j, name in enumerate(names) if (" " not in name if single else len(name) == 1)]
    return Counter({names[j]: int(rows[j]) for j in kept})


def _features(data: Dataset) -> Counter[str]:
    columns, rows = frequencies(data.select(evenly_spaced(len(data), ROWS)), len(data) + 2**31)
    return Counter(dict(zip(map(str, columns.tolist()), rows.tolist(), strict=True)))


def _halves(data: Dataset, count: Any) -> tuple[Counter[str], Counter[str]]:
    order = np.random.default_rng(0).permutation(len(data))
    some = [np.sort(part) for part in np.array_split(order, 2)]
    return count(data.select(some[0])), count(data.select(some[1]))


def _covered(found: Counter[str], known: Counter[str]) -> float:
    total = sum(found.values())
    return sum(number for name, number in found.items() if name in known) / total if total else 0.0
