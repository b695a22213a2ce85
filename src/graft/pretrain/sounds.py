"""What objectives over sounds share: spectrograms on disk, the encoder, the batches, sheets of spectrograms."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from graft.core.errors import DataError
from graft.core.rows import evenly_spaced
from graft.core.runtime import Progress
from graft.core.types import Dataset, ModelSpec
from graft.data.spectrogram import HOP, as_picture
from graft.engine.loop import History
from graft.engine.objective import Batch, Objective
from graft.nn.encoders import size_of
from graft.pretrain.base import BasePretrain, choose_encoder, held_out_rows
from graft.pretrain.pictures import sheet
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone
from graft.sources.sounds import CHANNELS, AudioReader, padded

CHUNK = 64  # sounds decoded at a time
MEASURED_SOUNDS = 500  # held-out sounds that are scored at most
MEASURED_ROWS = 32  # sounds scored at a time
SHOWN = 6  # sounds of a sample
AS_PICTURES = ("resnet", "vgg")  # encoders that read a spectrogram as a picture; the others read frame by frame


@dataclass(frozen=True)
class Frames:
    """Spectrograms of some sounds, end to end.

    Attributes:
        values: Frames (N, F) float32 as the reader gives them, memory-mapped.
        ends: Where each sound ends (M,).
    """

    values: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    def take(self, sounds: np.ndarray) -> list[np.ndarray]:
        """Spectrograms (T_i, F) of the sounds of these numbers."""
        starts = np.append(0, self.ends[:-1])
        return [np.asarray(self.values[starts[i] : self.ends[i]]) for i in sounds]


def write_frames(reader: Any, data: Dataset, folder: Path, *, seed: int, progress: Progress) -> tuple[Frames, Frames]:
    """Decode every sound once; training and held-out spectrograms.  What lies in the folder already is used as it is.

    Raises:
        DataError: There are fewer than two sounds.
    """
    if len(data) < 2:
        raise DataError(f"{data.name} has {len(data)} sound(s)", hint="one is trained on, another is held out")
    held_out = held_out_rows(len(data), seed)
    record = folder / "sounds.json"
    files = {"train": folder / "train.frames", "held_out": folder / "held_out.frames"}
    wanted = {"reader": reader.state()[0], "rows": len(data), "seed": seed}
    facts = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    if {key: facts.get(key) for key in wanted} != wanted:
        record.unlink(missing_ok=True)
        facts = {**wanted, "lengths": _encode(reader, data, files, held_out, progress)}
        record.write_text(json.dumps(facts), encoding="utf-8")  # last: spectrograms without it are not whole
    ends = {name: np.cumsum(facts["lengths"][name]) for name in files}
    parts = [
        Frames(np.memmap(path, np.float32, "r", shape=(int(ends[name][-1]), reader.bands)), ends[name])
        for name, path in files.items()
    ]
    return parts[0], parts[1]


def _encode(
    reader: Any, data: Dataset, files: dict[str, Path], held_out: np.ndarray, progress: Progress
) -> dict[str, list[int]]:
    """Write all spectrograms; the number of frames of each."""
    lengths: dict[str, list[int]] = {"train": [], "held_out": []}
    with files["train"].open("wb") as train, files["held_out"].open("wb") as other:
        for start in range(0, len(data), CHUNK):
            for position, values in enumerate(reader.encode(data.take(slice(start, start + CHUNK))), start):
                (other if held_out[position] else train).write(np.ascontiguousarray(values).tobytes())
                lengths["held_out" if held_out[position] else "train"].append(len(values))
            done = min(start + CHUNK, len(data))
            progress("spectrograms", done / len(data), f"{done:,} sounds")
    return lengths


def rows_of(values: Tensor, real: Tensor) -> Tensor:
    """Means (B,) of values (B, T, F) over the cells that ``real`` (B, T) or (B, T, F) marks; 0 where there is none."""
    weight = (real if real.ndim == 3 else real[..., None].expand_as(values)).to(values.dtype)
    return (values * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp(min=1)


class SoundPretrain(BasePretrain):
    """Base of objectives over sounds.  A subclass writes ``_objective``, ``_batch``, ``_measure`` and ``_samples``.

    Args:
        encoder: Name of the encoder; the first the objective knows if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        length: Frames read of a sound, a multiple of 8; None: so many that 95 % of the sounds fit, at most 128.
        epochs: Passes over the sounds; None: as many as the time allows, or 3 without a budget.
        batch_size: Sounds of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and everything drawn.
    """

    causal: ClassVar[bool] = False
    modality: ClassVar[str] = "audio"
    unit: ClassVar[str] = "sound"

    train_: Frames
    held_out_: Frames
    reader_: Any

    def __init__(
        self,
        *,
        encoder: str | None = None,
        size: str = "small",
        length: int | None = None,
        epochs: float | None = None,
        batch_size: int = 32,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.size = size
        self.length = length
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.seed = seed

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        name = choose_encoder(self.encoder, self.encoders[self.modality], self.label)
        arguments = size_of(name, self.size)
        form = "picture" if name in AS_PICTURES else "frames"
        self.reader_ = self._reader(data, form)
        self.train_, self.held_out_ = write_frames(self.reader_, data, folder, seed=self.seed, progress=progress)
        self._check()
        own = {"channels": CHANNELS} if form == "picture" else {"bands": self.reader_.bands, "causal": self.causal}
        spec = ModelSpec(f"new:{name}", name, self.modality, architecture=f"{name}-{self.size}")
        backbone = NativeBackbone(name, {**own, **arguments}, self.reader_, spec)
        per_epoch = math.ceil(len(self.train_) / self.batch_size)
        return backbone, self._objective(backbone), self._batches, per_epoch

    def _reader(self, data: Dataset, form: str) -> Any:
        """What turns rows into frames."""
        return AudioReader.of(data, frames=self.length, form=form)

    def _check(self) -> None:
        """Refuse sounds that cannot be learned from."""

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """Batches of one epoch, in random order."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.train_))
        for start in range(0, len(order), self.batch_size):
            yield self._batch(*padded(self.train_.take(order[start : start + self.batch_size])), rng)

    @abstractmethod
    def _objective(self, backbone: NativeBackbone) -> Objective:
        """What is minimised."""

    @abstractmethod
    def _batch(self, frames: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> Batch:
        """A batch made of spectrograms (B, T, F) whose real frames are marked (B, T)."""

    def _held_out_batches(self, objective: Objective, most: int = MEASURED_SOUNDS) -> Iterator[Batch]:
        """Batches of evenly spaced held-out sounds where the objective lives, equal at every call."""
        rng = np.random.default_rng((self.seed, 2))
        place = next(objective.parameters()).device
        count = len(self.held_out_)
        chosen = evenly_spaced(count, most)
        for start in range(0, len(chosen), MEASURED_ROWS):
            batch = self._batch(*padded(self.held_out_.take(chosen[start : start + MEASURED_ROWS])), rng)
            yield {name: tensor.to(place) for name, tensor in batch.items()}

    def _mean(self) -> np.ndarray:
        """Mean training frame (F,)."""
        mean: np.ndarray = np.mean(self.train_.values, axis=0, dtype=np.float64)
        return mean.astype(np.float32)

    def _sheet(self, rows: list[Tensor], real: Tensor) -> str:
        """Rows of spectrograms (B, T, F) below each other; what is beyond the end of a sound is white."""
        pictures = []
        for row in rows:
            values = torch.where(real[..., None] > 0, row.float(), torch.full_like(row.float(), 3.0)).cpu().numpy()
            pictures.append(np.stack([as_picture(value, -3.0, 3.0) for value in values])[..., None])
        return sheet(pictures)

    def _facts(self) -> dict[str, Any]:
        reader = self.reader_
        return {
            "train_sounds": len(self.train_),
            "held_out_sounds": len(self.held_out_),
            "rate": reader.rate,
            "bands": reader.bands,
            "frames": reader.frames,
            "frame_seconds": round(HOP * reader.step, 3),
        }

    def _throughput(self, history: History) -> dict[str, float]:
        seen = history.steps * min(self.batch_size, len(self.train_))
        return {"rows_per_second": round(seen / history.seconds) if history.seconds else 0.0}
