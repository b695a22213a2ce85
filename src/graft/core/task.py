"""What is asked for: the kind of task, its classes and its metric.  The only place that branches on the kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graft.core import boxes, labels, spans
from graft.core.errors import DataError

IMBALANCE = 3.0  # largest class over smallest class from which accuracy misleads and macro F1 is the metric
RARE = 10.0  # the same of labels of which a row has several: there some are always rarer


@dataclass(frozen=True)
class Task:
    """What is asked for.

    Attributes:
        kind: ``"classification"``, ``"ordinal"``: one whose classes have an order, ``"regression"``, ``"multilabel"``: any
            number of labels per row, ``"tagging"``: spans of words, see ``graft.core.spans``, or ``"detection"``: boxes
            around objects in pictures, see ``graft.core.boxes``.
        modality: ``"text"``, ``"image"``, ``"audio"``, ``"table"`` or ``"counts"`` (sparse features).
        classes: Class names in output order, of an ordinal one from lowest to highest, the BIO tags of a tagging; empty for
            regression.
        metric: Name of the metric that decides: ``"accuracy"``, ``"macro_f1"``, ``"quadratic_kappa"``, ``"r2"``,
            ``"entity_f1"`` or ``"map"``; larger is better.
        target: Name of the label column, for messages and predictions.
        center: Mean of the training targets (regression).
        scale: Standard deviation of the training targets (regression); 1 if they are constant.
        rates: Share of the training rows that have each label (multilabel).
        thresholds: Probability from which each label is given (multilabel), chosen on held-out rows; none: one half.
        separator: What stands between the labels of a row in the file (multilabel); empty where they are a list.

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
    rates: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()
    separator: str = ""

    def __post_init__(self) -> None:
        for name in ("classes", "rates", "thresholds"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def outputs(self) -> int:
        """Number of model outputs: one per class (for a tagging of every word), or 1 for regression."""
        return len(self.classes) or 1

    @property
    def is_classification(self) -> bool:
        """Whether the targets are classes, ordered or not."""
        return self.kind in {"classification", "ordinal"}

    @property
    def is_ordinal(self) -> bool:
        """Whether the classes stand in an order, so that a near one is less wrong than a far one."""
        return self.kind == "ordinal"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds it belongs to: what serves classes serves ordered ones too."""
        return (self.kind, "classification") if self.is_ordinal else (self.kind,)

    @property
    def is_tagging(self) -> bool:
        """Whether rows are sentences, their targets a tag per word, and outputs (n,) arrays (T_i, C)."""
        return self.kind == "tagging"

    @property
    def is_multilabel(self) -> bool:
        """Whether a row has any number of labels: targets are (n, C) of 0 and 1, outputs a probability of each label."""
        return self.kind == "multilabel"

    @property
    def is_detection(self) -> bool:
        """Whether rows are pictures, their targets arrays (m, 5) of boxes and classes, and outputs (k, 6) with scores."""
        return self.kind == "detection"

    @property
    def is_ragged(self) -> bool:
        """Whether targets and outputs are an array per row, of its own length."""
        return self.is_tagging or self.is_detection

    @property
    def has_columns(self) -> bool:
        """Whether outputs are (n, C), a column for each class or label; else they are values (n,)."""
        return self.is_classification or self.is_multilabel

    @property
    def of_parts(self) -> Task:
        """The classification of single words that a tagging is made of; every other task itself."""
        return dataclasses.replace(self, kind="classification", metric="accuracy") if self.is_tagging else self

    def served_by(self, kinds: Sequence[str]) -> bool:
        """Whether what is for these kinds of task is for this one."""
        return any(kind in kinds for kind in self.kinds)

    @classmethod
    def infer(  # noqa: C901  (a branch per kind)
        cls,
        y: np.ndarray,
        *,
        modality: str,
        kind: str | None = None,
        target: str = "label",
        classes: Sequence[str] = (),
    ) -> Task:
        """Read the task off the labels.

        Numbers with a fraction, or more than 20 distinct numbers, are regression; everything else is
        classification.  ``kind`` overrides the guess.  ``classes``, from lowest to highest, make it ordinal; an ordinal one
        without them takes the order of numbers.

        Raises:
            DataError: There is only one class, or a regression target that is not a finite number.
        """
        if kind == "multilabel":
            return cls._of_labels(y, modality, target)
        if kind == "detection":
            kinds = sorted({str(one["label"]) for row in y for one in row or ()})
            if not (kinds or len(classes)):
                raise DataError(f"no box in {target!r}", hint="every picture is background: there is nothing to learn")
            return cls("detection", modality, tuple(classes) or tuple(kinds), "map", target)
        values = np.asarray(y)
        numbers = _as_numbers(values)
        if kind == "ordinal" or len(classes):
            return cls("ordinal", modality, _in_order(values, classes, target), "quadratic_kappa", target)
        if kind is None:
            many = numbers is not None and len(np.unique(numbers)) > 20
            fraction = numbers is not None and bool(np.any(numbers != np.round(numbers)))
            kind = "regression" if many or fraction else "classification"
        if kind == "regression":
            return cls._of_values(numbers, modality, target)
        if kind == "tagging":
            types = {span[2] for tags in values for span in spans.to_spans(tags)}
            if not types:
                raise DataError(f"no span in {target!r}", hint="every tag is O: there is nothing to learn")
            return cls("tagging", modality, spans.tags_of(sorted(types)), "entity_f1", target)
        if kind != "classification":
            raise DataError(
                f"unknown task {kind!r}",
                hint="use classification, multilabel, ordinal, regression, tagging or detection",
            )
        names, counts = np.unique(_as_names(values), return_counts=True)
        if len(names) < 2:
            found = repr(str(names[0])) if len(names) else "no label"
            raise DataError(f"only one class in {target!r} ({found})", hint="classification needs two or more")
        metric = "macro_f1" if counts.max() / counts.min() > IMBALANCE else "accuracy"
        return cls("classification", modality, tuple(map(str, names)), metric, target)

    @classmethod
    def _of_values(cls, numbers: np.ndarray | None, modality: str, target: str) -> Task:
        """The regression of numbers (n,)."""
        if numbers is None or not np.isfinite(numbers).all():
            raise DataError(f"regression needs finite numbers in {target!r}", hint="or pass --task classification")
        scale = float(numbers.std())
        if scale == 0:
            raise DataError(f"all values of {target!r} are equal", hint="there is nothing to learn")
        return cls("regression", modality, (), "r2", target, float(numbers.mean()), scale)

    @classmethod
    def _of_labels(cls, y: Sequence[Any] | np.ndarray, modality: str, target: str) -> Task:
        """The task of rows (n,) that are each a sequence of names, or None."""
        known = [row for row in y if row is not None]
        classes = sorted({str(name) for row in known for name in row})
        if len(classes) < 2:
            found = repr(classes[0]) if classes else "no label"
            raise DataError(f"only one label in {target!r} ({found})", hint="several labels need two or more")
        counts = labels.encode(known, classes)[0].sum(axis=0)
        if counts.min() == len(known):
            raise DataError(f"every row of {target!r} has every label", hint="there is nothing to learn")
        metric = "macro_f1" if counts.max() / counts.min() > RARE else "micro_f1"
        rates = tuple((counts / len(known)).round(6).tolist())
        return cls("multilabel", modality, tuple(classes), metric, target, rates=rates)

    def encode(self, y: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Turn labels into ``int64`` class indices, an array of them per sentence, or standardised ``float64`` targets.

        Of several labels: sequences of names, None where they are unknown, into 0 and 1 (n, C), NaN where unknown.

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
        if self.is_detection:
            rows, odd = boxes.encode(y, self.classes)
            if odd is not None:
                hint = f"classes: {', '.join(self.classes[:8])}{' …' if len(self.classes) > 8 else ''}"
                raise DataError(f"{odd[1]!r} is not a class of the model", where=f"picture {odd[0] + 1}", hint=hint)
            return rows
        if self.is_multilabel:
            found, other = labels.encode(y, self.classes)
            if other is not None:
                where, hint = f"labelled row {other[0] + 1}", f"labels: {', '.join(self.classes[:8])}"
                raise DataError(f"label {other[1]!r} is not a label of the model", where=where, hint=hint)
            return found
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

        Of a tagging: (B,) arrays (T_i, C) of probabilities into lists of tags, the likeliest that are valid together.  Of
        several labels: probabilities (B, C) into tuples of the names that reach their thresholds.  Of a detection: (B,) arrays
        (k, 6) into lists of ``{"label", "box", "score"}``, those that reach their thresholds.
        """
        if self.is_tagging:
            return spans.decode(spans.best_tags(outputs), self.classes)
        if self.is_detection:
            return boxes.decode(outputs, self.classes, self.thresholds, outputs=True)
        if self.is_multilabel:
            return labels.decode(labels.over(outputs, self.thresholds), self.classes)
        if self.is_classification:
            names: np.ndarray = np.asarray(self.classes, dtype=object)[self.winners(outputs)]
            return names
        values: np.ndarray = np.asarray(outputs, dtype=np.float64).reshape(len(outputs))
        return values * self.scale + self.center

    def winners(self, outputs: np.ndarray) -> np.ndarray:
        """Index (B,) of the class that is answered: the likeliest, of ordered ones the median.

        The median of a distribution has the least expected distance in ranks.
        """
        chances = np.asarray(outputs)
        best: np.ndarray = (
            (chances.cumsum(axis=1) > 0.5 - 1e-9).argmax(axis=1) if self.is_ordinal else chances.argmax(axis=1)
        )
        return best

    def loss(self, outputs: Any, y: Any, weight: Any = None) -> Any:
        """Loss per row (B,) of torch outputs (B, C): cross-entropy, or squared error of standardised targets.

        Of several labels the mean binary cross-entropy; where macro F1 decides, rows with a rare label weigh more.

        Args:
            outputs: Logits (B, C), of a tagging one row per word, or values (B, 1).
            y: Encoded targets (B,).
            weight: Class weights (C,), used only for classification.
        """
        import torch.nn.functional as F  # noqa: N812  (torch is imported by those who train)

        if self.is_multilabel:
            heavy = labels.weights(self.rates) if self.metric == "macro_f1" and self.rates else None
            return labels.loss(outputs, y, heavy if weight is None else weight)
        if self.classes:
            return F.cross_entropy(outputs, y, weight=weight, reduction="none")
        return (outputs.squeeze(-1) - y.to(outputs.dtype)).square()

    def known(self, y: np.ndarray) -> np.ndarray:
        """Which encoded targets are there (n,): -1, NaN or None stand for a missing one."""
        if self.is_ragged:
            return np.array([row is not None for row in y], bool)
        values = np.asarray(y)[:, 0] if self.is_multilabel else y
        there: np.ndarray = values >= 0 if self.is_classification else ~np.isnan(values)
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


def _in_order(values: np.ndarray, classes: Sequence[str], target: str) -> tuple[str, ...]:
    """The classes from lowest to highest: as they are named, or, where none is, by the numbers they are.

    Raises:
        DataError: The order is not known, lacks a class, or names one twice.
    """
    names = np.unique(_as_names(values)).tolist()
    order = _as_names(np.asarray(classes)).tolist() if len(classes) else names
    if not len(classes):
        ranks = _as_numbers(np.asarray(names))
        if ranks is None:
            what = f"the classes of {target!r} have no order of their own ({', '.join(names[:4])})"
            raise DataError(what, hint="name them from lowest to highest: --order low,medium,high")
        order = [names[place] for place in np.argsort(ranks, kind="stable")]
    strange = [name for name in names if name not in order]
    if strange:
        raise DataError(f"label {strange[0]!r} of {target!r} is not in the order", hint=f"it is {', '.join(order)}")
    if len(set(order)) != len(order) or len(order) < 2:
        raise DataError(f"{', '.join(order)} is no order of classes", hint="name two or more, each once")
    return tuple(order)


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
