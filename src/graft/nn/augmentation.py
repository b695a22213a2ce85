"""Augmentation of pictures: another view of the same thing, from random numbers that are given."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

DRAWS = 12  # random numbers that one view takes
SMALLEST = 0.25  # share of a picture's area that a crop keeps at least
LONGEST = 4 / 3  # width over height of a crop, and the inverse
STRENGTH, TINT = 0.4, 0.2  # of brightness, contrast and saturation; of each colour
GREYED = 0.2  # share of colour pictures that lose their colour
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in brightness.  ITU-R BT.601


def augmented(pixels: Tensor, draws: Tensor, *, flip: bool, smallest: float = SMALLEST) -> Tensor:
    """Crop, mirror and recolour each picture.

    A crop of random area, shape and place is brought back to the full size; brightness and contrast change by up to
    40 %, and in colour saturation too, each colour by up to 20 %, and one picture in five loses its colour.
    Chen et al. (2020), appendix A.  Equal draws give equal views.

    Args:
        pixels: Pictures (B, C, H, W) in [-1, 1], C = 1 or 3.
        draws: Uniform random numbers (B, 12) in [0, 1).
        flip: Whether half of the pictures are mirrored.
        smallest: Share of the area that a crop keeps at least.

    Returns:
        Views (B, C, H, W) in [-1, 1], float32.

    Example:
        >>> import torch
        >>> half = torch.full((1, 12), 0.5)  # the middle of all ranges: a crop of five eighths of the area, no change of colour
        >>> augmented(torch.zeros(1, 3, 8, 8), half, flip=True).abs().max().item()
        0.0
    """
    with torch.autocast(pixels.device.type, enabled=False):
        return _recoloured(cropped(pixels.float(), draws, flip=flip, smallest=smallest), draws)


def cropped(pixels: Tensor, draws: Tensor, *, flip: bool, smallest: float = SMALLEST) -> Tensor:
    """Bring a crop of random area, shape and place back to the full size; half of them mirrored where ``flip``.

    Args:
        pixels: Pictures (B, C, H, W) float32, in any range.
        draws: Uniform random numbers (B, 5 or more) in [0, 1).
        flip: Whether half of the pictures are mirrored.
        smallest: Share of the area that a crop keeps at least.

    Returns:
        Crops (B, C, H, W), in the range of the pictures.
    """
    width, height, across, down = frames(draws, flip=flip, smallest=smallest)
    none = torch.zeros_like(width)
    rows = [torch.stack([width, none, across], dim=1), torch.stack([none, height, down], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def frames(draws: Tensor, *, flip: bool, smallest: float = SMALLEST) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The crops of ``cropped``: half of width and height, and the middle, of pictures that reach from -1 to 1, (B,) each.

    The width of a mirrored one is negative.  A point u of a crop, from -1 to 1, is the point middle + u · half of the picture.
    """
    area, shape, across, down, side = draws[:, :5].T
    area = smallest + (1 - smallest) * area
    shape = LONGEST ** (2 * shape - 1)
    width, height = (area * shape).sqrt().clamp(max=1), (area / shape).sqrt().clamp(max=1)
    across, down = (1 - width) * (2 * across - 1), (1 - height) * (2 * down - 1)
    if flip:
        width = torch.where(side < 0.5, -width, width)
    return width, height, across, down


def _recoloured(pixels: Tensor, draws: Tensor) -> Tensor:
    def factor(first: int, count: int, strength: float) -> Tensor:
        return 1 + strength * (2 * draws[:, first : first + count, None, None] - 1)

    x = (pixels + 1) / 2 * factor(5, 1, STRENGTH)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * factor(6, 1, STRENGTH)
    if x.shape[1] == 3:
        luma = torch.tensor(LUMA, device=x.device).view(1, 3, 1, 1)
        grey = (x * luma).sum(dim=1, keepdim=True)
        x = (grey + (x - grey) * factor(7, 1, STRENGTH)) * factor(8, 3, TINT)
        grey = (x * luma).sum(dim=1, keepdim=True).expand_as(x)
        x = torch.where(draws[:, 11, None, None, None] < GREYED, grey, x)
    return x.clamp(0, 1) * 2 - 1
