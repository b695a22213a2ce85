"""Metrics with intervals.  Every metric is prepared on (task, y, outputs) and then is a function of row weights."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from graft.core.boxes import SURE
from graft.core.errors import DataError, UsageError
from graft.core.ragged import flat, is_ragged, lengths
from graft.core.spans import best_tags, span_counts, types_of
from graft.core.task import Task
from graft.evaluate import several
from graft.evaluate.metric import Metric
from graft.nn import bootstrap as spread
from graft.nn import box_metrics
from graft.nn.bootstrap import Interval, Weighted, accuracy, bootstrap, independent, interval, macro_f1, r2

BINS = 15  # equal-width bins of confidence for the calibration error, as in Guo et al. 2017
_TINY = 1e-15  # smallest probability in a logarithm


def balanced_accuracy(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare the mean recall over the classes that occur in y."""
    true = np.eye(outputs.shape[1])[y]
    columns = np.hstack([true * (outputs.argmax(axis=1) == y)[:, None], true])

    def value(weight: np.ndarray) -> np.ndarray:
        hits, support = np.split(weight @ columns, 2, axis=1)
        return (hits / np.where(support > 0, support, 1)).sum(axis=1) / (support > 0).sum(axis=1)

    return value


def log_loss(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare the mean of -log p_y, in nats; p is clipped at 1e-15."""
    return _mean(-np.log(outputs[np.arange(len(y)), y].clip(_TINY)))


def calibration_error(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare the expected calibration error Σ_b |Σ_{i in b} (correct_i - confidence_i)| / n over 15 equal bins.

    It is biased upward for few rows: even perfect probabilities score about √(bins / n) · 0.3.

    References:
        Guo et al. (2017). On calibration of modern neural networks. ICML.
    """
    gap = (outputs.argmax(axis=1) == y) - outputs.max(axis=1)
    columns = np.eye(BINS)[_bin(outputs.max(axis=1))] * gap[:, None]
    return lambda weight: np.abs(weight @ columns).sum(axis=1) / weight.sum(axis=1)


def spearman(y: np.ndarray, outputs: np.ndarray) -> Weighted:
    """Prepare Spearman's rank correlation: Pearson's of the mid-ranks, which are taken anew in every resample."""
    values = [np.unique(np.asarray(each).ravel(), return_inverse=True)[1] for each in (y, outputs)]

    def value(weight: np.ndarray) -> np.ndarray:
        total = weight.sum(axis=1, keepdims=True)
        first, second = (_ranks(weight, each) - (total + 1) / 2 for each in values)  # mid-ranks average (n + 1) / 2
        top = (weight * first * second).sum(axis=1)
        bottom = np.sqrt((weight * first**2).sum(axis=1) * (weight * second**2).sum(axis=1))
        return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 0.0)

    return value


