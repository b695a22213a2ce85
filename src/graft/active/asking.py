"""Ask a person for one label at a time: plain lines in, plain lines out, every answer on disk before the next question."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from graft.active.sheet import OWN, PROBABILITY, REASON, SUGGESTION

HELP = "number or name of a class, +NAME for a new one, s skip, u undo, q quit"
HELP_VALUES = "a number, s skip, u undo, q quit"
LINES = 12  # classes up to which each has a line of its own


@dataclass
class Asking:
    """The questions of one sitting.

    Args:
        lines: Lines of a sheet, the label of each empty.
        label: Name of the label column.
        classes: Classes that are known; empty at the very beginning.
        values: Whether labels are numbers.
        save: Called with all answered lines after every change.
        say: Prints a line.

    Attributes:
        answered: Lines that have a label, in the order of the answers.
        skipped: How many were passed over.

    Example:
        >>> lines = [{"row": "1", "text": "where is it?", "label": ""}, {"row": "2", "text": "broken", "label": ""}]
        >>> kept = []
        >>> asking = Asking(lines, "label", ["defect", "parcel"], save=lambda done: kept.append(len(done)), say=lambda _: None)
        >>> asking.run(iter(["2", "u", "parcel", "defect"]))
        >>> [line["label"] for line in asking.answered], kept
        (['parcel', 'defect'], [1, 0, 1, 2])
    """

    lines: Sequence[dict[str, str]]
    label: str
    classes: list[str]
    save: Callable[[list[dict[str, str]]], None]
    say: Callable[[str], None] = print
    values: bool = False
    answered: list[dict[str, str]] = field(default_factory=list)
    skipped: int = 0

    def run(self, typed: Iterator[str]) -> None:
        """Ask until all lines are answered or skipped, or ``q`` or the end of the input comes."""
        self.say(f"{len(self.lines)} rows to label: {HELP_VALUES if self.values else HELP}")
        self._list()
        place, passed = 0, list[bool]()  # of every line before ``place``: whether it was answered
        while place < len(self.lines):
            self._show(place)
            text = self._next(typed)
            if text is None or (text == "q" and text not in self.classes):
                break
            if text == "u" and text not in self.classes:
                if not passed:
                    self.say("there is nothing to undo")
                    continue
                place -= 1
                if passed.pop():
                    self.answered.pop()
                    self.save(self.answered)
                else:
                    self.skipped -= 1
                continue
            if text == "s" and text not in self.classes:
                self.skipped += 1
                passed.append(False)
            else:
                found = self._read(text)
                if found is None:
                    continue
                self.answered.append({**self.lines[place], self.label: found})
                self.save(self.answered)
                passed.append(True)
            place += 1

    def _next(self, typed: Iterator[str]) -> str | None:
        """The next line that says something; None at the end."""
        for line in typed:
            if line.strip():
                return line.strip()
        return None

    def _list(self) -> None:
        if not self.classes:
            return
        named = [f"{number} {name}" for number, name in enumerate(self.classes, start=1)]
        for line in named if len(named) <= LINES else ["   ".join(named)]:
            self.say(f"  {line}")

    def _show(self, place: int) -> None:
        line = self.lines[place]
        self.say("")
        self.say(f"[{place + 1} of {len(self.lines)}]")
        cells = [(name, text) for name, text in line.items() if name not in OWN and name != self.label and text]
        for name, text in cells:
            self.say(f"  {text}" if len(cells) == 1 else f"  {name}: {text}")
        if line.get(SUGGESTION):
            sure = f" ({line[PROBABILITY]})" if line.get(PROBABILITY) else ""
            self.say(f"  the model would say {line[SUGGESTION]}{sure}")
        if line.get(REASON):
            self.say(f"  why: {line[REASON]}")

    def _read(self, text: str) -> str | None:
        """The label that was meant; None, with a word why, where none was."""
        if self.values:
            try:
                return str(float(text))
            except ValueError:
                self.say(f"{text!r} is not a number")
                return None
        folded = {name.casefold(): name for name in self.classes}
        found = text if text in self.classes else None
        if found is None and text.isdecimal() and 1 <= int(text) <= len(self.classes):
            found = self.classes[int(text) - 1]
        found = found or folded.get(text.casefold())
        if found is None and text.startswith("+"):
            found = text[1:].strip() or None
            if found is not None and found not in self.classes:
                self.classes.append(found)
                self.say(f"  {len(self.classes)} {found}")
        if found is None:
            near = difflib.get_close_matches(text.casefold(), folded, n=1)
            hint = f"did you mean {folded[near[0]]!r}? " if near else ""
            self.say(f"no class {text!r}; {hint}+{text} makes a new one")
        return found
