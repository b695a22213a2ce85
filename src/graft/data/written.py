"""Tagged sentences as text: JSON lines with spans, columns of CoNLL, and a page with coloured spans."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from graft.core.errors import UsageError
from graft.core.spans import to_spans, types_of
from graft.data import conll
from graft.data.sentences import Sentence

GOLDEN = 137.5  # degrees between the hues of two types: many types stay far apart
STYLE = (
    "body{font:16px/1.9 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}"
    "p{margin:.4rem 0;white-space:pre-wrap}p.bad{color:#888}mark{border-radius:.3em;padding:.1em .25em;color:inherit;"
    "background:hsl(var(--h) 75% 86%)}mark small{margin-left:.35em;font-size:.68em;font-weight:600;color:hsl(var(--h) 70% 28%)}"
    "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}"
    "mark{background:hsl(var(--h) 45% 26%)}mark small{color:hsl(var(--h) 70% 78%)}}"
)


def character_spans(sentence: Sentence, tags: Sequence[str], chances: np.ndarray | None = None) -> list[dict[str, Any]]:
    """Spans as characters of the text: start, end, label, text and, where given, the least probability of their tags.

    Args:
        sentence: A text with its words.
        tags: Valid BIO tags.
        chances: Probability of each tag (T,).

    Example:
        >>> character_spans(Sentence.of(["in", "New", "York"]), ["O", "B-LOC", "I-LOC"])
        [{'start': 3, 'end': 11, 'label': 'LOC', 'text': 'New York'}]
    """
    found = []
    for first, after, kind in to_spans(tags):
        start, end = int(sentence.starts[first]), int(sentence.ends[after - 1])
        span: dict[str, Any] = {"start": start, "end": end, "label": kind, "text": str(sentence)[start:end]}
        if chances is not None:
            span["probability"] = round(float(np.min(chances[first:after])), 4)
        found.append(span)
    return found


def in_brackets(sentence: Sentence, tags: Sequence[str]) -> str:
    """The text with its spans in brackets.

    Example:
        >>> in_brackets(Sentence.of(["in", "New", "York"]), ["O", "B-LOC", "I-LOC"])
        'in [New York LOC]'
    """
    text, parts, at = str(sentence), [], 0
    for span in character_spans(sentence, tags):
        parts += [text[at : span["start"]], f"[{span['text']} {span['label']}]"]
        at = span["end"]
    return "".join([*parts, text[at:]])


class Form(ABC):
    """One way to write tagged sentences.

    Args:
        file: Where to.
        classes: The tags of the task.
        name: What to call the data.
    """

    def __init__(self, file: TextIO, classes: Sequence[str], name: str) -> None:
        self.file, self.types, self.name = file, types_of(classes), name

    def begin(self) -> None:  # noqa: B027  (most forms begin with nothing)
        """Write what comes before the sentences."""

    @abstractmethod
    def sentence(self, sentence: Sentence, tags: Sequence[str], chances: np.ndarray) -> None:
        """Write one sentence."""

    @abstractmethod
    def unreadable(self, reason: str) -> None:
        """Write what stands in the place of a row that cannot be read."""

    def end(self) -> None:  # noqa: B027
        """Write what comes after them."""


class JsonLines(Form):
    """An object per row: ``text`` and ``spans``; graft reads it back."""

    def sentence(self, sentence: Sentence, tags: Sequence[str], chances: np.ndarray) -> None:
        self._write({"text": str(sentence), "spans": character_spans(sentence, tags, chances)})

    def unreadable(self, reason: str) -> None:
        self._write({"text": "", "spans": [], "reason": reason})

    def _write(self, record: dict[str, Any]) -> None:
        self.file.write(json.dumps(record, ensure_ascii=False) + "\n")


class Columns(Form):
    """A word and its tag per line, separated by a tab, and a blank line after each sentence."""

    def sentence(self, sentence: Sentence, tags: Sequence[str], chances: np.ndarray) -> None:
        del chances
        lines = [f"{word}\t{tag}\n" for word, tag in zip(sentence.words, tags, strict=True)]
        self.file.write("".join([*lines, "\n"]))

    def unreadable(self, reason: str) -> None:
        self.file.write(f"# {reason}\n\n")


class Page(Form):
    """A page that loads nothing, every span in the colour of its type."""

    def begin(self) -> None:
        hues = [f'<mark style="--h:{self._hue(kind):.0f}">{escape(kind)}</mark>' for kind in self.types]
        self.file.write(
            '<!doctype html><html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            f"<title>{escape(self.name)}</title><style>{STYLE}</style></head><body>"
            f"<h1>{escape(self.name)}</h1><p>{' '.join(hues)}</p>\n"
        )

    def _hue(self, kind: str) -> float:
        return (30 + GOLDEN * self.types.index(kind)) % 360 if kind in self.types else 0.0

    def sentence(self, sentence: Sentence, tags: Sequence[str], chances: np.ndarray) -> None:
        text, parts, at = str(sentence), [], 0
        for span in character_spans(sentence, tags, chances):
            kind, sure = span["label"], f"{span['probability']:.2f}"
            mark = f'<mark style="--h:{self._hue(kind):.0f}" title="{escape(kind)} {sure}">{escape(span["text"])}'
            parts += [escape(text[at : span["start"]]), f"{mark}<small>{escape(kind)}</small></mark>"]
            at = span["end"]
        self.file.write(f"<p>{''.join(parts)}{escape(text[at:])}</p>\n")

    def unreadable(self, reason: str) -> None:
        self.file.write(f'<p class="bad">{escape(reason)}</p>\n')

    def end(self) -> None:
        self.file.write("</body></html>\n")


FORMS: dict[str, type[Form]] = {"jsonl": JsonLines, "conll": Columns, "html": Page}
SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".html": "html", ".htm": "html", ".txt": "conll", ".tsv": "conll",
    **dict.fromkeys(conll.SUFFIXES, "conll"),
}  # fmt: skip


def form_of(out: Path | None, asked: str | None) -> str:
    """The form that is asked for, or that the name of the file says; JSON lines without either.

    Raises:
        UsageError: There is no such form.

    Example:
        >>> form_of(Path("a.conll"), None), form_of(None, None), form_of(Path("a.txt"), "html")
        ('conll', 'jsonl', 'html')
    """
    if asked is not None:
        if asked not in FORMS:
            raise UsageError(f"tagged sentences are not written as {asked}", hint=f"use {', '.join(FORMS)}")
        return asked
    return SUFFIXES.get(out.suffix.lower(), "jsonl") if out is not None else "jsonl"
