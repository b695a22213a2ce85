"""Backbone: the one face of every pretrained model; ``open_model`` and ``list_models`` find them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.errors import SourceError, UsageError
from graft.core.registry import SOURCES
from graft.core.types import ModelSpec
from graft.sources.folder import local_folders

Batch = dict[str, Tensor]
SPECTROGRAM = "spectrogram"  # scheme of sources of pictures that read sounds


@dataclass(frozen=True)
class Coverage:
    """Whether a model can read the data at all.

    Attributes:
        share: Share of the sampled rows that the model's vocabulary (or input format) covers, 0 to 1.
        reason: One sentence, empty when everything is covered.
    """

    share: float = 1.0
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the model may be chosen by default: at least nine rows of ten are covered."""
        return self.share >= 0.9


class Backbone(nn.Module):
    """A pretrained network without (or beside) its head.

    Raw examples become encoded examples (``preprocess``, no padding), encoded examples become a batch (``collate``),
    a batch becomes the hidden states of every layer (``forward_features``), each of which is pooled to (B, D).
    ``blocks`` orders the trainable parts bottom to top: freezing, layer-wise rates and explanations share it.

    Attributes:
        spec: What is known of the model.
        notes: What was noticed while it was opened and its user should know, a sentence each.
    """

    spec: ModelSpec
    notes: tuple[str, ...] = ()

    @abstractmethod
    def preprocess(self, examples: Any) -> list[Any]:
        """Encode raw examples (as ``Dataset.take`` gives them), one entry per example."""

    def align(self, sentences: list[Any]) -> list[tuple[Any, np.ndarray]]:
        """Encode sentences (``data.sentences``) and say where the first token of each word is (T,).

        Here every word is encoded alone, which is right where the network reads arrays of tokens and adds none of its own.
        """
        found = []
        for sentence in sentences:
            parts = self.preprocess(sentence.words) or self.preprocess([""])
            counts = [len(part) for part in parts]
            found.append((np.concatenate(parts), np.cumsum([0, *counts[:-1]])[: len(sentence.starts)]))
        return found

    @property
    def room(self) -> int | None:
        """Tokens that it reads of one row at most; None for no limit."""
        return None

    @abstractmethod
    def length(self, encoded: Any) -> int:
        """Cost of one encoded example in tokens (text) or 1."""

    @abstractmethod
    def collate(self, encoded: list[Any]) -> Batch:
        """Pad and stack encoded examples."""

    @abstractmethod
    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Hidden states of every layer, bottom to top: (B, T, D) or (B, C, H, W) each; the last is what heads use.

        The output of the stem is not a layer.  A layer that has no positions left is (B, D).
        """

    @abstractmethod
    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Pool one hidden state to (B, D); (B, D) is returned as it is."""

    @abstractmethod
    def stem(self) -> list[nn.Module]:
        """What comes before the blocks: embeddings or the first convolution."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Trainable parts, bottom to top."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights (safetensors), configuration and preprocessing; ``open_model('file:FOLDER')`` reads them."""

    def forward(self, batch: Batch) -> Tensor:
        """Pooled last layer (B, D)."""
        return self.pool(self.forward_features(batch)[-1], batch)

    def classify(self, batch: Batch) -> Tensor | None:
        """Logits (B, K) of the model's own head over ``spec.classes``, or None."""
        del batch
        return None

    @property
    def outputs(self) -> int:
        """Number of classes that the model's own head tells apart, named in ``spec.classes`` or not; 0 without one."""
        return len(self.spec.classes)

    def forward_all(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """``forward_features`` and ``classify``; sources that can do both in one pass override this."""
        return self.forward_features(batch), self.classify(batch) if self.spec.classes else None

    def preprocessing(self) -> dict[str, Any]:
        """What stands before the weights, as JSON (vocabulary digest, lengths, pooling).

        It is part of cache keys: two backbones with equal weights and equal preprocessing give equal features.
        """
        return {}

    def fingerprint(self) -> str:
        """Digest of what determines the features: class, preprocessing and the weights as they are in memory now."""
        digest = hashlib.sha256(type(self).__qualname__.encode())
        digest.update(json.dumps(self.preprocessing(), sort_keys=True).encode())
        for name, tensor in self.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(memoryview(data.numpy()))
        return digest.hexdigest()

    def coverage(self, examples: Any) -> Coverage:
        """Whether the model can read these raw examples."""
        del examples
        return Coverage()

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters of the stem and of each block, bottom to top; every parameter once.

        What follows the blocks (a last normalisation, a last convolution) goes with the top block.
        """
        seen: set[int] = set()
        groups: list[list[nn.Parameter]] = []
        for part in [nn.ModuleList(self.stem()), *self.blocks()]:
            fresh = [p for p in part.parameters() if id(p) not in seen]
            seen.update(id(p) for p in fresh)
            groups.append(fresh)
        groups[-1] += [p for p in self.parameters() if id(p) not in seen]
        return groups

    def top_blocks(self, top: float | None) -> int:
        """How many blocks ``top`` names: all for None, a share of them between 0 and 1 (at least one), else that number."""
        count = len(self.blocks())
        if top is None:
            return count
        return max(1, round(top * count)) if 0 < top < 1 else min(int(top), count)

    def freeze_below(self, top: float | None) -> None:
        """Train only the top ``top`` blocks (a number, or a share below 1; None: all), and what follows them, not the stem."""
        blocks = self.blocks()
        frozen = [*self.stem(), *blocks[: len(blocks) - self.top_blocks(top)]]
        self.requires_grad_(requires_grad=True)
        for part in frozen:
            part.requires_grad_(requires_grad=False)

    def set_dropout(self, share: float) -> None:
        """Set every dropout inside, those that attention keeps as a number included.

        Without it attention takes the faster kernel, and a few epochs of training do not need it.
        """
        for part in self.modules():
            if isinstance(part, nn.Dropout):
                part.p = share
            for name in ("attention_dropout", "dropout_prob", "attn_dropout"):
                if isinstance(getattr(part, name, None), float):
                    setattr(part, name, share)


def split_uri(uri: str) -> tuple[str, str]:
    """Split ``scheme:location``; a path that exists needs no scheme.

    Raises:
        UsageError: The scheme is unknown and nothing of that name exists.
    """
    scheme, colon, location = uri.partition(":")
    if colon and scheme in SOURCES:
        return scheme, location
    path = Path(uri).expanduser()
    if path.exists():
        for name, source in SOURCES.items():
            if source.recognises(path):
                return name, str(path)
    if path.is_dir():
        raise SourceError(
            f"no model found in {uri}", hint="a model folder holds config.json and *.safetensors; a run holds run.json"
        )
    if colon:
        SOURCES[scheme]  # raises, naming the nearest scheme
    raise UsageError(
        f"no model {uri!r}", hint=f"write scheme:name with a scheme of {', '.join(SOURCES)}, or the path of a folder"
    )


def describe_model(uri: str) -> ModelSpec:
    """What is known of a model without loading its weights."""
    scheme, location = split_uri(uri)
    return SOURCES[scheme].describe(location)


def open_model(uri: str | ModelSpec) -> Backbone:
    """Open a pretrained model by URI.

    Args:
        uri: ``hf:NAME_OR_FOLDER[@revision]``, ``sbert:NAME_OR_FOLDER``, ``file:FOLDER``, another scheme of ``SOURCES``,
            or the path of a folder.

    Raises:
        SourceError: There is no such model, its weights are missing, broken, or would run code.

    Example:
        >>> backbone = open_model("sbert:all-MiniLM-L6-v2")
        >>> batch = backbone.collate(backbone.preprocess(["Where is my parcel?"]))
        >>> tuple(backbone(batch).shape)
        (1, 384)
    """
    scheme, location = split_uri(uri.uri if isinstance(uri, ModelSpec) else uri)
    with torch.random.fork_rng(devices=[]):  # opening must not move the caller's random state
        return SOURCES[scheme].open(location).eval()


def on_spectrograms(spec: ModelSpec) -> ModelSpec:
    """A source of pictures as a source of sounds: the scheme ``spectrogram`` shows it their spectrograms."""
    uri, name = f"{SPECTROGRAM}:{spec.uri}", f"{spec.name} on spectrograms"
    return dataclasses.replace(spec, uri=uri, name=name, modality="audio", classes=(), hidden_size=0)


def list_models(*, modality: str | None = None, folders: tuple[str, ...] = ()) -> list[ModelSpec]:
    """Every model reachable now without a network.

    Looks at installed packages with weights, the folders in ``folders`` and the environment variable
    ``GRAFT_MODELS``, and the Hugging Face cache.

    Args:
        modality: Only models for this kind of input; for sounds those for pictures too, on spectrograms.
        folders: Folders that are models or hold models one level below.
    """
    found: dict[str, ModelSpec] = {}
    for _, source in SOURCES.items():  # noqa: PERF102  (a registry is no dict)
        for spec in source.list(folders):
            found.setdefault(spec.path or spec.uri, spec)
    specs = [spec for spec in found.values() if modality in (None, spec.modality)]
    if modality == "audio":
        specs += [on_spectrograms(spec) for spec in found.values() if spec.modality == "image"]
    return sorted(specs, key=lambda spec: (spec.modality, spec.parameters, spec.uri))


class Source(ABC):
    """A URI scheme: one file in ``sources/``, an instance registered with ``SOURCES.register("scheme")``.

    Attributes:
        modalities: What its sources read.
    """

    modalities: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognises(self, folder: Path) -> bool:
        """Whether a local folder, or a file, is a model of this scheme."""

    def list(self, folders: tuple[str, ...]) -> list[ModelSpec]:
        """Models reachable now; by default what it recognises in the folders."""
        found = [path for path in local_folders(folders) if self.recognises(path)]
        return [dataclasses.replace(self.describe(str(path)), path=str(path)) for path in found]

    @abstractmethod
    def describe(self, location: str) -> ModelSpec:
        """Facts about one model, without loading weights."""

    @abstractmethod
    def open(self, location: str) -> Backbone:
        """Open one model."""
