"""Plain checkpoints: a ``config.json`` that names a network graft knows, and its state dict in ``model.safetensors``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from graft.core.errors import GraftError, SourceError
from graft.core.types import ModelSpec
from graft.nn.encoders import make_encoder
from graft.sources import folder as folders_
from graft.sources.base import Batch
from graft.sources.pictures import PictureBackbone, PictureReader
from graft.sources.text import copy_card

_WRAPPER = "module."  # what torch's DataParallel puts before every name


def _cifar(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "channels": int(config.get("input_size", (3, 32, 32))[0]),
        "depth": int(config["depth"]),
        "widths": tuple(map(int, config.get("widths", (16, 32, 64)))),
        "classes": int(config.get("num_classes", 0)),
        "eps": float(config.get("batchnorm_eps", 1e-5)),
    }


ARCHITECTURES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"resnet-cifar": _cifar}


def architecture_of(folder: Path) -> str:
    """The architecture that a folder's ``config.json`` names, if it is one of ``ARCHITECTURES``; else empty."""
    if not (folder / "config.json").is_file():
        return ""
    try:
        name = folders_.read_json(folder / "config.json").get("architecture")
    except SourceError:
        return ""
    return name if isinstance(name, str) and name in ARCHITECTURES else ""


class PlainBackbone(PictureBackbone):
    """A network of ``ARCHITECTURES`` that reads pictures, with its own head where it has one.

    The layers are its stages, pooled by mean; BatchNorm statistics are never updated, as with every source of pictures.

    Args:
        config: What ``config.json`` holds.
        reader: How pictures become pixels.
        spec: What is known of the model.
    """

    def __init__(self, config: dict[str, Any], reader: PictureReader, spec: ModelSpec) -> None:
        super().__init__()
        self.config, self.reader, self.spec = config, reader, spec
        self.body = make_encoder(config["architecture"], **ARCHITECTURES[config["architecture"]](config))

    @property
    def outputs(self) -> int:
        """Number of outputs of its own head."""
        return 0 if self.body.linear is None else int(self.body.linear.out_features)

    def forward_all(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """Layers and logits in one pass."""
        layers = self.body.forward_features(batch)
        return layers, self.body.logits(layers[-1]) if self.spec.classes else None

    def stem(self) -> list[nn.Module]:
        return self.body.blocks()[:1]

    def blocks(self) -> list[nn.Module]:
        return self.body.blocks()[1:]

    def preprocessing(self) -> dict[str, Any]:
        arguments = ARCHITECTURES[self.config["architecture"]](self.config)
        return {"reader": dataclasses.asdict(self.reader), "architecture": self.config["architecture"]} | arguments

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, as they were read."""
        folder.mkdir(parents=True, exist_ok=True)
        config = self.config | {"classes": list(self.spec.classes), "objective": self.spec.objective}
        (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1), encoding="utf-8")
        tensors = {name: value.contiguous() for name, value in self.body.state_dict().items()}
        (folder / "model.safetensors").write_bytes(save(tensors))
        copy_card(self.spec, folder)


def _make(folder: Path, config: dict[str, Any], spec: ModelSpec) -> PlainBackbone:
    """The network that a configuration describes, with fresh weights."""
    try:
        channels, height, width = (int(side) for side in config.get("input_size", (3, 32, 32)))
        if channels not in (1, 3) or min(height, width) < 1:
            raise ValueError(f"pictures of the shape {config['input_size']}")  # noqa: TRY301  (one line for all)
        mean, std = (tuple(map(float, config.get(name, (fill,)))) for name, fill in (("mean", 0.0), ("std", 1.0)))
        if {len(mean), len(std)} - {1, channels} or min(std) <= 0:
            raise ValueError(f"mean {mean} and std {std} for {channels} channels")  # noqa: TRY301
        return PlainBackbone(config, PictureReader(height, width, channels, 1 / 255, mean, std), spec)
    except (KeyError, TypeError, ValueError, GraftError) as error:
        line = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise SourceError(f"{folder}/config.json describes no network: {line}", hint="mend it") from error


def describe_plain(folder: Path, uri: str) -> ModelSpec:
    """Facts about a plain checkpoint, without its weights.

    Raises:
        SourceError: The configuration describes no network, or there are no weights.
    """
    config = folders_.read_json(folder / "config.json")
    files = folders_.weight_files(folder)
    spec = ModelSpec(uri, folder.name, "image", path=str(folder), objective=str(config.get("objective") or ""))
    with torch.device("meta"), torch.no_grad():
        backbone = _make(folder, config, spec)
        reader = backbone.reader
        with FlopCounterMode(display=False) as counter:
            backbone.body.eval().forward_features(
                {"pixel_values": torch.zeros(1, reader.channels, reader.height, reader.width)}
            )
    names = config.get("classes") or ()
    classes = tuple(map(str, names)) if isinstance(names, list | tuple) else ()
    if classes and len(classes) != backbone.outputs:
        what = f"{folder}/config.json names {len(classes)} classes, its network has {backbone.outputs} outputs"
        raise SourceError(what, hint="correct classes or num_classes")
    return dataclasses.replace(
        spec,
        architecture=f"{config['architecture']}-{config['depth']}",
        hidden_size=backbone.body.hidden_size,
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        bytes=sum(path.stat().st_size for path in files),
        flops=int(counter.get_total_flops()),
        licence=str(folders_.card(folder).get("license") or ""),
        classes=classes,
    )


def open_plain(folder: Path, spec: ModelSpec) -> PlainBackbone:
    """Open a plain checkpoint that ``describe_plain`` described.

    Raises:
        SourceError: The weights are damaged, or those of another network.
    """
    backbone = _make(folder, folders_.read_json(folder / "config.json"), spec)
    load_weights(backbone.body, read_weights(folders_.weight_files(folder)), folder, spec.architecture)
    return backbone.eval()


def read_weights(files: list[Path]) -> dict[str, Tensor]:
    """The tensors of safetensors files, without the prefix that torch's DataParallel puts before every name.

    Raises:
        SourceError: A file is damaged.
    """
    tensors: dict[str, Tensor] = {}
    for path in files:
        folders_.header(path)
        try:
            tensors |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise SourceError(f"{path} is damaged: {error}", hint="fetch the model again") from error
    if tensors and all(name.startswith(_WRAPPER) for name in tensors):
        tensors = {name.removeprefix(_WRAPPER): tensor for name, tensor in tensors.items()}
    return tensors


def load_weights(network: nn.Module, tensors: dict[str, Tensor], where: Path, called: str) -> None:
    """Give a network all of its weights, in its own precision.

    Raises:
        SourceError: Names or shapes are those of another network; the first few are named.
    """
    wanted = network.state_dict()
    counters = {name: value for name, value in wanted.items() if name.endswith("num_batches_tracked")}
    missing = [name for name in wanted if name not in tensors and name not in counters]  # old checkpoints count nothing
    extra = [name for name in tensors if name not in wanted]
    hint = "weights and configuration belong to different models"
    if missing or extra:
        parts = [f"lack {_few(missing)}"] if missing else []
        parts += [f"hold {_few(extra)} too many"] if extra else []
        raise SourceError(f"the weights of {where} are not those of {called}: they {' and '.join(parts)}", hint=hint)
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            found, asked = tuple(tensor.shape), tuple(wanted[name].shape)
            raise SourceError(f"tensor {name} of {where} has shape {found}, {called} asks for {asked}", hint=hint)
    network.load_state_dict(counters | {name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()})


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
