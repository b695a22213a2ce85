"""The rows that can be proposed, in one space of a few directions, with what a probe says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.core.task import Task
from graft.core.types import Dataset, Features, ModelSpec
from graft.data.splits import content_keys
from graft.features import Scattered, extract
from graft.pretrain.kmeans import Space
from graft.sources.base import Backbone

MOST_ROWS = 20_000  # rows that are looked at; of more, a seeded part that stays the same from round to round
WIDTH = 128  # directions of sparse vectors that are kept


@dataclass(frozen=True, eq=False)
class Pool:
    """What a strategy sees.

    Attributes:
        space: Rows (n, k) of length one, in at most 64 principal components.
        known: Positions (m,) of rows with a label.
        y: Their targets (m,).
        free: Positions of rows that may be proposed: no label, and no row of equal content among these or the labelled.
        task: What is asked for.
        outputs: What the probe says of all rows: probabilities (n, C) or values (n,); None where there is none yet.
    """

    space: np.ndarray
    known: np.ndarray
    y: np.ndarray
    free: np.ndarray
    task: Task
    outputs: np.ndarray | None = None

    def chances(self) -> np.ndarray:
        """Class probabilities (f, C) of the free rows.

        Raises:
            DataError: There is no probe yet.
        """
        if self.outputs is None:
            raise DataError(
                "there are too few labels to be uncertain with", hint="label rows of two classes or more first"
            )
        found: np.ndarray = self.outputs[self.free]
        return found


def limited(data: Dataset, known: np.ndarray, *, most: int = MOST_ROWS, seed: int = 0) -> np.ndarray:
    """Sorted positions of all labelled rows and of others, up to ``most`` in a seeded order of the whole storage.

    Labelling rows of this part leaves it as it is, so their features are found in the cache again.
    """
    if len(data) <= most:
        return np.arange(len(data))
    rank = np.random.default_rng(seed).permutation(len(data.X))[data.rows]
    return np.union1d(np.argsort(rank, kind="stable")[:most], known)


def proposable(data: Dataset, known: np.ndarray) -> np.ndarray:
    """Positions of rows without a label, the first of each content, unless a labelled row has the same content.

    Example:
        >>> from graft.data.load import load
        >>> proposable(load(["a b", "c", "A  b", "d", "C"], labelled=False), np.array([1])).tolist()
        [0, 3]
    """
    keys = content_keys(data)
    first = np.zeros(len(data), bool)
    first[np.unique(keys, return_index=True)[1]] = True
    first[known] = False
    first &= ~np.isin(keys, keys[known])
    return np.flatnonzero(first)


class Reader:
    """Reads rows as features of a source, or, without one, as the classical representation of the modality.

    The latter is learned from the rows of the pool and is a single layer; sparse vectors (TF-IDF, counts) keep their
    ``WIDTH`` strongest directions.

    Args:
        source: The source, or None.
        data: The rows of the pool.
        seed: Of the directions.
        reading: ``store``, ``clock`` and ``progress`` of ``extract``.
    """

    def __init__(self, source: Backbone | None, data: Dataset, *, seed: int = 0, **reading: Any) -> None:
        self.source, self.reading = source, reading
        if source is None:
            self.vectors = MODALITIES[data.task.modality].vectors().fit(dataclasses.replace(data, y=None))
            self.narrow = _narrowing(self.vectors.transform(data), seed)

    def __call__(self, data: Dataset) -> Features:
        """Features whose rows are those of the data."""
        if self.source is not None:
            return extract(self.source, data, **self.reading)
        values = self.narrow(self.vectors.transform(data))
        spec = ModelSpec("classical", "classical features", data.task.modality)
        return Features(Scattered(*_ascending(values, data.rows), len(data.X)), (values.shape[1],), data.rows, spec, "")  # type: ignore[arg-type]


def _ascending(values: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(rows, kind="stable")
    return values[order], rows[order]


def _narrowing(X: Any, seed: int) -> Callable[[Any], np.ndarray]:
    """Standardise dense columns; project sparse ones on their strongest directions."""
    if not hasattr(X, "tocsr"):
        mean, deviation = np.mean(X, axis=0), np.std(X, axis=0).clip(1e-6)
        return lambda rows: ((rows - mean) / deviation).astype(np.float32)
    from sklearn.decomposition import TruncatedSVD

    width = min(WIDTH, min(X.shape) - 1)
    if width < 1:
        return lambda rows: np.asarray(rows.toarray(), dtype=np.float32)
    model = TruncatedSVD(width, random_state=seed).fit(X)
    return lambda rows: np.asarray(model.transform(rows), dtype=np.float32)


def in_space(features: Features) -> np.ndarray:
    """Rows (n, k) of length one about their mean, in the principal components of the last layer."""
    values = features.layer(-1)
    rows = Space.fit(values, whiten=False)(values)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    return unit
