"""Texts longer than networks read at once: how they are to be read goes with the text."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa

from graft.core.errors import UsageError
from graft.core.rows import evenly_spaced
from graft.data.columns import as_text, is_missing, take

WAYS = ("auto", "windows", "truncate", "head-tail")
TOKENS = 256  # that most networks read at once, at least
ENOUGH = 0.05  # share of longer texts from which their ends are worth their time
SAMPLE = 2_000  # texts that lengths are judged by
LETTERS = 4.5  # of a token, where words have spaces between them


class Windowed(str):
    """A text of which networks read all windows."""

    __slots__ = ()


class Ends(str):
    """A text of which networks read the beginning and the end."""

    __slots__ = ()


KINDS: dict[str, type[str]] = {"windows": Windowed, "head-tail": Ends}


def tokens(text: str) -> float:
    """Roughly how many tokens a text has.

    Example:
        >>> tokens("abc def gh"), tokens("中文")
        (2.2222222222222223, 2.0)
    """
    wide = sum("\u2e80" <= letter <= "\ud7a3" for letter in text)
    return wide + (len(text) - wide) / LETTERS


def reading_of(columns: list[pa.ChunkedArray], way: str) -> tuple[str, list[str]]:
    """How long texts are read, ``""`` for their beginning, and a note.

    Args:
        columns: The text columns; of several, as they are read together, only the beginning is read.
        way: One of ``WAYS``; ``"auto"`` takes windows where a twentieth of the texts or more is long.

    Raises:
        UsageError: There is no such way, or the texts are pairs.
    """
    if way not in WAYS:
        raise UsageError(f"no way {way!r} to read long texts", hint=f"use {', '.join(WAYS)}")
    if len(columns) != 1:
        if way in KINDS:
            raise UsageError(
                f"texts of {len(columns)} columns are cut together, not read by {way}", hint="leave --long out"
            )
        half = np.logical_xor(*(is_missing(as_text(column)) for column in columns)).sum() if len(columns) == 2 else 0
        return "", [f"{half} row(s) have one empty text: the other is read alone"] * bool(half)
    if way != "auto":
        return (way if way in KINDS else ""), []
    some = take(as_text(columns[0]), evenly_spaced(len(columns[0]), SAMPLE)).to_pylist()
    share = float(np.mean([tokens(text or "") > TOKENS for text in some])) if some else 0.0
    if share < ENOUGH:
        return "", []
    note = f"{share:.0%} of the texts have more than about {TOKENS} tokens: a network reads them in windows"
    return "windows", [f"{note} (--long truncate reads their beginning alone)"]


def with_reading(roles: Any, table: pa.Table, way: str) -> Any:
    """Roles with how long texts are read among their kinds.

    Raises:
        UsageError: Windows or ends are asked for of what is no text.
    """
    if roles.modality != "text":
        if way not in {"auto", "truncate"}:
            raise UsageError("only texts are read in windows or by their ends", hint="leave --long out")
        return roles
    found, notes = reading_of([table.column(name) for name in roles.inputs], way)
    return dataclasses.replace(roles, kinds={"long": found} if found else {}, notes=(*roles.notes, *notes))


def marked(texts: list[Any], way: str) -> list[Any]:
    """The texts, which then say how they are to be read."""
    kind = KINDS.get(way)
    return texts if kind is None else [kind(text) for text in texts]
