"""What objectives over pictures share: the pictures on disk, the encoder, the batches, sheets of pictures to look at."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from graft.core.errors import DataError, UsageError
from graft.core.rows import evenly_spaced
from graft.core.runtime import Progress
from graft.core.types import Dataset, ModelSpec
from graft.engine.loop import History
from graft.engine.objective import Batch, Objective
from graft.nn.encoders import size_of
from graft.pretrain.base import BasePretrain, choose_encoder, held_out_rows
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone
from graft.sources.readers import ImageReader

CHUNK = 256  # pictures decoded at a time
SEEN = 64  # pictures from which side and colour are read off
MEASURED_PICTURES = 1_000  # held-out pictures that are scored at most
MEASURED_ROWS = 64  # pictures scored at a time
SHEET_SIDE = 64  # pixels of one picture on a sheet, at least


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size.

    Attributes:
        train: Training pictures (N, H, W, C) uint8, memory-mapped.
        held_out: Held-out pictures (M, H, W, C).
        sizes: Smallest and largest height and width as they came.
    """

    train: np.ndarray
    held_out: np.ndarray
    sizes: list[list[int]]


def picture_reader(data: Dataset, side: int | None = None) -> ImageReader:
    """Side and colour of what encoders read, found in a sample of the pictures unless a side is given.

    Raises:
        DataError: There are no pictures.
        UsageError: The side is no multiple of 8.
    """
    if side is not None and (side < 8 or side % 8):
        raise UsageError(f"a side of {side} pixels does not fit the encoders", hint="use a multiple of 8")
    if not len(data):
        raise DataError(f"{data.name} has no pictures")
    some = data.take(evenly_spaced(len(data), SEEN))
    found = ImageReader.build(some)
    return ImageReader(side or found.size, grey=found.grey)


def write_pictures(
    reader: ImageReader,
    data: Dataset,
    folder: Path,
    *,
    seed: int,
    progress: Progress,
    held_out: np.ndarray | None = None,
) -> Pictures:
    """Decode every picture once; what lies in the folder already is used as it is.

    Args:
        reader: Side and colour.
        data: The pictures.
        folder: Where they are written.
        seed: Of what is held out.
        progress: Told how far it is.
        held_out: Mask (N,) of the pictures held out; one in twenty by default.

    Raises:
        DataError: There are fewer than two pictures, or all of them are equal.
    """
    if len(data) < 2:
        raise DataError(f"{data.name} has {len(data)} picture(s)", hint="one is trained on, another is held out")
    held_out = held_out_rows(len(data), seed) if held_out is None else held_out
    record = folder / "pictures.json"
    files = {"train": folder / "train.pixels", "held_out": folder / "held_out.pixels"}
    side = [reader.size, reader.size, 1 if reader.grey else 3]
    wanted = {"shape": side, "rows": len(data), "seed": seed}
    facts = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    if {key: facts.get(key) for key in wanted} != wanted:
        record.unlink(missing_ok=True)
        facts = wanted | _decode(reader, data, files, held_out, progress)
        record.write_text(json.dumps(facts), encoding="utf-8")  # last: pictures without it are not whole
    if facts["equal"]:
        raise DataError(f"all {len(data):,} pictures of {data.name} are equal", hint="there is nothing to learn")
    counts = {"train": int((~held_out).sum()), "held_out": int(held_out.sum())}
    parts = {name: np.memmap(path, np.uint8, "r", shape=(counts[name], *side)) for name, path in files.items()}
    return Pictures(parts["train"], parts["held_out"], facts["sizes"])


def _decode(
    reader: ImageReader, data: Dataset, files: dict[str, Path], held_out: np.ndarray, progress: Progress
) -> dict[str, Any]:
    """Write all pictures; whether they are all equal, and how small and large they came."""
    first, equal, sizes = b"", True, []
    with files["train"].open("wb") as train, files["held_out"].open("wb") as other:
        for start in range(0, len(data), CHUNK):
            raw = data.take(slice(start, start + CHUNK))
            found = np.asarray([picture.shape[:2] for picture in raw])
            sizes += [found.min(axis=0), found.max(axis=0)]
            for position, pixels in enumerate(reader.encode(raw)):
                written = np.ascontiguousarray(pixels).tobytes()
                first = first or written
                equal = equal and written == first
                (other if held_out[start + position] else train).write(written)
            done = min(start + CHUNK, len(data))
            progress("pictures", done / len(data), f"{done:,} pictures")
    return {"equal": equal, "sizes": [np.min(sizes, axis=0).tolist(), np.max(sizes, axis=0).tolist()]}


