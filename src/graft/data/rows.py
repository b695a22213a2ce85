"""Storage of raw examples (``graft.core.types.Rows``): text, images and tables, read only when they are taken.

That of sounds is in ``recordings.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graft.core.errors import DataError
from graft.core.rows import evenly_spaced
from graft.data.bands import ROWS, Bands
from graft.data.columns import as_numbers, as_text, take
from graft.data.dates import expanded, seconds
from graft.data.image import decode, fault
from graft.data.long_texts import marked

CHUNK = 8_192  # rows hashed at a time


def _hash(value: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "little")


def spread(keys: np.ndarray) -> np.ndarray:
    """Mix 64 bits (the finaliser of SplitMix64), so that sums of keys do not collide by arithmetic."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _digest_column(column: pa.ChunkedArray) -> bytes:
    """Hash of a text column that does not depend on how it is cut into chunks."""
    lengths, content = hashlib.sha256(), hashlib.sha256()
    for chunk in column.chunks:
        filled = pc.fill_null(chunk, "")
        size = np.asarray(pc.binary_length(filled)).astype(np.int64)
        lengths.update(np.where(np.asarray(chunk.is_null()), -1, size).tobytes())
        _, ends, data = filled.buffers()
        if data is not None and len(filled):
            edges = np.frombuffer(ends, np.int64)[filled.offset : filled.offset + len(filled) + 1]
            content.update(memoryview(data)[edges[0] : edges[-1]])
    return lengths.digest() + content.digest()


class TextRows:
    """Texts, or tuples of texts where there are several columns.

    Args:
        columns: One or more columns of text of equal length.
        owner: Whatever must live as long as the columns (a temporary folder).
        long: How networks read long ones: ``"windows"``, ``"head-tail"``, or their beginning (``data.long_texts``).

    Example:
        >>> TextRows.of(["one", "two"]).take(np.array([1]))
        ['two']
    """

    def __init__(self, columns: Sequence[pa.ChunkedArray], owner: Any = None, long: str = "") -> None:
        self.columns, self.owner, self.long = [as_text(column) for column in columns], owner, long
        self.kinds = {"long": long} if long else {}

    @classmethod
    def of(cls, texts: Sequence[str] | Sequence[tuple[str, ...]]) -> TextRows:
        """Rows of texts that are in memory."""
        pairs = [text if isinstance(text, tuple) else (text,) for text in texts]
        parts = zip(*pairs, strict=True) if pairs else [()]
        return cls([pa.chunked_array([pa.array(part, pa.large_string())]) for part in parts])

    def __len__(self) -> int:
        return len(self.columns[0])

    def take(self, rows: np.ndarray) -> list[Any]:
        """Texts in the order of ``rows``; a missing text is empty."""
        parts = [pc.fill_null(take(column, rows), "").to_pylist() for column in self.columns]
        return marked(parts[0], self.long) if len(parts) == 1 else list(zip(*parts, strict=True))

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(b"text" + self.long.encode() + b"".join(map(_digest_column, self.columns))).hexdigest()

    def digest(self) -> str:
        """Hash of all texts, in order."""
        return self._digest

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """64-bit content key per row, blind to case and to runs of white space (B,)."""
        keys = np.empty(len(rows), np.uint64)
        for start in range(0, len(rows), CHUNK):
            texts = self.take(rows[start : start + CHUNK])
            if len(self.columns) > 1:
                folded = ["\0".join(" ".join(part.casefold().split()) for part in row) for row in texts]
            else:
                folded = [" ".join(text.casefold().split()) for text in texts]
            keys[start : start + len(texts)] = [_hash(text.encode()) for text in folded]
        return keys


class FileRows:
    """What images and sounds share: files, encoded bytes or arrays, each decoded when it is taken.

    Args:
        items: A column of paths, bytes or ``{bytes, path}`` records, or a sequence of whatever can be decoded.
        base: Folder that relative paths start from.
        owner: Whatever must live as long as the column.
    """

    def __init__(self, items: pa.ChunkedArray | Sequence[Any], base: Path | None = None, owner: Any = None) -> None:
        self.items, self.base, self.owner = items, base, owner

    def __len__(self) -> int:
        return len(self.items)

    def sources(self, rows: np.ndarray) -> Iterator[Any]:
        """What is to be decoded: path, bytes or array; None where there is nothing."""
        if not isinstance(self.items, pa.ChunkedArray):
            yield from (self.items[int(row)] for row in rows)
            return
        parts = (take(self.items, rows[start : start + 256]).to_pylist() for start in range(0, len(rows), 256))
        for item in chain.from_iterable(parts):
            value = (item.get("bytes") or item.get("path")) if isinstance(item, dict) else item
            if isinstance(value, str) and value:
                value = (self.base or Path()) / Path(value).expanduser()
            yield value if value != "" else None


