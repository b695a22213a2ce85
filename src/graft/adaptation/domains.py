"""Two domains: labelled source rows and unlabelled target rows of the same form."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graft.core.errors import DataError, UsageError
from graft.core.types import Dataset
from graft.data.load import load

FEWEST = 10  # target rows from which anything about their distribution can be said


@dataclass(frozen=True, eq=False)
class Domains:
    """What an adaptation learns from.

    Attributes:
        source: Labelled rows, of one domain or of several.
        target: Rows of the domain to predict; they carry no labels, whatever the file holds.
        origin: Which source domain each source row is from (n_s,), 0, 1, …
        few: Labelled rows of the target, if a few are there on purpose; None for none.
    """

    source: Dataset
    target: Dataset
    origin: np.ndarray
    few: Dataset | None = None

    @property
    def sources(self) -> int:
        """Number of source domains."""
        return int(self.origin.max()) + 1

    def select(self, rows: np.ndarray) -> Domains:
        """With some of the source rows only."""
        return dataclasses.replace(self, source=self.source.select(rows), origin=self.origin[rows])


def pair(source: Dataset, target: Dataset, *, origin: np.ndarray | None = None, few: Dataset | None = None) -> Domains:
    """Put two data sets side by side; labels of the target are dropped here and reach no method.

    Args:
        source: Labelled.
        target: Read like the source; labels are ignored.
        origin: Source domain of each source row (n_s,); one domain if not given.
        few: Labelled rows of the target that may be learned from.

    Raises:
        DataError: Both are not of one form, the target has fewer than ten rows, or the source has no labels.
    """
    if source.y is None:
        raise DataError(f"{source.name} has no labels to learn from", hint="the source domain must be labelled")
    for other in filter(None, (target, few)):
        if other.task.modality != source.task.modality or set(other.columns) != set(source.columns):
            columns = "its columns are {}, those of the source are {}".format(
                *(", ".join(each.columns[:8]) or "none" for each in (other, source))
            )
            raise DataError(f"{other.name} has another form than {source.name}: {columns}", hint="give both alike")
    if len(target) < FEWEST:
        what = f"{target.name} has {len(target)} rows: too few to tell how the domain differs"
        raise DataError(what, hint=f"give {FEWEST} or more; they need no labels")
    if few is not None and (few.y is None or few.task.classes != source.task.classes):
        raise DataError(f"the labelled rows of {few.name} do not have the classes of {source.name}")
    origin = np.zeros(len(source), np.int64) if origin is None else np.unique(origin, return_inverse=True)[1]
    return Domains(source, dataclasses.replace(target, y=None), origin, few)


def from_rows(X: Any, y: Any, sample_domain: Sequence[int] | np.ndarray) -> Domains:
    """Domains of rows that stand in one table, by the sign of a number per row.

    Args:
        X: Raw rows, or a ``Dataset``.
        y: Labels of raw rows; those of target rows are ignored and may be anything.
        sample_domain: For each row: 0 or more, a source domain; below 0, the target.

    Raises:
        UsageError: The numbers do not fit the rows, or one of both sides is empty.

    Example:
        >>> texts = [f"{'good' if i % 2 else 'bad'} film {i}" for i in range(40)]
        >>> labels = ["+" if i % 2 else "-" for i in range(40)]
        >>> both = from_rows(texts, labels, [0] * 20 + [-1] * 20)
        >>> len(both.source), len(both.target), both.target.y
        (20, 20, None)
    """
    where = np.asarray(sample_domain)
    size = len(X) if isinstance(X, Dataset) or not hasattr(X, "shape") else X.shape[0]
    if where.shape != (size,):
        raise UsageError(f"sample_domain has shape {where.shape}, there are {size} rows", hint="one number per row")
    if not (where >= 0).any() or not (where < 0).any():
        raise UsageError("sample_domain names one side only", hint="0 or more for the source, below 0 for the target")
    source, target = np.flatnonzero(where >= 0), np.flatnonzero(where < 0)
    if isinstance(X, Dataset):
        return pair(X.select(source), X.select(target), origin=where[source])
    labelled = load((_rows(X, source), _rows(y, source)))
    return pair(labelled, load(_rows(X, target), labelled=False, like=labelled), origin=where[source])


def _rows(X: Any, rows: np.ndarray) -> Any:
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    return X[rows] if hasattr(X, "shape") else [X[row] for row in rows]
