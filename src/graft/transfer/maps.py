"""Pictures as maps of features: whole pictures at a size of the detector's own, through any network that keeps places.

Views for training are cropped, mirrored and recoloured together with their boxes.  Where the network is frozen, the maps of a
few views of every picture are computed once, kept in the cache by content, and read in every pass.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from graft.core.boxes import area, clipped
from graft.core.errors import BudgetError, SourceError
from graft.core.runtime import bf16_is_faster, device
from graft.core.types import Dataset
from graft.data.picture_sizes import relative
from graft.nn.augmentation import DRAWS, augmented, frames
from graft.sources.base import Backbone, Batch
from graft.transfer.activations import stored
from graft.transfer.base import Setting

FORMAT = 1  # of the entries; part of their keys
FINEST = 8  # pixels of the network's input that a cell of the finest map covers at least
MAPS = 3  # that a detector reads: the coarsest ones
STEP = 32  # sides of the input are multiples of this
SMALLEST = 0.4  # share of a picture's area that a view keeps at least
VISIBLE = 0.3  # share of a box that must lie in a view
BLOCK = 8  # pictures passed at a time
MOST = 6 << 30  # bytes of maps that are kept


def sides_of(shape: tuple[float, float], size: int) -> tuple[int, int]:
    """Height and width to which pictures are brought: the longer side ``size``, at most twice their own, in steps of 32.

    Example:
        >>> sides_of((240, 320), 320), sides_of((48, 64), 320)
        ((256, 320), (96, 128))
    """
    longer = max(shape)
    high, wide = (max(STEP, STEP * round(min(size / longer, 2.0) * side / STEP)) for side in shape)
    return high, wide


@dataclass
class MapReader:
    """How a network turns pictures into maps.

    Attributes:
        backbone: The network.
        height: Of the pictures that it reads.
        width: The same.
        levels: Which of its layers are read, fine to coarse.
        channels: Of each of them.
        grid: Height and width of the finest.
        shapes: Shape (D, H, W) of each.
    """

    backbone: Backbone
    height: int
    width: int
    levels: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    grid: tuple[int, int] = (0, 0)
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    @classmethod
    def build(cls, backbone: Backbone, shape: tuple[int, int], size: int) -> MapReader:
        """Choose size and layers for pictures of the shape (height, width), see ``sides_of``.

        A network whose positions are fixed reads the pictures at its own size.

        Raises:
            SourceError: It reads pictures through a processor that cannot be asked for another size, or keeps no places.
        """
        sides = sides_of(shape, size)
        blank = np.zeros((64, 64, 3), np.uint8)
        own = np.asarray(backbone.preprocess([blank])[0])
        name = backbone.spec.name
        if own.dtype != np.uint8 or own.ndim != 3:
            raise SourceError(
                f"{name} cannot read pictures at a size of our own", hint="choose another source of pictures"
            )
        for high, wide in (sides, own.shape[:2]):
            reader = cls(backbone, int(high), int(wide))
            if reader._look():
                return reader
        raise SourceError(
            f"{name} keeps no places: its layers are no maps", hint="choose a convolutional network or a ViT"
        )

    def _look(self) -> bool:
        """Find the layers to read by one pass; whether there are any."""
        try:
            with torch.no_grad():
                layers = self._layers(self.collate([np.zeros((self.height, self.width, 3), np.uint8)]))
        except (RuntimeError, ValueError, IndexError):
            return False
        last = {tuple(layer.shape[2:]): place for place, layer in enumerate(layers) if layer is not None}
        fine = {shape: self.height / shape[0] for shape in last if shape[0] > 1 and shape[1] > 1}
        if not fine:
            return False
        chosen = [shape for shape in fine if fine[shape] >= FINEST] or [max(fine, key=lambda shape: fine[shape])]
        chosen = sorted(chosen, key=lambda shape: -shape[0])[:MAPS]
        self.levels = tuple(last[shape] for shape in chosen)
        self.shapes = [tuple(layers[place].shape[1:]) for place in self.levels]  # type: ignore[union-attr]
        self.channels = tuple(shape[0] for shape in self.shapes)
        self.grid = (chosen[0][0], chosen[0][1])
        return True

    def pictures(self, data: Dataset) -> np.ndarray:
        """Pictures (n, height, width, 3), uint8, without regard for their proportions."""
        size = (self.width, self.height)
        resized = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in data.take()]
        return np.stack(resized) if resized else np.zeros((0, self.height, self.width, 3), np.uint8)

    def collate(self, pictures: Any) -> Batch:
        """Pictures (height, width, 3) as the network reads them."""
        grey = np.asarray(self.backbone.preprocess([np.zeros((32, 32, 3), np.uint8)])[0]).shape[-1] == 1
        if grey:
            pictures = [np.asarray(Image.fromarray(one).convert("L"))[..., None] for one in pictures]
        return self.backbone.collate(list(pictures))

    def _layers(self, batch: Batch) -> list[Tensor | None]:
        """Every layer as a map (B, D, H, W); tokens of patches are laid out again, layers without places are None."""
        place = next(self.backbone.parameters()).device
        hidden = self.backbone.forward_features({key: value.to(place) for key, value in batch.items()})
        return [self._laid_out(one) for one in hidden]

    def _laid_out(self, hidden: Tensor) -> Tensor | None:
        if hidden.ndim == 4:
            return hidden
        if hidden.ndim != 3:
            return None
        patch = getattr(getattr(getattr(self.backbone, "model", None), "config", None), "patch_size", None)
        if isinstance(patch, int):
            high, wide = self.height // patch, self.width // patch
        else:
            high = wide = int(hidden.shape[1] ** 0.5)
        if high * wide > hidden.shape[1] or high * wide < 4:
            return None
        first = hidden.shape[1] - high * wide  # tokens of the class and the like come before the patches
        return hidden[:, first:].transpose(1, 2).reshape(len(hidden), -1, high, wide)

    def maps(self, batch: Batch) -> list[Tensor]:
        """The layers that are read (B, D_l, H_l, W_l)."""
        layers = self._layers(batch)
        return [layers[place] for place in self.levels]  # type: ignore[misc]

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs, as JSON."""
        facts = {"height": self.height, "width": self.width, "levels": self.levels, "channels": self.channels}
        return facts | {"grid": self.grid, "shapes": self.shapes}

    @classmethod
    def restore(cls, backbone: Backbone, state: dict[str, Any]) -> MapReader:
        """The inverse of ``state``."""
        high, wide = state["grid"]
        shapes = [tuple(shape) for shape in state["shapes"]]
        lists = (tuple(state["levels"]), tuple(state["channels"]), (high, wide), shapes)
        return cls(backbone, state["height"], state["width"], *lists)


