"""A task in a few numbers, by which it is compared with the tasks of earlier runs.

All are computed in well under a second from at most ``ROWS`` rows, which are chosen by their content: the order of the
rows does not matter.  What a task does not have is None.

kind, modality    tasks that differ in one of them are never compared
rows              ln of the number of rows
rows_per_class    ln of rows over classes
classes           ln of the number of classes
entropy           entropy of the classes over its maximum ln C: 1 where all are equally frequent
size              ln(1 + mean size of a row): characters, pixels, seconds, or columns
spread            standard deviation of that size over its mean
cjk               share of Chinese, Japanese and Korean characters in texts
numbers           share of the columns of a table that hold numbers
dimension         ln of the participation ratio (Σλ)² / Σλ² of the spectrum λ of a source's last layer
between           share of the variance of that layer that lies between classes, or along the target, less what chance
                  gives (adjusted R²)
linear            R² of ridge regression from that layer to the targets (classes one-hot), each row left out in turn: what
                  an H-score measures, on rows that were not fitted
features_of       the source of these three; they are compared only between tasks read by the same one
classical         share of the way from the majority's score to 1 that the classical model goes
lead              score of the probe less that of the classical model

The labels used are those of the rows that the search itself compares candidates on.

References:
    Rivolli et al. (2022), Meta-features for meta-learning, Knowledge-Based Systems 240 (simple, information-theoretic and
    landmarking meta-features);  Bao et al. (2019), An information-theoretic approach to transferability (H-score).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset, Features
from graft.nn.ridge import fit_ridge

Statistics = dict[str, float | str | None]

ROWS = 2_000  # rows looked at
PICTURES = 500  # pictures whose size is read
FEATURE_ROWS = 500  # rows whose features are looked at
CANDIDATES = 20_000  # evenly spaced rows that these are chosen from
LETTERS = 1_000  # characters of a text in which scripts are told apart
CHEAP = ("majority", "classical", "probe")  # transfers whose scores exist before anything is trained for long
_CJK = re.compile(
    "[\u1100-\u11ff\u3005-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)


def statistics(
    data: Dataset, features: Features | None = None, scores: Mapping[str, float] | None = None
) -> Statistics:
    """Describe a task in the numbers named above.

    Args:
        data: Labelled rows.
        features: Features of some or all of them by one source.
        scores: Scores by transfer, as ``cheap_scores`` gives them.

    Raises:
        DataError: There are no labels.

    Example:
        >>> from graft.data.load import load
        >>> found = statistics(load((["yes", "no", "yes", "no"], ["+", "-", "+", "-"])))
        >>> found["kind"], found["entropy"], found["size"], found["linear"]
        ('classification', 1.0, 1.252763, None)
    """
    if data.y is None:
        raise DataError(f"{data.name} has no labels")
    found: dict[str, Any] = {"kind": data.task.kind, "modality": data.task.modality, "rows": np.log(max(1, len(data)))}
    found |= _classes(data) | _sizes(data) | score_statistics(scores or {})
    found |= dict.fromkeys(("dimension", "between", "linear", "features_of"))
    if features is not None:
        found |= _geometry(data, features)
    return {name: value if isinstance(value, str) else _number(value) for name, value in found.items()}


def cheap_scores(trials: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The best finished score of each of the transfers in ``CHEAP``, from ``Run.trials``.

    Example:
        >>> trial = {"transfer": "probe", "state": "done", "score": [0.8, 0.7, 0.9]}
        >>> cheap_scores([trial, trial | {"score": [0.9, 0.8, 1.0]}, trial | {"transfer": "finetune"}])
        {'probe': 0.9}
    """
    found: dict[str, float] = {}
    for trial in trials:
        name, score = trial["transfer"], trial["score"]
        if name in CHEAP and trial["state"] == "done" and score:
            found[name] = max(found.get(name, -np.inf), float(score[0]))
    return found


def score_statistics(scores: Mapping[str, float]) -> Statistics:
    """The statistics ``classical`` and ``lead`` of scores by transfer.

    Example:
        >>> score_statistics({"majority": 0.5, "classical": 0.75, "probe": 0.875})
        {'classical': 0.5, 'lead': 0.125}
    """
    majority, classical, probe = (scores.get(name) for name in CHEAP)
    found: Statistics = {"classical": None, "lead": None}
    if classical is not None and majority is not None and majority < 1:
        found["classical"] = _number((classical - majority) / (1 - majority))
    if classical is not None and probe is not None:
        found["lead"] = _number(probe - classical)
    return found


def _number(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 6)


def _classes(data: Dataset) -> dict[str, Any]:
    if not data.task.is_classification or not len(data):
        return dict.fromkeys(("rows_per_class", "classes", "entropy"))
    assert data.y is not None
    shares = np.bincount(data.y, minlength=data.task.outputs) / len(data)
    shares = shares[shares > 0]
    most = np.log(data.task.outputs)
    return {
        "rows_per_class": np.log(len(data)) - most,
        "classes": most,
        "entropy": -float(np.sort(shares * np.log(shares)).sum()) / most if most else None,
    }


