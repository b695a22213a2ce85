"""What each column of a table holds, decided once over all rows, and which columns say nothing."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from graft.core.errors import DataError
from graft.data.columns import MISSING, as_numbers, as_text, is_missing
from graft.data.dates import PARTS, are_dates, expanded, order, seconds

STRANGE = 0.01  # share of cells that may be no number in a column of numbers
FEW_LEVELS = 50  # different words that are a category however few the rows are
MANY_LEVELS = 100  # from which a note says that the rarer ones share nothing
REPEATED = 0.5  # levels per cell up to which words are a category
FEWEST = 10  # cells from which they may be texts
PROSE = 20.0  # letters of a cell on average, or two words, from which cells that never repeat are texts
NUMBERED = 20  # rows from which 1, 2, 3 …, in any order, are taken for numbers of the rows
NAMES_ROWS = re.compile(r"(^|[\s_\-])(id|idx|index|uid|uuid|guid|nr|no|key|number)$|[a-z]I[Dd]$|编号$|序号$", re.ASCII)
SHOWN = 6  # columns that a note names


def table_kinds(
    table: pa.Table, inputs: tuple[str, ...], *, explicit: bool, where: str, notes: list[str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Kind by column, of those that are used: ``"number"``, ``"category"``, ``"text"`` or ``"date ORDER PARTS"``.

    Left out, with a note: empty columns, constant ones, whole numbers that only tell rows apart, and single words that
    (nearly) never repeat.  Where nothing else is there constant columns stay.

    Args:
        table: The columns, one row per example.
        inputs: Those that may be used.
        explicit: Whether they were named: then words that never repeat are a category.
        where: What to call the data in messages.
        notes: Added to.

    Raises:
        DataError: There is no column left, or one holds dates that contradict each other.
    """
    kinds: dict[str, str] = {}
    constant: dict[str, str] = {}
    numbered: list[str] = []
    for name in inputs:
        kind, reason = _kind(table.column(name), name, explicit=explicit, notes=notes)
        if reason == "constant":
            constant[name] = kind
        elif reason == "numbers the rows":
            numbered.append(name)
        elif reason:
            notes.append(f"column {name!r} is not used: {reason}")
        else:
            kinds[name] = kind
    if not kinds:
        kinds, constant, numbered = {**constant, **dict.fromkeys(numbered, "number")}, {}, []
    for left, reason in ((list(constant), "the same value in every row"), (numbered, "a number for each row, no more")):
        if left:
            shown = ", ".join(map(repr, left[:SHOWN])) + (f" and {len(left) - SHOWN} more" if len(left) > SHOWN else "")
            notes.append(f"column{'s' * (len(left) > 1)} {shown} {'are' if len(left) > 1 else 'is'} not used: {reason}")
    if not kinds:
        raise DataError("no input column found", where=where, hint="name the inputs")
    found = [kind.partition(" ")[0] for kind in kinds.values()]
    more = "".join(f", {found.count(kind)} {kind}" for kind in ("date", "text") if kind in found)
    notes.append(
        f"read as a table of {found.count('number')} number and {found.count('category')} category{more} columns"
    )
    ordered = {name: kinds[name] for name in inputs if name in kinds}
    return tuple(ordered), ordered


def _kind(column: pa.ChunkedArray, name: str, *, explicit: bool, notes: list[str]) -> tuple[str, str]:
    """Kind of a column, and why it is not used; empty if it is."""
    if pa.types.is_boolean(column.type):
        return "category", "constant" if len(pc.unique(column)) < 2 else ""
    values, strange = as_numbers(column)
    filled = int((~np.isnan(values)).sum())
    if not filled or strange.sum() > STRANGE * (filled + strange.sum()):
        return _words(as_text(column), name, explicit=explicit, notes=notes)
    if strange.any():
        notes.append(f"{strange.sum()} cell(s) of {name!r} are no numbers and count as missing")
    if filled == len(values) > 1 and (values == values[0]).all():
        return "number", "constant"
    named = explicit or pa.types.is_floating(column.type)
    return "number", "numbers the rows" if not named and _numbers_rows(values, name) else ""


def _words(text: pa.ChunkedArray, name: str, *, explicit: bool, notes: list[str]) -> tuple[str, str]:
    """The same of a column that holds no numbers."""
    there = ~is_missing(text)
    texts = pc.utf8_trim_whitespace(text.filter(pa.array(there)))
    distinct = pc.unique(texts).to_pylist()
    levels, given = len(distinct), len(texts)
    if are_dates([one for one in distinct if one.lower() not in MISSING]):
        return _dates(texts.to_pylist(), name, np.flatnonzero(there) + 1, notes)
    if levels <= 1 and (not given or given == len(text) > 1):
        return "category", "constant" if given else "empty"
    if levels <= REPEATED * given:
        if levels > MANY_LEVELS:
            notes.append(f"column {name!r} has {levels} different words; the rarest of them count as unknown")
        return "category", ""
    if given >= FEWEST and _is_prose(distinct[:1000]):
        return "text", ""
    return "category", "" if explicit or levels <= FEW_LEVELS else f"{levels} different words in {given} rows"


def _is_prose(texts: list[str]) -> bool:
    return bool(np.mean([len(one.split()) for one in texts]) >= 2 or np.mean([len(one) for one in texts]) >= PROSE)


def _numbers_rows(values: np.ndarray, name: str) -> bool:
    """Whether whole numbers, no two alike, count the rows from 0 or 1, or have the name of an identifier."""
    if len(values) < 3 or np.isnan(values).any() or (values != np.round(values)).any():
        return False
    if len(np.unique(values)) < len(values):
        return False
    counted = len(values) >= NUMBERED and values.min() in (0.0, 1.0) and np.ptp(values) == len(values) - 1
    return bool(counted or NAMES_ROWS.search(name.strip()))


def _dates(texts: list[str], name: str, rows: np.ndarray, notes: list[str]) -> tuple[str, str]:
    day_first, said = order(texts, name, rows=rows)
    notes += said
    moments = np.array([seconds(text, day_first=day_first) for text in texts], np.float64)
    lost = int(np.isnan(moments).sum())
    if lost:
        notes.append(f"{lost} cell(s) of {name!r} are no dates and count as missing")
    known = expanded(moments[~np.isnan(moments)])
    parts = [part for part in PARTS if len(np.unique(known[part])) > 1]
    if not parts:
        return "category", "constant"
    return f"date {'day' if day_first else 'month'}-first {','.join(parts)}", ""
