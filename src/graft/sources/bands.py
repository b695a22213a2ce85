"""``bands:``: networks for three colours that read pictures of any number of channels.

The channels of a picture are taken three at a time, as if each three were red, green and blue; of a last group that is not
full, the third is the mean of two, or one stands three times (a network for grey reads channel by channel).

``"groups"``, for features of a frozen network: every group passes through it, and what the passes give stands side by side.
Nothing is lost, for as many passes as there are groups, once per picture.  (Their mean would be as narrow as one pass, but
not know which channel was which.)  ``"mixed"``, for training: one pass, over a 1 x 1 convolution from all groups to one,
which starts as their mean.  Before a first convolution W with its own normalisation it is W inflated to all channels,
``W'[o, c] = Σ_k W[o, k] M[k, c]``: the weights start as those that were learned on colours, spread evenly (Carreira &
Zisserman, 2017, Quo vadis, action recognition?), M is trained where all blocks are, and a step costs what it costs with
colours.

A network trained so is saved as ``bands.json`` with the network inside; ``bands:FOLDER`` and ``file:FOLDER`` open it.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from graft.core.errors import DataError, SourceError
from graft.core.registry import SOURCES
from graft.core.types import Dataset, ModelSpec
from graft.sources import folder as folders_
from graft.sources.base import Backbone, Batch, Source, describe_model, open_model

FORMAT = 1  # of bands.json
FILE, INSIDE, WEIGHTS = "bands.json", "pictures", "model.safetensors"
FORMS = ("groups", "mixed")
PICTURES = 32  # passes of one batch


def grouped(image: np.ndarray, size: int = 3) -> list[np.ndarray]:
    """Channels of uint8 (H, W, C) as pictures (H, W, 3): three at a time, or each alone where ``size`` is 1.

    Example:
        >>> [one[0, 0].tolist() for one in grouped(np.array([[[1, 2, 3, 4, 8]]], np.uint8))]
        [[1, 2, 3], [4, 8, 6]]
    """
    groups = []
    for start in range(0, image.shape[2], size):
        part = image[:, :, start : start + size]
        if part.shape[2] == 2:
            part = np.concatenate([part, part.mean(axis=2, keepdims=True).round().astype(np.uint8)], axis=2)
        groups.append(np.ascontiguousarray(part if part.shape[2] == 3 else np.repeat(part, 3, axis=2)))
    return groups


class BandBackbone(Backbone):
    """A network for colours that reads pictures of C channels, see above.

    Args:
        pictures: The network.
        channels: Of the pictures.
        form: ``"groups"`` or ``"mixed"``.

    Raises:
        SourceError: The network does not read pixels.
    """

    def __init__(self, pictures: Backbone, channels: int, form: str = "groups") -> None:
        super().__init__()
        self.pictures, self.channels, self.form = pictures, channels, form
        some = pictures.collate(pictures.preprocess([np.zeros((32, 32, 3), np.uint8)]))
        if "pixel_values" not in some:
            hint = "choose a source that reads pixels"
            raise SourceError(f"{pictures.spec.name} reads no pictures of {channels} channels", hint=hint)
        colours = int(some["pixel_values"].shape[1])
        self.size = 1 if colours == 1 else 3
        self.groups = -(-channels // self.size)
        self.mix = nn.Conv2d(colours * self.groups, colours, 1, bias=False) if form == "mixed" else None
        if self.mix is not None:
            with torch.no_grad():
                start = torch.eye(colours).repeat(1, self.groups) / self.groups
                self.mix.weight.copy_(start[:, :, None, None])
        times = self.groups if form == "groups" else 1
        self.spec = dataclasses.replace(pictures.spec, classes=(), hidden_size=times * pictures.spec.hidden_size)
        self.notes = pictures.notes
        self.batch_tokens = max(1, PICTURES // times)

    def preprocess(self, examples: Any) -> list[np.ndarray]:
        """What the network reads of every group of channels, (G, …) each.

        Raises:
            DataError: A picture has another number of channels.
        """
        parts = []
        for image in examples:
            if image.ndim != 3 or image.shape[2] != self.channels:
                raise DataError(f"a picture of shape {image.shape}, where {self.channels} channels are read")
            parts += grouped(image, self.size)
        read = self.pictures.preprocess(parts)
        return [np.stack(read[start : start + self.groups]) for start in range(0, len(read), self.groups)]

    def length(self, encoded: Any) -> int:
        """One: all pictures cost the same."""
        del encoded
        return 1

    def collate(self, encoded: list[np.ndarray]) -> Batch:
        """``pixel_values`` (B, G · colours, H, W), normalised as those of the network."""
        pixels = self.pictures.collate([group for groups in encoded for group in groups])["pixel_values"]
        return {"pixel_values": pixels.reshape(len(encoded), -1, *pixels.shape[2:])}

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Layers of one pass, or those of every group side by side."""
        pixels = batch["pixel_values"]
        if self.mix is not None:
            mixed = self.mix(pixels)
            mixed = mixed.contiguous(memory_format=torch.channels_last) if mixed.ndim == 4 else mixed
            return self.pictures.forward_features({"pixel_values": mixed})
        rows = pixels.reshape(len(pixels) * self.groups, -1, *pixels.shape[2:])
        rows = rows.contiguous(memory_format=torch.channels_last)
        layers = self.pictures.forward_features({"pixel_values": rows})
        return [self._beside(layer, len(pixels)) for layer in layers]

    def _beside(self, layer: Tensor, rows: int) -> Tensor:
        """(B · G, T, D) as (B, T, G · D), and maps likewise."""
        apart = layer.reshape(rows, self.groups, *layer.shape[1:])
        return torch.cat(list(apart.unbind(1)), dim=2 if layer.ndim == 3 else 1)

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.pictures.pool(hidden, batch)

    def stem(self) -> list[nn.Module]:
        return self.pictures.stem()

    def blocks(self) -> list[nn.Module]:
        """Those of the network, the mixture below them: unlike the stem it is trained where all are."""
        return [*([] if self.mix is None else [self.mix]), *self.pictures.blocks()]

    def set_dropout(self, share: float) -> None:
        self.pictures.set_dropout(share)

    def preprocessing(self) -> dict[str, Any]:
        """The groups, and how each of them is read."""
        own = {"channels": self.channels, "form": self.form, "network": type(self.pictures).__qualname__}
        return {"bands": own, "pictures": self.pictures.preprocessing()}

    def save(self, folder: Path) -> None:
        """Write ``bands.json``, the mixing weights, and the network into ``pictures``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.pictures.save(folder / INSIDE)
        facts = {"format": FORMAT, "channels": self.channels, "form": self.form}
        facts |= {"name": self.spec.name, "objective": self.spec.objective}
        weights = {} if self.mix is None else {"mix.weight": self.mix.weight.detach().cpu().contiguous()}
        (folder / WEIGHTS).write_bytes(save(weights))
        (folder / FILE).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")


def channels_of(backbone: Backbone) -> int:
    """How many channels the pictures have that a network reads."""
    own = getattr(backbone, "channels", None) if isinstance(backbone, BandBackbone) else None
    return int(own or getattr(getattr(backbone, "reader", None), "bands", 3))


def of_channels(backbone: Backbone, data: Dataset, *, form: str = "groups") -> Backbone:
    """The network as it reads the pictures of a data set: itself where it reads as many channels as they have.

    Args:
        backbone: The network.
        data: The rows.
        form: ``"groups"`` for frozen features, ``"mixed"`` for training.

    Raises:
        SourceError: It was made for pictures of another number of channels, which are not three.
    """
    if data.task.modality != "image" or backbone.spec.modality != "image":
        return backbone
    own, wanted = channels_of(backbone), int(getattr(data.X, "channels", 3))
    if own == wanted:
        return backbone
    if own != 3:
        what = f"{backbone.spec.name} reads pictures of {own} channels, these have {wanted}"
        raise SourceError(what, hint="choose a source that was trained on colours, or on as many channels")
    return BandBackbone(backbone, wanted, form)


class BandSource(Source):
    """Networks that were trained on pictures of several channels."""

    modalities = ("image",)

    def recognises(self, folder: Path) -> bool:
        """Whether the folder holds what ``BandBackbone.save`` wrote."""
        return (folder / FILE).is_file()

    def describe(self, location: str) -> ModelSpec:
        """Facts about one network."""
        folder, facts = _read(location)
        spec, times = describe_model(str(folder / INSIDE)), 1
        if facts["form"] == "groups":
            times = -(-int(facts["channels"]) // 3)
        names = {name: str(facts.get(name, "")) for name in ("name", "objective")}
        width = times * spec.hidden_size
        return dataclasses.replace(spec, uri=f"bands:{location}", classes=(), hidden_size=width, **names)

    def open(self, location: str) -> Backbone:
        """Open one network."""
        folder, facts = _read(location)
        spec, pictures = self.describe(location), open_model(str(folder / INSIDE))
        backbone = BandBackbone(pictures, int(facts["channels"]), str(facts["form"]))
        if backbone.mix is not None:
            try:
                weight = load_file(folder / WEIGHTS)["mix.weight"]
                backbone.mix.load_state_dict({"weight": weight})
            except (OSError, KeyError, RuntimeError, SafetensorError) as error:
                line = str(error).splitlines()[-1].strip()
                raise SourceError(f"{folder}/{WEIGHTS} is damaged: {line}", hint="make it again") from error
        width = backbone.spec.hidden_size
        digest = pictures.spec.weights_sha256
        backbone.spec = dataclasses.replace(spec, hidden_size=width, weights_sha256=digest)
        return backbone


def _read(location: str) -> tuple[Path, dict[str, Any]]:
    folder = Path(location).expanduser()
    if not (folder / FILE).is_file():
        hint = "networks for colours read other pictures by themselves: name them as they are, such as hf:NAME"
        raise SourceError(f"{location} is no network of several channels", hint=hint)
    facts = folders_.read_json(folder / FILE)
    count, form = facts.get("channels"), facts.get("form")
    if facts.get("format") != FORMAT or form not in FORMS or not isinstance(count, int) or count < 1:
        raise SourceError(f"{folder}/{FILE} was written by another graft, or is damaged", hint="make it again")
    return folder, facts


SOURCES.register("bands")(BandSource())
