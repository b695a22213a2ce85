"""Pictures of any number of channels: satellites, microscopes, depth beside colour; every channel becomes 8 bits.

A channel c of a picture is read as ``255 · (v - low_c) / (high_c - low_c)``, cut to 0 … 255.  The range of 8-bit numbers is
0 … 255 itself; that of others holds all but one in a thousand of the values at either end, over the rows that are learned
from.  It belongs to the model: new pictures are read by the same range.  Values that are not finite become 0.

Read are NumPy arrays, ``.npy``, ``.npz`` with one array, and what Pillow can read of TIFF: grey pages of one size, which are
the channels, and four samples of 8 bits.  Of TIFF with more samples, or with several of more than 8 bits, it reads none or
only some: these are refused, and are to be saved as ``.npy``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import DataError

SUFFIXES = (".npy", ".npz")
TIFF = (b"II*\0", b"MM\0*")
NPY, NPZ = b"\x93NUMPY", b"PK\x03\x04"
GREY = ("L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes of pages that are one channel each
USUAL = (1, 3)  # channels of pictures that need no words
MOST = 1024  # channels
SAMPLES, BITS = 277, 258  # tags of TIFF
RAREST = 0.1  # per cent of the values that lie below the range, and above it
ROWS, VALUES = 500, 4096  # rows that ranges are read off, and values of each channel of one
SHORTEST = 1024  # px; a larger picture is reduced by a whole factor to no less than this, as others are
CHANNELS = "channels, "  # what the reason of a picture with another number of them holds


def channels_last(values: np.ndarray) -> np.ndarray:
    """A picture (H, W), (H, W, C) or (C, H, W) as (H, W, C).

    Where one end of the shape has two equal sides the other is the channels'; else the shorter end, and the last of equals.

    Raises:
        DataError: It has another number of axes, is empty, or holds no numbers.

    Example:
        >>> channels_last(np.zeros((13, 64, 64))).shape, channels_last(np.zeros((9, 9, 103))).shape
        ((64, 64, 13), (9, 9, 103))
    """
    if values.ndim not in {2, 3} or not values.size or values.dtype.kind not in "buif":
        raise DataError(f"an array of {values.dtype} {values.shape} is no picture")
    if values.ndim == 2:
        return values[:, :, None]
    first, middle, last = values.shape
    turned = first < last if (first == middle) == (middle == last) else middle == last
    values = values.transpose(1, 2, 0) if turned else values
    if values.shape[2] > MOST:
        raise DataError(f"an array of shape {values.shape} is no picture: at most {MOST} channels are read")
    return values


def resized(image: np.ndarray, size: tuple[int, int], resample: int, **options: Any) -> np.ndarray:
    """Resize uint8 (H, W, C) to (width, height) with one of PIL's filters: colours together, other channels one by one."""
    from PIL import Image

    if image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize(size, resample, **options))
    each = (np.ascontiguousarray(image[:, :, channel]) for channel in range(image.shape[2]))
    return np.stack([np.asarray(Image.fromarray(one).resize(size, resample, **options)) for one in each], axis=2)


def shown(image: np.ndarray) -> np.ndarray:
    """What a person is shown of uint8 (H, W, C), as (H, W, 3): the first three channels, or the first in shades of grey."""
    return np.ascontiguousarray(image[:, :, :3] if image.shape[2] >= 3 else np.repeat(image[:, :, :1], 3, axis=2))


def is_array_file(source: Any) -> bool:
    """Whether a path or encoded bytes hold NumPy arrays."""
    if isinstance(source, bytes):
        return source.startswith((NPY, NPZ))
    return isinstance(source, str | Path) and str(source).lower().endswith(SUFFIXES)


def bands_of(source: Any) -> np.ndarray | None:
    """The values (H, W, C) of a picture that is more than a usual one; None for any other, and for what is no picture.

    Usual are files for pictures, 8 bits of one or three channels, and arrays in memory of one or three channels, or of four
    that hold colours with their transparency (uint8, or floats from 0 to 1).

    Raises:
        DataError: It holds channels that cannot be read; the message is the reason alone.
    """
    if isinstance(source, np.ndarray):
        if source.ndim == 2 or (source.ndim == 3 and {source.shape[0], source.shape[2]} & {1, 3}):
            return None
        if source.ndim == 3 and 4 in (source.shape[0], source.shape[2]) and _transparent(source):
            return None
        return channels_last(source)
    if is_array_file(source):
        values = _load(source)
        return None if values.dtype == np.uint8 and values.shape[2] in USUAL else values
    return _pages(source) if _is_tiff(source) else None


def values_of(source: Any) -> np.ndarray:
    """The values (H, W, C) of any picture, as they are stored; files for pictures as RGB, or grey with one channel.

    Raises:
        DataError: It cannot be read; the message is the reason alone.
    """
    from PIL import Image

    found = bands_of(source)
    if found is not None:
        return found
    if is_array_file(source):
        return _load(source)
    if isinstance(source, np.ndarray):
        return channels_last(source)
    image = source if isinstance(source, Image.Image) else Image.open(_opened(source))
    return channels_last(np.asarray(image if image.mode in GREY else image.convert("RGB")))


