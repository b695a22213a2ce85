"""Time series in tables: a row each (wide), or a row per step (long).

Both become one table: a column of lists of numbers per channel, and beside it whatever says something of a whole series.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graft.core.errors import DataError
from graft.data.blocks import Block
from graft.data.columns import as_numbers, as_text, is_missing
from graft.data.series_rows import CHANNEL, channels, is_series, list_column

IDS = {
    "id",
    "series",
    "series_id",
    "ts_id",
    "case",
    "case_id",
    "sample_id",
    "instance",
    "instance_id",
    "recording",
    "序列",
}
TIMES = {"time", "t", "timestamp", "step", "timestep", "time_step", "date", "datetime", "时间", "日期"}
STEPS = {"t", "time", "ts", "step", "timestep", "time_step", "tp", "timepoint"}  # before the number of a wide column
LABELS = {"label", "labels", "class", "category", "target", "y", "标签", "类别", "分类"}
LEAST_WIDE, LEAST_LONG = 8, 4  # steps of a series that is recognised without being asked for
STRANGE = 0.01  # share of cells that may be no number
_NUMBERED = re.compile(r"^(.*?)[ _.-]?(\d+)$")


@dataclass(frozen=True)
class Series:
    """A table of series.

    Attributes:
        table: Lists by channel, and columns of whole series.
        lines: Line (or row) of the first step of each series.
        notes: How it was read; empty where the columns were lists already.
    """

    table: pa.Table
    lines: np.ndarray
    notes: tuple[str, ...]


def read_series(
    table: pa.Table,
    lines: np.ndarray,
    *,
    asked: bool,
    where: str,
    label: str | None = None,
    group: str | None = None,
    inputs: Sequence[str] = (),
    known: Sequence[str] = (),
) -> Series | None:
    """Series of a table in any form; None where they are not asked for and not recognised.

    Lists of numbers are series already.  Long: a column named as an id whose values repeat, and one named as a time.
    Wide: columns of numbers named t0, t1 … (without being asked, eight or more); asked for, any numbered columns, those
    of several names being channels, else all columns of numbers in order.

    Args:
        table: Columns as they were read.
        lines: Line of each row.
        asked: Whether the rows are said to be series.
        where: What to call the table in messages.
        label: Label column, where it is named.
        group: Group column, where there is one.
        inputs: Columns to read, where they are named.
        known: Channels of the training data.

    Raises:
        DataError: Series were asked for and are not there, or a label changes within a series.
    """
    if any(is_series(field.type) for field in table.schema):
        return Series(table, lines, ())
    if not table.num_rows or not (asked or _likely(table.column_names)):
        return None
    aside = {name for name in (label, group) if name}
    aside |= {name for name in table.column_names if name.casefold().strip() in LABELS} if label is None else set()
    found = _long(table, lines, asked=asked, where=where, aside=aside, inputs=inputs, known=known)
    found = found or _wide(table, lines, asked=asked, aside=aside, inputs=inputs)
    if found is None and asked:
        hint = "write one row per series (t0, t1, …) or one per step (id, time, value)"
        raise DataError(
            "no time series found", where=where, hint=f"{hint}; columns: {', '.join(table.column_names[:8])}"
        )
    return found


def _likely(names: Sequence[str]) -> bool:
    """Whether names alone allow series that nobody asked for."""
    folded = [name.casefold().strip() for name in names]
    steps = sum(bool((m := _NUMBERED.match(name)) and m[1] in STEPS) for name in folded)
    return steps >= LEAST_WIDE or bool(set(folded) & IDS and set(folded) & TIMES)


# -- long --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Steps:
    """Which series each row of a table is a step of, and the rows in the order of series and time."""

    names: pa.Array
    place: np.ndarray
    order: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """Where each series begins in the order."""
        return np.flatnonzero(np.diff(self.place[self.order], prepend=-1))

    def change(self, column: pa.ChunkedArray) -> int | None:
        """A row at which a column differs from the row before of the same series; None where it never does."""
        values = _coded(column)[1][self.order]
        same = self.place[self.order][1:] == self.place[self.order][:-1]
        changed = np.flatnonzero(same & (values[1:] != values[:-1]))
        return int(self.order[changed[0] + 1]) if len(changed) else None

    def lists(self, values: np.ndarray) -> pa.LargeListArray:
        """Numbers of all rows as one list per series."""
        edges = np.append(self.starts, len(self.order)).tolist()
        return list_column([values[self.order[first:last]] for first, last in itertools.pairwise(edges)])

    def firsts(self, column: pa.ChunkedArray) -> pa.Array:
        """What a column says of each series."""
        return as_text(column).combine_chunks().take(pa.array(self.order[self.starts]))


def _coded(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Distinct values and the number of each row's, -1 where it is missing."""
    codes = pc.dictionary_encode(as_text(column)).combine_chunks()
    codes = codes.chunk(0) if isinstance(codes, pa.ChunkedArray) else codes
    return codes.dictionary, np.asarray(codes.indices.fill_null(-1)).astype(np.int64)