def view(
    pictures: np.ndarray, objects: list[np.ndarray], draws: Tensor, *, smallest: float = SMALLEST
) -> tuple[Any, ...]:
    """Other views of pictures and of their boxes: cropped, mirrored, recoloured.

    Args:
        pictures: (B, H, W, 3), uint8.
        objects: Boxes of each (m, 5), as shares of width and height.
        draws: Uniform random numbers (B, 12) in [0, 1).
        smallest: Share of the area that a view keeps at least.

    Returns:
        Pictures and boxes of the same form; boxes less than ``VISIBLE`` of which is left are gone.
    """
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    shown = augmented(pixels, draws, flip=True, smallest=smallest)
    seen = ((shown + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    moved = []
    for row, frame in zip(
        objects, torch.stack(frames(draws, flip=True, smallest=smallest), dim=1).tolist(), strict=True
    ):
        half, middle = np.tile(frame[:2], 2), np.tile(frame[2:], 2)
        box = ((2 * row[:, :4] - 1 - middle) / half + 1) / 2
        box = np.concatenate([np.minimum(box[:, :2], box[:, 2:]), np.maximum(box[:, :2], box[:, 2:])], axis=1)
        inside = clipped(box, 1, 1)
        kept = area(inside) > VISIBLE * area(box)
        moved.append(np.concatenate([inside, row[:, 4:]], axis=1)[kept])
    return seen, moved


def draws_of(seed: int, number: int, rows: np.ndarray) -> Tensor:
    """Random numbers (B, 12) that depend on the seed, the number of the view, and the row alone."""
    drawn = [np.random.default_rng((seed, number, int(row))).random(DRAWS) for row in rows]
    return torch.from_numpy(np.asarray(drawn, np.float32).reshape(-1, DRAWS))


@dataclass
class Views:
    """The maps of several views of every picture, computed once.

    Attributes:
        values: bfloat16 bits (views · n, ΣD·H·W), int16.
        shapes: Of the maps.
        objects: Boxes of every view of every picture.
        count: Pictures.
    """

    values: np.ndarray
    shapes: list[tuple[int, ...]]
    objects: list[list[np.ndarray]]
    count: int

    def maps(self, number: np.ndarray, rows: np.ndarray) -> list[Tensor]:
        """Maps of the views ``number`` (B,) of the pictures ``rows`` (B,)."""
        lines = torch.from_numpy(self.values[number * self.count + rows]).view(torch.bfloat16).float()
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        return [part.reshape(len(rows), *shape) for part, shape in zip(lines.split(sizes, 1), self.shapes, strict=True)]


def kept_views(reader: MapReader, data: Dataset, setting: Setting, *, views: int, seed: int) -> Views:
    """Maps of every picture as it is, and of ``views`` - 1 other views of it, from the cache where they are there.

    Raises:
        BudgetError: The clock ran out, or they take more than ``MOST`` bytes.
    """
    objects, width = relative(data), sum(int(np.prod(shape)) for shape in reader.shapes)
    if 2 * views * len(data) * width > MOST:
        need = f"maps of {views} views of {len(data)} pictures take {2 * views * len(data) * width >> 20:,} MiB"
        raise BudgetError(need, hint="use fewer views, a smaller size, or blocks=1")
    seen: list[list[np.ndarray]] = [objects]
    draws = [draws_of(seed, number, data.rows) for number in range(views)]
    blank = np.zeros((len(data), 1, 1, 3), np.uint8)
    seen += [view(blank, objects, draws[number])[1] for number in range(1, views)]

    def fill(values: np.ndarray) -> None:
        reader.backbone.to(device()).eval()
        for start in range(0, len(data), BLOCK):
            some = np.arange(start, min(start + BLOCK, len(data)))
            pictures = reader.pictures(data.select(some))
            for number in range(views):
                if setting.clock.expired:
                    raise BudgetError(f"no time left at {100 * start // len(data)} % of the pass over the pictures")
                shown = (
                    pictures if not number else view(pictures, [objects[row] for row in some], draws[number][some])[0]
                )
                with torch.no_grad(), torch.autocast(device(), dtype=torch.bfloat16, enabled=bf16_is_faster()):
                    maps = reader.maps(reader.collate(shown))
                lines = torch.cat([each.flatten(1) for each in maps], dim=1).to(torch.bfloat16)
                values[number * len(data) + some] = lines.view(torch.int16).cpu().numpy()
            setting.progress("maps", start / len(data), f"{start} of {len(data)} pictures, {views} view(s)")

    facts = [FORMAT, reader.backbone.fingerprint(), data.X.digest(), views, seed, bf16_is_faster(), reader.state()]
    facts.append(hashlib.sha256(data.rows.astype(np.int64).tobytes()).hexdigest())
    key = "maps-" + hashlib.sha256(json.dumps(facts, default=list).encode()).hexdigest()[:40]
    values = stored(setting.store, key, (views * len(data), width), fill)
    return Views(values, reader.shapes, seen, len(data))
