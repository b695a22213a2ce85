"""What hand-made rules say of every cell of a picture: colours, roughness and directions, of the cell and around it."""

from __future__ import annotations

import numpy as np

CELL = 8  # px of a side
AROUND = (3, 7)  # cells of the neighbourhoods that are averaged
AWAY = (2, 4)  # cells to the neighbours whose colours are read, up, down, left and right
ANGLES = 4  # bins of direction
_TINY = 1e-6


def cells(picture: np.ndarray) -> np.ndarray:
    """Describe the cells of a picture, uint8 (H, W, 3) with sides that are multiples of 8 -> (D, H / 8, W / 8) float32.

    Mean colours, spread and directions of a cell and of its neighbourhoods, colours of cells some way off, and the products
    of all these by pairs, so that a linear map can see how colours go together.

    Example:
        >>> cells(np.zeros((16, 24, 3), np.uint8)).shape[1:]
        (2, 3)
    """
    from scipy.ndimage import uniform_filter

    pixels = picture.astype(np.float32) / 255
    grey = pixels.mean(axis=2)
    down, right = np.gradient(grey)
    size = np.hypot(down, right)
    turn = np.floor(np.arctan2(down, right) % np.pi / np.pi * ANGLES).astype(int).clip(0, ANGLES - 1)
    colours = [_mean(pixels[..., channel]) for channel in range(3)]
    rough = np.sqrt((_mean(grey**2) - _mean(grey) ** 2).clip(min=0))
    base = [*colours, rough, *(_mean(size * (turn == angle)) for angle in range(ANGLES))]
    near = [uniform_filter(one, width, mode="nearest") for width in AROUND for one in base]
    far = [
        _moved(one, step * y, step * x)
        for one in colours
        for step in AWAY
        for y, x in ((0, 1), (0, -1), (1, 0), (-1, 0))
    ]
    alone = np.stack([*base, *near, *far])
    first, second = np.triu_indices(len(base) + len(near))
    return np.concatenate([alone, alone[first] * alone[second]]).astype(np.float32)


def _mean(values: np.ndarray) -> np.ndarray:
    high, wide = values.shape
    found: np.ndarray = values.reshape(high // CELL, CELL, wide // CELL, CELL).mean(axis=(1, 3))
    return found


def _moved(values: np.ndarray, down: int, right: int) -> np.ndarray:
    """The values of the cells so far below and to the right, those of the rim beyond it."""
    high, wide = values.shape
    rows, columns = (np.arange(high) + down).clip(0, high - 1), (np.arange(wide) + right).clip(0, wide - 1)
    return np.asarray(values[np.ix_(rows, columns)])
