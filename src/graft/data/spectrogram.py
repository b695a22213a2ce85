"""Sounds as log-mel spectrograms, and the classical representation that is made of them."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from graft.core.types import Dataset

RATE = 16_000  # Hz; a sound of a higher rate is brought down to it
WINDOW, HOP = 0.025, 0.010  # s, length of a frame and from one frame to the next
BANDS = 64  # mel bands
POINTS = 1_024  # of the Fourier transform: at RATE and below every band holds at least one of its frequencies
FLOOR = 1e-8  # power added to every band, so that silence is -80 dB instead of minus infinity
PARTS = 8  # equal parts of a sound whose spectra the classical vector holds
BLOCK = 1_024  # frames transformed at a time


@dataclass(frozen=True, eq=False)
class Sound:
    """One channel of sound.

    Attributes:
        samples: Amplitudes (n,) float32; full scale is 1.
        rate: Samples per second, in Hz.
    """

    samples: np.ndarray
    rate: int


def resampled(sound: Sound, rate: int) -> np.ndarray:
    """Samples at another rate: a linear-phase low-pass in polyphase form.

    Example:
        >>> len(resampled(Sound(np.zeros(441, np.float32), 44_100), 16_000))
        160
    """
    if sound.rate == rate:
        return sound.samples
    from scipy.signal import resample_poly

    common = math.gcd(sound.rate, rate)
    return np.asarray(resample_poly(sound.samples, rate // common, sound.rate // common), np.float32)


def mel(hertz: Any) -> Any:
    """Pitch in mel, 2595 · log10(1 + f / 700).  O'Shaughnessy (1987), Speech Communication."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def centres(rate: int, bands: int = BANDS) -> np.ndarray:
    """Edges and middles (bands + 2,) in Hz of bands that are equally wide in mel, from 0 to half the rate."""
    edges: np.ndarray = 700 * (10 ** (np.linspace(0, mel(rate / 2), bands + 2) / 2595) - 1)
    return edges


@functools.lru_cache(maxsize=16)
def mel_bank(rate: int, bands: int = BANDS) -> np.ndarray:
    """Weights (bands, POINTS / 2 + 1) of triangles of height 1, each from the middle of one band to that of the next."""
    edges, bins = centres(rate, bands)[:, None], np.fft.rfftfreq(POINTS, 1 / rate)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bank = np.minimum(rising, falling).clip(min=0).astype(np.float32)
    bank.setflags(write=False)
    return bank


def log_mel(samples: np.ndarray, rate: int, *, bands: int = BANDS) -> np.ndarray:
    """Energy of frames in mel bands: 10 · log10(sum_k M_bk · |X_tk|² + FLOOR) in dB.

    X_t is the Fourier transform of frame t under a Hann window, scaled so that the bands of a sine of full scale add up
    to 1, that is 0 dB.  Davis & Mermelstein (1980), IEEE Transactions on Acoustics, Speech, and Signal Processing.

    Args:
        samples: Amplitudes (n,); fewer than one frame are filled up with silence.
        rate: In Hz, at most ``RATE``.
        bands: Number of bands.

    Returns:
        Array (frames, bands) of float32; frame t begins at t · ``HOP`` seconds.

    Example:
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
        >>> spectrum = log_mel(tone, 8000)
        >>> spectrum.shape, int(round(centres(8000)[1 + spectrum[0].argmax()]))
        ((98, 64), 986)
    """
    window, hop = max(2, round(WINDOW * rate)), max(1, round(HOP * rate))
    samples = np.asarray(samples, np.float32)
    if len(samples) < window:
        samples = np.pad(samples, (0, window - len(samples)))
    taper = np.hanning(window + 1)[:-1].astype(np.float32)
    taper *= 2 / np.sqrt(POINTS * np.square(taper).sum())  # Parseval
    frames = np.lib.stride_tricks.sliding_window_view(samples, window)[::hop]
    bank = mel_bank(rate, bands).T
    parts = []
    for start in range(0, len(frames), BLOCK):
        spectrum = np.fft.rfft(frames[start : start + BLOCK] * taper, POINTS)
        parts.append((spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ bank)
    return 10 * np.log10(np.concatenate(parts) + np.float32(FLOOR))


def as_picture(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """A spectrogram (frames, bands) as a grey picture (bands, frames) uint8: low bands below, ``high`` white."""
    share = (np.asarray(values, np.float64) - low) / max(high - low, 1e-9)
    return (share.clip(0, 1).T[::-1] * 255 + 0.5).astype(np.uint8)


class AudioVectors:
    """What a log-mel spectrogram says in a few hundred numbers, in dB.

    The mean of every band in ``PARTS`` equal parts of the sound; over the whole sound the deviation of every band, and
    mean and deviation of its change from one frame to the next.
    """

    def __init__(self) -> None:
        self.rate = RATE

    def fit(self, dataset: Dataset) -> AudioVectors:
        """Choose the rate: the commonest among the sounds, at most ``RATE``."""
        self.rate = int(dataset.X.rate)  # type: ignore[attr-defined]
        return self

    def transform(self, dataset: Dataset) -> np.ndarray:
        """Array (N, D) of float32."""
        rows = [statistics(log_mel(resampled(sound, self.rate), self.rate)) for sound in dataset.take()]
        return np.stack(rows) if rows else np.zeros((0, (PARTS + 3) * BANDS), np.float32)

    def words(self) -> str:
        """What the vector holds."""
        return f"log-mel energies at {self.rate} Hz: {BANDS} bands in {PARTS} parts, their deviations and changes"

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The rate as JSON; no arrays."""
        return {"rate": self.rate}, {}

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> AudioVectors:  # noqa: ARG003  (protocol)
        """The inverse of ``state``."""
        vectors = cls()
        vectors.rate = int(facts["rate"])
        return vectors


def statistics(spectrogram: np.ndarray) -> np.ndarray:
    """The numbers (11 · bands,) that ``AudioVectors`` holds of a spectrogram (frames, bands)."""
    change = np.diff(spectrogram, axis=0, prepend=spectrogram[:1])
    parts = [part.mean(axis=0) for part in _parts(spectrogram)]
    return np.concatenate([*parts, spectrogram.std(axis=0), change.mean(axis=0), change.std(axis=0)])


def _parts(spectrogram: np.ndarray) -> Iterator[np.ndarray]:
    """``PARTS`` equal parts; neighbours share frames where these are few."""
    edges = np.linspace(0, len(spectrogram), PARTS + 1)
    for start, end in itertools.pairwise(edges):
        yield spectrogram[int(start) : max(int(start) + 1, math.ceil(end))]
