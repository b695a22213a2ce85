"""What is to change in a network, and what became of each of its tensors."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.core.errors import SourceError, UsageError
from graft.sources.folder import REPORT_FILE

KINDS = ("copied", "resized", "widened", "new")
WORDS = {  # what each change is called in a sentence
    "remove": "blocks", "order": "blocks", "insert": "blocks", "widen": "width", "channels": "channels",
    "size": "size of pictures", "length": "length of texts", "vocabulary": "vocabulary",
}  # fmt: skip


@dataclass(frozen=True)
class Changes:
    """Changes of a network; each default changes nothing.

    Attributes:
        fresh: Whether all weights are new: the structure alone is taken.
        remove: Blocks to leave out, counted from 0 at the bottom.
        order: The blocks to keep, bottom to top; a block may stand several times.
        insert: Blocks of the source after which a new block is put; once for each time that it is named.
        widen: Factor on the number of inner units (transformers) or of all channels (graft's own other networks).
        channels: Of the input: 3, or 1 for shades of grey.
        size: Height and width that pictures are brought to.
        length: Tokens of a text at most.
        vocabulary: A tokenizer, or rows of texts on which one of the same kind is trained.
        tokens: Size of a vocabulary that is trained at most; None for that of the old one.

    Example:
        >>> Changes(remove=(4, 5)).named()
        ['remove']
    """

    fresh: bool = False
    remove: tuple[int, ...] = ()
    order: tuple[int, ...] | None = None
    insert: tuple[int, ...] = ()
    widen: float = 1.0
    channels: int | None = None
    size: int | None = None
    length: int | None = None
    vocabulary: Any = None
    tokens: int | None = None

    def named(self) -> list[str]:
        """The changes of structure that differ from their default."""
        defaults = {item.name: item.default for item in dataclasses.fields(self)}
        return [
            name
            for name in WORDS
            if getattr(self, name) is not defaults[name] and getattr(self, name) != defaults[name]
        ]

    def check(self) -> None:
        """Refuse numbers that no network could have.

        Raises:
            UsageError: There is one, or two changes contradict each other.
        """
        if not 1 <= self.widen < float("inf"):
            raise UsageError(
                f"a network cannot be widened by {self.widen:g}", hint="use a factor above 1, for example 2"
            )
        if self.channels not in (None, 1, 3):
            raise UsageError(f"pictures have no {self.channels} channels", hint="use 3, or 1 for shades of grey")
        for name, least in (("size", 1), ("length", 4), ("tokens", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"a {name} of {value} is too small", hint=f"use {least} or more")
        if self.remove and self.order is not None:
            raise UsageError("remove and order both say which blocks stay", hint="use one of them")
        if self.tokens is not None and self.vocabulary is None:
            raise UsageError("tokens without a vocabulary", hint="name the rows that a vocabulary is learned from")

    def record(self) -> dict[str, Any]:
        """As JSON; of a vocabulary only how many rows it came from."""
        facts = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "vocabulary"}
        facts = {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}
        rows = self.vocabulary
        facts["vocabulary"] = len(rows) if isinstance(rows, list | tuple) else None if rows is None else "a tokenizer"
        return facts


def block_plan(changes: Changes, total: int, name: str) -> tuple[tuple[int, bool], ...]:
    """Of each new block, bottom to top, the old block in whose place it stands, and whether it is that block.

    Args:
        changes: What is to change.
        total: Blocks of the source.
        name: Of the source.

    Raises:
        UsageError: There is no such block, or none would be left.

    Example:
        >>> block_plan(Changes(remove=(0,), insert=(2,)), 3, "bert")
        ((1, True), (2, True), (2, False))
    """
    asked = (*changes.remove, *(changes.order or ()), *changes.insert)
    for number in asked:
        if not 0 <= number < total:
            hint = f"it has {total} blocks, 0 to {total - 1}" if total > 1 else "it has one block, 0"
            raise UsageError(f"{name} has no block {number}", hint=hint)
    kept = [number for number in range(total) if number not in changes.remove]
    kept = kept if changes.order is None else list(changes.order)
    if not kept:
        raise UsageError(f"no block of {name} would be left", hint="keep one at least, or use fresh")
    lost = next((number for number in changes.insert if number not in kept), None)
    if lost is not None:
        raise UsageError(f"no block can follow block {lost}: it is not kept", hint="insert after one that is")
    plan: list[tuple[int, bool]] = []
    for number in kept:
        plan += [(number, True), *[(number, False)] * changes.insert.count(number)]
    return tuple(plan)


@dataclass(frozen=True)
class Fate:
    """What became of one tensor.

    Attributes:
        name: In the new network.
        origin: Name in the old network; empty where nothing of the old network is in it.
        old_shape: Its shape there; None without an origin.
        new_shape: Its shape now.
        what: ``"copied"`` (byte for byte), ``"resized"``, ``"widened"`` or ``"new"``.
        how: More words, where there is more to say.
    """

    name: str
    origin: str
    old_shape: tuple[int, ...] | None
    new_shape: tuple[int, ...]
    what: str
    how: str = ""

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.new_shape)


@dataclass(frozen=True)
class Report:
    """What became of a network.

    Attributes:
        source: URI of the old network.
        changes: ``Changes`` as JSON.
        tensors: The fate of every tensor of the new network.
        left: Tensors of the old network of which nothing was used, with their shapes.
        notes: What its user should know, a sentence each.
        difference: Largest difference of the features from those of the old network on random rows, as a share of the
            largest feature; None where the changes do not keep what the network computes.
    """

    source: str
    changes: dict[str, Any]
    tensors: tuple[Fate, ...]
    left: tuple[tuple[str, tuple[int, ...]], ...] = ()
    notes: tuple[str, ...] = ()
    difference: float | None = None

    def counts(self) -> dict[str, dict[str, int]]:
        """Tensors and parameters (with the statistics that a network keeps) by what became of them."""
        by = {kind: [fate for fate in self.tensors if fate.what == kind] for kind in KINDS}
        return {
            kind: {"tensors": len(some), "parameters": sum(f.parameters for f in some)} for kind, some in by.items()
        }

    @property
    def parameters(self) -> int:
        """Parameters of the whole network, with the statistics that it keeps."""
        return sum(fate.parameters for fate in self.tensors)

    def summary(self) -> str:
        """All in one sentence."""
        counts = self.counts()
        parts = [
            f"{count['parameters']:,} {kind} ({_tensors(count['tensors'])})"
            for kind, count in counts.items()
            if count["tensors"]
        ]
        left = f"; of the source {_tensors(len(self.left))} left out" if self.left else ""
        same = "" if self.difference is None else f"; features differ by {self.difference:.1e} of the largest"
        return f"{self.parameters:,} parameters: {', '.join(parts)}{left}{same}"

    def to_json(self) -> dict[str, Any]:
        """As JSON, with counts and summary."""
        more = {"counts": self.counts(), "parameters": self.parameters, "summary": self.summary()}
        return {**dataclasses.asdict(self), **more}

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Report:
        """The inverse of ``to_json``."""
        tensors = tuple(
            Fate(
                **{
                    **fate,
                    "old_shape": None if fate["old_shape"] is None else tuple(fate["old_shape"]),
                    "new_shape": tuple(fate["new_shape"]),
                }
            )
            for fate in facts["tensors"]
        )
        left = tuple((name, tuple(shape)) for name, shape in facts["left"])
        return cls(facts["source"], facts["changes"], tensors, left, tuple(facts["notes"]), facts["difference"])

    def groups(self) -> list[tuple[str, int, Fate]]:
        """Tensors that differ only in the number of their block, once each: pattern, how many, the first of them."""
        found: dict[tuple[Any, ...], list[Fate]] = {}
        for fate in self.tensors:
            pattern = ".".join("*" if part.isdigit() else part for part in fate.name.split("."))
            found.setdefault((pattern, fate.what, fate.old_shape, fate.new_shape, fate.how), []).append(fate)
        return [(key[0] if len(some) > 1 else some[0].name, len(some), some[0]) for key, some in found.items()]


def _tensors(count: int) -> str:
    return f"{count:,} tensor{'s' * (count != 1)}"


def read_report(folder: str | Path) -> Report:
    """The report beside a reshaped network.

    Raises:
        SourceError: There is none, or it is damaged.
    """
    path = Path(folder) / REPORT_FILE
    try:
        return Report.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise SourceError(f"{folder} holds no {REPORT_FILE}", hint="it was not made by graft reshape") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is damaged", hint="reshape the source again") from error


def in_words(names: Sequence[str]) -> str:
    """What can be changed, in words: each once.

    Example:
        >>> in_words(["remove", "insert", "length"])
        'blocks, length of texts'
    """
    return ", ".join(dict.fromkeys(WORDS[name] for name in names))
