"""Images: decoding whatever a camera, a scanner or a web page wrote into RGB; facts about sizes, modes and formats."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset
from graft.data import bands
from graft.data.pixels import ImageVectors

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", *bands.SUFFIXES)
SHORTEST = 1024  # px; a larger image is reduced by a whole factor to no less than this: no model here reads more
SAMPLE = 500  # images that facts are read from


def decode(source: Any) -> np.ndarray:
    """Decode an image to uint8 RGB (H, W, 3), upright.

    The first frame of an animation counts; transparency is laid on white; 16 bits become 8; EXIF rotation is applied;
    an image whose shorter side exceeds 2 · ``SHORTEST`` px is reduced by a whole factor.

    Args:
        source: Path, encoded bytes, an array (H, W) or (H, W, 1 | 3 | 4) of uint8 or floats in [0, 1], or a PIL image.

    Raises:
        DataError: It cannot be read as an image; the message is the reason alone.

    Example:
        >>> decode(np.zeros((2, 3))).shape
        (2, 3, 3)
    """
    from PIL import Image

    if source is None:
        raise DataError("no image")
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if bands.is_array_file(source):
        return _one_or_three(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF blocks and the like: the picture is what counts
            if isinstance(source, Image.Image):
                return _to_rgb(source)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                return _to_rgb(image)
    except FileNotFoundError:
        raise DataError("no such file") from None
    except Exception as error:  # noqa: BLE001  (decoders of a dozen formats raise nearly anything on damaged input)
        raise DataError(_reason(error, source)) from None


def _reason(error: Exception, source: Any) -> str:
    empty = (isinstance(source, bytes) and not source) or (
        isinstance(source, str | Path) and Path(source).is_file() and not Path(source).stat().st_size
    )
    if empty:
        return "empty file"
    return "not an image" if "cannot identify" in str(error) else str(error) or type(error).__name__


def _to_rgb(image: Any) -> np.ndarray:
    from PIL import Image, ImageOps

    width, height = image.size
    factor = min(width, height) // SHORTEST
    if factor > 1:
        image.draft("RGB" if image.mode == "RGB" else None, (width // factor, height // factor))
        factor = min(image.size) // SHORTEST  # a JPEG is already smaller now
    image.load()
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    elif image.mode in {"I", "F"}:
        image = Image.fromarray(_to_bytes(np.asarray(image, dtype=np.float64)))
    if factor > 1:
        image = (image if image.mode != "P" else image.convert("RGBA")).reduce(factor)
    image = ImageOps.exif_transpose(image)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.ascontiguousarray(np.asarray(image.convert("RGB"), dtype=np.uint8))


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Grey values of any range as uint8: [0, 1], [0, 255] and 16 bits are recognised by their largest value."""
    top = float(values.max(initial=0.0))
    scale = 255.0 if top <= 1 else 1.0 if top <= 255 else 255.0 / 65535 if top <= 65535 else 255.0 / top
    return np.clip(np.nan_to_num(values) * scale + 0.5, 0, 255).astype(np.uint8)


def _one_or_three(source: Any) -> np.ndarray:
    """A file of an array as one of the usual pictures."""
    values = bands.values_of(source)
    if values.shape[2] not in bands.USUAL:
        raise DataError(f"{values.shape[2]} {bands.CHANNELS}1 or 3 are read")
    return _from_array(values)


