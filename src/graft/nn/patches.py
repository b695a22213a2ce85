"""A transformer over patches of pictures, and pictures cut into patches and put together again."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from graft.nn.transformer import Batch, Stack, at_places


class PatchTransformer(Stack):
    """A transformer over square patches of a picture, with fixed sine positions.  Dosovitskiy et al. (2021).

    Batch: ``pixel_values`` (B, C, H, W); ``kept`` (B, K) names the patches that are seen, all if it is not there.

    Args:
        channels: Of the picture.
        size: Its height and width.
        patch: Height and width of a patch; divides ``size``.
        width: Of the states.
        depth: Number of blocks.
        heads: Attention heads; one per 32 columns by default.
        dropout: On what each half of a block adds.
        inner: Units between the two layers that follow attention; four times the width by default.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        size: int = 32,
        patch: int = 4,
        width: int = 128,
        depth: int = 4,
        heads: int = 0,
        dropout: float = 0.0,
        inner: int = 0,
    ) -> None:
        super().__init__(width, depth, heads or max(1, width // 32), dropout, inner)
        self.patch, self.side = patch, size // patch
        self.embedding = nn.Linear(channels * patch * patch, width)
        self.register_buffer("places", sine_places(self.side, width), persistent=False)
        self._fresh(std=width**-0.5)  # narrow networks barely start to learn from 0.02: pixels must weigh like places
        nn.init.normal_(self.embedding.weight, std=self.embedding.in_features**-0.5)

    def patches(self, pixels: Tensor) -> Tensor:
        """Cut pictures (B, C, H, W) into patches (B, N, C·p·p), row by row."""
        return cut(pixels, self.patch)

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """States (B, N, D) of every block."""
        x = self.embedding(self.patches(batch["pixel_values"]))
        x = x + self.places.to(x.dtype)
        if "kept" in batch:
            x = at_places(x, batch["kept"])
        return self._states(x, None, None)

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over the patches."""
        del batch
        return hidden.mean(dim=1)


def cut(pixels: Tensor, patch: int) -> Tensor:
    """Patches (B, N, C·p·p) of pictures (B, C, H, W), row by row."""
    rows, channels, height, width = pixels.shape
    apart = pixels.reshape(rows, channels, height // patch, patch, width // patch, patch)
    return apart.permute(0, 2, 4, 1, 3, 5).reshape(rows, -1, channels * patch * patch)


def joined(patches: Tensor, patch: int) -> Tensor:
    """The inverse of ``cut`` for square pictures."""
    rows, count, numbers = patches.shape
    side, channels = math.isqrt(count), numbers // patch**2
    apart = patches.reshape(rows, side, side, channels, patch, patch)
    return apart.permute(0, 3, 1, 4, 2, 5).reshape(rows, channels, side * patch, side * patch)


def sine_places(side: int, width: int) -> Tensor:
    """Positions (side², width) of a grid: a quarter of the columns each for sine and cosine of row and column.

    Waves are from 4 to 4 · side patches long: longer ones would be constant on so small a grid and drown the others.
    """
    rate = math.pi / 2 * float(side) ** (-torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    angle = torch.arange(side, dtype=torch.float32)[:, None] * rate
    line = torch.cat([angle.sin(), angle.cos()], dim=1)
    across = line[None].expand(side, side, -1)
    return torch.cat([across.transpose(0, 1), across], dim=2).reshape(side * side, -1)
