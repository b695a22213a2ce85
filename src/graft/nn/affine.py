"""Random affine views of pictures: moved, zoomed, slanted, brighter or darker; the edge's own grey lies beyond the edge."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

DRAWS = 9  # random numbers that one view takes
SHIFT = 1 / 14  # of the side, either way: two pixels of 28
ZOOM = 4 / 3  # largest factor on the size; its inverse is the smallest
SLANT = 0.1  # spread of what is added to each of the four entries of the matrix
CONTRAST, BRIGHTNESS = 0.5, 0.25  # largest change of the factor on grey values in [-1, 1], and of what is added to them


def perturbed(pixels: Tensor, draws: Tensor) -> Tensor:
    """Map each picture by z (I + E) x + t with a random zoom z, slant E and shift t, then a x + b on its grey values.

    The standard augmentation of digits and small pictures (French et al. 2018, section 4).  Nothing is mirrored: a mirrored
    digit is another one.  What comes from beyond the edge has the median of the picture's edge, not zero.

    Args:
        pixels: Pictures (B, C, S, S) in [-1, 1].
        draws: Uniform random numbers (B, 9) in [0, 1); a half is no change.

    Returns:
        Views (B, C, S, S), float32; grey values may leave [-1, 1].

    Example:
        >>> import torch
        >>> picture = torch.rand(1, 1, 8, 8)
        >>> bool(torch.allclose(perturbed(picture, torch.full((1, 9), 0.5)), picture, atol=1e-6))
        True
    """
    with torch.autocast(pixels.device.type, enabled=False):
        pixels = pixels.float()
        around = 2 * draws.float() - 1
        slant = SLANT * math.sqrt(2) * torch.erfinv(around[:, :4].clamp(-0.999, 0.999))  # normal
        zoom = ZOOM ** around[:, 4]
        matrix = zoom[:, None, None] * (torch.eye(2, device=pixels.device) + slant.view(-1, 2, 2))
        shift = 2 * SHIFT * around[:, 5:7]  # a picture is 2 wide here
        grid = F.affine_grid(torch.cat([matrix, shift[:, :, None]], dim=2), list(pixels.shape), align_corners=False)
        edge = torch.cat([pixels[..., 0, :], pixels[..., -1, :], pixels[..., 0], pixels[..., -1]], dim=2)
        ground = edge.median(dim=2).values[:, :, None, None]
        moved = ground + F.grid_sample(pixels - ground, grid, mode="bilinear", align_corners=False)
        factor = 1 + CONTRAST * around[:, 7, None, None, None]
        return factor * moved + BRIGHTNESS * around[:, 8, None, None, None]