class ImageRows(FileRows):
    """Images; ``decode`` reads them, ``Bands`` those of other than one or three channels, or of arrays with own ranges.

    Args:
        items: As those of ``FileRows``.
        base: Folder that relative paths start from.
        owner: Whatever must live as long as the column.
        bands: How channels are read; None: RGB.
    """

    def __init__(
        self,
        items: pa.ChunkedArray | Sequence[Any],
        base: Path | None = None,
        owner: Any = None,
        bands: Bands | None = None,
    ) -> None:
        super().__init__(items, base, owner)
        self._keys: dict[int, int] = {}
        self.bands, self.kinds = bands, bands.kinds() if bands else {}

    @property
    def channels(self) -> int:
        """Channels of what ``take`` gives."""
        return 3 if self.bands is None or self.bands.channels == 1 else self.bands.channels

    def found_bands(self) -> ImageRows:
        """The same rows, read by the channels and ranges that their first and some others have."""
        some = self.sources(np.unique(np.r_[0, evenly_spaced(len(self), ROWS)])) if len(self) else iter(())
        return ImageRows(self.items, self.base, self.owner, Bands.of(some))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the channels."""
        if self.bands is None:
            return ()
        ends = (f"{low:.4g} … {high:.4g}" for low, high in zip(self.bands.low[:3], self.bands.high[:3], strict=True))
        more = ", …" if self.bands.channels > 3 else ""
        return (f"pictures have {self.bands.channels} channel(s), read in 256 steps from {', '.join(ends)}{more}",)

    def fault(self, source: Any) -> str:
        """Why an image cannot be read, empty if it can."""
        if self.bands is None:
            return fault(source)
        try:
            self.bands.read(source)
        except Exception as error:  # noqa: BLE001  (decoders raise nearly anything on damaged input)
            return "no image" if source is None else str(error) or type(error).__name__
        return ""

    def take(self, rows: np.ndarray) -> list[np.ndarray]:
        """Images in the order of ``rows``, uint8 (H, W, C) each, C = 3 unless the pictures have other channels."""
        images = []
        read = decode if self.bands is None else self.bands.read
        for row, source in zip(rows, self.sources(rows), strict=True):
            try:
                images.append(read(source))
            except DataError as error:
                where = str(source) if isinstance(source, str | Path) else f"image {int(row)}"
                raise DataError(f"unreadable image: {error}", where=where) from None
        return images

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """64-bit key per row of the file's bytes or the array's values (B,); a file is read once."""
        new = np.array([row for row in np.asarray(rows).tolist() if row not in self._keys], np.int64)
        for row, source in zip(new.tolist(), self.sources(new), strict=True):
            self._keys[row] = _hash(_bytes(source))
        return np.array([self._keys[row] for row in np.asarray(rows).tolist()], np.uint64)

    def digest(self) -> str:
        """Hash of the bytes of all images, in order."""
        known = repr(sorted(self.kinds.items())).encode() if self.kinds else b""
        return hashlib.sha256(b"image" + known + self.keys(np.arange(len(self))).tobytes()).hexdigest()


def _bytes(source: Any) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str | Path):
        path = Path(source)
        return path.read_bytes() if path.is_file() else b""
    if source is None:
        return b""
    array = np.ascontiguousarray(source)
    return repr((array.shape, array.dtype.str)).encode() + array.tobytes()


class TableRows:
    """Columns of numbers, categories, dates and texts.

    Args:
        columns: Column by name, in order.
        kinds: ``"number"``, ``"category"``, ``"text"``, or ``"date ORDER PARTS"`` by name: ``day-first`` or ``month-first``,
            and the parts (``data.dates``) that become columns of numbers, between commas.
        owner: Whatever must live as long as the columns.
    """

    def __init__(self, columns: dict[str, pa.ChunkedArray], kinds: dict[str, str], owner: Any = None) -> None:
        number = {name: kinds[name] == "number" for name in columns}
        self.columns = {name: column if number[name] else as_text(column) for name, column in columns.items()}
        self.kinds, self.owner = dict(kinds), owner

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Columns in the order of ``rows``: float64 with NaN, or str objects with None; a blank category is None.

        A date is a column of numbers for each of its parts, ``when (year)``; texts are NumPy strings, empty where missing.
        """
        taken: dict[str, np.ndarray] = {}
        for name, column in self.columns.items():
            part = pa.chunked_array([take(column, rows)])
            kind = self.kinds[name]
            if kind == "number":
                taken[name] = as_numbers(part)[0]
                continue
            trimmed = pc.utf8_trim_whitespace(part).to_pylist()
            if kind.startswith("date "):
                _, way, parts = kind.split(" ", 2)
                moments = np.array([seconds(text or "", day_first=way == "day-first") for text in trimmed], np.float64)
                taken |= {f"{name} ({which})": each for which, each in expanded(moments, parts.split(",")).items()}
            elif kind == "text":
                taken[name] = np.array([text or "" for text in trimmed], dtype=np.dtypes.StringDType())
            else:
                taken[name] = np.array([text or None for text in trimmed], dtype=object)
        return taken

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """64-bit content key per row, equal for equal values (B,)."""
        total = np.zeros(len(rows), np.uint64)
        for place, values in enumerate(self.take(np.asarray(rows)).values()):
            if values.dtype.kind == "f":
                part = (values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
                part = np.where(np.isnan(values), np.uint64(1), part)
            else:
                known = {level: np.uint64(_hash(repr(level).encode())) for level in set(values.tolist())}
                part = np.fromiter((known[level] for level in values.tolist()), np.uint64, len(values))
            total = spread(total + spread(part + np.uint64(place)))
        return total

    @cached_property
    def _digest(self) -> str:
        hashed = hashlib.sha256(repr(("table", list(self.kinds.items()))).encode())
        for start in range(0, len(self), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(self)))
            hashed.update(self.keys(rows).tobytes())
        return hashed.hexdigest()

    def digest(self) -> str:
        """Hash of all values, in order."""
        return self._digest
