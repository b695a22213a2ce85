"""Storage of sounds: files or arrays, examined once, decoded one at a time when they are asked for."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError
from graft.data.audio import CLIPPED, LONGEST, Facts, decode, examine
from graft.data.rows import FileRows
from graft.data.spectrogram import RATE, Sound

TOGETHER = 32  # files examined at a time: encoded bytes are held meanwhile


class Sounds(Sequence[Sound]):
    """Some sounds of a storage, decoded one at a time: a minute of them is megabytes, their spectrograms are not.

    Args:
        storage: Where they are.
        rows: Which of them.
    """

    def __init__(self, storage: AudioRows, rows: np.ndarray) -> None:
        self.storage, self.rows = storage, np.asarray(rows, np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Sound: ...
    @overload
    def __getitem__(self, index: slice) -> Sounds: ...
    def __getitem__(self, index: int | slice) -> Sound | Sounds:
        if isinstance(index, slice):
            return Sounds(self.storage, self.rows[index])
        return self.storage.sound(int(self.rows[index]))


class AudioRows(FileRows):
    """Sounds: paths, encoded bytes, ``{bytes, path}`` records, or ``(samples, rate)``."""

    def __init__(self, items: pa.ChunkedArray | Sequence[Any], base: Path | None = None, owner: Any = None) -> None:
        super().__init__(items, base, owner)
        self._facts: dict[int, Facts] = {}

    def take(self, rows: np.ndarray) -> Sounds:
        """Sounds in the order of ``rows``."""
        return Sounds(self, rows)

    def sound(self, row: int) -> Sound:
        """One sound, decoded.

        Raises:
            DataError: It cannot be used.
        """
        try:
            return decode(next(self.sources(np.array([row]))))
        except DataError as error:
            raise DataError(f"unusable sound: {error}", where=self.name(row)) from None

    def name(self, row: int) -> str:
        """What to call a sound: its file, or its number."""
        source = next(self.sources(np.array([row])))
        return source.name if isinstance(source, Path) else f"sound {row + 1}"

    def facts(self, rows: np.ndarray) -> list[Facts]:
        """What is known of each sound; it is decoded once for that, several at a time."""
        wanted = np.asarray(rows).tolist()
        new = [row for row in dict.fromkeys(wanted) if row not in self._facts]
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for start in range(0, len(new), TOGETHER):
                part = new[start : start + TOGETHER]
                sources = list(self.sources(np.array(part)))
                self._facts.update(zip(part, pool.map(examine, sources), strict=True))
        return [self._facts[row] for row in wanted]

    @cached_property
    def _usable(self) -> dict[int, Facts]:
        return {row: fact for row, fact in enumerate(self.facts(np.arange(len(self)))) if not fact.fault}

    @cached_property
    def rate(self) -> int:
        """The commonest rate, at most ``RATE``, in Hz; the higher one of two that are equally common."""
        counts = Counter(min(fact.rate, RATE) for fact in self._usable.values())
        return max(counts, key=lambda rate: (counts[rate], rate), default=RATE)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a person must know of how the sounds are read, one sentence each."""
        usable = self._usable
        rates = Counter(fact.rate for fact in usable.values())
        found = []
        if len(rates) > 1:
            several = ", ".join(f"{rate} Hz ({count})" for rate, count in rates.most_common())
            found.append(f"the sounds have several sampling rates, {several}: all are resampled to {self.rate} Hz")
        long = [row for row, fact in usable.items() if fact.seconds > LONGEST]
        if long:
            found.append(f"{len(long)} sound(s) longer than {LONGEST:.0f} s are cut there: {self._some(long)}")
        clipped = [row for row, fact in usable.items() if fact.clipped > CLIPPED]
        if clipped:
            found.append(
                f"{len(clipped)} sound(s) are clipped, more than {CLIPPED:.1%} of their samples are at full scale: "
                f"{self._some(clipped)}"
            )
        return tuple(found)

    def _some(self, rows: list[int]) -> str:
        return ", ".join(self.name(row) for row in rows[:3]) + (" …" if len(rows) > 3 else "")

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """64-bit key per row of what is heard (B,): a recording saved in two lossless formats has one key."""
        return np.array([fact.key for fact in self.facts(rows)], np.uint64)

    def digest(self) -> str:
        """Hash of all sounds, in order."""
        return hashlib.sha256(b"audio" + self.keys(np.arange(len(self))).tobytes()).hexdigest()
