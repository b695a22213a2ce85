"""Storage of sparse counts: each row keeps the features it has, in Arrow lists that may lie on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import DataError
from graft.core.types import Dataset
from graft.data.columns import take
from graft.data.rows import CHUNK, spread

PAIR = pa.struct([("index", pa.int32()), ("value", pa.float32())])
ROW = pa.large_list(PAIR)  # the type of a column of counts
LARGEST = 2**31 - 1  # no feature has this number or a larger one


@dataclass(frozen=True, eq=False)
class SparseRow:
    """What one row has.

    Attributes:
        indices: Numbers (n,) int32 of its features from 0, ascending.
        values: Their counts (n,) float32, not zero.
    """

    indices: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def nbytes(self) -> int:
        """Bytes of both arrays."""
        return int(self.indices.nbytes + self.values.nbytes)


def stacked(rows: Sequence[SparseRow], width: int) -> Any:
    """Rows as one CSR matrix (n, width) of float32.

    Example:
        >>> stacked([SparseRow(np.array([2], np.int32), np.array([3.0], np.float32))], 4).toarray().tolist()
        [[0.0, 0.0, 3.0, 0.0]]
    """
    from scipy.sparse import csr_matrix

    ends = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
    ends = ends.astype(np.int32) if ends[-1] < LARGEST else ends
    indices = np.concatenate([np.empty(0, np.int32), *(row.indices for row in rows)])
    values = np.concatenate([np.empty(0, np.float32), *(row.values for row in rows)])
    return csr_matrix((values, indices, ends), (len(rows), width))


def frequencies(dataset: Dataset, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Which features rows have (D,) int32, ascending, and in how many rows (D,): those of the most rows, ``most`` at most.

    Raises:
        DataError: No row has any.
    """
    found, seen = np.empty(0, np.int32), np.empty(0, np.int64)
    for start in range(0, len(dataset), CHUNK):
        rows = dataset.take(slice(start, start + CHUNK))
        every, counts = np.unique(np.concatenate([row.indices for row in rows]), return_counts=True)
        found, place = np.unique(np.concatenate([found, every]), return_inverse=True)
        seen = np.bincount(place, np.concatenate([seen, counts]), len(found)).astype(np.int64)
    if not len(found):
        raise DataError("no row has any feature", where=dataset.name)
    kept = np.sort(np.argsort(-seen, kind="stable")[:most])
    return found[kept], seen[kept]


def chosen(row: SparseRow, columns: np.ndarray) -> SparseRow:
    """A row with the features in ``columns`` (D,) alone, ascending, numbered by their place there.

    Example:
        >>> row = SparseRow(np.array([2, 5], np.int32), np.array([1.0, 4.0], np.float32))
        >>> chosen(row, np.array([3, 5])).indices.tolist()
        [1]
    """
    place = np.searchsorted(columns, row.indices)
    known = columns[place.clip(max=len(columns) - 1)] == row.indices
    return SparseRow(place[known].astype(np.int32), row.values[known])


def as_lists(lengths: np.ndarray, indices: np.ndarray, values: np.ndarray) -> pa.Array:
    """A column of counts from lengths (n,) of the rows, and what they hold one after the other."""
    ends = pa.array(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), pa.int64())
    fields = [
        pa.array(np.ascontiguousarray(part), kind.type) for part, kind in zip((indices, values), PAIR, strict=True)
    ]
    return pa.LargeListArray.from_arrays(ends, pa.StructArray.from_arrays(fields, fields=list(PAIR)))