def _ranks(weight: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Mid-ranks (R, n) of rows repeated by weight, where ``order`` (n,) numbers the distinct values."""
    per_value = np.zeros((int(order.max()) + 1, len(weight)))
    np.add.at(per_value, order, weight.T)
    upto = per_value.cumsum(axis=0)
    return (upto - (per_value - 1) / 2)[order].T


def _mean(each: np.ndarray) -> Weighted:
    return lambda weight: weight @ each / weight.sum(axis=1)


def _root_mean(each: np.ndarray) -> Weighted:
    return lambda weight: np.sqrt(weight @ each / weight.sum(axis=1))


def _bin(confidence: np.ndarray) -> np.ndarray:
    return (confidence * BINS).astype(int).clip(0, BINS - 1)


def _residual(task: Task, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Errors in the user's own unit."""
    return (y - outputs.reshape(len(y))) * task.scale


def _said(task: Task, outputs: np.ndarray) -> np.ndarray:
    """Outputs whose largest is the class that is answered (n, C)."""
    return np.eye(outputs.shape[1])[task.winners(outputs)] if task.is_ordinal else outputs


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "classification", larger=True, prepare=lambda task, y, out: accuracy(y, _said(task, out))),
        Metric(
            "balanced_accuracy",
            "classification",
            larger=True,
            prepare=lambda task, y, out: balanced_accuracy(y, _said(task, out)),
        ),
        *several.SEVERAL,
        Metric(
            "macro_f1",
            "classification multilabel",
            larger=True,
            prepare=lambda task, y, out: (
                several.macro_f1(task, y, out) if task.is_multilabel else macro_f1(y, _said(task, out))
            ),
        ),
        Metric("quadratic_kappa", "ordinal", larger=True, prepare=lambda _, y, out: spread.quadratic_kappa(y, out)),
        Metric(
            "rank_error",
            "ordinal",
            larger=False,
            prepare=lambda task, y, out: _mean(np.abs(y - task.winners(out)).astype(np.float64)),
        ),
        Metric(
            "log_loss",
            "classification multilabel",
            larger=False,
            prepare=lambda task, y, out: several.log_loss(task, y, out) if task.is_multilabel else log_loss(y, out),
        ),
        Metric("ece", "classification", larger=False, prepare=lambda _, y, out: calibration_error(y, out)),
        Metric("r2", "regression", larger=True, prepare=lambda _, y, out: r2(y, out)),
        Metric("mae", "regression", larger=False, prepare=lambda task, y, out: _mean(np.abs(_residual(task, y, out)))),
        Metric(
            "rmse", "regression", larger=False, prepare=lambda task, y, out: _root_mean(_residual(task, y, out) ** 2)
        ),
        Metric("spearman", "regression", larger=True, prepare=lambda _, y, out: spearman(y, out)),
        Metric("entity_f1", "tagging", larger=True, prepare=lambda _, y, out: spread.entity_f1(y, out)),
        Metric(
            "entity_precision",
            "tagging",
            larger=True,
            prepare=lambda _, y, out: spread.share_of_spans(y, out, of="predicted"),
        ),
        Metric(
            "entity_recall", "tagging", larger=True, prepare=lambda _, y, out: spread.share_of_spans(y, out, of="true")
        ),
        Metric("map", "detection", larger=True, prepare=lambda _, y, out: box_metrics.mean_average_precision(y, out)),
        Metric(
            "map50",
            "detection",
            larger=True,
            prepare=lambda _, y, out: box_metrics.mean_average_precision(y, out, (0.5,)),
        ),
        Metric(
            "map75",
            "detection",
            larger=True,
            prepare=lambda _, y, out: box_metrics.mean_average_precision(y, out, (0.75,)),
        ),
        Metric("box_recall", "detection", larger=True, prepare=lambda _, y, out: box_metrics.recall_of_objects(y, out)),
        Metric("word_accuracy", "tagging", larger=True, prepare=lambda _, y, out: spread.word_accuracy(y, out)),
    )
}


def score(task: Task, y: np.ndarray, outputs: np.ndarray, *, metric: str | None = None) -> float:
    """Score outputs with one metric, by default the one that decides.

    Example:
        >>> import numpy as np
        >>> score(Task("classification", "text", ("a", "b")), np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]]))
        0.5
    """
    y, outputs = checked(task, y, outputs)
    return float(_named(task, metric or task.metric).prepare(task, y, outputs)(np.ones((1, len(y))))[0])


def evaluate(
    task: Task,
    y: np.ndarray,
    outputs: np.ndarray,
    *,
    metrics: tuple[str, ...] | None = None,
    groups: np.ndarray | None = None,
    repeats: int = 1,
    seed: int = 0,
    level: float = 0.9,
) -> dict[str, Interval]:
    """Score outputs with every metric of the task, each with an interval.

    Intervals are bootstrap percentiles over rows, or over whole groups, widened for few rows (``nn.bootstrap``); above
    20,000 rows ± z·sd.  Accuracy of rows without groups has Wilson's interval, which stays honest at 0 and 1.

    Args:
        task: Kind, classes and unit.
        y: Encoded targets (n,).
        outputs: Class probabilities (n, C), or standardised values (n,) or (n, 1).
        metrics: Names in ``METRICS``; None: all of the task's kind.
        groups: Group of each row (n,): rows of one group are drawn together.
        repeats: Passes over the same rows that the n rows are (``evaluate.passes``): each row is drawn with all of them.
        seed: Seed of the resamples.
        level: Coverage of the intervals.

    Returns:
        Name to (value, low, high), the deciding metric first.  MAE and RMSE are in the unit of the targets.

    Raises:
        DataError: No rows, shapes that do not agree, outputs that are not finite or not probabilities.
        UsageError: A metric of another kind of task.
    """
    y, outputs = checked(task, y, outputs, probabilities=True)
    names = metrics or tuple(name for name, metric in METRICS.items() if metric.suits(task))
    ordered = sorted(names, key=lambda name: name != task.metric)
    prepared = [_named(task, name).prepare(task, y, outputs) for name in ordered]
    drawn_together, size = independent(len(y), groups, repeats)
    draws = bootstrap(prepared, len(y), seed=seed, groups=drawn_together)
    result: dict[str, Interval] = {}
    for name, one, drawn in zip(ordered, prepared, draws.T, strict=True):
        value = float(one(np.ones((1, len(y))))[0])
        exact = name == "accuracy" and groups is None
        result[name] = wilson(value, size, level=level) if exact else interval(value, drawn, level=level, size=size)
    return result


