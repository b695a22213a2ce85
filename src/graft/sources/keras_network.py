"""A Keras network as a backbone: its weights are torch parameters, its layers the states at the ends of its blocks."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from graft.core.errors import SourceError
from graft.core.runtime import require
from graft.core.types import ModelSpec
from graft.sources.base import Batch
from graft.sources.keras_graph import Step, block_ends, find_head, infer, run, trace, undisturbed
from graft.sources.pictures import PictureBackbone, PictureReader

TINY = 1e-30  # smallest probability in a logarithm


class Weights(nn.Module):
    """The weights of one Keras layer: trainable ones as parameters, statistics as buffers.

    The layer computes with the very same tensors, wherever they are moved.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = (layer,)  # in a tuple, so that torch does not take it for a part
        self._variables = {f"{i}_{v.name}".replace(".", "_"): v for i, v in enumerate(layer.weights)}
        for name, variable in self._variables.items():
            value = variable.value.detach().clone()
            if variable.trainable:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.link()

    def link(self, instead: dict[str, Tensor] | None = None) -> None:
        """Hand the tensors to the layer, or others in the place of some."""
        for name, variable in self._variables.items():
            variable._value = (instead or {}).get(name, getattr(self, name))  # noqa: SLF001  (assign() would copy)
        if hasattr(self.layer[0], "finalize_state"):
            self.layer[0].finalize_state()  # Normalization keeps constants that it makes from its weights

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Weights:
        super()._apply(fn, recurse)
        self.link()
        return self


