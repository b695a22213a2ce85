"""A model of timm as a backbone: its stages are the layers, its lists of blocks the blocks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from graft.core.types import ModelSpec
from graft.sources.base import Batch
from graft.sources.pictures import PictureBackbone, PictureReader
from graft.sources.text import copy_card


class TimmBackbone(PictureBackbone):
    """A model of timm.

    The layers are timm's own intermediates (stages, or blocks of a transformer), pooled by mean, then what its head
    reads; BatchNorm statistics are never updated.

    Args:
        model: The model.
        config: Its ``config.json``.
        reader: How pictures become pixels.
        spec: What is known of it.
    """

    def __init__(self, model: nn.Module, config: dict[str, Any], reader: PictureReader, spec: ModelSpec) -> None:
        super().__init__()
        self.model: Any = model.eval()
        self.config, self.reader, self.spec = config, reader, spec
        self._stem, self._blocks = divide(model)
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randn(1, reader.channels, reader.height, reader.width, generator=generator)
        self._plain = False
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            maps = self._pass(pixels)[0]
        below, top = maps[-2:] if len(maps) > 1 else (maps[0], maps[-1])
        self._plain = len(maps) > 1 and below.ndim == 4 and self._same(below.mean((2, 3)), top)
        self.spec = dataclasses.replace(
            spec,
            hidden_size=int(top.shape[1]),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            flops=int(counter.get_total_flops()),
        )

    @staticmethod
    def _same(one: Tensor, other: Tensor) -> bool:
        return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5)

    @property
    def outputs(self) -> int:
        """Number of outputs of its own head."""
        return int(self.model.num_classes)

    def _pass(self, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
        """Layers, and the final maps or tokens that the head reads."""
        maps: list[Tensor] = []
        if hasattr(self.model, "forward_intermediates"):
            final, maps = self.model.forward_intermediates(pixels, output_fmt="NCHW")
        else:
            final = self.model.forward_features(pixels)
        if self._plain:  # the head reads the mean of the last maps
            return list(maps), final
        return [*maps, self.model.forward_head(final, pre_logits=True).flatten(1)], final

    def forward_all(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """Layers and logits in one pass."""
        layers, final = self._pass(batch["pixel_values"])
        return layers, self.model.forward_head(final) if self.spec.classes else None

    def stem(self) -> list[nn.Module]:
        return [self.model.get_submodule(name) for name in self._stem] + self._loose()

    def _loose(self) -> list[nn.Module]:
        """Class tokens and positions, which are in no module."""
        own = list(self.model.parameters(recurse=False))
        return [nn.ParameterList(own)] if own else []

    def blocks(self) -> list[nn.Module]:
        return [self.model.get_submodule(name) for name in self._blocks]

    def preprocessing(self) -> dict[str, Any]:
        facts = {key: self.config.get(key) for key in ("architecture", "model_args")}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return {"reader": dataclasses.asdict(self.reader), "network": digest}

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` as timm does."""
        folder.mkdir(parents=True, exist_ok=True)
        config = self.config | {"num_classes": self.outputs, "graft": {"objective": self.spec.objective}}
        if self.spec.classes:
            config["label_names"] = list(self.spec.classes)
        (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1), encoding="utf-8")
        tensors = {name: value.detach().clone().contiguous() for name, value in self.model.state_dict().items()}
        (folder / "model.safetensors").write_bytes(save(tensors))
        copy_card(self.spec, folder)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def divide(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the modules of the stem and of the blocks, bottom to top; the classifier is in neither.

    The blocks are the parts of the one list that holds most of the weights (transformers, ConvNeXt, EfficientNet), else
    the lists themselves (the four stages of a ResNet), else all children.  A list of single layers is a stem.
    """
    classifier = model.get_classifier() if hasattr(model, "get_classifier") else ()  # type: ignore[operator]
    parts = classifier if isinstance(classifier, tuple) else (classifier,)
    tops = {id(part) for part in parts}
    children = [(name, child) for name, child in model.named_children() if _size(child) and id(child) not in tops]
    lists = [(name, child) for name, child in children if isinstance(child, nn.Sequential | nn.ModuleList)]
    lists = [(name, child) for name, child in lists if any(_size(part) and list(part.children()) for part in child)]
    names = [name for name, _ in children]
    if not lists:
        return [], names
    largest, body = max(lists, key=lambda item: _size(item[1]))
    inner = [f"{largest}.{name}" for name, part in body.named_children() if _size(part)]
    if _size(body) > sum(_size(child) for _, child in children) / 2 and len(lists) < 3 and len(inner) > 1:
        return names[: names.index(largest)], inner
    first = names.index(lists[0][0])
    return names[:first], [name for name in names[first:] if name in dict(lists)]