def _steps(table: pa.Table, lines: np.ndarray, own: str, time: str | None, where: str, *, asked: bool) -> _Steps | None:
    """Rows by the series that a column names; None where that tells rows apart instead."""
    names, place = _coded(table.column(own))
    if len(names) == table.num_rows or (not asked and table.num_rows < LEAST_LONG * len(names)):
        return None
    if (place < 0).any():
        line = int(lines[int(np.flatnonzero(place < 0)[0])])
        raise DataError(f"a step without {own!r}", where=f"{where}, line {line}", hint="every step needs its series")
    order = np.lexsort((ranks(table.column(time)), place)) if time else np.argsort(place, kind="stable")
    return _Steps(names.cast(pa.large_string()), place, order)


def _long(
    table: pa.Table, lines: np.ndarray, *, asked: bool, where: str, aside: set[str], inputs: Sequence[str],
    known: Sequence[str],
) -> Series | None:  # fmt: skip
    folded = {name.casefold().strip(): name for name in reversed(table.column_names) if name not in aside}
    own = next((folded[name] for name in folded if name in IDS), None)
    time = next((folded[name] for name in folded if name in TIMES), None)
    steps = None
    if own is not None and (time is not None or asked):
        steps = _steps(table, lines, own, time, where, asked=asked)
    if own is None or steps is None:
        return None
    values: dict[str, np.ndarray] = {}
    steady: dict[str, np.ndarray] = {}
    whole: dict[str, Any] = {own: steps.names}
    left = []
    for name in table.column_names:
        if name in {own, time}:
            continue
        column = table.column(name)
        change, numbers = steps.change(column), _numbers_of(column)
        varies = numbers is not None and change is not None and not inputs and _may_vary(name, aside)
        if name in inputs or name in known or varies:
            values[name] = as_numbers(column)[0]
        elif change is None:
            whole[name] = steps.firsts(column)
            steady |= {name: numbers} if numbers is not None and name not in aside else {}
        elif name in aside:
            at, which = f"{where}, line {int(lines[change])}", steps.names[int(steps.place[change])].as_py()
            raise DataError(f"{name!r} changes within the series {which!r}", where=at, hint="a series has one of it")
        else:
            left.append(name)
    values = values or steady  # series that never change
    if not values:
        return None
    names = [CHANNEL] if len(values) == 1 else list(values)
    whole |= {name: steps.lists(numbers) for name, numbers in zip(names, values.values(), strict=True)}
    ordered = f", in the order of {time!r}" if time else ""
    notes = [f"read as {len(steps.names)} series by {own!r}{ordered}: {', '.join(values)}"]
    if left:
        notes.append(f"column{'s' * (len(left) > 1)} not used: {', '.join(left)}")
    return Series(pa.table(whole), np.minimum.reduceat(lines[steps.order], steps.starts), tuple(notes))


def _numbers_of(column: pa.ChunkedArray) -> np.ndarray | None:
    """A column of numbers; None where it holds something else, or nothing."""
    numbers, strange = as_numbers(column)
    return numbers if (~np.isnan(numbers)).any() and strange.sum() <= STRANGE * len(numbers) else None


def _may_vary(name: str, aside: set[str]) -> bool:
    """Whether a column of changing numbers is a channel: any but a label; ``y`` may be a coordinate."""
    return name not in aside or name.casefold().strip() in {"y", "target"}


def ranks(column: pa.ChunkedArray) -> np.ndarray:
    """What times are sorted by: numbers, moments, or words in their order."""
    if pa.types.is_temporal(column.type):
        return np.asarray(column.cast(pa.int64(), safe=False).fill_null(0))
    numbers, strange = as_numbers(column)
    if not strange.any():
        return numbers
    return np.unique(np.array(as_text(column).fill_null("").to_pylist()), return_inverse=True)[1]


# -- wide --------------------------------------------------------------------------------------------------------------