def _from_array(values: np.ndarray) -> np.ndarray:
    if values.ndim == 3 and values.shape[2] not in {1, 3, 4} and values.shape[0] in {1, 3, 4}:
        values = values.transpose(1, 2, 0)  # channels first
    if values.ndim not in {2, 3} or (values.ndim == 3 and values.shape[2] not in {1, 3, 4}) or not values.size:
        channels = f": {values.shape[2]} {bands.CHANNELS}1 or 3 are read" if values.ndim == 3 and values.size else ""
        raise DataError(f"an array of shape {values.shape} is no image{channels}")
    if values.dtype != np.uint8:
        values = _to_bytes(values.astype(np.float64))
    if values.ndim == 2:
        values = values[:, :, None]
    if values.shape[2] == 4:
        alpha = values[:, :, 3:].astype(np.float64) / 255
        values = (values[:, :, :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


def fault(source: Any) -> str:
    """Why an image cannot be decoded, empty if it can; JPEGs are decoded at an eighth of their size, so it is cheap."""
    from PIL import Image

    if source is None:
        return "no image"
    if bands.is_array_file(source) or not isinstance(source, str | Path | bytes):
        try:
            decode(source)
        except DataError as error:
            return str(error)
        return ""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            image.draft(None, (max(image.width // 8, 1), max(image.height // 8, 1)))
            image.load()
            if image.format == "TIFF":
                _refuse_several(source)
    except FileNotFoundError:
        return "no such file"
    except Exception as error:  # noqa: BLE001  (decoders raise nearly anything on damaged input)
        return _reason(error, source)
    return ""


def _refuse_several(source: Any) -> None:
    several = bands.bands_of(source)
    if several is not None:
        raise DataError(f"{several.shape[2]} {bands.CHANNELS}1 or 3 are read")


class _Image:
    """Facts, walk and vectors of images."""

    vectorizer = ImageVectors

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        """Rows, sizes in px (shorter and longer side: smallest, median, largest), colour modes and formats."""
        chosen = evenly_spaced(len(dataset), SAMPLE)
        facts = [_facts(source) for source in dataset.X.sources(dataset.rows[chosen])]  # type: ignore[attr-defined]
        sides = np.array([size for size, _, _ in facts]) if facts else np.zeros((1, 2), int)
        quantiles = {
            name: dict(zip(("min", "median", "max"), np.quantile(side, [0, 0.5, 1]).astype(int).tolist(), strict=True))
            for name, side in (("shorter", sides.min(1)), ("longer", sides.max(1)))
        }
        keys = dataset.X.keys(dataset.rows) if hasattr(dataset.X, "keys") else np.arange(len(dataset))
        return {
            "rows": len(dataset),
            **quantiles,
            "modes": dict(Counter(mode for _, mode, _ in facts).most_common()),
            "formats": dict(Counter(form for _, _, form in facts).most_common()),
            "sampled": len(facts),
            "duplicates": len(keys) - len(np.unique(keys)),
        }

    def walk(self, dataset: Dataset, row: int) -> list[tuple[str, str]]:
        """One image: file, as stored, as decoded, and what the classical vector is made of."""
        one = dataset.select(np.array([row]))
        source = next(iter(dataset.X.sources(one.rows)))  # type: ignore[attr-defined]
        (width, height), mode, form = _facts(source)
        image = one.take()[0]
        vectors = ImageVectors().fit(dataset)
        where = str(source) if isinstance(source, str | Path) else "in memory"
        steps = [("raw", f"{where}: {width} x {height} px, {mode}, {form}")]
        channels = "RGB" if image.shape[2] == 3 else f"with {image.shape[2]} channels of 8 bits"
        steps.append(
            ("decoded", f"{image.shape[1]} x {image.shape[0]} px {channels}, mean brightness {image.mean():.0f} of 255")
        )
        if dataset.y is not None:
            steps.append(("label", str(one.labels[0])))
        return [*steps, ("vector", f"{vectors.transform(one).shape[1]} numbers: {vectors.words()}")]

    def vectors(self) -> ImageVectors:
        """Small pixels, gradients and colours."""
        return ImageVectors()


def _facts(source: Any) -> tuple[tuple[int, int], str, str]:
    """Width and height, mode and format, from the header alone."""
    from PIL import Image

    several = bands.bands_of(source)
    if several is not None or bands.is_array_file(source):
        values = bands.values_of(source) if several is None else several
        height, width, channels = values.shape
        form = "array" if isinstance(source, np.ndarray) else "NPY" if bands.is_array_file(source) else "TIFF"
        return (width, height), f"{channels} channels, {values.dtype}", form
    if isinstance(source, str | Path | bytes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                return image.size, image.mode, image.format or "?"
    height, width = decode(source).shape[:2]
    return (width, height), getattr(source, "mode", "array"), "array"


MODALITIES.register("image")(_Image())
