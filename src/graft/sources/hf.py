"""``hf:``: models of transformers in a local folder, in the Hugging Face cache, or on the hub."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import Any

import torch

from graft.core.errors import SourceError
from graft.core.registry import SOURCES
from graft.core.types import ModelSpec
from graft.sources import folder as folders_
from graft.sources.audio import open_audio
from graft.sources.base import Backbone, Source
from graft.sources.hub import cached_models, find_folder
from graft.sources.image import ImageBackbone, open_reader
from graft.sources.letters import SequenceBackbone, alphabet_of_vocabulary, open_letters, read_vocabulary
from graft.sources.loading import open_network, open_tokenizer, own_classes, quiet, read_config, reads_sounds
from graft.sources.text import TextBackbone, longest_input, pad_number

_OBJECTIVES = {
    "ForMaskedLM": "masked language modelling",
    "ForPreTraining": "masked language modelling",
    "ForCausalLM": "next-token prediction",
    "LMHeadModel": "next-token prediction",
    "ForSequenceClassification": "text classification",
    "ForImageClassification": "image classification",
}
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "embed_dim")


def modality_of(raw: dict[str, Any]) -> str:
    """Kind of input, read off a configuration: ``text``, ``image``, ``audio`` or empty."""
    if {"text_config", "vision_config"} & set(raw):
        return ""
    if reads_sounds(raw):
        return "audio"
    pictures = {"num_channels", "image_size", "patch_size", "patch_sizes"} & set(raw)
    if pictures or any(str(name).endswith("ForImageClassification") for name in raw.get("architectures") or ()):
        return "image"
    return "text" if "vocab_size" in raw else ""


def objective_of(raw: dict[str, Any], front: dict[str, Any]) -> str:
    """What the model was trained on, in words, from its architecture and model card."""
    architecture = str((raw.get("architectures") or [""])[0])
    words = next((text for ending, text in _OBJECTIVES.items() if architecture.endswith(ending)), "")
    tags = {str(front.get("pipeline_tag", "")), *folders_.as_names(front.get("tags"))}
    if "sentence-similarity" in tags:
        words = "sentence similarity"
    data = folders_.as_names(front.get("datasets"))
    if data:
        more = f" and {len(data) - 2} more sets" if len(data) > 2 else ""
        words = f"{words or 'training'} on {', '.join(data[:2])}{more}"
    return words


def describe_folder(folder: Path, uri: str, name: str) -> ModelSpec:
    """Facts about a transformers folder from its configuration, weight headers and model card.

    Raises:
        SourceError: The folder is not a model that graft can open.
    """
    config = read_config(folder)
    raw = config.to_dict()
    files = folders_.weight_files(folder)
    parameters, inside = folders_.count_parameters(files)
    front = folders_.card(folder)
    modality = modality_of(
        folders_.read_json(folder / "config.json") | {k: raw[k] for k in ("vocab_size",) if k in raw}
    )
    if modality == "text" and alphabet_of_vocabulary(read_vocabulary(folder)):
        modality = "sequence"
    if not modality:
        hint = "graft opens text, image and audio models"
        raise SourceError(f"{name} reads neither text nor pictures nor sounds", hint=hint)
    width, flops = _text_size(config, inside) if modality != "image" else _image_size(config.to_json_string())
    flops = 0 if modality == "audio" else flops  # which counts rows: they differ in length
    return ModelSpec(
        uri=uri,
        name=name,
        modality=modality,
        architecture=str(config.model_type),
        objective=objective_of(raw, front),
        hidden_size=width,
        parameters=parameters,
        bytes=sum(path.stat().st_size for path in files),
        flops=flops,
        licence=str(front.get("license") or ""),
        languages=folders_.as_names(front.get("language")) if modality == "text" else (),
        classes=own_classes(config),
        path=str(folder),
    )


def _text_size(config: Any, inside: int) -> tuple[int, int]:
    width = next((int(value) for value in (getattr(config, n, None) for n in _WIDTHS) if isinstance(value, int)), 0)
    return width, 2 * inside


@functools.lru_cache(maxsize=64)
def _image_size(text: str) -> tuple[int, int]:
    """Width of the last layer and operations per picture, from a pass without weights (torch's meta device)."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModel

    raw = json.loads(text)
    try:
        config = AutoConfig.for_model(**raw)
        side = getattr(config, "image_size", None) or 224
        high, wide = (side, side) if isinstance(side, int) else side
        with quiet(), torch.device("meta"), torch.no_grad():
            model = AutoModel.from_config(config).eval()
            with FlopCounterMode(display=False) as counter:
                output = model(torch.zeros(1, getattr(config, "num_channels", 3), high, wide), return_dict=True)
        last = output.last_hidden_state
        return int(last.shape[1] if last.ndim == 4 else last.shape[-1]), int(counter.get_total_flops())
    except Exception:  # noqa: BLE001  (a table's column, found again when the model is opened)
        return 0, 0


def open_folder(folder: Path, spec: ModelSpec, **options: Any) -> Backbone:
    """Open a transformers folder as a backbone; ``options`` go to ``TextBackbone``."""
    config = read_config(folder)
    if modality_of(folders_.read_json(folder / "config.json")) == "audio":
        digest = folders_.weights_digest(folders_.weight_files(folder))
        return open_audio(folder, config, dataclasses.replace(spec, weights_sha256=digest))
    model, has_head = open_network(folder, config)
    network = model.base_model if has_head else model
    head = model if has_head else None
    spec = dataclasses.replace(
        spec,
        weights_sha256=folders_.weights_digest(folders_.weight_files(folder)),
        classes=spec.classes if has_head else (),
    )
    kind = getattr(network, "main_input_name", "")
    if kind == "pixel_values":
        return ImageBackbone(network, open_reader(folder), spec, head=head)
    if kind != "input_ids":
        raise SourceError(
            f"{spec.name} reads {kind or 'unknown inputs'}", hint="graft opens text, image and audio models"
        )
    alphabet = alphabet_of_vocabulary(read_vocabulary(folder))
    tokenizer = open_letters(folder) if alphabet else open_tokenizer(folder)
    check_vocabulary(folder, tokenizer, network)
    options.setdefault("longest", longest_input(tokenizer, network))
    options.setdefault("pooling", ("cls",) if getattr(config, "classifier_pooling", "") == "cls" else ("mean",))
    if has_head and model.config.pad_token_id is None:
        model.config.pad_token_id = pad_number(tokenizer, model.config)  # decoders find the last real token by it
    if alphabet:
        return SequenceBackbone(network, tokenizer, spec, head=head, alphabet=alphabet, **options)
    return TextBackbone(network, tokenizer, spec, head=head, **options)


def check_vocabulary(folder: Path, tokenizer: Any, network: torch.nn.Module) -> None:
    """Refuse a tokenizer that gives numbers beyond the embedding table.

    Raises:
        SourceError: It does.
    """
    table = network.get_input_embeddings()
    rows = getattr(table, "num_embeddings", None)
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if rows is not None and highest >= rows:
        what = f"the tokenizer of {folder} has {highest + 1} pieces, its weights only {rows}"
        raise SourceError(what, hint="tokenizer and weights belong to different models")


class HuggingFace(Source):
    """Models that transformers can open."""

    modalities = ("text", "image", "audio", "sequence")

    def recognises(self, folder: Path) -> bool:
        """Whether the folder holds a config.json with a model type, and is no sentence-transformers folder."""
        if (folder / "modules.json").is_file() or not (folder / "config.json").is_file():
            return False
        try:
            return "model_type" in folders_.read_json(folder / "config.json")
        except SourceError:
            return False

    def list(self, folders: tuple[str, ...]) -> list[ModelSpec]:
        """Models in the folders, ``GRAFT_MODELS`` and the Hugging Face cache."""
        places = (*folders, *filter(None, os.environ.get("GRAFT_MODELS", "").split(os.pathsep)))
        found = [(path, f"hf:{path}", path.name) for path in folders_.local_folders(places)]
        found += [(path, f"hf:{name}", name) for name, path in cached_models()]
        return [describe_or_name(path, uri, name) for path, uri, name in found if self.recognises(path)]

    def describe(self, location: str) -> ModelSpec:
        """Facts about one model, fetched first if it is only on the hub."""
        folder = find_folder(location)
        return describe_folder(folder, f"hf:{location}", _short(location, folder))

    def open(self, location: str) -> Backbone:
        """Open one model."""
        folder = find_folder(location)
        return open_folder(folder, describe_folder(folder, f"hf:{location}", _short(location, folder)))


def _short(location: str, folder: Path) -> str:
    return folder.name if Path(location).expanduser().is_dir() else location


def describe_or_name(path: Path, uri: str, name: str) -> ModelSpec:
    """Facts about a model, or only its name where they cannot be read: opening it says why."""
    try:
        return describe_folder(path, uri, name)
    except SourceError:
        try:
            modality = modality_of(folders_.read_json(path / "config.json"))
        except SourceError:
            modality = ""
        return ModelSpec(uri=uri, name=name, modality=modality, path=str(path))


SOURCES.register("hf")(HuggingFace())