class KerasBackbone(PictureBackbone):
    """A Keras network that reads pictures.

    A layer is the output at the end of a block, as (B, C, H, W), pooled by mean; the last one is what the network's own
    classifier reads.  The stem is the first convolution with its normalisation.  BatchNorm statistics are never updated,
    and augmentation and noise layers stay as in inference; dropout acts in training.

    Args:
        network: The Keras model.
        reader: How pictures become pixels.
        spec: What is known of the model.

    Raises:
        SourceError: The network does not take one picture, or has nothing to train.
    """

    def __init__(self, network: Any, reader: PictureReader, spec: ModelSpec) -> None:
        super().__init__()
        keras = require("keras", extra="keras")
        network.trainable = True
        self._network = (network,)
        self.reader = reader
        self.configuration = json.loads(json.dumps(keras.saving.serialize_keras_object(network)))
        noise = np.random.default_rng(0).integers(0, 256, (1, reader.height, reader.width, reader.channels))
        picture = reader.collate(list(noise.astype(np.uint8)))["pixel_values"].permute(0, 2, 3, 1)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            steps = trace(network, picture)
        head, self._end = find_head(steps)
        top = len(steps) - 1 if head is None else max(0, *steps[head].reads)
        self._ends = block_ends(steps, top)
        self._width = 0 if head is None else max(2, int(steps[-1].output.shape[1]))
        self._dropouts = {id(s.layer): f"{n}" for n, s in enumerate(steps) if s.kind == "Dropout"}
        rates = {self._dropouts[id(s.layer)]: s.layer.rate for s in steps if id(s.layer) in self._dropouts}
        self.dropouts = nn.ModuleDict({name: nn.Dropout(rate) for name, rate in rates.items()})
        self._divide(steps, head)
        counts = sum(parameter.numel() for parameter in self.parameters())
        if not counts:
            raise SourceError(f"{spec.name} has no weights", hint="name a trained network")
        self.spec = dataclasses.replace(
            spec,
            hidden_size=int(steps[self._ends[-1]].pooled.shape[1]),
            parameters=counts,
            flops=int(counter.get_total_flops()),
        )

    def _divide(self, steps: list[Step], head: int | None) -> None:
        """Give every layer with weights to the stem, a block or the head."""
        leaves: dict[int, tuple[int, Weights]] = {}
        for number, step in enumerate(steps):
            if getattr(step.layer, "weights", ()) and id(step.layer) not in leaves:
                leaves[id(step.layer)] = (number, Weights(step.layer))
        self.leaves = nn.ModuleList(leaf for _, leaf in leaves.values())
        body = [(number, leaf) for number, leaf in leaves.values() if number != head]
        count = _stem_size([leaf for _, leaf in body])
        self._stem = tuple(leaf for _, leaf in body[:count])
        blocks: dict[int, list[Weights]] = {}
        for number, leaf in body[count:]:
            end = next((end for end in self._ends if number <= end), self._ends[-1])
            blocks.setdefault(end, []).append(leaf)
        trained = [part for _, part in sorted(blocks.items()) if any(True for leaf in part for _ in leaf.parameters())]
        self._blocks = tuple(tuple(part) for part in trained)

    @property
    def outputs(self) -> int:
        """Number of classes that its own classifier tells apart."""
        return self._width

    def forward_all(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """Layers and logits in one pass."""
        keras = require("keras", extra="keras")
        kept: dict[int, Tensor] = {}
        numbers = itertools.count()

        def call(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            dropout = self._dropouts.get(id(layer))
            output = self.dropouts[dropout](args[0]) if dropout else infer(layer, args, kwargs)
            number = next(numbers)
            if number in self._ends:
                kept[number] = keras.tree.flatten(output)[0]
            return output

        pixels = batch["pixel_values"]
        with keras.device(str(pixels.device)):
            final = run(self._network[0], pixels.permute(0, 2, 3, 1), call)
        layers = [kept[number] for number in self._ends]
        layers = [layer.permute(0, 3, 1, 2) if layer.ndim == 4 else layer for layer in layers]
        return layers, self._logits(final) if self.spec.classes else None

    def _logits(self, final: Tensor) -> Tensor:
        final = final.float()
        if self._end == "linear":
            return final
        if self._end == "sigmoid":
            final = torch.cat([1 - final, final], dim=1)
        return final.clamp_min(TINY).log()

    def stem(self) -> list[nn.Module]:
        return list(self._stem)

    def blocks(self) -> list[nn.Module]:
        return [nn.ModuleList(part) for part in self._blocks]

    def preprocessing(self) -> dict[str, Any]:
        """How pictures become pixels, and the network's configuration."""
        digest = hashlib.sha256(json.dumps(self.configuration["config"], sort_keys=True).encode()).hexdigest()
        return {"reader": dataclasses.asdict(self.reader), "network": digest}

    def __deepcopy__(self, memo: dict[int, Any]) -> KerasBackbone:
        """Build the network again and copy its weights: Keras's own objects cannot be copied."""
        twin = restore(self.configuration, self.reader, self.spec, self.state_dict())
        memo[id(self)] = twin
        for mine, other in zip(self.parameters(), twin.parameters(), strict=True):
            other.requires_grad_(mine.requires_grad)
        for name, dropout in self.dropouts.items():
            twin.dropouts[name].p = dropout.p
        return twin.to(next(self.parameters()).device).train(self.training)

    def save(self, folder: Path) -> None:
        """Write ``keras.json`` (the network's configuration, how it reads, its classes) and ``model.safetensors``."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "format": 1,
            "config": self.configuration,
            "reader": dataclasses.asdict(self.reader),
            "spec": {**dataclasses.asdict(self.spec), "path": "", "weights_sha256": ""},
        }
        (folder / "keras.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
        tensors = {name: value.contiguous() for name, value in self.state_dict().items()}
        (folder / "model.safetensors").write_bytes(save(tensors))


def _stem_size(leaves: list[Weights]) -> int:
    """How many of the lowest layers with weights are the stem: statistics of the input, a convolution, its norm."""
    kinds = [type(leaf.layer[0]).__name__ for leaf in leaves]
    size = next((n for n, leaf in enumerate(leaves) if any(True for _ in leaf.parameters())), 0)
    if size < len(kinds) and "Conv" in kinds[size]:
        size += 2 if kinds[size + 1 : size + 2] and kinds[size + 1].endswith("Normalization") else 1
    above = any(True for leaf in leaves[size:] for _ in leaf.parameters())
    return size if above else 0


def restore(
    configuration: dict[str, Any], reader: PictureReader, spec: ModelSpec, tensors: dict[str, Tensor]
) -> KerasBackbone:
    """Build a network from its configuration and give it weights; names and shapes must fit."""
    keras = require("keras", extra="keras")
    with undisturbed(), torch.random.fork_rng(devices=[]), keras.device("cpu"):
        network = keras.saving.deserialize_keras_object(copy.deepcopy(configuration))  # Keras takes it apart
        backbone = KerasBackbone(network, reader, spec)
    backbone.load_state_dict(tensors)
    for leaf in backbone.leaves:
        leaf.link()
    return backbone.eval()
