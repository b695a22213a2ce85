"""The types that travel between graft's layers.  Data classes hold facts; the work is done elsewhere.

Task        what is asked for: kind, modality, classes, metric          (the only place that branches on kind)
Dataset     rows X and targets y with their Task; subsets are views
ModelSpec   what is known of a pretrained model without its weights
Features    pooled activations of every layer for every row, memory-mapped
Ranking     candidate sources with scores, intervals and cost
Run         everything that happened, to and from JSON
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from graft.core import spans
from graft.core.errors import DataError
from graft.core.ragged import flat

IMBALANCE = 3.0  # largest class over smallest class from which accuracy misleads and macro F1 is the metric


@dataclass(frozen=True)
class Task:
    """What is asked for.

    Attributes:
        kind: ``"classification"``, ``"regression"``, or ``"tagging"``: spans of words, see ``graft.core.spans``.
        modality: ``"text"``, ``"image"``, ``"audio"``, ``"table"`` or ``"counts"`` (sparse features).
        classes: Class names in output order, the BIO tags of a tagging; empty for regression.
        metric: Name of the metric that decides: ``"accuracy"``, ``"macro_f1"``, ``"r2"`` or ``"entity_f1"``; larger is
            better.
        target: Name of the label column, for messages and predictions.
        center: Mean of the training targets (regression).
        scale: Standard deviation of the training targets (regression); 1 if they are constant.

    Example:
        >>> import numpy as np
        >>> task = Task.infer(np.array(["cat", "dog", "cat"]), modality="text")
        >>> task.classes, task.metric, task.encode(["dog", "cat"]).tolist()
        (('cat', 'dog'), 'accuracy', [1, 0])
        >>> task.decode(np.array([[0.2, 0.8]])).tolist()
        ['dog']
    """

    kind: str
    modality: str
    classes: tuple[str, ...] = ()
    metric: str = "accuracy"
    target: str = "label"
    center: float = 0.0
    scale: float = 1.0

    @property
    def outputs(self) -> int:
        """Number of model outputs: one per class (for a tagging of every word), or 1 for regression."""
        return len(self.classes) or 1

    @property
    def is_classification(self) -> bool:
        """Whether the targets are classes."""
        return self.kind == "classification"

    @property
    def is_tagging(self) -> bool:
        """Whether rows are sentences, their targets a tag per word, and outputs (n,) arrays (T_i, C)."""
        return self.kind == "tagging"

    @property
    def of_parts(self) -> Task:
        """The classification of single words that a tagging is made of; every other task itself."""
        return dataclasses.replace(self, kind="classification", metric="accuracy") if self.is_tagging else self

    @classmethod
    def infer(cls, y: np.ndarray, *, modality: str, kind: str | None = None, target: str = "label") -> Task:
        """Read the task off the labels.

        Numbers with a fraction, or more than 20 distinct numbers, are regression; everything else is
        classification.  ``kind`` overrides the guess.

        Raises:
            DataError: There is only one class, or a regression target that is not a finite number.
        """
        values = np.asarray(y)
        numbers = _as_numbers(values)
        if kind is None:
            many = numbers is not None and len(np.unique(numbers)) > 20
            fraction = numbers is not None and bool(np.any(numbers != np.round(numbers)))
            kind = "regression" if many or fraction else "classification"
        if kind == "regression":
            if numbers is None or not np.isfinite(numbers).all():
                raise DataError(f"regression needs finite numbers in {target!r}", hint="or pass --task classification")
            scale = float(numbers.std())
            if scale == 0:
                raise DataError(f"all values of {target!r} are equal", hint="there is nothing to learn")
            return cls("regression", modality, (), "r2", target, float(numbers.mean()), scale)
        if kind == "tagging":
            types = {span[2] for tags in values for span in spans.to_spans(tags)}
            if not types:
                raise DataError(f"no span in {target!r}", hint="every tag is O: there is nothing to learn")
            return cls("tagging", modality, spans.tags_of(sorted(types)), "entity_f1", target)
        if kind != "classification":
            raise DataError(f"unknown task {kind!r}", hint="use classification, regression or tagging")
        names, counts = np.unique(_as_names(values), return_counts=True)
        if len(names) < 2:
            found = repr(str(names[0])) if len(names) else "no label"
            raise DataError(f"only one class in {target!r} ({found})", hint="classification needs two or more")
        metric = "macro_f1" if counts.max() / counts.min() > IMBALANCE else "accuracy"
        return cls("classification", modality, tuple(map(str, names)), metric, target)

    def encode(self, y: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Turn labels into ``int64`` class indices, an array of them per sentence, or standardised ``float64`` targets.

        Raises:
            DataError: A label is not among the classes.
        """
        if self.is_tagging:
            tags, strange = spans.encode(y, self.classes)
            if strange is not None:
                hint = f"its spans are {', '.join(spans.types_of(self.classes))}"
                raise DataError(
                    f"{strange[1]!r} is not a tag of the model", where=f"sentence {strange[0] + 1}", hint=hint
                )
            return tags
        if not self.is_classification:
            return (np.asarray(y, dtype=np.float64) - self.center) / self.scale
        index = {name: i for i, name in enumerate(self.classes)}
        names = _as_names(np.asarray(y))
        unknown = sorted(set(names.tolist()) - set(index))
        if unknown:
            row = int(np.flatnonzero(names == unknown[0])[0]) + 1
            raise DataError(
                f"label {unknown[0]!r} is not a class of the model",
                where=f"labelled row {row}",
                hint=f"classes: {', '.join(self.classes[:8])}{' …' if len(self.classes) > 8 else ''}",
            )
        return np.fromiter((index[name] for name in names.tolist()), dtype=np.int64, count=len(names))

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Turn outputs (B, C) into class names, (B,) standardised values into the original unit.

        Of a tagging: (B,) arrays (T_i, C) of probabilities into lists of tags, the likeliest that are valid together.
        """
        if self.is_tagging:
            return spans.decode(spans.best_tags(outputs), self.classes)
        if self.is_classification:
            winners: np.ndarray = np.asarray(self.classes, dtype=object)[np.asarray(outputs).argmax(axis=1)]
            return winners
        values: np.ndarray = np.asarray(outputs, dtype=np.float64).reshape(len(outputs))
        return values * self.scale + self.center

    def loss(self, outputs: Any, y: Any, weight: Any = None) -> Any:
        """Loss per row (B,) of torch outputs (B, C): cross-entropy, or squared error of standardised targets.

        Args:
            outputs: Logits (B, C), of a tagging one row per word, or values (B, 1).
            y: Encoded targets (B,).
            weight: Class weights (C,), used only for classification.
        """
        import torch.nn.functional as F  # noqa: N812  (torch is imported by those who train)

        if self.classes:
            return F.cross_entropy(outputs, y, weight=weight, reduction="none")
        return (outputs.squeeze(-1) - y.to(outputs.dtype)).square()

    def known(self, y: np.ndarray) -> np.ndarray:
        """Which encoded targets are there (n,): -1, NaN or None stand for a missing one."""
        if self.is_tagging:
            return np.array([row is not None for row in y], bool)
        there: np.ndarray = y >= 0 if self.is_classification else ~np.isnan(y)
        return there

    def class_weights(self, y: np.ndarray) -> np.ndarray | None:
        """Weights √(n / (C · n_c)) of encoded labels when the metric sees imbalance; None where all rows count alike.

        The root is a compromise: full weights cost more accuracy on the frequent classes than macro F1 gains.
        """
        if not self.is_classification or self.metric != "macro_f1":
            return None
        counts = np.bincount(y, minlength=self.outputs).clip(1)
        return np.sqrt(len(y) / (self.outputs * counts))

    def sample_weights(self, y: np.ndarray) -> np.ndarray | None:
        """``class_weights`` spread over rows, or None."""
        weights = self.class_weights(y)
        return None if weights is None else weights[y]


def _as_names(values: np.ndarray) -> np.ndarray:
    """Labels as strings; 1.0 and 1 are the same class."""
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        values = values.astype(np.int64)
    return np.asarray([str(value) for value in values.tolist()], dtype=object).astype(str)


def _as_numbers(values: np.ndarray) -> np.ndarray | None:
    """Labels as float64, or None if some are not numbers."""
    if values.dtype.kind == "b":
        return None
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        return None


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
            DataError: It is a tagging, which has a label per word.
        """
        if self.task.is_tagging:
            what = f"{purpose} is for rows with one label each, not for tagged words"
            raise DataError(what, where=self.name, hint="graft fit, rank, predict and evaluate take them")
        return self

    @property
    def labels(self) -> np.ndarray:
        """Targets in the user's own terms: class names or original values."""
        if self.y is None:
            raise DataError(f"{self.name} has no labels")
        if self.task.is_tagging:
            return spans.decode(self.y, self.task.classes)
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
