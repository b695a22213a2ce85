"""Storage of sequences of DNA, RNA and proteins, and the same with the other strand beside every sequence."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError, UsageError
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset
from graft.data.letters import CALLED, KNOWN, alphabet_asked, cleaned, fault, reverse_complement
from graft.data.rows import TextRows

CHUNK = 8_192  # sequences looked at at a time
SAMPLE = 5_000  # sequences from which the alphabet is read off
STRANDS = ("one", "both")


class SequenceRows(TextRows):
    """Sequences in capitals, without white space (``letters.cleaned``).

    Args:
        column: Text as it was read.
        kinds: ``alphabet``: ``"dna"``, ``"rna"`` or ``"protein"``, found if not given; ``strands``: ``"both"`` where the
            other strand of DNA means the same.
        owner: Whatever must live as long as the column (a temporary folder).

    Example:
        >>> rows = SequenceRows.of(["acgtn", "AC-GT"])
        >>> rows.take(np.array([0, 1])), rows.kinds
        (['ACGTN', 'AC-GT'], {'alphabet': 'dna'})
    """

    def __init__(self, column: pa.ChunkedArray, kinds: dict[str, str] | None = None, owner: Any = None) -> None:
        super().__init__([column], owner)
        self.kinds = dict(kinds or {})
        if "alphabet" not in self.kinds:
            some = evenly_spaced(len(self), SAMPLE)
            self.kinds["alphabet"] = alphabet_asked(super().take(some))

    @classmethod
    def of(cls, texts: Any) -> SequenceRows:
        """Sequences that are in memory."""
        return cls(TextRows.of(list(texts)).columns[0])

    @property
    def alphabet(self) -> str:
        """What the letters are."""
        return self.kinds["alphabet"]

    @property
    def notes(self) -> tuple[str, ...]:
        """How the sequences are read."""
        both = "; the other strand of every sequence is learned and asked too" if self.kinds.get("strands") else ""
        return (f"read as sequences of {CALLED[self.alphabet]}{both}",)

    def take(self, rows: np.ndarray) -> list[str]:
        """Cleaned sequences in the order of ``rows``."""
        return [cleaned(text, self.alphabet) for text in super().take(rows)]

    def faults(self) -> dict[int, str]:
        """Positions that hold no usable sequence, with the reason."""
        reasons: dict[int, str] = {}
        for start in range(0, len(self), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(self)))
            for row, sequence in enumerate(self.take(rows), start):
                reason = fault(sequence, self.alphabet)
                if reason:
                    reasons[row] = reason
        return reasons

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(f"sequence {self.alphabet} {TextRows([*self.columns]).digest()}".encode()).hexdigest()

    def ask_both_strands(self) -> None:
        """Say that the other strand means the same.

        Raises:
            UsageError: The sequences are not DNA.
        """
        if self.alphabet != "dna":
            raise UsageError(f"{CALLED[self.alphabet]} have no other strand", hint="leave out --strands; it is for DNA")
        self.kinds["strands"] = "both"


class Strands:
    """Sequences of DNA, and after all of them their reverse complements: row i + n is the other strand of row i.

    Args:
        rows: The sequences.
    """

    def __init__(self, rows: SequenceRows) -> None:
        self.rows, self.kinds = rows, {"alphabet": rows.alphabet}

    def __len__(self) -> int:
        return 2 * len(self.rows)

    def take(self, rows: np.ndarray) -> list[str]:
        """Cleaned sequences in the order of ``rows``."""
        rows, count = np.asarray(rows), max(1, len(self.rows))
        found = self.rows.take(rows % count)
        return [reverse_complement(one) if row >= count else one for one, row in zip(found, rows, strict=True)]

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """Content key of each row: that of the sequence, whichever strand it is (B,)."""
        return self.rows.keys(np.asarray(rows) % max(1, len(self.rows)))

    def digest(self) -> str:
        """Hash of the content of all rows, in order."""
        return hashlib.sha256(b"strands" + self.rows.digest().encode()).hexdigest()


def both_strands(data: Dataset) -> Dataset | None:
    """The rows and after them their other strands, with equal labels; None where that was not asked for."""
    rows = data.X
    if not isinstance(rows, SequenceRows) or rows.kinds.get("strands") != "both":
        return None
    return dataclasses.replace(
        data,
        X=Strands(rows),
        rows=np.concatenate([data.rows, data.rows + len(rows)]),
        y=None if data.y is None else np.concatenate([data.y, data.y]),
        groups=None if data.groups is None else np.tile(data.groups, 2),
        line_of=None if data.line_of is None else np.tile(data.line_of, 2),
    )


def alphabet_in(data: Dataset) -> str:
    """The alphabet of a data set of sequences."""
    kinds = getattr(data.X, "kinds", {})
    found = kinds.get("alphabet") or alphabet_asked(data.take(evenly_spaced(len(data), SAMPLE)))
    if found not in KNOWN:
        raise DataError(f"{found!r} is no alphabet of sequences", hint=f"use {', '.join(KNOWN)}")
    return found