def _wide(table: pa.Table, lines: np.ndarray, *, asked: bool, aside: set[str], inputs: Sequence[str]) -> Series | None:
    names = list(inputs) or [name for name in table.column_names if name not in aside]
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        found = _NUMBERED.match(name.strip())
        if found:
            groups.setdefault(found[1].casefold(), []).append((int(found[2]), name))
    if not asked:
        groups = {prefix: steps for prefix, steps in groups.items() if prefix in STEPS and len(steps) >= LEAST_WIDE}
        numbers = [steps for steps in groups.values() if _consecutive(steps)]
        used = {name for steps in numbers for _, name in steps}
        others = [name for name in names if name not in used and name.casefold().strip() not in IDS]
        if len(numbers) != 1 or any(_is_number(table.column(name)) for name in others):
            return None  # numbers beside the steps: a table
    chosen = [
        steps for steps in groups.values() if len(steps) > 1 and (inputs or _is_number(table.column(steps[0][1])))
    ]
    chosen = [sorted(steps) for steps in chosen]
    if (
        chosen and len({tuple(number for number, _ in steps) for steps in chosen}) > 1
    ):  # no channels of one set of steps
        chosen = [max(chosen, key=len)] if max(map(len, chosen)) >= 0.9 * sum(map(len, chosen)) else []
    if not chosen:
        steps = [name for name in names if inputs or (_is_number(table.column(name)) and name.casefold() not in IDS)]
        chosen = [list(enumerate(steps))]
    if len(chosen[0]) < 2:
        return None
    whole: dict[str, Any] = {}
    odd = 0
    for steps in chosen:
        parts = [as_numbers(table.column(name)) for _, name in steps]
        odd += sum(int(strange.sum()) for _, strange in parts)
        values = np.stack([numbers for numbers, _ in parts], axis=1)
        prefix = _NUMBERED.match(steps[0][1].strip())
        name = CHANNEL if len(chosen) == 1 or prefix is None else prefix[1].rstrip(" _.-") or CHANNEL
        whole[name] = list_column(list(values))
    used = {name for steps in chosen for _, name in steps}
    rest = {name: table.column(name) for name in table.column_names if name not in used and name not in whole}
    first, last = chosen[0][0][1], chosen[0][-1][1]
    several = f", {len(chosen)} channels" if len(chosen) > 1 else ""
    notes = [f"read as series of {len(chosen[0])} steps, {first} to {last}{several} (--modality table reads columns)"]
    if odd:
        notes.append(f"{odd} cell(s) of the series are no numbers and count as missing")
    return Series(pa.table({**rest, **whole}), lines, tuple(notes))


def _consecutive(steps: list[tuple[int, str]]) -> bool:
    numbers = [number for number, _ in steps]
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _is_number(column: pa.ChunkedArray) -> bool:
    values, strange = as_numbers(column)
    known = int((~np.isnan(values)).sum())
    return strange.sum() <= STRANGE * len(values) and (known > 0 or bool(is_missing(as_text(column)).all()))


# -- arrays and streams ------------------------------------------------------------------------------------------------


def from_arrays(X: Any) -> Any:
    """Arrays (N, T) or (N, T, C), or a list of series, as a table of lists; whatever else it is, as it is.

    Example:
        >>> from_arrays([[1.0, 2.0], [3.0]]).column_names
        ['series']
    """
    array = isinstance(X, np.ndarray) and X.ndim in {2, 3} and X.dtype.kind in "iufb"
    several = isinstance(X, list | tuple) and len(X) and not isinstance(X[0], str | bytes | dict)
    if not (array or several):
        return X
    try:
        return pa.table(channels(X))
    except (TypeError, ValueError):
        return X


def in_one(parts: Iterator[Block]) -> Iterator[Block]:
    """All blocks as one: the steps of a series may lie in several.

    Raises:
        DataError: A row cannot be read, so that a step of some series would be missing unseen.
    """
    blocks = list(parts)
    if not blocks:
        return
    bad = [one for block in blocks for one in block.bad]
    tables = [block.table for block in blocks if block.table.num_rows] or [blocks[0].table]
    numbers = np.concatenate([block.numbers for block in blocks])
    lines = np.concatenate([block.lines for block in blocks])
    yield Block(pa.concat_tables(tables), numbers, lines, tuple(bad))


def as_block(block: Block, known: Sequence[str], *, where: str, label: str | None = None) -> Block:
    """A block of rows as a block of series, for prediction.

    Raises:
        DataError: A line of a file with a row per step cannot be read.
    """
    if not block.table.num_rows:
        empty = pa.LargeListArray.from_arrays(pa.array([0], pa.int64()), pa.array([], pa.float64()))
        return dataclasses.replace(block, table=pa.table(dict.fromkeys(known, empty)))
    found = read_series(block.table, block.lines, asked=True, where=where, label=label, known=known)
    assert found is not None
    if len(found.lines) == len(block.lines):
        return dataclasses.replace(block, table=found.table)
    if block.bad:
        bad = block.bad[0]
        raise DataError(bad.reason, where=f"{where}, line {bad.line}", hint="its step belongs to some series: mend it")
    return Block(found.table, np.arange(len(found.lines)), found.lines)
