"""``clip:``: CLIP of transformers in a local folder, in the Hugging Face cache, or on the hub: pictures beside captions."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.errors import GraftError, SourceError
from graft.core.registry import SOURCES
from graft.core.types import ModelSpec
from graft.sources import folder as folders_
from graft.sources.base import Backbone, Batch, Source
from graft.sources.hub import cached_models, find_folder
from graft.sources.image import ImageBackbone, ImageReader, open_reader
from graft.sources.loading import first_line, open_tokenizer, quiet

CAPTIONS = 64  # texts of one batch


class ClipBackbone(ImageBackbone):
    """The picture half of CLIP, its projection as the last layer; the text half puts captions into the same space.

    Args:
        model: The whole model.
        reader: How pictures become pixels.
        tokenizer: A fast tokenizer of transformers.
        spec: What is known of the model.

    References:
        Radford et al. (2021). Learning transferable visual models from natural language supervision. ICML.
    """

    def __init__(self, model: Any, reader: ImageReader, tokenizer: Any, spec: ModelSpec) -> None:
        super().__init__(model.vision_model, reader, spec, head=model)
        self.tokenizer, self._class_token = tokenizer, True

    @property
    def network(self) -> nn.Module:
        """The network of the pictures."""
        return self.model.vision_model  # type: ignore[no-any-return]

    @property
    def temperature(self) -> float:
        """Of the softmax over cosines, as it was trained."""
        return float(torch.exp(-self.model.logit_scale.detach().float()))

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Outputs of the blocks (B, T, D), and the projection (B, D')."""
        output = self.network(**batch, output_hidden_states=True, return_dict=True)
        return [*output.hidden_states[1:], self.model.visual_projection(output.pooler_output)]

    def captions(self, texts: list[str]) -> np.ndarray:
        """Vectors (n, D') of texts, in the space of the projected pictures."""
        place, found = next(self.parameters()).device, []
        longest = int(self.model.config.text_config.max_position_embeddings)
        for start in range(0, len(texts), CAPTIONS):
            some = texts[start : start + CAPTIONS]
            batch = self.tokenizer(some, padding=True, truncation=True, max_length=longest, return_tensors="pt")
            inputs = {name: batch[name].to(place) for name in ("input_ids", "attention_mask")}
            with torch.inference_mode():
                pooled = self.model.text_model(**inputs, return_dict=True).pooler_output
                found.append(self.model.text_projection(pooled).float().cpu().numpy())
        return np.concatenate(found)

    def save(self, folder: Path) -> None:
        """Write the model as transformers does, with its processor and tokenizer."""
        super().save(folder)
        self.tokenizer.save_pretrained(folder)


def _describe(folder: Path, uri: str, name: str) -> ModelSpec:
    raw = folders_.read_json(folder / "config.json")
    if raw.get("model_type") != "clip" or not {"text_config", "vision_config"} <= set(raw):
        raise SourceError(f"{name} is no CLIP", hint="clip: opens folders whose config.json says model_type clip")
    files = folders_.weight_files(folder)
    front = folders_.card(folder)
    return ModelSpec(
        uri=uri,
        name=name,
        modality="image",
        architecture="clip",
        objective="pictures beside their captions",
        hidden_size=int(raw.get("projection_dim") or 512),
        parameters=folders_.count_parameters(files)[0],
        bytes=sum(path.stat().st_size for path in files),
        licence=str(front.get("license") or ""),
        path=str(folder),
    )


def _open(folder: Path, spec: ModelSpec) -> ClipBackbone:
    folders_.refuse_code(folder)
    for path in folders_.weight_files(folder):
        folders_.header(path)
    try:
        with quiet():
            from transformers import CLIPModel

            model, report = CLIPModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32,
                attn_implementation="sdpa",
            )  # fmt: skip
    except GraftError:
        raise
    except Exception as error:  # transformers and safetensors raise many kinds; each becomes one line
        raise SourceError(f"cannot open {folder}: {first_line(error)}", hint="the model is damaged") from error
    missing = sorted(name for name in report["missing_keys"] if not name.endswith("position_ids"))
    if missing:
        raise SourceError(f"the weights of {folder} lack {missing[0]}", hint="fetch the model again")
    digest = folders_.weights_digest(folders_.weight_files(folder))
    spec = dataclasses.replace(spec, weights_sha256=digest)
    return ClipBackbone(model.eval(), open_reader(folder), open_tokenizer(folder), spec)


class Clip(Source):
    """CLIP models that transformers can open."""

    modalities = ("image",)

    def recognises(self, folder: Path) -> bool:
        """Whether the folder holds a config.json of CLIP."""
        try:
            return folders_.read_json(folder / "config.json").get("model_type") == "clip"
        except SourceError:
            return False

    def list(self, folders: tuple[str, ...]) -> list[ModelSpec]:
        """Models in the folders, ``GRAFT_MODELS`` and the Hugging Face cache."""
        places = (*folders, *filter(None, os.environ.get("GRAFT_MODELS", "").split(os.pathsep)))
        found = [(path, f"clip:{path}", path.name) for path in folders_.local_folders(places)]
        found += [(path, f"clip:{name}", name) for name, path in cached_models()]
        return [self._described(*item) for item in found if self.recognises(item[0])]

    @staticmethod
    def _described(path: Path, uri: str, name: str) -> ModelSpec:
        try:
            return _describe(path, uri, name)
        except SourceError:
            return ModelSpec(uri=uri, name=name, modality="image", architecture="clip", path=str(path))

    def describe(self, location: str) -> ModelSpec:
        """Facts about one model, fetched first if it is only on the hub."""
        folder = find_folder(location)
        return _describe(folder, f"clip:{location}", folder.name if Path(location).is_dir() else location)

    def open(self, location: str) -> Backbone:
        """Open one model."""
        return _open(find_folder(location), self.describe(location))


SOURCES.register("clip")(Clip())