@dataclass(frozen=True)
class Bands:
    """How pictures of some number of channels become uint8.

    Attributes:
        low: What becomes 0, by channel.
        high: What becomes 255.

    Example:
        >>> bands = Bands((0.0, -1.0), (1000.0, 1.0))
        >>> bands.read(np.array([[[500, 0]]], np.int16)).tolist()
        [[[128, 128]]]
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, pictures: Iterable[Any]) -> Bands | None:
        """Ranges read off pictures (paths, bytes or arrays), of which those that cannot be read are passed over.

        None where the first that can be read is a usual picture.
        """
        some: list[np.ndarray] = []
        for source in pictures:
            if source is None:
                continue
            try:
                values = bands_of(source) if not some else values_of(source)
            except Exception as error:  # noqa: BLE001  (decoders raise nearly anything; the fault is told row by row)
                if not isinstance(error, DataError) and not some:
                    return None
                continue
            if values is None:
                return None
            if not some or (values.shape[2], values.dtype.kind) == (some[0].shape[1], some[0].dtype.kind):
                flat = values.reshape(-1, values.shape[2])
                some.append(flat[:: max(1, len(flat) // VALUES)])
        if not some:
            return None
        count = some[0].shape[1]
        if some[0].dtype in (np.uint8, np.bool_):
            return cls((0.0,) * count, (1.0 if some[0].dtype == np.bool_ else 255.0,) * count)
        every = np.concatenate(some).astype(np.float64)
        every[~np.isfinite(every)] = np.nan
        known = [column[~np.isnan(column)] for column in every.T]
        ends = [np.percentile(column, [RAREST, 100 - RAREST]) if len(column) else np.zeros(2) for column in known]
        return cls(tuple(float(low) for low, _ in ends), tuple(float(high) for _, high in ends))

    @property
    def channels(self) -> int:
        """How many channels the pictures have."""
        return len(self.low)

    def read(self, source: Any) -> np.ndarray:
        """A picture as uint8 (H, W, C); one channel in shades of grey as (H, W, 3).

        Raises:
            DataError: It cannot be read or has another number of channels; the message is the reason alone.
        """
        values = values_of(source)
        if values.shape[2] != self.channels:
            raise DataError(f"{values.shape[2]} {CHANNELS}{self.channels} are read")
        values = _reduced(values)
        low, high = (np.asarray(end, np.float32) for end in (self.low, self.high))
        span = np.where(high > low, high - low, 1)
        scaled = (np.nan_to_num(values.astype(np.float32), nan=-np.inf) - low) * (255 / span)
        pixels = (scaled.clip(0, 255) + 0.5).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if self.channels == 1 else pixels)

    def kinds(self) -> dict[str, str]:
        """The ranges as strings, which a recipe keeps."""
        ends = {name: ",".join(map(repr, end)) for name, end in (("low", self.low), ("high", self.high))}
        return {"channels": str(self.channels), **ends}

    @classmethod
    def from_kinds(cls, kinds: dict[str, str]) -> Bands | None:
        """The inverse of ``kinds``; None where there are none."""
        if "channels" not in kinds:
            return None
        low, high = (tuple(map(float, kinds[name].split(","))) for name in ("low", "high"))
        return cls(low, high)


def _transparent(values: np.ndarray) -> bool:
    """Whether four channels can be colours with their transparency."""
    return values.dtype == np.uint8 or (values.dtype.kind in "fb" and values.min() >= 0 and values.max() <= 1)


def _reduced(values: np.ndarray) -> np.ndarray:
    factor = min(values.shape[:2]) // SHORTEST
    if factor < 2:
        return values
    high, wide = (side // factor for side in values.shape[:2])
    parts = values[: high * factor, : wide * factor].reshape(high, factor, wide, factor, -1)
    return parts.mean(axis=(1, 3), dtype=np.float32)


def _opened(source: Any) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _load(source: Any) -> np.ndarray:
    """The one array of a file, (H, W, C)."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if isinstance(found, np.ndarray):
                return channels_last(found)
            if len(found.files) != 1:
                raise DataError(f"it holds {len(found.files)} arrays, not one picture")
            return channels_last(found[found.files[0]])
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        objects = "pickle" in str(error)
        raise DataError("not an array of numbers" if objects else f"not a whole array file ({error})") from None


def _is_tiff(source: Any) -> bool:
    if isinstance(source, bytes):
        return source.startswith(TIFF)
    return isinstance(source, str | Path) and str(source).lower().endswith((".tif", ".tiff"))


def _pages(source: Any) -> np.ndarray | None:
    """Grey pages of one size, or four samples, as channels; None where the file is a usual picture."""
    from PIL import Image, UnidentifiedImageError

    samples, bits = _samples(source)
    try:
        with Image.open(_opened(source)) as image:
            if samples > 4:
                raise UnidentifiedImageError  # noqa: TRY301  (of more Pillow reads the first four)
            if samples == 4 and image.mode == "RGBX":
                return np.asarray(image)
            count = getattr(image, "n_frames", 1)
            if count < 2 or image.mode not in GREY:
                return None
            pages = []
            for number in range(min(count, MOST)):
                image.seek(number)
                if image.mode not in GREY or (pages and image.size != pages[0].shape[::-1]):
                    return None  # pages of a document, or a small copy beside the picture
                pages.append(np.array(image))
            return np.stack(pages, axis=2)
    except UnidentifiedImageError:
        if samples > 1 and (samples != 3 or bits > 8):
            raise DataError(
                f"a TIFF with {samples} samples of {bits} bits, which Pillow cannot read: save it as .npy"
            ) from None
        return None


def _samples(source: Any) -> tuple[int, int]:
    """Samples per pixel of a TIFF and bits of the first, by its directory; zeros where it has none."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            directory = ImageFileDirectory_v2(file.read(8))
            file.seek(directory.next)
            directory.load(file)
            bits = directory.get(BITS, 1)
            return int(directory.get(SAMPLES, 1)), int(bits[0] if isinstance(bits, tuple) else bits)
    except Exception:  # noqa: BLE001  (a damaged directory: who opens the picture says so)
        return 0, 0