def _parts(lists: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ends (n + 1,) from 0, indices and values of a piece of a column."""
    flat = lists.flatten()
    ends = np.asarray(lists.offsets)
    return ends - ends[0], np.asarray(flat.field("index")), np.asarray(flat.field("value"))


def _range(column: pa.ChunkedArray) -> tuple[int, int]:
    """Lowest and highest number in a column; the first is larger where there is none."""
    found = [(int(indices.min()), int(indices.max())) for _, indices, _ in map(_parts, column.chunks) if len(indices)]
    return min((low for low, _ in found), default=LARGEST), max((high for _, high in found), default=-1)


class CountRows:
    """Counts of features by row, few of them other than zero.

    Args:
        column: Of type ``ROW``.
        features: Number of features.
        first: Number of the first feature in ``column``; rows are taken with numbers from 0.
        notes: What a person must know of how they are read.
        owner: Whatever must live as long as the column.

    Attributes:
        kinds: What new files must agree with: number of features, and where their numbers start.
    """

    def __init__(
        self, column: pa.ChunkedArray, *, features: int, first: int = 0, notes: tuple[str, ...] = (), owner: Any = None
    ) -> None:
        self.column, self.features, self.first, self.notes, self.owner = column, features, first, notes, owner
        self.kinds = {"features": str(features), "first": str(first)}

    @classmethod
    def of(cls, matrix: Any) -> CountRows:
        """Rows of a scipy sparse matrix or array, which stays as it is.

        Raises:
            DataError: It holds something else than counts.
        """
        if matrix.ndim != 2 or not matrix.shape[1] or matrix.dtype.kind not in "buif":
            what = f"a sparse {'x'.join(map(str, matrix.shape))} matrix of {matrix.dtype} holds no counts"
            raise DataError(what, hint="pass rows by features, of numbers")
        rows = matrix.tocsr(copy=True)
        rows.sum_duplicates()
        rows.eliminate_zeros()
        rows.sort_indices()
        wrong = np.flatnonzero(~(rows.data >= 0) | np.isinf(rows.data))
        if len(wrong):
            where = f"row {int(np.searchsorted(rows.indptr, wrong[0], side='right'))}"
            hint = "counts are 0 or more" if rows.data[wrong[0]] < 0 else "leave unknown features out"
            raise DataError(f"feature_{rows.indices[wrong[0]]} is {rows.data[wrong[0]]}", where=where, hint=hint)
        lists = as_lists(np.diff(rows.indptr), rows.indices.astype(np.int32), rows.data.astype(np.float32))
        return cls(pa.chunked_array([lists]), features=int(rows.shape[1]))

    @classmethod
    def read(cls, column: pa.ChunkedArray, owner: Any = None) -> CountRows:
        """Rows of a file: its numbers start at 0 where a 0 occurs, else at 1.

        Args:
            column: As it stands in the file.
            owner: Kept alive with the column.

        Raises:
            DataError: No row has any feature.
        """
        lowest, highest = _range(column)
        if lowest > highest:
            raise DataError("no row has any feature", hint="write a label, then index:count")
        first = min(lowest, 1)
        zero = "0 does not occur" if first else "0 occurs"
        features = highest - first + 1
        notes = [f"sparse counts of {features:,} features, numbered from {first} ({zero})"]
        bare = sum(int((np.diff(_parts(chunk)[0]) == 0).sum()) for chunk in column.chunks)
        if bare:
            notes.append(f"{bare} row(s) have no feature at all")
        return cls(column, features=features, first=first, notes=tuple(notes), owner=owner)

    @classmethod
    def follow(
        cls, known: dict[str, str], column: pa.ChunkedArray, *, first: int | None, owner: Any = None
    ) -> CountRows:
        """Rows with the features of others, whatever they have beyond them left out.

        Args:
            known: The ``kinds`` of the others.
            column: The rows.
            first: Number of their first feature; None where they are numbered like the others.
            owner: Kept alive with the column.

        Raises:
            DataError: Numbers start at 0 where those of the others start at 1.
        """
        features, first = int(known["features"]), int(known["first"]) if first is None else first
        lowest, highest = _range(column)
        if lowest < first:
            what = "features are numbered from 0, those of the model from 1"
            raise DataError(what, hint="write the file with numbers from 1")
        beyond = highest - first + 1 - features
        notes = (f"up to {beyond:,} feature(s) beyond the {features:,} known ones are left out",) if beyond > 0 else ()
        rows = cls(column, features=features, first=first, notes=notes, owner=owner)
        rows.kinds = dict(known)
        return rows

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, part: slice) -> CountRows:
        start, stop, _ = part.indices(len(self))
        return CountRows(self.column.slice(start, stop - start), features=self.features, first=self.first)

    def _known(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ends, indices from 0 and values of rows, without features beyond the last one."""
        ends, indices, values = _parts(take(self.column, np.asarray(rows)))
        indices = indices - np.int32(self.first)
        inside = indices < self.features
        if inside.all():
            return ends, indices, values
        return np.concatenate([[0], np.cumsum(inside)])[ends], indices[inside], values[inside]

    def take(self, rows: np.ndarray) -> list[SparseRow]:
        """Rows in the order of ``rows``."""
        ends, indices, values = self._known(rows)
        cuts = zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        return [SparseRow(indices[start:stop], values[start:stop]) for start, stop in cuts]

    def keys(self, rows: np.ndarray) -> np.ndarray:
        """64-bit content key per row, equal for equal counts (B,)."""
        ends, indices, values = self._known(rows)
        each = spread(spread(indices.astype(np.uint64) + np.uint64(1)) + values.view(np.uint32).astype(np.uint64))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(each, dtype=np.uint64)])
        return spread(sums[ends[1:]] - sums[ends[:-1]])

    @cached_property
    def _digest(self) -> str:
        hashed = hashlib.sha256(f"counts {self.features}".encode())
        for start in range(0, len(self), CHUNK):
            hashed.update(self.keys(np.arange(start, min(start + CHUNK, len(self)))).tobytes())
        return hashed.hexdigest()

    def digest(self) -> str:
        """Hash of all counts, in order."""
        return self._digest
