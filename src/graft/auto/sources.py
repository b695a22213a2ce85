"""Which sources come into question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graft.core.errors import SourceError
from graft.core.registry import SOURCES
from graft.core.types import ModelSpec
from graft.sources.base import Coverage, describe_model, list_models, on_spectrograms


def find_sources(modality: str, models: Sequence[str] = ()) -> list[ModelSpec]:
    """The sources named by URI or folder, or all within reach, that read this kind of input.

    Raises:
        SourceError: A named model reads something else, or a folder holds none.
    """
    if not models:
        return list_models(modality=modality)
    found: dict[str, ModelSpec] = {}
    readable = {modality, "image"} if modality == "audio" else {modality}  # pictures: of spectrograms
    for model in models:
        folder = Path(model).expanduser()
        inside = []
        if folder.is_dir() and not any(source.recognises(folder) for _, source in SOURCES.items()):
            inside = [
                spec for spec in list_models(folders=(model,)) if Path(spec.path).resolve().parent == folder.resolve()
            ]
        specs = [spec for spec in inside if spec.modality in readable] or [describe_model(model)]
        for each in specs:
            spec = on_spectrograms(each) if (each.modality, modality) == ("image", "audio") else each
            if spec.modality != modality and (spec.modality, modality) != ("text", "sequence"):  # letters are text
                raise SourceError(f"{model} reads {spec.modality}, the data are {modality}", hint="name another source")
            found[spec.uri] = spec
    return list(found.values())


def matched(spec: ModelSpec, coverage: Coverage) -> list[str]:
    """Which columns of a table a source shares, in words; nothing where it reads all of them, or none."""
    return [coverage.reason] if spec.modality == "table" and coverage.share and coverage.reason else []
