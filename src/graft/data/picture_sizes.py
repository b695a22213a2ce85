"""Width and height of pictures as they are seen, read off their headers."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.types import Dataset

TURNED = {5, 6, 7, 8}  # values of the EXIF orientation by which width and height change places


def size_of(source: Any) -> tuple[int, int]:
    """Width and height in pixels of one picture: path, encoded bytes, array or PIL image; turned as EXIF says.

    Raises:
        DataError: It is no picture.

    Example:
        >>> size_of(np.zeros((2, 3, 3), np.uint8))
        (3, 2)
    """
    from PIL import Image

    if isinstance(source, str | Path | bytes):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                    wide, high = image.size
                    turned = image.getexif().get(0x0112) in TURNED
        except FileNotFoundError:
            raise DataError("no such file") from None
        except Exception:  # noqa: BLE001  (decoders raise nearly anything on damaged input)
            raise DataError("not an image") from None
        return (high, wide) if turned else (wide, high)
    if hasattr(source, "getbands"):
        return int(source.width), int(source.height)
    shape = np.shape(source)
    if len(shape) == 3 and shape[2] not in {1, 3, 4} and shape[0] in {1, 3, 4}:
        return int(shape[2]), int(shape[1])
    return int(shape[1]), int(shape[0])


def sizes(data: Dataset) -> np.ndarray:
    """Width and height (n, 2) of the pictures of a data set, in pixels."""
    found = [size_of(source) for source in data.X.sources(data.rows)]  # type: ignore[attr-defined]
    return np.array(found, np.float64).reshape(-1, 2)


def relative(data: Dataset) -> list[np.ndarray]:
    """The boxes of every picture (m, 5) as shares of its width and height."""
    assert data.y is not None
    return [
        np.concatenate([row[:, :4] / np.tile(size, 2), row[:, 4:]], axis=1)
        for row, size in zip(data.y, sizes(data), strict=True)
    ]
