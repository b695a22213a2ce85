"""``spectrogram:``: any source of pictures as a source of sounds, which it reads as log-mel spectrograms.

``spectrogram:URI`` opens the source of pictures ``URI`` and shows it sounds: ``spectrogram:hf:google/mobilenet_v2_1.0_224``.
Networks trained on photographs carry over: Gong et al. (2021), AST; Palanisamy et al. (2020), Rethinking CNN models for audio
classification.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.errors import DataError, SourceError
from graft.core.registry import SOURCES
from graft.core.types import ModelSpec
from graft.data.spectrogram import RATE, Sound, log_mel, resampled
from graft.sources import folder as folders_
from graft.sources.base import SPECTROGRAM, Backbone, Batch, Source, describe_model, on_spectrograms, open_model

FORMAT = 1  # of spectrogram.json
FILE, INSIDE = "spectrogram.json", "pictures"
TINY = 1e-9  # least peak of a wave that is divided by it
SPAN = 80.0  # dB below the loudest band that are told apart
GRIDS = ((2, 4), (2, 2), (1, 3), (1, 2), (1, 1))  # parts of bands and of time whose means are kept of a map
WIDEST = 4096  # columns that they may make together


def picture(sound: Sound) -> np.ndarray:
    """A sound as a grey picture (BANDS, frames, 3) uint8: low bands below, its loudest band white, 80 dB less black.

    Loudness as a whole changes nothing.

    Raises:
        DataError: It is no sound.

    Example:
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
        >>> seen = picture(Sound(tone.astype(np.float32), 8000))
        >>> seen.shape, int(seen.max())
        ((64, 98, 3), 255)
    """
    if not isinstance(sound, Sound):
        raise DataError(f"a sound is a Sound, not {type(sound).__name__}", hint="load them with graft.load_data")
    samples = resampled(sound, RATE)
    energy = log_mel(samples / max(float(np.abs(samples).max()), TINY), RATE)
    grey = ((energy - energy.max()) / SPAN + 1).clip(0, 1).T[::-1]
    return np.repeat((grey * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2)


class SpectrogramBackbone(Backbone):
    """A source of pictures that is shown the spectrograms of sounds, each stretched to the size of its pictures.

    The picture is not cropped, and is normalised as the source's own.  Maps are pooled in parts of bands and time, 2 x 4
    where they are narrow: what is heard is where it stands, unlike what is seen in a photograph.

    Args:
        pictures: The source.
        spec: What is known of it as a source of sounds.
    """

    def __init__(self, pictures: Backbone, spec: ModelSpec) -> None:
        super().__init__()
        self.pictures = pictures
        with torch.no_grad():
            pictures.eval()
            width = int(self(self.collate(self.preprocess([Sound(np.ones(RATE // 10, np.float32), RATE)]))).shape[1])
        self.spec = dataclasses.replace(spec, hidden_size=width)

    def preprocess(self, examples: Any) -> list[Any]:
        """What the source reads of the spectrograms of sounds."""
        shown = [picture(sound) for sound in examples]
        whole: Any = getattr(self.pictures, "whole", self.pictures.preprocess)
        return list(whole(shown))

    def length(self, encoded: Any) -> int:
        return self.pictures.length(encoded)

    def collate(self, encoded: list[Any]) -> Batch:
        return self.pictures.collate(encoded)

    def forward_features(self, batch: Batch) -> list[Tensor]:
        return self.pictures.forward_features(batch)

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Means of the parts of a map; what is no map as the source pools it."""
        if hidden.ndim != 4:
            return self.pictures.pool(hidden, batch)
        grid = next((parts for parts in GRIDS if parts[0] * parts[1] * hidden.shape[1] <= WIDEST), (1, 1))
        high, wide = (min(parts, side) for parts, side in zip(grid, hidden.shape[2:], strict=True))
        return F.adaptive_avg_pool2d(hidden, (high, wide)).flatten(1)

    def stem(self) -> list[nn.Module]:
        return self.pictures.stem()

    def blocks(self) -> list[nn.Module]:
        return self.pictures.blocks()

    def set_dropout(self, share: float) -> None:
        self.pictures.set_dropout(share)

    def preprocessing(self) -> dict[str, Any]:
        """How sounds become pictures, and how these are read."""
        own = {
            "rate": RATE,
            "span": SPAN,
            "level": "peak",
            "grids": [list(grid) for grid in GRIDS],
            "network": type(self.pictures).__qualname__,
        }
        return {"spectrogram": own, "pictures": self.pictures.preprocessing()}

    def save(self, folder: Path) -> None:
        """Write ``spectrogram.json``, and the source of pictures into ``pictures``."""
        folder.mkdir(parents=True, exist_ok=True)
        self.pictures.save(folder / INSIDE)
        facts = {"format": FORMAT, "name": self.spec.name, "objective": self.spec.objective}
        (folder / FILE).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")


class Spectrogram(Source):
    """Sources of pictures, for sounds."""

    modalities = ("audio",)

    def recognises(self, folder: Path) -> bool:
        """Whether the folder holds what ``SpectrogramBackbone.save`` wrote."""
        return (folder / FILE).is_file()

    def describe(self, location: str) -> ModelSpec:
        """Facts about one source."""
        uri, facts = _inside(location)
        spec = describe_model(uri)
        if spec.modality != "image":
            hint = "give the URI of a source of pictures, such as spectrogram:hf:NAME"
            raise SourceError(f"{location} reads {spec.modality or 'unknown inputs'}, not pictures", hint=hint)
        return dataclasses.replace(on_spectrograms(spec), uri=f"{SPECTROGRAM}:{location}", **facts)

    def open(self, location: str) -> Backbone:
        """Open one source."""
        spec, pictures = self.describe(location), open_model(_inside(location)[0])
        return SpectrogramBackbone(pictures, dataclasses.replace(spec, weights_sha256=pictures.spec.weights_sha256))


def _inside(location: str) -> tuple[str, dict[str, Any]]:
    """URI of the source of pictures, and what a saved source says of itself."""
    folder = Path(location).expanduser()
    if not (folder / FILE).is_file():
        return location, {}
    facts = folders_.read_json(folder / FILE)
    if facts.get("format") != FORMAT:
        raise SourceError(f"{folder}/{FILE} was written by another graft", hint="update graft")
    return str(folder / INSIDE), {name: str(facts.get(name, "")) for name in ("name", "objective")}


SOURCES.register("spectrogram")(Spectrogram())