def wilson(share: float, n: int, *, level: float) -> Interval:
    """Compute Wilson's interval of a share of n independent rows.

    Example:
        >>> [round(end, 3) for end in wilson(1.0, 32, level=0.95)]
        [1.0, 0.893, 1.0]
    """
    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return share, float(min(centre - half, share)), float(max(centre + half, share))


def held(task: Task, y: np.ndarray, region: np.ndarray, *, level: float = 0.9, seed: int = 0) -> dict[str, Interval]:
    """How often sets of classes bool (n, C), or intervals (n, 2) in the user's unit, hold the truth, and their mean size.

    Example:
        >>> task = Task("classification", "text", ("a", "b"))
        >>> found = held(task, np.array([0, 1]), np.array([[True, False], [True, True]]))
        >>> found["coverage"][0], found["set_size"][0]
        (1.0, 1.5)
    """
    if task.is_classification:
        inside, size, name = region[np.arange(len(y)), y], region.sum(axis=1).astype(float), "set_size"
    else:
        value = y * task.scale + task.center
        inside, size, name = (region[:, 0] <= value) & (value <= region[:, 1]), region[:, 1] - region[:, 0], "width"
    mean = float(size.mean())
    wide = interval(mean, bootstrap([_mean(size)], len(y), seed=seed)[:, 0], level=level, size=len(y))
    return {
        "coverage": wilson(float(inside.mean()), len(y), level=level),
        name: wide if np.isfinite(mean) else (mean,) * 3,
    }


def mean_of(each: np.ndarray, *, level: float = 0.9, seed: int = 0) -> Interval:
    """Mean of a number per row (n,) with its bootstrap interval."""
    value = float(np.mean(each))
    return interval(value, bootstrap([_mean(each)], len(each), seed=seed)[:, 0], level=level, size=len(each))


