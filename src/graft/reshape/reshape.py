"""Reuse of an architecture: its structure without the weights, or with other blocks, widths, inputs or words.

What still fits is copied, what has another size is resized by a rule that keeps what the network computes where there is
one, and a report says of every tensor which of these happened to it.

References: Chen et al. (2016), Net2Net (wider, and deeper by blocks that do nothing at first); Dosovitskiy et al. (2021)
for positions of pictures of another size; Beltagy et al. (2020) for positions of longer texts; Gee et al. (2022) and
Minixhofer et al. (2022) for vocabularies.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.core.errors import SourceError, UsageError
from graft.core.runtime import seeded
from graft.data.spectrogram import Sound
from graft.reshape.filling import Filling
from graft.reshape.native import Native
from graft.reshape.networks import BLOCKS, Family
from graft.reshape.plan import Changes, Fate, Report, block_plan, in_words, read_report
from graft.reshape.transformers import Transformers
from graft.sources.base import Backbone
from graft.sources.folder import REPORT_FILE
from graft.sources.image import ImageBackbone
from graft.sources.loading import first_line
from graft.sources.native import NativeBackbone
from graft.sources.readers import CountReader, TableReader
from graft.sources.series import SeriesReader
from graft.sources.sounds import AudioReader
from graft.sources.text import TextBackbone

SAME = 1e-4  # difference of features, as a share of the largest, up to which a network counts as computing the same
TEXTS, LENGTH = 16, 24  # random rows that networks are compared on

__all__ = ["Changes", "Fate", "Report", "read_report", "reshape", "save_reshaped"]


def reshape(backbone: Backbone, changes: Changes | None = None, *, seed: int = 0) -> tuple[Backbone, Report]:
    """Make a network of the same kind with changes, and fill it with the weights of the old one.

    Blocks are put in and units copied so that the network computes the same as before where its kind allows it; whether it
    does is measured on random rows and stands in the report.

    Args:
        backbone: A network of transformers for text or pictures, or one of graft's own encoders; it stays as it is.
        changes: What is to change; nothing if not given.
        seed: Of fresh weights, and of how copies of a unit share its weight.

    Returns:
        The new network, and what became of every tensor.

    Raises:
        UsageError: The network cannot be changed so; the line says what it can.
        SourceError: graft cannot build networks of its kind.

    Example:
        >>> from graft.sources.base import open_model
        >>> small, report = reshape(open_model("sbert:all-MiniLM-L6-v2"), Changes(remove=(3, 4, 5)))
        >>> len(small.blocks()), report.counts()["new"]["tensors"]
        (3, 0)
    """
    asked = changes or Changes()
    asked.check()
    family = family_of(backbone)
    changes = family.needed(asked)
    named = changes.named()
    able = family.able() if named else []
    for name in named:
        if name not in able:
            what = f"{backbone.spec.name} cannot change its {in_words([name])}"
            raise UsageError(what, hint=f"it can change its {in_words(able) or 'weights alone (fresh)'}")
    plan = block_plan(changes, family.depth, backbone.spec.name) if set(named) & set(BLOCKS) else None
    with seeded(seed):
        rows = family.vocabulary(changes) if changes.vocabulary is not None else None
        settings = family.changed(changes, plan)
        new = family.build(settings, changes)
        filling = Filling(family, new, settings, changes, plan, rows)
        filling.fill()
        difference = _compared(filling, named)
    parts = ["structure alone"] if changes.fresh else []
    words = ", ".join(parts + ["reshaped"] * bool(named)) or "copy"
    spec = dataclasses.replace(new.spec, name=f"{backbone.spec.name}, {words}", weights_sha256="")
    if changes.fresh:  # neither what it was trained on nor its model card holds any more
        spec = dataclasses.replace(spec, objective="", path="")
    new.spec = spec
    report = Report(
        backbone.spec.uri, asked.record(), tuple(filling.fates), filling.left(), tuple(filling.notes), difference
    )
    return new, report


def save_reshaped(backbone: Backbone, report: Report, folder: str | Path) -> Path:
    """Write a reshaped network with its report; ``open_model("file:FOLDER")`` and ``read_report(FOLDER)`` read them."""
    folder = Path(folder)
    backbone.save(folder)
    text = json.dumps(report.to_json(), ensure_ascii=False, indent=1)
    (folder / REPORT_FILE).write_text(text, encoding="utf-8", errors="backslashreplace")
    return folder


def family_of(backbone: Backbone) -> Family:
    """How a network can be reshaped.

    Raises:
        SourceError: It is of a kind whose settings graft does not know.
    """
    if isinstance(backbone, NativeBackbone):
        return Native(backbone)
    if isinstance(backbone, TextBackbone | ImageBackbone):
        if getattr(backbone.model.config, "is_encoder_decoder", False):
            what = f"{backbone.spec.name} cannot be reshaped: it is the encoder of a network that has a decoder, too"
            raise SourceError(what, hint="transformers keeps only both; choose a network without a decoder")
        return Transformers(backbone)
    hint = "networks of transformers (hf:, sbert:) and graft's own encoders (file:) can"
    raise SourceError(f"{backbone.spec.name} cannot be reshaped: graft does not build it from settings", hint=hint)


def _compared(filling: Filling, named: list[str]) -> float | None:
    """Difference of the features on random rows where none is meant to be; runs the new network in any case."""
    changes = filling.changes
    both = (filling.new, filling.family.backbone)
    alike = {"grey": changes.channels is not None, "length": min(LENGTH, *map(_longest, both))}
    try:
        made = _features(filling.new, **alike)
    except (RuntimeError, ValueError, IndexError) as error:
        raise UsageError(
            f"the changed network does not run: {first_line(error)}", hint="change less at once"
        ) from error
    if changes.fresh or {"remove", "order", "vocabulary", "size"} & set(named):
        return None
    before = _features(filling.family.backbone, **alike)
    difference = _difference(before, made)
    if not np.isfinite(difference):
        filling.notes.append("features of random rows are not finite, so nothing can be said of what it computes")
        return None
    if difference > SAME and filling.silent:
        undo = filling.pass_on(lambda: _features(filling.new, **alike, seed=1))  # other rows than it is judged by
        closer = _difference(before, _features(filling.new, **alike))
        if closer < difference:
            difference = closer
        elif undo is not None:
            undo()
    if difference > SAME:
        filling.notes.append(
            f"what it computes has changed: features of random rows by {difference:.1e} of the largest"
        )
    return difference


def _longest(backbone: Backbone) -> int:
    """Tokens of a text at most, where it reads texts."""
    reader = getattr(backbone, "reader", None)
    return int(getattr(backbone, "longest", None) or getattr(reader, "longest", LENGTH))


def _features(backbone: Backbone, *, grey: bool, length: int, seed: int = 0) -> Tensor:
    """Pooled features (B, D) of a few random rows, the same for every network that reads the same."""
    random = np.random.default_rng(seed)
    was, modality = backbone.training, backbone.spec.modality
    reader: Any = getattr(backbone, "reader", None)
    if modality in {"text", "sequence"}:
        tokenizer = getattr(backbone, "tokenizer", None)
        count = len(tokenizer) if tokenizer is not None else reader.vocabulary
        rows = [random.integers(0, count, length).astype(np.int32) for _ in range(TEXTS)]
        batch = backbone.collate(rows)  # nothing is padded: every position is a token
    elif modality == "image":
        pictures = random.integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
        pictures = np.repeat(pictures[..., :1], 3, axis=3) if grey or getattr(reader, "grey", False) else pictures
        batch = backbone.collate(backbone.preprocess(list(pictures)))
    elif isinstance(reader, AudioReader):
        sounds = [Sound(random.normal(scale=0.1, size=reader.rate // 2).astype(np.float32), reader.rate)] * 3
        batch = backbone.collate(backbone.preprocess(sounds))
    elif isinstance(reader, SeriesReader):
        series = random.normal(size=(3, 32, reader.bands // 2)).astype(np.float32)
        batch = backbone.collate(backbone.preprocess(list(series)))
    elif isinstance(reader, TableReader) and isinstance(backbone, NativeBackbone):
        batch = {"values": torch.from_numpy(random.normal(size=(3, reader.vectors.width)).astype(np.float32))}
    elif isinstance(reader, CountReader) and isinstance(backbone, NativeBackbone):
        batch = {"values": torch.from_numpy(random.exponential(size=(3, reader.width)).astype(np.float32))}
    else:
        raise SourceError(
            f"{backbone.spec.name} reads {modality}, which cannot be reshaped", hint="choose another source"
        )
    place = next(backbone.parameters()).device
    backbone.eval()
    try:
        with torch.no_grad():
            return backbone({name: part.to(place) for name, part in batch.items()}).float().cpu()
    finally:
        backbone.train(was)


def _difference(before: Tensor, now: Tensor) -> float:
    """Largest difference as a share of the largest feature; a wider network has every feature several times."""
    before = before.repeat_interleave(now.shape[1] // before.shape[1], dim=1)
    return float((now - before).abs().max() / before.abs().max().clamp_min(1e-12))
