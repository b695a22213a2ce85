"""Rows of a table as vectors on disk, so that memory does not grow with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graft.core.errors import DataError
from graft.core.registry import MODALITIES
from graft.core.runtime import Progress
from graft.core.types import Dataset
from graft.sources.readers import TableReader

CHUNK = 8_192  # rows turned into vectors at a time


@dataclass(frozen=True)
class VectorRows:
    """Standardised numbers and one-hot categories of rows.

    Attributes:
        reader: Makes them; fitted on the training rows.
        train: Those of the training rows (N, D) float32, memory-mapped.
        held_out: Those of the held-out rows (M, D).
    """

    reader: TableReader
    train: np.ndarray
    held_out: np.ndarray

    def names(self) -> list[str]:
        """What each of the D numbers is."""
        names: list[str] = self.reader.vectors.names()
        return names


def write_vectors(data: Dataset, folder: Path, *, held_out: np.ndarray, progress: Progress) -> VectorRows:
    """Turn every row into a vector once; what lies in the folder already is used as it is.

    Args:
        data: The rows.
        folder: Where they are written.
        held_out: Mask (N,) of the rows held out.
        progress: Told how far it is.

    Raises:
        DataError: There are fewer than two rows, or none on one of the sides.
    """
    if len(data) < 2 or held_out.all() or not held_out.any():
        raise DataError(f"{data.name} has {len(data)} row(s)", hint="one is trained on, another is held out to measure")
    train = data.select(~held_out)
    vectors = MODALITIES["table"].vectors().fit(train)
    parts = {"train": train, "held_out": data.select(held_out)}
    record = folder / "vectors.json"
    if not record.exists():
        for name, part in parts.items():
            with (folder / f"{name}.vectors").open("wb") as file:
                for start in range(0, len(part), CHUNK):
                    rows = part.select(np.arange(start, min(start + CHUNK, len(part))))
                    file.write(np.ascontiguousarray(vectors.transform(rows), np.float32).tobytes())
                    progress("rows", min(1.0, (start + CHUNK) / len(part)), f"{len(part):,} rows")
        record.write_text(json.dumps({"rows": len(data)}), encoding="utf-8")  # last: rows without it are not whole
    opened = [
        np.memmap(folder / f"{name}.vectors", np.float32, "r", shape=(len(part), vectors.width))
        for name, part in parts.items()
    ]
    return VectorRows(TableReader(vectors), *opened)
