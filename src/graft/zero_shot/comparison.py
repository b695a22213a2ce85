"""Compare rows with sentences: by cosine of embeddings, by pictures beside captions, or by entailment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graft.core.types import ModelSpec
from graft.features import encode
from graft.sources.base import Backbone
from graft.sources.scripts import join
from graft.sources.words import WORD_VECTORS

PAIRS = 4096  # rows with hypotheses that are read at a time
TINY = 1e-6  # smallest probability of entailment in a logarithm
SHARPNESS = 0.05  # softmax temperature of cosines: that with which sentence models are commonly trained


def reading_of(spec: ModelSpec) -> str:
    """How a source compares rows with sentences: ``"embedding"``, ``"caption"``, ``"entailment"``; empty if it cannot.

    Example:
        >>> reading_of(ModelSpec("hf:x", "x", "text", classes=("contradiction", "neutral", "entailment")))
        'entailment'
    """
    if spec.modality == "image":
        return "caption" if spec.architecture == "clip" else ""
    if spec.modality != "text":
        return ""
    if entailment_place(spec) is not None:
        return "entailment"
    sentence = spec.objective.startswith("sentence similarity") or spec.architecture == WORD_VECTORS
    return "embedding" if sentence else ""


def entailment_place(spec: ModelSpec) -> int | None:
    """Place of the class entailment among the classes of a source."""
    return next((i for i, name in enumerate(spec.classes) if name.lower().startswith("entail")), None)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (n, d) of length 1; zeros stay zeros."""
    values = np.asarray(rows, dtype=np.float64)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-12))


def class_vectors(backbone: Backbone, said: Sequence[Sequence[str]]) -> np.ndarray:
    """One vector (C, D) of length 1 for each class: the mean of the directions of its sentences."""
    flat = [text for texts in said for text in texts]
    captions: Any = getattr(backbone, "captions", None)
    rows = captions(flat) if callable(captions) else encode(backbone, flat).layer(-1)
    owner = np.repeat(np.arange(len(said)), [len(texts) for texts in said])
    return unit(np.eye(len(said))[owner].T @ unit(rows))


def temperature_of(backbone: Backbone) -> float:
    """The softmax temperature that a source was trained with, where it says so."""
    return float(getattr(backbone, "temperature", SHARPNESS))


def entailment_odds(
    backbone: Backbone, rows: Sequence[Any], said: Sequence[Sequence[str]], *, precision: str
) -> tuple[np.ndarray, str]:
    """Log-odds (n, C) that a row entails what is said of a class, the mean over its sentences, and the precision used.

    References:
        Yin, Hay & Roth (2019). Benchmarking zero-shot text classification. EMNLP.
    """
    flat = [text for texts in said for text in texts]
    owner = np.repeat(np.arange(len(said)), [len(texts) for texts in said])
    mean = np.eye(len(said))[owner] / np.bincount(owner)[owner][:, None]
    place, odds = entailment_place(backbone.spec), []
    step = max(1, PAIRS // len(flat))
    for start in range(0, len(rows), step):
        pairs = [(join(row), text) for row in rows[start : start + step] for text in flat]
        found = encode(backbone, pairs, precision=precision)
        precision = found.precision
        assert found.probabilities is not None
        chance = found.probabilities[:, place].astype(np.float64).clip(TINY, 1 - TINY).reshape(-1, len(flat))
        odds.append(np.log(chance / (1 - chance)) @ mean)
    return np.concatenate(odds) if odds else np.zeros((0, len(said))), precision