def _chosen(data: Dataset, most: int) -> np.ndarray:
    """At most ``most`` positions, those with the smallest hash of their content: the same rows in whatever order."""
    if not hasattr(data.X, "keys"):  # a storage of a plug-in
        return evenly_spaced(len(data), most)
    some = evenly_spaced(len(data), CANDIDATES)
    assert data.y is not None
    keys = data.X.keys(data.rows[some])
    alone = data.task.is_ragged or data.task.is_multilabel
    return some[np.lexsort((keys,) if alone else (data.y[some], keys))[:most]]


# -- rows --------------------------------------------------------------------------------------------------------------


def _sizes(data: Dataset) -> dict[str, Any]:
    """Size and spread, and what only this kind of input has."""
    from graft.sources.scripts import join  # it brings torch, which a list of past runs does not need

    found: dict[str, Any] = dict.fromkeys(("size", "spread", "cjk", "numbers"))
    modality = data.task.modality
    sizes: list[float] = []
    some = data.select(_chosen(data, PICTURES if modality == "image" else ROWS))
    if modality in {"text", "sequence"}:
        texts = [join(example) for example in some.take()]
        sizes = [len(text) for text in texts]
        letters = "".join("".join(text[:LETTERS].split()) for text in texts)
        found["cjk"] = len(_CJK.findall(letters)) / len(letters) if letters else None
    elif modality == "image" and hasattr(some.X, "sources"):
        sizes = [size for source in some.X.sources(some.rows) if (size := _pixels(source))]
    elif modality == "audio" and hasattr(some.X, "facts"):
        sizes = [fact.seconds for fact in some.X.facts(some.rows)]
    elif modality in {"counts", "series"}:
        sizes = [len(row) for row in some.take()]
    elif modality == "table":
        columns = some.take()
        sizes = [len(columns)]
        found["numbers"] = np.mean([values.dtype != object for values in columns.values()]) if columns else None
    if sizes:
        ordered = np.sort(np.asarray(sizes, np.float64))
        found["size"] = np.log1p(ordered.mean())
        found["spread"] = ordered.std() / ordered.mean() if ordered.mean() else None
    return found


def _pixels(source: Any) -> int:
    """Pixels of a picture, from the header of its file; 0 where that cannot be read."""
    import io

    from PIL import Image

    if isinstance(source, str | Path | bytes):
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        # decoders raise nearly anything; loading has said what is wrong with it
        with contextlib.suppress(Exception), Image.open(file) as image:
            return int(image.width * image.height)
        return 0
    shape = source.size if hasattr(source, "getbands") else np.shape(source)
    return int(np.prod(sorted(shape)[-2:])) if shape else 0  # channels are the shortest side


# -- features ----------------------------------------------------------------------------------------------------------


def _geometry(data: Dataset, features: Features) -> dict[str, Any]:
    """How the last layer lies around the targets, on the rows that have features; nothing where a row has many targets."""
    if data.task.is_ragged:
        return {}
    order = np.argsort(data.rows, kind="stable")
    place = np.searchsorted(data.rows, features.rows, sorter=order).clip(max=len(data) - 1)
    has = np.flatnonzero(data.rows[order[place]] == features.rows)
    if len(has) < 4:
        return {}
    some = data.select(order[place[has]])
    chosen = _chosen(some, FEATURE_ROWS)
    F = features.layer(-1, rows=has[chosen]).astype(np.float64)
    assert some.y is not None
    y = some.y[chosen]
    F -= F.mean(axis=0)
    total = float(np.square(F).sum())
    if not total or not np.isfinite(total):
        return {}
    gram = F @ F.T if len(F) <= F.shape[1] else F.T @ F
    if data.task.is_classification:
        Y = np.eye(data.task.outputs)[y][:, np.bincount(y, minlength=data.task.outputs) > 0]
        Z = Y / np.sqrt(Y.sum(axis=0))
    else:
        Y = y.reshape(len(y), -1).astype(np.float64)
        Z = np.linalg.qr(Y - Y.mean(axis=0))[0]  # of values one column of length one
        Z = Z if Y.shape[1] > 1 else (Y - Y.mean()) / max(float(np.linalg.norm(Y - Y.mean())), 1e-12)
    free = (len(F) - 1) / max(1, len(F) - max(2, Z.shape[1]))  # degrees of freedom in all, over those within classes
    variance = float(np.square(Y - Y.mean(axis=0)).sum()) / len(Y)
    left_out = float(fit_ridge(F, Y).errors.min())
    return {
        "dimension": np.log(total**2 / np.square(gram).sum()),
        "between": 1 - free * (1 - np.square(Z.T @ F).sum() / total),
        "linear": 1 - left_out / variance if variance else None,
        "features_of": features.spec.weights_sha256 or features.spec.uri,
    }