def patch_of(side: int) -> int:
    """Height and width of the patches of a picture: an eighth of its side, at least 2 pixels."""
    return max(2, side // 8)


def as_pixels(pictures: np.ndarray) -> Tensor:
    """Pictures (B, H, W, C) uint8 as the encoders want them: (B, C, H, W) float32 in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()
    return (pixels / 127.5 - 1.0).contiguous()


def as_pictures(pixels: Tensor) -> np.ndarray:
    """The inverse of ``as_pixels``: (B, H, W, C) uint8, clipped."""
    values = (pixels.detach().float().cpu() + 1.0) * 127.5
    return values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def sheet(rows: Sequence[np.ndarray]) -> str:
    """Rows of pictures (N, H, W, C) uint8 of one size side by side, as a PNG in a data URI.

    Example:
        >>> sheet([np.zeros((2, 8, 8, 1), np.uint8)])[:22]
        'data:image/png;base64,'
    """
    from PIL import Image

    high, wide = rows[0].shape[1:3]
    most = max(len(row) for row in rows)
    canvas = np.full((len(rows) * (high + 1) - 1, most * (wide + 1) - 1, 3), 255, np.uint8)
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            top, left = down * (high + 1), across * (wide + 1)
            canvas[top : top + high, left : left + wide] = picture  # grey spreads over the three colours
    image = Image.fromarray(canvas)
    times = max(1, math.ceil(SHEET_SIDE / max(high, wide)))
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode("ascii")


class PicturePretrain(BasePretrain):
    """Base of objectives over pictures.  A subclass writes ``_objective``, ``_batch``, ``_measure`` and ``_samples``.

    Args:
        encoder: Name of the encoder; the first the objective knows if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        side: Height and width that pictures are brought to, a multiple of 8; read off the pictures (at most 64) if None.
        epochs: Passes over the pictures; None: as many as the time allows, or 3 without a budget.
        batch_size: Pictures of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and everything drawn.
    """

    smallest: ClassVar[int] = 1  # pictures that a batch must have

    pictures_: Pictures
    reader_: ImageReader

    def __init__(
        self,
        *,
        encoder: str | None = None,
        size: str = "small",
        side: int | None = None,
        epochs: float | None = None,
        batch_size: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.size = size
        self.side = side
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.seed = seed

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        name = choose_encoder(self.encoder, self.encoders["image"], self.label)
        arguments = size_of(name, self.size)
        if self.batch_size < self.smallest:
            raise UsageError(
                f"{self.label} cannot learn from batches of {self.batch_size}", hint=f"use {self.smallest} or more"
            )
        self._read(data, folder, progress)
        backbone = self._backbone(name, arguments)
        full, rest = divmod(len(self.pictures_.train), self.batch_size)
        return backbone, self._objective(backbone), self._batches, full + (rest >= max(1, self.smallest))

    def _backbone(self, name: str, arguments: dict[str, Any]) -> NativeBackbone:
        """A fresh encoder of pictures with the arguments of its size."""
        arguments = {"channels": self.channels, **arguments}
        if name == "patches":
            arguments |= {"size": self.reader_.size, "patch": patch_of(self.reader_.size)}
        spec = ModelSpec(f"new:{name}", name, "image", architecture=f"{name}-{self.size}")
        return NativeBackbone(name, arguments, self.reader_, spec)

    def _read(self, data: Dataset, folder: Path, progress: Progress) -> None:
        """Choose side and colour, and decode all pictures."""
        found = picture_reader(data, self.side)
        self.reader_ = found if self.side else ImageReader(self._side(found), grey=found.grey)
        self.pictures_ = write_pictures(self.reader_, data, folder, seed=self.seed, progress=progress)
        if len(self.pictures_.train) < self.smallest:
            raise DataError(
                f"{self.label} needs {self.smallest} pictures beside the held-out ones, {data.name} has "
                f"{len(self.pictures_.train)}",
                hint="add pictures",
            )

    def _side(self, found: ImageReader) -> int:
        """The side that pictures are brought to if none is asked for."""
        return found.size

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for colour."""
        return 1 if self.reader_.grey else 3

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """Batches of one epoch, in random order; a rest too small for the objective is left out."""
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.pictures_.train))
        for start in range(0, len(order), self.batch_size):
            rows = np.sort(order[start : start + self.batch_size])
            if len(rows) >= self.smallest:
                yield self._batch(self.pictures_.train[rows], rng)

    @abstractmethod
    def _objective(self, backbone: NativeBackbone) -> Objective:
        """What is minimised."""

    @abstractmethod
    def _batch(self, pictures: np.ndarray, rng: np.random.Generator) -> Batch:
        """A batch made of pictures (B, H, W, C) uint8."""

    def _held_out(self, most: int = MEASURED_PICTURES) -> np.ndarray:
        """Evenly spaced held-out pictures (M, H, W, C)."""
        every = self.pictures_.held_out
        return np.asarray(every[evenly_spaced(len(every), most)])

    def _held_out_batches(self, objective: Objective, most: int = MEASURED_PICTURES) -> Iterator[Batch]:
        """Batches of held-out pictures where the objective lives, equal at every call."""
        rng = np.random.default_rng((self.seed, 2))
        place = next(objective.parameters()).device
        pictures = self._held_out(most)
        for start in range(0, len(pictures), MEASURED_ROWS):
            batch = self._batch(pictures[start : start + MEASURED_ROWS], rng)
            yield {name: tensor.to(place) for name, tensor in batch.items()}

    def _notes(self, history: History) -> list[str]:
        del history
        (low, wide_low), (high, wide_high) = self.pictures_.sizes
        if (low, wide_low) == (high, wide_high):
            return []
        side = self.reader_.size
        sizes = f"from {low} × {wide_low} to {high} × {wide_high} pixels"
        return [f"The pictures come in sizes {sizes}; all were brought to {side} × {side}."]

    def _facts(self) -> dict[str, Any]:
        train, held_out = len(self.pictures_.train), len(self.pictures_.held_out)
        side = self.reader_.size
        return {"train_pictures": train, "held_out_pictures": held_out, "shape": [side, side, self.channels]}

    def _throughput(self, history: History) -> dict[str, float]:
        seen = history.steps * min(self.batch_size, len(self.pictures_.train))
        return {"pictures_per_second": round(seen / history.seconds) if history.seconds else 0.0}
