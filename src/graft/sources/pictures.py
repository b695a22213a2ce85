"""How pictures become the pixels that a network reads: resize, crop, normalise; shared by the sources of pictures."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from graft.core.errors import DataError
from graft.sources.base import Backbone, Batch

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # of channels between 0 and 1


def scaled(image: np.ndarray, height: int, width: int, resample: int) -> np.ndarray:
    """Resize a uint8 picture with one of PIL's filters, without regard for its proportions."""
    return np.asarray(Image.fromarray(image).resize((width, height), resample=resample))


def around(image: np.ndarray, edge: int) -> tuple[int, int]:
    """Height and width with the shorter side ``edge`` and the picture's proportions."""
    height, width = image.shape[:2]
    if width <= height:
        return int(edge * height / width), edge
    return edge, int(edge * width / height)


def center(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Middle part; smaller images are padded with zeros, the odd row above and left, as transformers does."""
    high, wide = image.shape[:2]
    if high < height or wide < width:
        top, left = max(0, -(-(height - high) // 2)), max(0, -(-(width - wide) // 2))
        padded = np.zeros((max(high, height), max(wide, width), image.shape[2]), dtype=image.dtype)
        padded[top : top + high, left : left + wide] = image
        image, (high, wide) = padded, padded.shape[:2]
    top, left = (high - height) // 2, (wide - width) // 2
    return image[top : top + height, left : left + width]


def read_pictures(examples: Any, read: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    """Apply ``read`` to pictures, uint8 (H, W, 3) each.

    Raises:
        DataError: An example is not a picture.
    """

    def encode(image: Any) -> np.ndarray:
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            found = f"{image.dtype} {image.shape}"
            raise DataError(f"a picture must be uint8 (height, width, 3), not {found}", hint="convert it to RGB")
        return np.array(read(image))

    # PIL and numpy release the interpreter lock here; more threads than torch uses would fight with it.
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        return list(pool.map(encode, examples))


def keep_statistics(network: nn.Module) -> None:
    """Leave the BatchNorm layers of a network in evaluation: the batches of a small data set would spoil their means."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001  (the only name of the family)
            module.eval()


@dataclass(frozen=True)
class PictureReader:
    """Pictures of one size as ``(pixel · scale − mean) / std`` per channel.

    Attributes:
        height: Rows.
        width: Columns.
        channels: 3, or 1 for shades of grey.
        scale: Factor on the bytes 0 to 255.
        mean: Subtracted from each channel.
        std: Each channel is divided by it.
        blue_first: Whether channels stand in the order blue, green, red.
        resample: PIL's number of the filter; 2 is bilinear, 3 bicubic.
        crop: Share of the resized picture's side that the middle part keeps; 0 to warp the whole picture to the size.

    Example:
        >>> reader = PictureReader(2, 2, scale=1 / 255, mean=(0.5,), std=(0.5,))
        >>> batch = reader.collate(reader.encode([np.full((8, 6, 3), 255, dtype=np.uint8)]))
        >>> batch["pixel_values"].shape, batch["pixel_values"].max().item()
        (torch.Size([1, 3, 2, 2]), 1.0)
    """

    height: int
    width: int
    channels: int = 3
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    blue_first: bool = False
    resample: int = 2
    crop: float = 0.0

    def encode(self, examples: Any) -> list[np.ndarray]:
        """Resize and crop pictures: uint8 (H, W, 3) -> uint8 (height, width, channels)."""
        return read_pictures(examples, self.shape)

    def shape(self, image: np.ndarray) -> np.ndarray:
        """Resize and crop one picture."""
        if self.crop:
            edge = int(min(self.height, self.width) / self.crop)
            image = center(scaled(image, *around(image, edge), self.resample), self.height, self.width)
        elif image.shape[:2] != (self.height, self.width):
            image = scaled(image, self.height, self.width, self.resample)
        return np.asarray(Image.fromarray(image).convert("L"))[..., None] if self.channels == 1 else image

    @property
    def uncropped(self) -> PictureReader:
        """The same for pictures whose edges matter: all of them is warped to the size."""
        return replace(self, crop=0.0)

    def collate(self, encoded: list[np.ndarray]) -> Batch:
        """Normalise: ``pixel_values`` (B, channels, height, width) float32."""
        pixels = torch.from_numpy(np.stack(encoded)).permute(0, 3, 1, 2).float()
        pixels = pixels.flip(1) if self.blue_first else pixels
        mean = torch.tensor(self.mean).reshape(1, -1, 1, 1)
        std = torch.tensor(self.std).reshape(1, -1, 1, 1)
        return {"pixel_values": ((pixels * self.scale - mean) / std).contiguous(memory_format=torch.channels_last)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> PictureReader:
        """The reader whose ``dataclasses.asdict`` was written as JSON."""
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in state.items()})


class PictureBackbone(Backbone):
    """A network that reads pictures of one size; a subclass sets ``reader`` and writes ``forward_all``.

    BatchNorm statistics are never updated.
    """

    reader: PictureReader

    @abstractmethod
    def forward_all(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """Layers and logits in one pass."""

    def train(self, mode: bool = True) -> Self:
        """Switch to training; BatchNorm layers stay in evaluation."""
        super().train(mode)
        keep_statistics(self)
        return self

    def preprocess(self, examples: Any) -> list[Any]:
        return self.reader.encode(examples)

    def whole(self, examples: Any) -> list[Any]:
        """``preprocess`` without a crop, for pictures whose edges matter (spectrograms)."""
        return self.reader.uncropped.encode(examples)

    def length(self, encoded: Any) -> int:
        """One: all pictures cost the same."""
        del encoded
        return 1

    def collate(self, encoded: list[Any]) -> Batch:
        return self.reader.collate(encoded)

    def forward_features(self, batch: Batch) -> list[Tensor]:
        return self.forward_all(batch)[0]

    def classify(self, batch: Batch) -> Tensor | None:
        return self.forward_all(batch)[1]

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over positions."""
        del batch
        if hidden.ndim == 2:
            return hidden
        return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)
