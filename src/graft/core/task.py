"""What is asked for: the kind of task, its classes and its metric.  The only place that branches on the kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graft.core import spans
from graft.core.errors import DataError

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
