"""Two simple changes of a picture, from random numbers that are given: a shift that nobody notices, and a cover."""

from __future__ import annotations

import torch
from torch import Tensor

SHIFT_DRAWS, COVER_DRAWS = 3, 2  # random numbers that one picture takes
SHIFT, COVER = 8, 0.5  # a picture moves by up to an eighth of its side; a cover is half as wide as it


def shifted(pixels: Tensor, draws: Tensor, *, flip: bool) -> Tensor:
    """Move each picture by whole pixels, up to an eighth of its side either way, and mirror half of them.

    What lies beyond the edge is its reflection.  The weak view of Sohn et al. (2020).

    Args:
        pixels: Pictures (B, C, S, S).
        draws: Uniform random numbers (B, 3) in [0, 1).
        flip: Whether pictures are mirrored.

    Example:
        >>> import torch
        >>> picture = torch.arange(64.0).view(1, 1, 8, 8)
        >>> bool((shifted(picture, torch.full((1, 3), 0.5), flip=False) == picture).all())
        True
    """
    side = pixels.shape[-1]
    most = max(1, side // SHIFT)
    moved = torch.floor(draws[:, :2] * (2 * most + 1)).long() - most
    places = torch.arange(side, device=pixels.device)
    across, down = (_reflected(places + moved[:, axis, None], side) for axis in range(2))
    if flip:
        across = torch.where(draws[:, 2:] < 0.5, across.flip(1), across)
    rows = torch.arange(len(pixels), device=pixels.device)[:, None, None]
    found: Tensor = pixels.permute(0, 2, 3, 1)[rows, down[:, :, None], across[:, None, :]]
    return found.permute(0, 3, 1, 2).contiguous()


def _reflected(places: Tensor, side: int) -> Tensor:
    """Places outside 0 … side - 1 mirrored at the edge."""
    folded = places.abs()
    return torch.where(folded >= side, 2 * (side - 1) - folded, folded)


def covered(pixels: Tensor, draws: Tensor) -> Tensor:
    """Lay a grey square half as wide as the picture anywhere on it, also over its edge.  DeVries & Taylor (2017).

    Args:
        pixels: Pictures (B, C, S, S) in [-1, 1].
        draws: Uniform random numbers (B, 2): where the middle of the square lies.
    """
    side = pixels.shape[-1]
    places = torch.arange(side, device=pixels.device) + 0.5
    near = (places - side * draws[..., None]).abs() < COVER * side / 2  # (B, 2, S)
    hidden = near[:, 0, None, :, None] & near[:, 1, None, None, :]
    return pixels.masked_fill(hidden, 0.0)
