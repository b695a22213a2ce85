"""``file:``: what graft itself wrote, and plain safetensors of a network it knows (CIFAR ResNets).

What graft wrote is a checkpoint of ``graft pretrain`` or a run of ``graft fit``.  A plain checkpoint is a folder with
``model.safetensors``, a state dict, and a ``config.json`` with ``architecture`` ("resnet-cifar"), ``depth``, ``widths``,
``num_classes``, ``classes``, ``input_size``, ``mean`` and ``std``.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from graft.core.errors import SourceError
from graft.core.registry import SOURCES
from graft.core.types import ModelSpec
from graft.sources import folder as folders_
from graft.sources.answers import describe_answers, has_answers, open_answers
from graft.sources.base import Backbone, Source
from graft.sources.native import open_native
from graft.sources.plain import architecture_of, describe_plain, open_plain

FORMAT = 1  # of graft.json


def _read(folder: Path) -> dict[str, object]:
    facts = folders_.read_json(folder / "graft.json")
    if facts.get("kind") != "backbone" or not isinstance(facts.get("spec"), dict):
        raise SourceError(f"{folder}/graft.json describes no model", hint="its kind must be 'backbone'")
    if facts.get("format") != FORMAT:
        hint = "update graft" if isinstance(facts.get("format"), int) else "the file is damaged"
        raise SourceError(f"{folder}/graft.json has format {facts.get('format')!r}, graft reads {FORMAT}", hint=hint)
    return facts


def _describe(folder: Path, uri: str) -> ModelSpec:
    spec = dict(_read(folder)["spec"])  # type: ignore[call-overload]
    names = {item.name for item in dataclasses.fields(ModelSpec)}
    known = {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items() if key in names}
    files = folders_.weight_files(folder)
    known |= {"uri": uri, "path": str(folder), "parameters": folders_.count_parameters(files)[0]}
    known["bytes"] = sum(path.stat().st_size for path in files)
    try:
        return ModelSpec(**({"name": folder.name, "modality": ""} | known))
    except TypeError as error:
        raise SourceError(f"{folder}/graft.json describes no model", hint="the file is damaged") from error


def _inner(folder: Path) -> tuple[Source, Path]:
    """The source that opens a folder, and the folder itself: that of a run is ``source/`` inside it."""
    if (folder / "run.json").is_file() and not (folder / "graft.json").is_file():
        if has_answers(folder):  # its model is asked; where it has a source of its own, that is named by its own path
            return SOURCES["file"], folder
        folder = folder / "source"
        if not folder.is_dir():
            raise SourceError(
                f"the run {folder.parent} kept no network", hint="its answer needs none, or it is not whole"
            )
    if (folder / "graft.json").is_file() or has_answers(folder) or architecture_of(folder):
        return SOURCES["file"], folder
    for scheme in ("spectrogram", "bands", "sbert", "clip", "hf", "keras", "timm"):
        if SOURCES[scheme].recognises(folder):
            return SOURCES[scheme], folder
    for path in sorted(folder.iterdir()):
        folders_.refuse_pickle(path)
    hint = "a checkpoint of graft holds graft.json, a run holds run.json, a transformers folder config.json"
    raise SourceError(f"no model found in {folder}", hint=hint)


def _locate(location: str) -> Path:
    path = Path(location).expanduser()
    if path.is_file():
        folders_.refuse_pickle(path)
        path = path.parent if path.name in {"graft.json", "run.json", "config.json", "model.safetensors"} else path
    if not path.is_dir():
        raise SourceError(f"no folder {location}", hint="check the path")
    return path.resolve()


class Checkpoints(Source):
    """Folders that graft wrote, and plain checkpoints."""

    modalities = ("text", "image", "audio", "sequence", "series", "table", "counts")

    def recognises(self, folder: Path) -> bool:
        """Whether the folder holds graft.json, run.json, or a config.json that names a network graft knows."""
        return any((folder / name).is_file() for name in ("graft.json", "run.json")) or bool(architecture_of(folder))

    def list(self, folders: tuple[str, ...]) -> list[ModelSpec]:
        """Checkpoints in the folders and in ``GRAFT_MODELS``."""
        places = (*folders, *filter(None, os.environ.get("GRAFT_MODELS", "").split(os.pathsep)))
        specs = []
        for path in folders_.local_folders(places):
            kept = (path / "run.json").is_file() and ((path / "source").is_dir() or has_answers(path))
            if kept or (path / "graft.json").is_file() or architecture_of(path):
                try:
                    specs.append(dataclasses.replace(self.describe(str(path.resolve())), path=str(path.resolve())))
                except SourceError:
                    specs.append(ModelSpec(uri=f"file:{path}", name=path.name, modality="", path=str(path)))
        return specs

    def describe(self, location: str) -> ModelSpec:
        """Facts about one model."""
        source, folder = _inner(_locate(location))
        if source is self:
            return self._facts(folder, f"file:{location}")
        return dataclasses.replace(source.describe(str(folder)), uri=f"file:{location}")

    @staticmethod
    def _facts(folder: Path, uri: str) -> ModelSpec:
        if (folder / "graft.json").is_file():
            return _describe(folder, uri)
        return describe_answers(folder, uri) if has_answers(folder) else describe_plain(folder, uri)

    def open(self, location: str) -> Backbone:
        """Open one model."""
        source, folder = _inner(_locate(location))
        if source is not self:
            backbone = source.open(str(folder))
        else:
            spec = self._facts(folder, f"file:{location}")
            for path in folders_.weight_files(folder):
                folders_.header(path)
            if has_answers(folder):
                backbone = open_answers(folder, spec)
            else:
                backbone = open_native(folder) if (folder / "graft.json").is_file() else open_plain(folder, spec)
            backbone.spec = spec
        digest = folders_.weights_digest(folders_.weight_files(folder)) if source is self else ""
        digest = digest or backbone.spec.weights_sha256
        backbone.spec = dataclasses.replace(backbone.spec, uri=f"file:{location}", weights_sha256=digest)
        return backbone


SOURCES.register("file")(Checkpoints())
