"""Reshaping of graft's own encoders: their settings are the arguments that they are made with."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

from graft.core.errors import UsageError
from graft.nn.encoders import ENCODERS, make_encoder
from graft.nn.recurrent import Recurrent
from graft.reshape.networks import BLOCKS, Family, Plan, Rows
from graft.reshape.plan import Changes
from graft.reshape.vocabulary import origins, relearned
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone
from graft.sources.readers import ImageReader, PixelReader, TextReader
from graft.sources.students import DEEP

WIDTHS = {  # the argument of graft's own encoders that widening alters
    "cnn": "width", "gru": "width", "linear": "width", "lstm": "width", "mean": "width", "mlp": "width",
    "patches": "inner", "resnet": "widths", "resnet-cifar": "widths", "textcnn": "filters", "transformer": "inner",
    "vgg": "widths",
}  # fmt: skip
PICTURES = ("patches", "resnet", "resnet-cifar", "vgg")  # encoders that read pictures of any size and colour


class Native(Family):
    """graft's own encoders; their settings are the arguments."""

    prefix = "body."

    def __init__(self, backbone: NativeBackbone) -> None:
        super().__init__(backbone)
        self.path = "body.layers" if backbone.encoder in DEEP else ""
        cls = {"gru": Recurrent, "lstm": Recurrent}.get(backbone.encoder, ENCODERS[backbone.encoder])
        known = inspect.signature(cls).parameters
        defaults = {key: known[key].default for key in known if known[key].default is not inspect.Parameter.empty}
        self.settings: dict[str, Any] = dict(backbone.arguments)
        self.known = defaults | self.settings  # what is not named has its default
        self.reader = backbone.reader

    def able(self) -> list[str]:
        reader, encoder = self.backbone.reader, self.backbone.encoder
        can = [*BLOCKS] * bool(self.path) + ["widen"] * (encoder in WIDTHS)
        if isinstance(reader, ImageReader) and not isinstance(reader, PixelReader) and encoder in PICTURES:
            can += ["channels", "size"]
        if isinstance(reader, TextReader):
            can += ["length"] + ["vocabulary"] * ("vocabulary" in self.known)
        return can

    def _now(self) -> tuple[int | None, int | None]:
        return self.known.get("channels"), getattr(self.backbone.reader, "size", None)

    def vocabulary(self, changes: Changes) -> Rows:
        self.reader = relearned(self.backbone.reader, changes.vocabulary, changes.tokens)
        return origins(self.backbone.reader.tokenizer, self.reader.tokenizer)

    def changed(self, changes: Changes, plan: Plan | None) -> dict[str, Any]:
        made, reader = dict(self.settings), self.reader
        if plan is not None:
            made["depth"] = len(plan)
        if changes.widen > 1:
            made |= self._wide(changes.widen)
        if isinstance(reader, TextReader):
            if changes.vocabulary is not None:
                made["vocabulary"] = reader.vocabulary
            if changes.length is not None:
                self.reader = TextReader(reader.tokenizer.to_str(), changes.length)
        if (changes.channels or changes.size) and isinstance(reader, ImageReader):
            size = changes.size or reader.size
            self._check_side(size)
            grey = reader.grey if changes.channels is None else changes.channels == 1
            self.reader = ImageReader(size, grey=grey, bands=reader.bands)
            made |= {"channels": changes.channels} if changes.channels else {}
            made |= {"size": size} if self.backbone.encoder == "patches" else {}
        return made

    def _check_side(self, size: int) -> None:
        widths = self.known.get("widths", ())
        step = {"patches": self.known.get("patch", 1), "vgg": 2 ** len(widths)}.get(self.backbone.encoder, 1)
        if size % step or size < 8:
            hint = f"{self.backbone.spec.name} takes multiples of {step}" if step > 1 else "use 8 or more"
            raise UsageError(f"pictures of {size} pixels do not fit", hint=hint)

    def _wide(self, factor: float) -> dict[str, Any]:
        key = WIDTHS[self.backbone.encoder]
        if key == "inner":
            return {"inner": round((self.known["inner"] or 4 * self.known["width"]) * factor)}
        if factor != int(factor):
            raise UsageError(f"{self.backbone.spec.name} cannot be widened by {factor:g}", hint="use a whole number")
        value, whole = self.known[key], int(factor)
        made = {key: [whole * one for one in value] if isinstance(value, list | tuple) else whole * value}
        if key == "width" and self.known.get("embedded"):
            made["embedded"] = whole * self.known["embedded"]
        return made

    def build(self, settings: dict[str, Any], changes: Changes) -> Backbone:
        del changes
        return NativeBackbone(self.backbone.encoder, settings, self.reader, self.backbone.spec).eval()

    def _module(self, settings: dict[str, Any]) -> nn.Module:
        return make_encoder(self.backbone.encoder, **settings)

    def _varied(self, what: str) -> dict[str, Any] | None:
        made = dict(self.settings)
        if what == "width":
            return made | self._wide(2)
        key = {"tokens": "vocabulary", "channels": "channels"}.get(what)
        return made | {key: self.known[key] + 1} if key in self.known else None

    def columns(self, tensor: torch.Tensor) -> int:
        return int(self.known["patch"]) ** 2 if tensor.ndim == 2 else 1
