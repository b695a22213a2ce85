"""``timm:``: image models of timm in a local folder, in the Hugging Face cache, or on the hub.

``timm:FOLDER`` opens a folder with timm's ``config.json`` and ``model.safetensors``, ``timm:NAME@FILE.safetensors`` a
named architecture with a local file of weights, ``timm:NAME`` the model of that name under ``timm/`` on the hub.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graft.core.errors import GraftError, SourceError, UnsafeSourceError
from graft.core.registry import SOURCES
from graft.core.runtime import require
from graft.core.types import ModelSpec
from graft.sources import folder as folders_
from graft.sources.base import Backbone, Source
from graft.sources.hub import cached_models, find_folder
from graft.sources.loading import first_line
from graft.sources.pictures import IMAGENET, PictureReader
from graft.sources.plain import architecture_of, load_weights, read_weights
from graft.sources.timm_network import TimmBackbone

_FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # PIL's numbers
_NOT_ARGUMENTS = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}


def import_timm() -> Any:
    """Timm, without its warnings.

    Raises:
        MissingExtraError: It is not installed.
        SourceError: It does not load.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return require("timm", extra="timm")
    except GraftError:
        raise
    except Exception as error:  # a torchvision built for another torch fails in many ways
        hint = "install torchvision for this torch"
        raise SourceError(f"timm does not load: {first_line(error)}", hint=hint) from error


def read_timm(folder: Path) -> dict[str, Any]:
    """The ``config.json`` of a timm folder; empty if the folder is none."""
    if not (folder / "config.json").is_file():
        return {}
    try:
        config = folders_.read_json(folder / "config.json")
    except SourceError:
        return {}
    other = "model_type" in config or architecture_of(folder)
    whole = isinstance(config.get("architecture"), str) and isinstance(config.get("pretrained_cfg"), dict)
    return config if whole and not other else {}


def _class_names(config: dict[str, Any]) -> tuple[str, ...]:
    """Names of the classes in the order of the outputs, where the configuration gives one to each."""
    names = config.get("label_names") or config["pretrained_cfg"].get("label_names") or ()
    count = config.get("num_classes") or config["pretrained_cfg"].get("num_classes")
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    return tuple(map(str, names)) if len(names) == count else ()


def _reader(config: dict[str, Any], where: Path) -> PictureReader:
    """How timm reads pictures for evaluation, by the model's ``pretrained_cfg``."""
    facts = config["pretrained_cfg"]
    try:
        channels, height, width = map(int, facts.get("input_size", (3, 224, 224)))
        mean, std = (tuple(map(float, facts.get(name, IMAGENET[name]))) for name in ("mean", "std"))
        share, mode = float(facts.get("crop_pct") or 0.875), facts.get("crop_mode", "center")
        resample = _FILTERS[facts.get("interpolation", "bicubic")]
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"the pretrained_cfg of {where} is damaged: {error}", hint="fetch the model again") from error
    if mode == "squash" and share == 1:
        share = 0.0
    elif mode != "center" or channels not in (1, 3):
        what = f"crop_mode {mode!r}" if mode != "center" else f"{channels} channels"
        raise SourceError(f"{where} reads pictures with {what}", hint="graft reads crop_mode center, 1 or 3 channels")
    return PictureReader(height, width, channels, 1 / 255, mean, std, resample=resample, crop=share)


def _known(name: str) -> Any:
    """What timm knows of a model by name.

    Raises:
        SourceError: Nothing.
    """
    timm = import_timm()
    try:
        facts = timm.get_pretrained_cfg(name) if timm.is_model(name.partition(".")[0]) else None
    except RuntimeError:  # a tag that this architecture does not have
        facts = None
    if facts is None:
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"timm {timm.__version__} does not know it"
        raise SourceError(f"timm has no model {name!r}", hint=hint)
    return facts


def _make(config: dict[str, Any], outputs: int, where: Path) -> nn.Module:
    """A model of timm with fresh weights."""
    name, arguments = config["architecture"], config.get("model_args") or {}
    _known(name.partition(".")[0])
    if not isinstance(arguments, dict) or _NOT_ARGUMENTS & set(arguments):
        raise UnsafeSourceError(f"{where} asks timm to load other files", hint="fetch the model again")
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model: nn.Module = import_timm().create_model(name, pretrained=False, num_classes=outputs, **arguments)
    except Exception as error:  # timm raises many kinds; each becomes one line
        raise SourceError(f"timm cannot make {name}: {first_line(error)}", hint="fetch the model again") from error
    return model