def confusion(task: Task, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Count rows (C, C) by true class (row) and predicted class (column)."""
    y, outputs = checked(task, y, outputs)
    size = task.outputs
    return np.bincount(y * size + task.winners(outputs), minlength=size * size).reshape(size, size)


def per_class(task: Task, y: np.ndarray, outputs: np.ndarray) -> list[dict[str, float | int | str]]:
    """List precision, recall, F1, support and predicted count of every class, or type of span; 0 where the divisor is 0."""
    if task.is_detection:
        return _per_class_boxes(task, *checked(task, y, outputs))
    if task.is_tagging:
        y, outputs = checked(task, y, outputs)
        names = types_of(task.classes)
        hits, support, predicted = span_counts(y, best_tags(outputs), len(names)).sum(axis=0).T
    elif task.is_multilabel:
        y, outputs = checked(task, y, outputs)
        given, names = several.given(task, y, outputs), task.classes
        hits, support, predicted = (y * given).sum(axis=0), y.sum(axis=0), given.sum(axis=0)
    else:
        table, names = confusion(task, y, outputs), task.classes
        hits, support, predicted = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    return [
        {
            "class": name,
            "precision": float(hits[c] / max(1, predicted[c])),
            "recall": float(hits[c] / max(1, support[c])),
            "f1": float(2 * hits[c] / max(1, support[c] + predicted[c])),
            "support": int(support[c]),
            "predicted": int(predicted[c]),
        }
        for c, name in enumerate(names)
    ]


def _per_class_boxes(task: Task, y: np.ndarray, outputs: np.ndarray) -> list[dict[str, float | int | str]]:
    """Of every class its average precision, and precision, recall and F1 of the boxes that reach its threshold."""
    known, size = box_metrics.matches(y, outputs), len(task.classes)
    least = task.thresholds or (SURE,) * size
    rows: list[dict[str, float | int | str]] = []
    for name, one, limit in zip(task.classes, known, least, strict=False):
        given, support = one.scores >= limit, int(one.objects.sum())
        hits = int(one.hits[0][given].sum())
        ap = np.nan_to_num(box_metrics.average_precision(one, np.ones((1, len(y))))[0])
        rows.append({
            "class": name, "ap": float(ap.mean()), "ap50": float(ap[0]), "precision": hits / max(1, int(given.sum())),
            "recall": hits / max(1, support), "f1": 2 * hits / max(1, support + int(given.sum())), "support": support,
            "predicted": int(given.sum()),
        })  # fmt: skip
    gone = dict.fromkeys(("ap", "ap50", "precision", "recall", "f1"), 0.0) | {"support": 0, "predicted": 0}
    return rows + [{"class": name, **gone} for name in task.classes[len(rows) :]]


def reliability(task: Task, y: np.ndarray, outputs: np.ndarray) -> list[dict[str, float | int]]:
    """List mean confidence, accuracy and count of every bin of confidence that has rows."""
    y, outputs = checked(task, y, outputs, probabilities=True)
    confidence, correct = outputs.max(axis=1), outputs.argmax(axis=1) == y
    bins = _bin(confidence)
    return [
        {
            "confidence": float(confidence[bins == b].mean()),
            "accuracy": float(correct[bins == b].mean()),
            "count": int((bins == b).sum()),
        }
        for b in np.unique(bins)
    ]


def checked(
    task: Task, y: np.ndarray, outputs: np.ndarray, *, probabilities: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Targets (n,) and outputs (n, C), of a tagging arrays of both per sentence, that agree with each other and the task.

    Raises:
        DataError: They do not.
    """
    if task.is_tagging:
        return _checked_tags(task, y, outputs)
    if task.is_detection:
        return _checked_boxes(y, outputs)
    y, outputs = np.asarray(y), np.asarray(outputs, dtype=np.float64)
    outputs = outputs[:, None] if outputs.ndim == 1 else outputs
    if len(y) == 0:
        raise DataError("there are no rows to score")
    if outputs.shape != (len(y), task.outputs):
        raise DataError(f"outputs have shape {outputs.shape}, the task needs {(len(y), task.outputs)}")
    if not np.isfinite(outputs).all():
        row = int(np.flatnonzero(~np.isfinite(outputs).all(axis=1))[0])
        raise DataError("outputs are not finite", where=f"scored row {row + 1}")
    if task.is_multilabel and probabilities and (outputs.min() < 0 or outputs.max() > 1):
        raise DataError("outputs are not probabilities", hint="each label's is between 0 and 1")
    if task.is_classification and probabilities and (outputs.min() < 0 or abs(outputs.sum(axis=1) - 1).max() > 1e-3):
        raise DataError("outputs are not probabilities", hint="each row is at least 0 and sums to 1")
    return y, outputs


def _checked_boxes(y: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(y) == 0:
        raise DataError("there are no rows to score")
    if not (is_ragged(y) and is_ragged(outputs) and len(y) == len(outputs)):
        raise DataError("a detection has an array of true boxes, and one of those that were found, per picture")
    for number, (true, found) in enumerate(zip(y, outputs, strict=True), 1):
        if true.shape[1:] != (5,) or found.shape[1:] != (6,):
            raise DataError("boxes are (m, 5), and with scores (k, 6)", where=f"scored picture {number}")
        if not np.isfinite(found).all():
            raise DataError("outputs are not finite", where=f"scored picture {number}")
    return y, outputs


def _checked_tags(task: Task, y: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(y) == 0:
        raise DataError("there are no rows to score")
    if not (is_ragged(y) and is_ragged(outputs) and len(y) == len(outputs)):
        raise DataError("a tagging has an array of tags, and one of probabilities, per sentence")
    wrong = np.flatnonzero(lengths(y) != lengths(outputs))
    if len(wrong):
        row = int(wrong[0])
        what = f"{len(outputs[row])} words have outputs, {len(y[row])} have tags"
        raise DataError(what, where=f"scored sentence {row + 1}")
    values = flat(outputs)
    if len(values) and (values.ndim != 2 or values.shape[1] != task.outputs):
        raise DataError(f"outputs have shape {values.shape[1:]} per word, the task needs {(task.outputs,)}")
    if not np.isfinite(values).all():
        raise DataError("outputs are not finite")
    return y, outputs


def _named(task: Task, name: str) -> Metric:
    if name not in METRICS or not METRICS[name].suits(task):
        fitting = ", ".join(known for known, metric in METRICS.items() if metric.suits(task))
        raise UsageError(f"no metric {name!r} for {task.kind}", hint=f"known: {fitting}")
    return METRICS[name]
