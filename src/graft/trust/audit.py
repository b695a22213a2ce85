"""Rows worth a person's look: labels that held-out predictions contradict, and rows no model gets right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graft.core.labels import decode
from graft.core.task import Task
from graft.evaluate.metrics import checked
from graft.nn.multilabel import decided

FENCE = 3.5  # robust standard deviations from which a residual is an outlier (Iglewicz & Hoaglin 1993)


@dataclass(frozen=True)
class Mislabelled:
    """A row whose label the held-out predictions contradict.

    Attributes:
        row: Position among the rows given.
        label: Its label: a class name, or a value in the user's unit.
        suggested: What the predictions say.
        probability: Probability of the suggestion; None for regression.
        own: Probability of the label itself; None for regression.
    """

    row: int
    label: str | float
    suggested: str | float
    probability: float | None
    own: float | None


@dataclass(frozen=True)
class Hard:
    """A row that was predicted badly.

    Attributes:
        row: Position among the rows given.
        label: Its label.
        prediction: What was predicted.
        probability: Probability of the prediction; None for regression.
        loss: Negative log-likelihood of the label in nats, or the squared error of standardised targets.
    """

    row: int
    label: str | float
    prediction: str | float
    probability: float | None
    loss: float


def mislabelled(task: Task, y: np.ndarray, probabilities: np.ndarray, top: int | None = 20) -> list[Mislabelled]:
    """Find labels that are probably wrong, worst first.

    Confident learning: the threshold t_c of a class is the mean probability of c among the rows labelled c.  A row is
    suspect if, of the classes whose probability reaches their threshold, the most probable is not its label, and that
    is also its most probable class.  Rows are ordered by p(suggested) - p(label).  For regression a row is suspect
    if its residual lies more than 3.5 robust standard deviations (1.4826 · median absolute deviation) from the median.

    Args:
        task: What is asked for.
        y: Encoded labels (n,).
        probabilities: Held-out class probabilities (n, C), or held-out values (n,): of models that did not see the row.
        top: How many at most; None: all.

    References:
        Northcutt, Jiang & Chuang (2021), Confident learning: estimating uncertainty in dataset labels, JAIR 70.

    Example:
        >>> import numpy as np
        >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.95, 0.05], [0.1, 0.9], [0.2, 0.8]])
        >>> found = mislabelled(Task("classification", "text", ("ham", "spam")), np.array([0, 0, 1, 1, 1]), p)
        >>> [(item.row, item.label, item.suggested) for item in found]
        [(2, 'spam', 'ham')]
    """
    y, p = checked(task, y, probabilities, probabilities=True)
    if not task.is_classification:
        return _outliers(task, y, p[:, 0], top)
    rows, size = np.arange(len(y)), task.outputs
    own = p[rows, y]
    counts = np.bincount(y, minlength=size)
    thresholds = np.where(counts > 0, np.bincount(y, own, minlength=size) / counts.clip(1), np.inf)
    confident = np.where(p >= thresholds, p, -1.0)
    suggested = confident.argmax(axis=1)
    suspect = (confident.max(axis=1) >= 0) & (suggested != y) & (suggested == p.argmax(axis=1))
    margin = p[rows, suggested] - own
    order = np.flatnonzero(suspect)[np.argsort(-margin[suspect], kind="stable")][:top]
    names = task.classes
    return [
        Mislabelled(int(i), names[y[i]], names[suggested[i]], float(p[i, suggested[i]]), float(own[i])) for i in order
    ]


def _outliers(task: Task, y: np.ndarray, predicted: np.ndarray, top: int | None) -> list[Mislabelled]:
    residual = y - predicted
    residual = np.abs(residual - np.median(residual))
    scale = 1.4826 * float(np.median(residual))
    if scale == 0.0:
        return []
    suspect = np.flatnonzero(residual > FENCE * scale)
    order = suspect[np.argsort(-residual[suspect], kind="stable")][:top]
    labels, values = task.decode(y), task.decode(predicted)
    return [Mislabelled(int(i), float(labels[i]), float(values[i]), None, None) for i in order]


def hardest(task: Task, y: np.ndarray, outputs: np.ndarray, top: int | None = 20) -> list[Hard]:
    """List the wrongly predicted rows (for regression: all rows) with the largest loss, worst first.

    Args:
        task: What is asked for.
        y: Encoded labels (n,).
        outputs: Held-out class probabilities (n, C), or held-out values (n,).
        top: How many at most; None: all.
    """
    y, outputs = checked(task, y, outputs, probabilities=True)
    if task.is_classification:
        loss = -np.log(outputs[np.arange(len(y)), y].clip(1e-15))
        wrong = np.flatnonzero(task.winners(outputs) != y)
        order = wrong[np.argsort(-loss[wrong], kind="stable")][:top]
        labels = np.asarray(task.classes, dtype=object)[y]
        likely = outputs[np.arange(len(y)), task.winners(outputs)]
        predicted = task.decode(outputs)
        return [Hard(int(i), str(labels[i]), str(predicted[i]), float(likely[i]), float(loss[i])) for i in order]
    if task.is_multilabel:
        return _hard_sets(task, y, outputs, top)
    loss = np.square(y - outputs[:, 0])
    values, labels = task.decode(outputs), task.decode(y)
    order = np.argsort(-loss, kind="stable")[:top]
    return [Hard(int(i), float(labels[i]), float(values[i]), None, float(loss[i])) for i in order]


def _hard_sets(task: Task, y: np.ndarray, outputs: np.ndarray, top: int | None) -> list[Hard]:
    """Rows whose labels were given wrongly, by their mean cross-entropy."""
    given = decided(y, outputs, task.thresholds, macro=task.metric == "macro_f1")
    inside = outputs.clip(1e-15, 1 - 1e-15)
    loss = -(y * np.log(inside) + (1 - y) * np.log1p(-inside)).mean(axis=1)
    wrong = np.flatnonzero(((y > 0) != given).any(axis=1))
    order = wrong[np.argsort(-loss[wrong], kind="stable")][:top]
    true, found = decode(y > 0, task.classes), decode(given, task.classes)
    return [Hard(int(i), ", ".join(true[i]) or "–", ", ".join(found[i]) or "–", None, float(loss[i])) for i in order]


def label_sentences(task: Task, y: np.ndarray, outputs: np.ndarray) -> list[str]:
    """Say which of several labels are missed or given wrongly most, and which are never found."""
    y, outputs = checked(task, y, outputs, probabilities=True)
    given = decided(y, outputs, task.thresholds, macro=task.metric == "macro_f1")
    missed, extra = (y * ~given).sum(axis=0), ((1 - y) * given).sum(axis=0)
    lines = []
    for counts, what in ((missed, "is missed most"), (extra, "is given wrongly most")):
        worst = int(counts.argmax())
        if counts[worst]:
            lines.append(f"{task.classes[worst]} {what}: in {int(counts[worst])} rows")
    lost = [task.classes[c] for c in np.flatnonzero((y.sum(axis=0) > 0) & ((y * given).sum(axis=0) == 0))]
    if lost:
        lines.append(f"never found: {', '.join(lost[:5])}{' …' if len(lost) > 5 else ''}")
    return lines


def audit_sentences(task: Task, y: np.ndarray, outputs: np.ndarray) -> list[str]:
    """Say what the held-out predictions show about the labels.

    Sentences are on suspect labels, the two classes that are confused most, and classes that are never predicted
    rightly.  Nothing is changed in the data.
    """
    y, outputs = checked(task, y, outputs, probabilities=True)
    suspects = mislabelled(task, y, outputs, top=None)
    share = len(suspects) / len(y)
    if not suspects:
        lines = ["no label is contradicted by the held-out predictions"]
    else:
        what = "1 label looks" if len(suspects) == 1 else f"{len(suspects)} labels look"
        lines = [f"{what} wrong ({share:.1%} of {len(y)} rows); look before you change any"]
    if not task.is_classification:
        return lines
    size = task.outputs
    table = np.bincount(y * size + task.winners(outputs), minlength=size * size).reshape(size, size)
    hits, support = table.diagonal(), table.sum(axis=1)
    mixed = np.triu(table + table.T, 1)
    if mixed.any():
        a, b = np.unravel_index(int(mixed.argmax()), mixed.shape)
        errors = len(y) - int(hits.sum())
        lines.append(
            f"{task.classes[a]} and {task.classes[b]} are confused most: {mixed[a, b]} of {errors} wrong predictions"
        )
    lost = [task.classes[c] for c in np.flatnonzero((support > 0) & (hits == 0))]
    if lost:
        shown = ", ".join(lost[:5]) + (" …" if len(lost) > 5 else "")
        lines.append(f"never predicted rightly: {shown}")
    return lines
