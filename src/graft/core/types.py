"""The types that travel between graft's layers.  Data classes hold facts; the work is done elsewhere.

Dataset     rows X and targets y with their Task; subsets are views
ModelSpec   what is known of a pretrained model without its weights
Features    pooled activations of every layer for every row, memory-mapped
Ranking     candidate sources with scores, intervals and cost
Run         everything that happened, to and from JSON
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from graft.core import boxes, spans
from graft.core import labels as several
from graft.core.errors import DataError
from graft.core.ragged import flat
from graft.core.task import Task


@runtime_checkable
class Rows(Protocol):
    """Raw examples that are read only when they are taken."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Any:
        """Raw examples in the order of ``rows``: a list (str, str tuples, images, sounds, sparse rows) or a dict of columns."""

    def digest(self) -> str:
        """Hash of the content of all rows, in order."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows and targets with their task.  Subsets share the storage: ``rows`` indexes into ``X``.

    Attributes:
        X: The storage of raw examples.
        y: Encoded targets of the selected rows: class indices or standardised values; None where there are none.
        task: What is asked for.
        rows: Indices into ``X`` of the selected rows.
        groups: Group of each selected row; a group is never split between training and test. None: every row alone.
        columns: Names of the input columns, in order.
        name: What to call the data in messages.
        notes: What was done while loading, one sentence each, to be shown.
        line_of: File line of each row of ``X`` for messages, or None.
    """

    X: Rows
    y: np.ndarray | None
    task: Task
    rows: np.ndarray
    groups: np.ndarray | None = None
    columns: tuple[str, ...] = ()
    name: str = "data"
    notes: tuple[str, ...] = ()
    line_of: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: np.ndarray | slice | None = None) -> Any:
        """Raw examples at ``positions`` within this subset; all of them by default."""
        return self.X.take(self.rows if positions is None else self.rows[positions])

    def select(self, positions: np.ndarray) -> Dataset:
        """The subset at ``positions`` (indices or mask), as a view."""
        positions = np.asarray(positions)
        if positions.dtype == bool:
            positions = np.flatnonzero(positions)
        return dataclasses.replace(
            self,
            rows=self.rows[positions],
            y=None if self.y is None else self.y[positions],
            groups=None if self.groups is None else self.groups[positions],
        )

    def split(self, train: np.ndarray, test: np.ndarray) -> tuple[Dataset, Dataset]:
        """Two subsets by positions."""
        return self.select(train), self.select(test)

    def one_label_per_row(self, purpose: str) -> Dataset:
        """The data set itself.

        Raises:
            DataError: It is a tagging, which has a label per word, a detection, or its rows have several labels.
        """
        if self.task.is_ragged or self.task.is_multilabel:
            others = (
                "tagged words" if self.task.is_tagging else "boxes" if self.task.is_detection else "rows with several"
            )
            what = f"{purpose} is for rows with one label each, not for {others}"
            raise DataError(what, where=self.name, hint="graft fit, rank, predict and evaluate take them")
        return self

    @property
    def labels(self) -> np.ndarray:
        """Targets in the user's own terms: class names or original values."""
        if self.y is None:
            raise DataError(f"{self.name} has no labels")
        if self.task.is_tagging:
            return spans.decode(self.y, self.task.classes)
        if self.task.is_detection:
            return boxes.decode(self.y, self.task.classes, outputs=False)
        if self.task.is_multilabel:
            return several.decode(self.y > 0, self.task.classes)
        if not self.task.is_classification:
            return self.task.decode(self.y)
        return np.take(np.asarray(self.task.classes, dtype=object), self.y)

    def fingerprint(self) -> str:
        """Hash of rows and labels, in order."""
        parts = [self.X.digest().encode(), self.rows.astype(np.int64).tobytes()]
        if self.y is not None:
            parts += ["\0".join(self.task.classes).encode(), np.ascontiguousarray(flat(self.y)).tobytes()]
        return hashlib.sha256(b"\1".join(parts)).hexdigest()[:32]


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a pretrained model without opening its weights.

    Attributes:
        uri: ``scheme:location``, as ``open_model`` takes it, for example ``hf:google/bert_uncased``.
        name: Short name for tables.
        modality: ``"text"``, ``"image"``, ``"audio"``, ``"table"`` or ``"counts"``.
        architecture: Class of network, for example ``"bert"``.
        objective: What it was trained on, in words; empty if not stated.
        hidden_size: Width of the last layer.
        parameters: Number of weights.
        bytes: Size of the weights on disk.
        flops: Floating-point operations per token (text), image or row; 2 per multiply-add; 0 if unknown.
        licence: SPDX name; empty if not stated.
        languages: ISO 639-1 codes the model card states; empty if not stated.
        classes: The classes it predicts itself; empty if it has no head.
        weights_sha256: Digest of the weight files; part of every cache key.
        path: Local folder; empty if it must be fetched.
    """

    uri: str
    name: str
    modality: str
    architecture: str = ""
    objective: str = ""
    hidden_size: int = 0
    parameters: int = 0
    bytes: int = 0
    flops: int = 0
    licence: str = ""
    languages: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    weights_sha256: str = ""
    path: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.parameters / 1e6:.1f} M parameters)"


@dataclass(frozen=True, eq=False)
class Features:
    """Pooled activations: ``values`` (N, D_0 + … + D_L-1), one slice of columns per layer, input side first.

    Attributes:
        values: Memory-mapped array over all rows of the storage, float16 or float32.
        sizes: Width D_l of each layer.
        rows: Which rows of ``values`` this view holds.
        spec: The model that made them.
        key: Content key in the cache.
        seconds: Time one pass took, also when it was found in the cache.
        precision: ``"fp32"`` or ``"bf16"``.
        probabilities: The source's own class probabilities (N, K) where it has a head.
    """

    values: np.ndarray
    sizes: tuple[int, ...]
    rows: np.ndarray
    spec: ModelSpec
    key: str
    seconds: float = 0.0
    precision: str = "fp32"
    probabilities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.sizes)

    def layer(self, *indices: int, rows: slice | np.ndarray | None = None) -> np.ndarray:
        """The named layers side by side as float32 (B, ΣD), read from the map only for the asked rows.

        Example:
            ``features.layer(-1)`` is the last layer, ``features.layer(3, 4)`` two layers concatenated.
        """
        ends = np.cumsum(self.sizes)
        chosen = self.rows if rows is None else self.rows[rows]
        parts = []
        for index in indices:
            end = int(ends[index])
            width = self.sizes[index]
            parts.append(self.values[chosen, end - width : end])
        return np.concatenate(parts, axis=1).astype(np.float32, copy=False)

    def select(self, rows: np.ndarray) -> Features:
        """A view of the rows of the storage named in ``rows`` (as in ``Dataset.rows``)."""
        return dataclasses.replace(self, rows=np.asarray(rows))


@dataclass(frozen=True)
class RankRow:
    """One candidate of a ranking.

    ``scores`` maps a score's name to (value, low, high); ``failure`` is the reason where the candidate has no score.
    ``cost`` is seconds per example measured here; ``seconds`` the time its features took; ``scoring_seconds`` the rest.
    """

    spec: ModelSpec
    scores: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    cost: float = 0.0
    seconds: float = 0.0
    scoring_seconds: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class Ranking:
    """Candidates, best first, with what cannot be told apart.

    Attributes:
        rows: Candidates, best first by ``by``; failures last.
        by: The score that orders the rows.
        separated: For each row but the first: whether it is worse than the first beyond noise (paired).
        sentences: What the ranking does and does not show, in words.
    """

    rows: tuple[RankRow, ...]
    by: str = "probe"
    separated: tuple[bool, ...] = ()
    sentences: tuple[str, ...] = ()

    @property
    def usable(self) -> tuple[RankRow, ...]:
        """The rows that did not fail."""
        return tuple(row for row in self.rows if not row.failure)


@dataclass
class Run:
    """Everything that happened in one ``graft fit``; ``report.py`` draws its pages from nothing else.

    All values are JSON: numbers, strings, lists and dicts.  The keys are set by ``auto.py`` and documented in
    ``docs/reference/run.md``.
    """

    config: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    ranking: list[dict[str, Any]] = field(default_factory=list)
    trials: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    guard: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    format: int = 1

    def to_json(self) -> dict[str, Any]:
        """The run as plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Run:
        """The inverse of ``to_json``; keys of later versions are ignored."""
        names = {item.name for item in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in names})
