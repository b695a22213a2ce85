"""Sounds: decoding WAV, FLAC, Ogg and MP3 into one channel; facts about lengths, rates and faults of recording."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.core.runtime import require
from graft.core.types import Dataset
from graft.data.spectrogram import RATE, WINDOW, AudioVectors, Sound, centres, log_mel, resampled

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
LONGEST = 30.0  # s; what follows in a sound is not read
FULL = 0.999  # amplitude that counts as full scale
CLIPPED = 0.001  # share of samples at full scale from which a recording counts as clipped
MOST_CHANNELS = 8  # a longer side of an array is time


@dataclass(frozen=True)
class Facts:
    """What is known of one sound.

    Attributes:
        fault: Why it cannot be used; empty if it can.
        seconds: Its whole length.
        rate: As recorded, in Hz.
        channels: Their number.
        form: Format of the file.
        clipped: Share of the samples at full scale.
        key: 64-bit hash of what is heard: rate and samples.
    """

    fault: str = ""
    seconds: float = 0.0
    rate: int = 0
    channels: int = 0
    form: str = ""
    clipped: float = 0.0
    key: int = 0


def decode(source: Any) -> Sound:
    """Decode a sound to one channel, the mean of all, at its own rate or ``RATE``, whichever is lower.

    Of a sound longer than ``LONGEST`` seconds the beginning is read.

    Args:
        source: Path, encoded bytes, a ``Sound``, or ``(samples, rate)`` with samples (n,) or (n, channels), floats whose
            full scale is 1 or integers.

    Raises:
        DataError: It cannot be read as a sound, is silent or shorter than a frame; the message is the reason alone.
        MissingExtraError: Files need the package soundfile.

    Example:
        >>> decode((np.ones((4000, 2), np.int16), 8000)).samples.shape
        (4000,)
    """
    samples, facts = _read(source)
    sound = Sound(samples, facts.rate)
    return sound if sound.rate <= RATE else Sound(resampled(sound, RATE), RATE)


def examine(source: Any) -> Facts:
    """Facts about a sound, or why it cannot be used.

    Example:
        >>> examine((np.zeros(8000), 8000)).fault
        'silent: every sample is zero'
    """
    try:
        samples, facts = _read(source)
    except DataError as error:
        return Facts(fault=str(error))
    digest = hashlib.blake2b(samples.tobytes(), digest_size=8, salt=facts.rate.to_bytes(8, "little")).digest()
    return dataclasses.replace(facts, key=int.from_bytes(digest, "little"))


def _read(source: Any) -> tuple[np.ndarray, Facts]:
    """One channel (n,) at the rate of the recording."""
    if source is None:
        raise DataError("no sound")
    raw, rate, seconds, form = _from_array(source) if isinstance(source, Sound | tuple) else _from_file(source)
    if not np.isfinite(raw).all():
        raise DataError("it holds samples that are not finite")
    if len(raw) < WINDOW * rate:
        raise DataError(f"too short: {len(raw) / rate:.3f} s, one frame has {WINDOW} s")
    samples = np.ascontiguousarray(raw.mean(axis=1))
    if not samples.any():
        raise DataError("its channels cancel each other out" if raw.any() else "silent: every sample is zero")
    return samples, Facts("", seconds, rate, raw.shape[1], form, float(np.mean(np.abs(raw) >= FULL)))


def _from_file(source: Any) -> tuple[np.ndarray, int, float, str]:
    """Samples (n, channels) float32, rate, seconds of the whole file, and its format."""
    if not isinstance(source, str | Path | bytes):
        raise DataError(f"a {type(source).__name__} without a rate is no sound")
    soundfile = require("soundfile", extra="audio")
    if isinstance(source, str | Path) and not Path(source).is_file():
        raise DataError("no such file")
    if not (len(source) if isinstance(source, bytes) else Path(source).stat().st_size):
        raise DataError("empty file")
    try:
        file = soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise DataError(f"not a sound ({_reason(error)})") from None
    with file:
        rate, most = int(file.samplerate), int(LONGEST * file.samplerate)
        try:
            raw = file.read(frames=most, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError, RuntimeError) as error:
            raise DataError(f"damaged ({_reason(error)})") from None
        count = file.frames if len(raw) == most else len(raw)  # a damaged header may claim more
        return raw, rate, count / rate, str(file.format)


def _reason(error: Exception) -> str:
    words = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return words[:1].lower() + words[1:] or type(error).__name__


def _from_array(source: Any) -> tuple[np.ndarray, int, float, str]:
    samples, rate = (source.samples, source.rate) if isinstance(source, Sound) else source
    values = np.asarray(samples)
    if values.ndim == 2 and values.shape[0] <= MOST_CHANNELS < values.shape[1]:
        values = values.T  # channels first
    if values.ndim not in {1, 2} or values.dtype.kind not in "iuf":
        raise DataError(f"an array of shape {values.shape} and type {values.dtype} is no sound")
    if not isinstance(rate, int | float | np.number) or not rate > 0:
        raise DataError(f"{rate!r} is no rate in Hz")
    if values.dtype.kind in "iu":
        half = 2.0 ** (8 * values.dtype.itemsize - 1)
        values = values / half - (values.dtype.kind == "u")
    seconds = len(values) / int(rate)
    values = values[: int(LONGEST * rate)].astype(np.float32)
    return values.reshape(len(values), -1), int(rate), seconds, "array"


def starts_like_sound(head: bytes) -> bool:
    """Whether the first bytes are those of a WAV, FLAC, Ogg or MP3 file.

    Example:
        >>> starts_like_sound(b"fLaC"), starts_like_sound(b"GIF89a")
        (True, False)
    """
    wave = head[:4] in {b"RIFF", b"RF64"} and head[8:12] == b"WAVE"
    return wave or head.startswith((b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"))


class _Audio:
    """Facts, walk and vectors of sounds."""

    vectorizer = AudioVectors

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        """Rows, lengths in seconds (shortest, median, longest, all), rates in Hz, channels, formats, repeated rows."""
        facts = dataset.X.facts(dataset.rows)  # type: ignore[attr-defined]
        seconds = np.array([fact.seconds for fact in facts] or [0.0])
        keys = dataset.X.keys(dataset.rows)  # type: ignore[attr-defined]
        return {
            "rows": len(dataset),
            "seconds": {
                "min": round(float(seconds.min()), 3),
                "median": round(float(np.median(seconds)), 3),
                "max": round(float(seconds.max()), 3),
                "total": round(float(seconds.sum()), 1),
            },
            "rates": _counted(f"{fact.rate} Hz" for fact in facts),
            "channels": _counted(_channels(fact.channels) for fact in facts),
            "formats": _counted(fact.form for fact in facts),
            "clipped": sum(fact.clipped > CLIPPED for fact in facts),
            "duplicates": len(keys) - len(np.unique(keys)),
        }

    def walk(self, dataset: Dataset, row: int) -> list[tuple[str, str]]:
        """One sound: file, as decoded, its spectrogram, and what the classical vector is made of."""
        one = dataset.select(np.array([row]))
        fact, sound = dataset.X.facts(one.rows)[0], one.take()[0]  # type: ignore[attr-defined]
        vectors = AudioVectors().fit(dataset)
        samples = resampled(sound, vectors.rate)
        spectrogram = log_mel(samples, vectors.rate)
        pitch = centres(vectors.rate)[1 + int(spectrogram.mean(axis=0).argmax())]
        name = dataset.X.name(int(one.rows[0]))  # type: ignore[attr-defined]
        span = f"{spectrogram.min():.0f} to {spectrogram.max():.0f}"
        level = 10 * np.log10(max(float(np.mean(samples**2)), 1e-10))
        steps = [
            ("raw", f"{name}: {fact.seconds:.2f} s, {fact.rate} Hz, {_channels(fact.channels)}, {fact.form}"),
            ("decoded", f"{len(samples)} samples at {vectors.rate} Hz, level {level:.0f} dB of full scale"),
            (
                "log-mel",
                f"{len(spectrogram)} frames x {spectrogram.shape[1]} bands, {span} dB, loudest near {pitch:.0f} Hz",
            ),
        ]
        if dataset.y is not None:
            steps.append(("label", str(one.labels[0])))
        return [*steps, ("vector", f"{vectors.transform(one).shape[1]} numbers: {vectors.words()}")]

    def vectors(self) -> AudioVectors:
        """Statistics of log-mel energies."""
        return AudioVectors()


def _channels(count: int) -> str:
    return {1: "mono", 2: "stereo"}.get(count, f"{count} channels")


def _counted(words: Any) -> dict[str, int]:
    return dict(Counter(words).most_common())


MODALITIES.register("audio")(_Audio())
