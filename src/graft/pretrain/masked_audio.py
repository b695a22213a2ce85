"""Fill-in-the-blank prediction over sounds (填充预测): hidden parts of a spectrogram are predicted from the rest.

Idea: who can say what was spoken behind a cough knows what speech sounds like.  Helps when: there are hours of sounds of
the field and few labels.  Hurts when: there are a few hundred short sounds; their spectra alone serve a linear model well.
References: Huang et al. (2022), Masked autoencoders that listen, for patches; Park et al. (2019), SpecAugment, and Liu et
al. (2020), Mockingjay, for spans of frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.registry import OBJECTIVES
from graft.core.runtime import Progress
from graft.core.types import Dataset
from graft.engine.objective import Batch, Loss, Objective
from graft.nn.decoders import MapDecoder
from graft.pretrain.base import decayed, hidden_share
from graft.pretrain.sounds import AS_PICTURES, SHOWN, SoundPretrain, rows_of
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone
from graft.sources.sounds import as_pixels

CELL = 8  # frames and bands of the patches that are hidden
SHARES = {"patches": 0.5, "time": 0.3}  # of the spectrogram that is hidden


class Filling(Objective):
    """An encoder that sees 0, the mean, in place of what is hidden, and a decoder that says what was there.

    The loss of a sound is the mean squared error of its hidden cells.

    Args:
        backbone: The encoder, of pictures or of frames.
        decoder: Goes from its last states back to bands: from maps to (B, 1, F, T), or from states to (B, T, F).
        lr: Peak rate.
        weight_decay: Of matrices and kernels.
    """

    def __init__(self, backbone: NativeBackbone, decoder: nn.Module, *, lr: float, weight_decay: float) -> None:
        super().__init__()
        self.backbone, self.decoder, self.lr, self.weight_decay = backbone, decoder, lr, weight_decay

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": decayed(self, lr=self.lr, weight_decay=self.weight_decay)}

    def predicted(self, batch: Batch) -> Tensor:
        """What the decoder says of every cell (B, T, F)."""
        seen, body = batch["frames"] * ~batch["hidden"], self.backbone.body
        if self.backbone.encoder in AS_PICTURES:
            maps = body.forward_features({"pixel_values": as_pixels(seen)})[-1]
            out: Tensor = self.decoder(maps)[:, 0].transpose(1, 2)
        else:
            states = body.forward_features({"frames": seen, "attention_mask": batch["attention_mask"]})[-1]
            out = self.decoder(states)
        return out.float()

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        return Loss(rows_of((self.predicted(batch) - batch["frames"]).square(), batch["hidden"]))


@OBJECTIVES.register("masked-audio")
class MaskedAudio(SoundPretrain):
    """Predict hidden parts of log-mel spectrograms; the loss is the mean squared error over them.

    Scores stand beside the training mean of each band, and linear interpolation over time from the cells that are seen.

    Args:
        encoder: ``"transformer"``, which reads the spectrogram frame by frame, or ``"resnet"`` or ``"vgg"``, which read it
            as a picture; the first if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        length: Frames read of a sound, a multiple of 8; None: so many that 95 % of the sounds fit, at most 128.
        gap: ``"patches"`` of 8 frames and 8 bands, or ``"time"``: all bands of spans of 8 frames; None: patches for
            a picture, time for frames.
        hidden: Share that is hidden; None: 0.5 in patches, 0.3 of the time.
        epochs: Passes over the sounds; None: as many as the time allows, or 3 without a budget.
        batch_size: Sounds of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and what is hidden.

    Example:
        >>> import numpy as np
        >>> from graft.pretrain.masked_audio import MaskedAudio
        >>> tones = [(np.sin(np.arange(2000) * pitch / 40), 8000) for pitch in range(1, 21)]
        >>> made = MaskedAudio(size="tiny", epochs=1).fit(tones)
        >>> [score["name"] for score in made.record_["scores"]]
        ['squared error of what is hidden', 'error of what is hidden']
    """

    name = "masked-audio"
    label = "fill-in-the-blank prediction over sounds"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"audio": ("transformer", "resnet", "vgg")}

    def __init__(
        self,
        *,
        encoder: str | None = None,
        size: str = "small",
        length: int | None = None,
        gap: str | None = None,
        hidden: float | None = None,
        epochs: float | None = None,
        batch_size: int = 32,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(
            encoder=encoder, size=size, length=length, epochs=epochs, batch_size=batch_size, lr=lr,
            weight_decay=weight_decay, seed=seed,
        )  # fmt: skip
        self.gap = gap
        self.hidden = hidden

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        hidden_share(self._gap, self.hidden, SHARES)  # refused before anything is read
        return super()._start(data, folder, progress)

    @property
    def _gap(self) -> str:
        picture = (self.encoder or self.encoders[self.modality][0]) in AS_PICTURES
        return self.gap or ("patches" if picture else "time")

    @property
    def _share(self) -> float:
        return hidden_share(self._gap, self.hidden, SHARES)

    def _objective(self, backbone: NativeBackbone) -> Filling:
        width = backbone.spec.hidden_size
        options = {"lr": self.lr, "weight_decay": self.weight_decay}
        if backbone.encoder not in AS_PICTURES:
            return Filling(backbone, nn.Linear(width, self.reader_.bands), **options)
        with torch.no_grad():
            coarse = backbone.body.forward_features({"pixel_values": as_pixels(torch.zeros(1, CELL, CELL))})[-1]
        return Filling(backbone, MapDecoder(width, 1, times=CELL // coarse.shape[-1]), **options)

    def _batch(self, frames: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> Batch:
        hidden = self._places(real, frames.shape[2], rng)
        arrays = {"frames": frames, "attention_mask": real, "hidden": hidden}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _places(self, real: np.ndarray, bands: int, rng: np.random.Generator) -> np.ndarray:
        """Which cells (B, T, F) are hidden: the same share of the cells of a grid, which begins elsewhere in each batch."""
        rows, length = real.shape
        shift = int(rng.integers(CELL))
        across = length // CELL + 1
        down = math.ceil(bands / CELL) if self._gap == "patches" else 1
        begins = (np.arange(across) * CELL - shift).clip(0)
        there = np.repeat(begins < real.sum(axis=1, keepdims=True), down, axis=1)
        place = np.where(there, rng.random((rows, across * down)), 2.0).argsort(axis=1).argsort(axis=1)
        cells = there.sum(axis=1, keepdims=True)
        count = np.round(self._share * cells).clip(1, np.maximum(1, cells - 1))  # something is hidden, something seen
        grid = (place < count).reshape(rows, across, down)
        hidden = grid.repeat(CELL, axis=1)[:, shift : shift + length]
        hidden = hidden.repeat(CELL if down > 1 else bands, axis=2)[:, :, :bands]
        return hidden & (real[..., None] > 0)

    def _measure(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, Filling)
        mean = torch.from_numpy(self._mean())
        scale = torch.from_numpy(self.reader_.spread) ** 2
        parts: dict[str, list[np.ndarray]] = {"": [], "mean of the band": [], "interpolation over time": []}
        decibels: dict[str, list[np.ndarray]] = {name: [] for name in parts}
        with torch.inference_mode():
            for batch in self._held_out_batches(objective):
                frames, hidden = batch["frames"], batch["hidden"]
                guesses = {
                    "": objective.predicted(batch),
                    "mean of the band": mean.to(frames.device).expand_as(frames),
                    "interpolation over time": interpolated(batch, mean),
                }
                for name, guess in guesses.items():
                    error = (guess - frames).square()
                    parts[name].append(rows_of(error, hidden).cpu().numpy())
                    decibels[name].append(rows_of(error * scale.to(error.device), hidden).cpu().numpy())
        scores = []
        for name, found, show, unit in (
            ("squared error of what is hidden", parts, float, "of bands with deviation 1"),
            ("error of what is hidden", decibels, math.sqrt, "dB, root of the mean square"),
        ):
            errors = {key: np.concatenate(values).astype(np.float64) for key, values in found.items()}
            scores.append(self._score(name, errors.pop(""), errors, show, unit))
        return scores

    def _samples(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, Filling)
        with torch.inference_mode():
            batch = next(iter(self._held_out_batches(objective, SHOWN)))
            frames, hidden = batch["frames"], batch["hidden"]
            filled = torch.where(hidden, objective.predicted(batch), frames)
        rows = [frames.masked_fill(hidden, 0.0), filled, frames]
        return [{"kind": "inpainted", "picture": self._sheet(rows, batch["attention_mask"])}]

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "gap": self._gap, "hidden": self._share}


def interpolated(batch: Batch, mean: Tensor) -> Tensor:
    """Fill every band along a straight line in time between the cells that are seen; its mean where none is.

    Args:
        batch: ``frames`` (B, T, F), ``hidden`` (B, T, F), ``attention_mask`` (B, T).
        mean: Of every band (F,).

    Example:
        >>> line, seen = torch.tensor([0.0, 9.0, 9.0, 3.0]), torch.tensor([1, 0, 0, 1])
        >>> hidden = (seen == 0)[None, :, None]
        >>> batch = {"frames": line[None, :, None], "hidden": hidden, "attention_mask": torch.ones(1, 4)}
        >>> interpolated(batch, torch.zeros(1)).flatten().tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    frames, real = batch["frames"].cpu().numpy(), batch["attention_mask"].cpu().numpy() > 0
    seen = real[..., None] & ~batch["hidden"].cpu().numpy()
    filled = np.broadcast_to(mean.numpy(), frames.shape).copy()
    times = np.arange(frames.shape[1])
    for row, band in np.argwhere(seen.any(axis=1)):
        known = seen[row, :, band]
        filled[row, :, band] = np.interp(times, times[known], frames[row, known, band])
    return torch.from_numpy(filled).to(batch["frames"].device)
