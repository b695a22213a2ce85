"""Storage of time series: one list of numbers per channel and row, of any length, with gaps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from graft.data.columns import take

CHUNK = 4_096  # series looked at at a time
CHANNEL = "series"  # name of the only channel


def is_series(kind: pa.DataType) -> bool:
    """Whether a column holds lists of numbers."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and any(test(kind.value_type) for test in (pa.types.is_integer, pa.types.is_floating))


def list_column(parts: Sequence[np.ndarray]) -> pa.LargeListArray:
    """A column of one array (T_i,) per row."""
    ends = np.cumsum([0, *map(len, parts)])
    values = np.concatenate([np.empty(0), *parts]).astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(values))


class SeriesRows:
    """Series as arrays (T, C) float32; a missing value is NaN, and what is missing at the end is beyond the end.

    Args:
        columns: Lists of numbers by channel, one list per row.
        owner: Whatever must live as long as the columns.

    Example:
        >>> rows = SeriesRows.of([[1, 2, 3], [4, None]])
        >>> [series.ravel().tolist() for series in rows.take(np.array([0, 1]))]
        [[1.0, 2.0, 3.0], [4.0]]
    """

    def __init__(self, columns: dict[str, pa.ChunkedArray], owner: Any = None) -> None:
        kind = pa.large_list(pa.float64())
        self.columns = {name: one if one.type == kind else one.cast(kind) for name, one in columns.items()}
        self.owner = owner

    @classmethod
    def of(cls, series: Iterable[Any]) -> SeriesRows:
        """Series (T,) or (T, C) that are in memory."""
        return cls({name: pa.chunked_array([one]) for name, one in channels(series).items()})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, rows: np.ndarray) -> list[np.ndarray]:
        """Series (T_i, C) in the order of ``rows``."""
        parts = [_lists(take(column, np.asarray(rows))) for column in self.columns.values()]
        return [_together(one) for one in zip(*parts, strict=True)]

    def faults(self) -> dict[int, str]:
        """Positions without any value."""
        found = {}
        for start in range(0, len(self), CHUNK):
            for row, values in enumerate(self.take(np.arange(start, min(start + CHUNK, len(self)))), start):
                if not len(values):
                    found[row] = "no value in the series"
        return found

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Lengths that differ, and values that are missing."""
        lengths, gone, total = [], 0, 0
        for start in range(0, len(self), CHUNK):
            for values in self.take(np.arange(start, min(start + CHUNK, len(self)))):
                lengths.append(len(values))
                gone += int(np.isnan(values).sum())
                total += values.size
        found = []
        real = [length for length in lengths if length]
        if real and min(real) != max(real):
            found.append(f"the series have {min(real)} to {max(real)} steps: kernels and networks see them as they are")
        if gone:
            found.append(f"{gone / total:.2%} of the values are missing: they lie on a line between their neighbours")
        return tuple(found)

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """64-bit key per row of its values (B,)."""
        hashed = (
            hashlib.blake2b(
                np.ascontiguousarray(values + 0.0).tobytes(), digest_size=8, salt=bytes([values.shape[1] % 256])
            )
            for values in self.take(rows)
        )
        return np.fromiter((int.from_bytes(one.digest(), "little") for one in hashed), np.uint64, len(rows))

    @cached_property
    def _digest(self) -> str:
        hashed = hashlib.sha256(repr(("series", list(self.columns))).encode())
        for start in range(0, len(self), CHUNK):
            hashed.update(self.keys(np.arange(start, min(start + CHUNK, len(self)))).tobytes())
        return hashed.hexdigest()

    def digest(self) -> str:
        """Hash of all values, in order."""
        return self._digest


def channels(series: Iterable[Any]) -> dict[str, pa.LargeListArray]:
    """One column of lists per channel of series (T,) or (T, C)."""
    whole = [np.asarray(one, np.float64) for one in series]
    whole = [one[:, None] if one.ndim == 1 else one for one in whole]
    count = max((one.shape[1] for one in whole), default=1)
    names = [CHANNEL] if count == 1 else [f"channel {number + 1}" for number in range(count)]
    return {name: list_column([one[:, number] for one in whole]) for number, name in enumerate(names)}


def _lists(column: pa.LargeListArray) -> list[np.ndarray]:
    """The lists of a column as float64 with NaN; a missing list is empty."""
    flat = column.flatten()  # of this slice, missing lists left out
    values = np.asarray(flat.fill_null(np.nan) if flat.null_count else flat, np.float64)
    sizes = np.asarray(column.value_lengths().fill_null(0)).astype(np.int64)
    return np.split(values, np.cumsum(sizes)[:-1]) if len(sizes) else []


def _together(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    """Channels (T_i,) side by side (T, C) float32, without the steps at the end at which all are missing."""
    longest = max(map(len, parts))
    whole = np.full((longest, len(parts)), np.nan, np.float32)
    for number, part in enumerate(parts):
        whole[: len(part), number] = part
    whole[~np.isfinite(whole)] = np.nan
    there = np.flatnonzero(~np.isnan(whole).all(axis=1))
    return whole[: there[-1] + 1] if len(there) else whole[:0]


def filled(series: np.ndarray) -> np.ndarray:
    """A series (T, C) with straight lines in its gaps, and its first and last values before and after them; 0 without any.

    Example:
        >>> filled(np.array([[np.nan], [1.0], [np.nan], [3.0]], np.float32)).ravel().tolist()
        [1.0, 1.0, 2.0, 3.0]
    """
    gone = np.isnan(series)
    if not gone.any():
        return series
    whole, steps = series.copy(), np.arange(len(series))
    for number in np.flatnonzero(gone.any(axis=0)):
        known = ~gone[:, number]
        whole[:, number] = np.interp(steps, steps[known], series[known, number]) if known.any() else 0.0
    return whole


def stretched(series: np.ndarray, length: int) -> np.ndarray:
    """A series (T, C) without gaps at ``length`` evenly spaced times from its first to its last, by straight lines.

    Example:
        >>> stretched(np.array([[0.0], [2.0]], np.float32), 3).ravel().tolist()
        [0.0, 1.0, 2.0]
    """
    if len(series) == length:
        return series
    if len(series) == 1:
        return np.repeat(series, length, axis=0)
    places = np.linspace(0, len(series) - 1, length)
    low = np.minimum(places.astype(np.int64), len(series) - 2)
    share = (places - low).astype(np.float32)[:, None]
    whole: np.ndarray = series[low] * (1 - share) + series[low + 1] * share
    return whole


def averaged(series: np.ndarray, step: int) -> np.ndarray:
    """Means of ``step`` steps each (T / step, C); a rest makes one of its own."""
    if step == 1:
        return series
    starts = np.arange(0, len(series), step)
    means: np.ndarray = np.add.reduceat(series, starts, axis=0) / np.diff(np.append(starts, len(series)))[:, None]
    return means


def as_picture(series: np.ndarray, high: int = 48, wide: int = 96) -> np.ndarray:
    """A series (T, C) without gaps as lines on white (H, W, 3) uint8, every channel in its own range."""
    picture = np.full((high, wide, 3), 255, np.uint8)
    for number in range(min(3, series.shape[1])):
        places = np.linspace(0, len(series) - 1, wide)
        values = np.interp(places, np.arange(len(series)), series[:, number])
        low, top = values.min(), values.max()
        height = ((values - low) / ((top - low) or 1.0) * (high - 5)).astype(np.int64) + 2
        colour = ((31, 85, 150), (190, 80, 40), (60, 140, 70))[number]
        for column, (one, before) in enumerate(zip(height, np.append(height[:1], height[:-1]), strict=True)):
            bottom, upper = sorted((int(one), int(before)))
            picture[high - 1 - upper : high - bottom, column] = colour
    return picture
