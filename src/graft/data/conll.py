"""Columns of CoNLL: a word per line with its tags, a blank line between sentences."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from graft.core.errors import DataError
from graft.core.spans import split_tag
from graft.data.lines import Lines
from graft.data.sentences import Sentence

SUFFIXES = (".conll", ".conll2003", ".bio", ".bio2", ".iob", ".iob2", ".bioes", ".iobes", ".bmes", ".bilou", ".ner")
MAYBE = (".txt", ".tsv", ".tab", ".data", ".train", ".dev", ".test")  # files that may be columns: their lines tell
HEAD = 2_000  # lines that the columns are read off
TAGGED = 0.98  # share of the cells of a column that are tags, from which it is one
DOCUMENT = "-DOCSTART-"
_PREFIXED = re.compile(r"[BIESLUM][-_]\S")


@dataclass
class Example:
    """One sentence as it was read.

    Attributes:
        sentence: Its words.
        line: First line in the file, or number of the row.
        tags: Tags as they are written, or None.
        spans: Spans of words (first, after the last, type) where the file says spans, or None.
        group: Number of the document it is from.
        notes: What was changed, a kind of change each.
    """

    sentence: Sentence
    line: int
    tags: list[str] | None = None
    spans: list[tuple[int, int, str]] | None = None
    group: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class Unreadable:
    """A sentence that cannot be used."""

    line: int
    reason: str


@dataclass(frozen=True)
class Layout:
    """Which column is what.

    Attributes:
        tab: Whether columns are separated by tabs; else by white space.
        columns: How many there are.
        word: Number of the column of words.
        tag: Number of the column of tags, or None.
        header: Whether the first line names the columns.
    """

    tab: bool
    columns: int
    word: int
    tag: int | None
    header: bool = False

    def split(self, line: str) -> list[str]:
        """The cells of a line."""
        return [cell.strip() for cell in line.split("\t")] if self.tab else line.split()


def suffix_of(path: Path) -> str:
    """The suffix that names the form, without ``.gz``."""
    found = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return found[-1] if found else ""


def _is_tag(cell: str) -> bool:
    """Whether a cell is O or has a prefix: bare types are told from words only by the column they stand in."""
    found = split_tag(cell)
    return found is not None and found[0] != ""


def layout_of(lines: list[str], column: str | None = None) -> Layout | None:
    """Read off some lines which column is what; None where they are no columns.

    Args:
        lines: First lines of a file.
        column: Number of the column of tags, counted from 1, where it is known.
    """
    full = [line.rstrip("\r\n") for line in lines if line.strip() and not line.startswith(DOCUMENT)]
    if not full:
        return None
    tab = sum("\t" in line for line in full) >= 0.9 * len(full)
    cells = [line.split("\t") if tab else line.split() for line in full]
    cells = [[cell.strip() for cell in row] for row in cells]
    columns = Counter(map(len, cells)).most_common(1)[0][0]
    fitting = [row for row in cells if len(row) == columns and not (row[0].startswith("#") and not _is_tag(row[-1]))]
    if not fitting:
        return None
    numbers = columns > 1 and all(row[0].isdigit() for row in fitting) and fitting[0][0] in {"0", "1"}
    word = 1 if numbers else 0
    if column is not None:
        tag: int | None = int(column) - 1 if column.isdigit() else -1
        if tag is None or not word < tag < columns:
            raise DataError(f"no column of tags {column!r}", hint=f"give its number, {word + 2} to {columns}")
        return Layout(tab, columns, word, tag)
    tag, header = _tag_column(fitting, word)
    return Layout(tab, columns, word, tag, header)


def _tag_column(rows: list[list[str]], word: int) -> tuple[int | None, bool]:
    """The last column whose cells are tags, O among them, and whether the first line names the columns."""
    for column in range(len(rows[0]) - 1, word, -1):
        header = len(rows) > 2 and not _is_tag(rows[0][column])
        cells = [row[column] for row in rows[header:]]
        tags = sum(map(_is_tag, cells))
        if tags >= TAGGED * len(cells) and "O" in cells:
            return column, header
        types = {cell for cell in cells if cell != "O"}
        few = len(types) <= max(3, 0.05 * len(cells)) and all(split_tag(cell) for cell in types)
        if few and cells.count("O") > 0.3 * len(cells):
            return column, False
    return None, False


def looks_like_columns(path: Path, encoding: str) -> bool:
    """Whether the first lines of a file are words with tags: several columns, blank lines between sentences."""
    lines = Lines(path, encoding)
    head = list(itertools.islice(lines, HEAD))
    layout = layout_of(head)
    if layout is None or layout.tag is None or layout.columns < 2:
        return False
    full = [line for line in head if line.strip()]
    cells = [layout.split(line.rstrip("\r\n")) for line in full]
    if not any(_PREFIXED.match(row[layout.tag]) for row in cells if len(row) == layout.columns):
        return False  # bare B and I, or types alone, may be the classes of rows
    same = sum(len(row) == layout.columns for row in cells)
    return same >= 0.8 * len(full) and (len(full) < len(head) or len(full) < 200)


def read_columns(
    path: Path, encoding: str, *, labelled: bool, column: str | None = None
) -> Iterator[Example | Unreadable]:
    """The sentences of a file in columns, in order.

    Lines that begin with -DOCSTART- begin a document; lines that begin with # and do not have the columns of the others
    are comments.  A line with another number of columns spoils its sentence.

    Args:
        path: The file.
        encoding: Of the file.
        labelled: Whether tags are needed.
        column: Number of the column of tags, counted from 1; found if not given.

    Raises:
        DataError: There are no columns, or none of tags.
    """
    lines = Lines(path, encoding)
    stream = iter(lines)
    head = list(itertools.islice(((line, lines.number) for line in stream), HEAD))
    layout = layout_of([line for line, _ in head], column)
    if layout is None:
        raise DataError("the file holds no words", where=str(path), hint="a word per line, with its tag after it")
    if labelled and layout.tag is None:
        what = "no column of tags" if layout.columns > 1 else "one column, a word and its tag are needed"
        raise DataError(
            what, where=str(path), hint="tags are O, B-TYPE and I-TYPE; name their column with --label NUMBER"
        )
    rest = ((line, lines.number) for line in stream)
    return _sentences(itertools.chain(head, rest), lines, layout, labelled=labelled)


class _Gathering:
    """One sentence after another, line by line."""

    def __init__(self, layout: Layout, *, labelled: bool) -> None:
        self.layout, self.labelled = layout, labelled
        self.group, self.first = 0, 0
        self.words: list[str] = []
        self.tags: list[str] = []
        self.fault: Unreadable | None = None

    def add(self, line: str, number: int) -> None:
        """Take in a word with its tag."""
        cells, layout = self.layout.split(line.rstrip("\r\n")), self.layout
        fits = len(cells) == layout.columns
        if line.startswith("#") and not (fits and (layout.tag is None or _is_tag(cells[layout.tag]))):
            return  # a comment
        if not self.words and self.fault is None:
            self.first = number
        if not fits or not cells[layout.word]:
            what = f"{len(cells)} column{'s' * (len(cells) != 1)}, the other lines have {layout.columns}"
            self.spoil(number, what)
            return
        self.words.append(cells[layout.word])
        if self.labelled and layout.tag is not None:
            self.tags.append(cells[layout.tag])

    def spoil(self, number: int, reason: str) -> None:
        """Remember why the sentence cannot be used."""
        self.fault = self.fault or Unreadable(number, reason)

    def finish(self) -> Iterator[Example | Unreadable]:
        """The sentence, if there is one, and start anew."""
        if self.fault is not None:
            yield self.fault
        elif self.words:
            tags = self.tags if self.labelled else None
            yield Example(Sentence.of(self.words), self.first, tags, group=self.group)
        self.words, self.tags, self.fault = [], [], None


def _sentences(
    numbered: Iterator[tuple[str, int]], lines: Lines, layout: Layout, *, labelled: bool
) -> Iterator[Example | Unreadable]:
    found, header = _Gathering(layout, labelled=labelled), layout.header
    for line, number in numbered:
        if number in lines.odd:
            found.spoil(number, lines.odd.pop(number))
        elif not line.strip() or line.startswith(DOCUMENT):
            yield from found.finish()
            found.group += line.startswith(DOCUMENT)
        elif header:
            header = False  # it names the columns
        else:
            found.add(line, number)
    yield from found.finish()
