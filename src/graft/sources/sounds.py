"""Sounds as what graft's own encoders read: log-mel spectrograms, as pictures or frame by frame."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.core.errors import UsageError
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset
from graft.data.spectrogram import BANDS, RATE, Sound, log_mel, resampled
from graft.sources.base import Batch
from graft.sources.readers import Reader

MOST_FRAMES = 128  # frames that encoders read of a sound, if no other number is asked for
LONG = 0.95  # share of the sounds that is read whole
SEEN = 256  # sounds that lengths, means and deviations are read off
LEAST_SPREAD = 1.0  # dB; a band that hardly varies is not blown up
FORMS = ("picture", "frames")
CHANNELS = 2  # of a spectrogram as a picture: energy, and which band it is


class AudioReader(Reader):
    """Log-mel spectrograms in dB, every band minus its mean and over its deviation among the sounds it was built on.

    Args:
        mean: Of every band (F,), in dB.
        spread: Deviation of every band (F,), in dB.
        frames: Frames read of a sound, a multiple of 8; what follows is left out, shorter sounds are filled up with the mean.
        step: Frames of 10 ms whose mean makes one.
        rate: That sounds are brought to, in Hz.
        form: ``"picture"``: two channels (B, 2, F, T) of T = ``frames``, the second says which band it is;
            ``"frames"``: (B, T, F) with a mask (B, T).

    Example:
        >>> tones = [Sound(np.sin(np.arange(4000) * pitch).astype(np.float32), 8000) for pitch in (0.2, 0.4)]
        >>> reader = AudioReader.build(tones, rate=8000)
        >>> tuple(reader.collate(reader.encode(tones))["pixel_values"].shape)
        (2, 2, 64, 48)
    """

    def __init__(
        self,
        mean: np.ndarray,
        spread: np.ndarray,
        *,
        frames: int,
        step: int = 1,
        rate: int = RATE,
        form: str = "picture",
    ) -> None:
        if form not in FORMS:
            raise UsageError(f"no form {form!r}", hint=f"use {' or '.join(FORMS)}")
        self.mean, self.spread = np.asarray(mean, np.float32), np.asarray(spread, np.float32)
        self.frames, self.step, self.rate, self.form = frames, step, rate, form

    @classmethod
    def build(
        cls, sounds: Iterable[Sound], *, rate: int = RATE, frames: int | None = None, form: str = "picture"
    ) -> AudioReader:
        """Read length, means and deviations off some sounds.

        Without a number of ``frames`` 95 % of the sounds fit; where that takes more than 128 frames of 10 ms, several are
        averaged into one.
        """
        if frames is not None and (frames < 8 or frames % 8):
            raise UsageError(f"{frames} frames do not fit the encoders", hint="use a multiple of 8")
        spectra = [log_mel(resampled(sound, rate), rate) for sound in sounds]
        long = float(np.quantile([len(spectrum) for spectrum in spectra], LONG)) if spectra else 8.0
        step = max(1, math.ceil(long / (frames or MOST_FRAMES)))
        pooled = np.concatenate([_averaged(spectrum, step) for spectrum in spectra] or [np.zeros((1, BANDS))])
        frames = frames or 8 * math.ceil(long / step / 8)
        spread = pooled.std(axis=0).clip(min=LEAST_SPREAD)
        return cls(pooled.mean(axis=0), spread, frames=frames, step=step, rate=rate, form=form)

    @classmethod
    def of(cls, data: Dataset, *, frames: int | None = None, form: str = "picture") -> AudioReader:
        """The reader that suits a data set, from evenly spaced sounds of it, at their commonest rate."""
        some = evenly_spaced(len(data), SEEN)
        return cls.build(data.take(some), rate=data.X.rate, frames=frames, form=form)  # type: ignore[attr-defined]

    @property
    def bands(self) -> int:
        """Numbers of a frame."""
        return len(self.mean)

    def encode(self, examples: Any) -> list[Any]:
        """Spectrograms (T, F) float32 of sounds, T at most ``frames``."""
        rows = []
        for sound in examples:
            samples = resampled(sound, self.rate)
            values = _averaged(log_mel(samples, self.rate, bands=self.bands), self.step)[: self.frames]
            rows.append(((values - self.mean) / self.spread).astype(np.float32))
        return rows

    def collate(self, encoded: list[Any]) -> Batch:
        if self.form == "picture":
            return {"pixel_values": as_pixels(torch.from_numpy(padded(encoded, self.frames)[0]))}
        frames, real = padded(encoded)
        return {"frames": torch.from_numpy(frames), "attention_mask": torch.from_numpy(real)}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        facts = {"frames": self.frames, "step": self.step, "rate": self.rate, "form": self.form}
        return {"modality": "audio", "kind": "sounds", **facts}, {"mean": self.mean, "spread": self.spread}

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> AudioReader:
        """The inverse of ``state``."""
        facts = {key: state[key] for key in ("frames", "step", "rate", "form")}
        return cls(arrays["mean"], arrays["spread"], **facts)


def as_pixels(frames: Tensor) -> Tensor:
    """Spectrograms (B, T, F) as pictures (B, 2, F, T): energy, and the place of the band, from -1 to 1.

    A convolution is blind to where it stands, and the pitch of a sound is where it stands.  Koutini et al. (2019),
    Receptive-field-regularized CNN variants for acoustic scene classification.
    """
    energy = frames.transpose(1, 2)
    places = torch.linspace(-1, 1, energy.shape[1], device=frames.device, dtype=frames.dtype)
    return torch.stack([energy, places[:, None].expand_as(energy)], dim=1)


def padded(encoded: list[np.ndarray], length: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Spectrograms (T_i, F) side by side: (B, T, F) with zeros, the mean, after their ends; and which are real (B, T).

    T is a multiple of 8, ``length`` at least.
    """
    longest = 8 * math.ceil(max(length, *map(len, encoded)) / 8)
    frames = np.zeros((len(encoded), longest, encoded[0].shape[1]), np.float32)
    real = np.zeros((len(encoded), longest), np.float32)
    for row, values in enumerate(encoded):
        frames[row, : len(values)], real[row, : len(values)] = values, 1
    return frames, real


def _averaged(spectrogram: np.ndarray, step: int) -> np.ndarray:
    """Means of ``step`` frames each; a rest makes one of its own."""
    if step == 1:
        return spectrogram
    starts = np.arange(0, len(spectrogram), step)
    counts = np.diff(np.append(starts, len(spectrogram)))
    means: np.ndarray = np.add.reduceat(spectrogram, starts, axis=0) / counts[:, None]
    return means