def _named(name: str, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration of a named architecture with a file of weights: its classes are counted there."""
    facts, tensors = _known(name).to_dict(remove_source=True), read_weights([path])
    heads = facts.get("classifier") or ()
    head = heads if isinstance(heads, str) else next(iter(heads), "")
    outputs = len(tensors[f"{head}.weight"]) if f"{head}.weight" in tensors else 0
    facts = json.loads(json.dumps(facts)) | {"num_classes": outputs}
    return {"architecture": name, "num_classes": outputs, "pretrained_cfg": facts}, tensors


def _hub_folder(name: str) -> Path:
    """The folder of a model that is not on this disk under that name: in the cache, or fetched from the hub."""
    if "/" in name:
        return find_folder(name)
    known = _known(name)
    tag = f".{known.tag}" if known.tag and "." not in name else ""
    return find_folder(f"timm/{name}{tag}")


class Timm(Source):
    """Models that timm can open."""

    modalities = ("image",)

    def recognises(self, folder: Path) -> bool:
        """Whether the folder holds a config.json of timm's form."""
        return bool(read_timm(folder))

    def list(self, folders: tuple[str, ...]) -> list[ModelSpec]:
        """Models in the folders, ``GRAFT_MODELS`` and the Hugging Face cache, where timm is installed."""
        if importlib.util.find_spec("timm") is None:
            return []
        places = (*folders, *filter(None, os.environ.get("GRAFT_MODELS", "").split(os.pathsep)))
        found = [(path, f"timm:{path}") for path in folders_.local_folders(places)]
        found += [(path, f"timm:{name.removeprefix('timm/')}") for name, path in cached_models()]
        specs = []
        for path, uri in found:
            config = read_timm(path)
            if config:
                try:
                    specs.append(self._facts(path, config, uri))
                except SourceError:  # opening it says why
                    specs.append(ModelSpec(uri=uri, name=path.name, modality="image", path=str(path)))
        return specs

    def _facts(self, folder: Path, config: dict[str, Any], uri: str) -> ModelSpec:
        files = folders_.weight_files(folder)
        own, card = config.get("graft"), folders_.card(folder)
        return ModelSpec(
            uri=uri,
            name=folder.name if Path(uri.partition(":")[2]).expanduser().is_dir() else uri.partition(":")[2],
            modality="image",
            architecture=config["architecture"],
            objective=str(own.get("objective") or "") if isinstance(own, dict) else "",
            hidden_size=int(config.get("num_features") or 0),
            parameters=folders_.count_parameters(files)[0],
            bytes=sum(path.stat().st_size for path in files),
            licence=str(card.get("license") or config["pretrained_cfg"].get("license") or ""),
            classes=_class_names(config),
            path=str(folder),
        )

    def _locate(self, location: str) -> tuple[str, Path]:
        """Architecture (of a file of weights) and file, or an empty name and a folder."""
        path = Path(location).expanduser()
        if path.is_dir():
            return "", path.resolve()
        name, at, rest = location.partition("@")
        file = Path(rest).expanduser()
        if not at:
            return "", _hub_folder(location)
        folders_.refuse_pickle(file)
        if not file.is_file():
            raise SourceError(f"no file {rest}", hint="check the path")
        return name, file.resolve()

    def describe(self, location: str) -> ModelSpec:
        """Facts about one model, fetched first if it is only on the hub."""
        name, path = self._locate(location)
        uri = f"timm:{location}"
        if name:
            count = folders_.count_parameters([path])[0]
            size = path.stat().st_size
            return ModelSpec(uri, path.stem, "image", name, parameters=count, bytes=size, path=str(path))
        return self._facts(path, self._config(path), uri)

    @staticmethod
    def _config(folder: Path) -> dict[str, Any]:
        config = read_timm(folder)
        if not config:
            hint = "its config.json must hold architecture and pretrained_cfg"
            raise SourceError(f"{folder} is no model of timm", hint=hint)
        return config

    def open(self, location: str) -> Backbone:
        """Open one model."""
        name, path = self._locate(location)
        spec = self.describe(location)
        if name:
            files = [path]
            config, tensors = _named(name, path)
        else:
            files = folders_.weight_files(path)
            config, tensors = self._config(path), read_weights(files)
        outputs = config.get("num_classes", config["pretrained_cfg"].get("num_classes", 1000))
        model = _make(config, int(outputs), path)
        load_weights(model, tensors, path, config["architecture"])
        spec = dataclasses.replace(spec, weights_sha256=folders_.weights_digest(files), classes=_class_names(config))
        return TimmBackbone(model, config, _reader(config, path), spec).eval()


SOURCES.register("timm")(Timm())
