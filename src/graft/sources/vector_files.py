"""Files of word vectors as text: word2vec's form has a header, GloVe's has none, fastText's ``.vec`` is word2vec's.

A file is streamed: the memory is that of the table and its words.  What is wrong is said with the line where it stands.
"""

from __future__ import annotations

import gzip
import re
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from graft.core.errors import SourceError, UnsafeSourceError
from graft.sources.folder import refuse_pickle

NAMES = (".vec", ".glove", ".txt")  # of files that may hold vectors, each also with .gz
NARROWEST = 8  # numbers per line from which a text file is taken for word vectors when a folder is searched
BLOCK = 2_048  # rows turned into numbers at a time
LINE = 1 << 20  # bytes of one line at most
PACKED = 2.4  # bytes of text in a byte of .gz
FASTTEXT = b"\xba\x16\x4f\x2f"  # first bytes of fastText's .bin
_DECIMAL = re.compile(rb"[-+]?\d+\.\d+(e[-+]?\d+)?", re.IGNORECASE)
_BINARY = (
    "write it as text with gensim: KeyedVectors.load_word2vec_format('x.bin', binary=True)"
    ".save_word2vec_format('x.txt', binary=False)"
)
_PICKLE = "where you trust it, write it as text with gensim: KeyedVectors.load('x').save_word2vec_format('x.txt')"


@dataclass(frozen=True)
class Form:
    """What the first two lines of a file say.

    Attributes:
        words: Number of words that the header promises; 0 where there is no header.
        width: Values of a row.
    """

    words: int
    width: int

    @property
    def header(self) -> int:
        """Lines before the first word."""
        return 1 if self.words else 0


def _lines(path: Path) -> Iterator[bytes]:
    """Lines without their ends, tabs as spaces; damage of a .gz is one line of ours."""
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            file: IO[bytes] = gzip.open(raw) if packed else raw  # noqa: SIM115  (raw closes it)
            while line := file.readline(LINE):
                yield line.rstrip().replace(b"\t", b" ")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{path} is cut off or damaged", hint="fetch it again") from error
    except OSError as error:
        raise SourceError(f"cannot read {path}", hint=error.strerror or str(error)) from error


def _trailing(line: bytes) -> int:
    """How many numbers stand at the end of a line; the first piece is always a word."""
    count = 0
    for piece in reversed(line.split()[1:]):
        try:
            float(piece)
        except ValueError:
            break
        count += 1
    return count


def form_of(path: Path) -> Form:
    """Header and width, from the first two lines alone.

    Raises:
        UnsafeSourceError: It is a pickle.
        SourceError: It is empty, binary, or no table of numbers.
    """
    first, second = (*islice(_lines(path), 2), b"", b"")[:2]
    if not first and not second:
        raise SourceError(f"{path} is empty", hint="fetch it again")
    _refuse_binary(path, first, second)
    pieces = first.split()
    if len(pieces) == 2 and all(piece.isdigit() for piece in pieces):
        words, width = int(pieces[0]), int(pieces[1])
        if words < 1 or width < 1:
            raise SourceError(f"its header promises {words} words of {width} values", where=f"{path}, line 1")
        return Form(words, width)
    width = min(_trailing(first), _trailing(second) if second else LINE)
    if width < 1:
        hint = "a line is a word and its values, with spaces between"
        raise SourceError("this is no table of word vectors", where=f"{path}, line 1", hint=hint)
    return Form(0, width)


def _refuse_binary(path: Path, first: bytes, second: bytes) -> None:
    if first.startswith(b"\x80") or path.suffix.lower() in {".kv", ".model", ".pkl", ".pickle"}:
        raise UnsafeSourceError(f"{path} is a pickle and is not opened", hint=_PICKLE)
    if first.startswith(FASTTEXT):
        raise SourceError(f"{path} is fastText's binary form", hint="take the .vec file that comes with it")
    binary = b"\0" in first + second or (path.suffix.lower() == ".bin" and not _is_text(second))
    if binary and re.fullmatch(rb"\d+ \d+", first):
        raise SourceError(f"{path} is word2vec's binary form", hint=_BINARY)
    if binary or path.suffix.lower() != ".bin":
        refuse_pickle(path)
    if binary:
        raise SourceError(f"{path} is not a text file", hint="word vectors are read as text, one word per line")


def _is_text(line: bytes) -> bool:
    try:
        return line.decode().isprintable()
    except UnicodeDecodeError:
        return False


@dataclass
class Table:
    """Reads the rows of one file.

    Attributes:
        path: The file.
        form: What its first lines say.
        repeated: Words that stood there more than once; the first one counts.
    """

    path: Path
    form: Form
    repeated: int = 0

    def _wrong(self, what: str, line: int, hint: str = "fetch the file again") -> SourceError:
        return SourceError(what, where=f"{self.path}, line {line}", hint=hint)

    def read(self, limit: int | None) -> tuple[list[str], np.ndarray]:
        """Words, and vectors (V + 1, D) float32 with a first row of zeros.

        Args:
            limit: Words read at most.

        Raises:
            SourceError: A row is ragged, a value is no finite number, or the header promises another number of words.
        """
        index: dict[str, None] = {}
        matrix = np.empty((self._room(limit) + 1, self.form.width), np.float32)  # rows not written take no memory
        matrix[0] = 0.0
        seen = 0
        for words, values in self._blocks(limit):
            fresh = []
            for row, word in enumerate(words):
                if word not in index:
                    index[word] = None
                    fresh.append(row)
            seen += len(words)
            end = 1 + len(index)
            if end > len(matrix):
                matrix = np.concatenate([matrix, np.empty((max(end, len(matrix) // 4), self.form.width), np.float32)])
            matrix[end - len(fresh) : end] = values[fresh]
        self.repeated = seen - len(index)
        promised = min(self.form.words, limit or self.form.words)
        if self.form.words and seen != promised:
            what = f"its header promises {self.form.words:,} words, the file holds {seen:,}"
            raise self._wrong(what, 1, "it is cut off, or two files were joined; fetch it again")
        if not seen:
            raise SourceError(f"{self.path} holds no word", hint="fetch it again")
        return list(index), matrix[: 1 + len(index)]

    def _room(self, limit: int | None) -> int:
        """Rows that there is likely to be: never more than the size of the file allows, whatever its header says."""
        expected = words_of(self.path, self.form)
        expected = expected if self.form.words else expected + expected // 4
        most = self.path.stat().st_size * 40 // self.form.width  # .gz makes numbers smaller, but not forty times
        return max(1, min(expected, most, limit or expected))

    def _blocks(self, limit: int | None) -> Iterator[tuple[list[str], np.ndarray]]:
        words: list[str] = []
        rows: list[bytes] = []
        places: list[int] = []
        count = 0
        for number, line in enumerate(_lines(self.path), start=1):
            if number <= self.form.header or not line:
                continue
            if limit is not None and count == limit:
                break
            word, values = self._split(line, number)
            words.append(word)
            rows.append(values)
            places.append(number)
            count += 1
            if len(rows) == BLOCK:
                yield words, self._numbers(words, rows, places)
                words, rows, places = [], [], []
        if rows:
            yield words, self._numbers(words, rows, places)

    def _split(self, line: bytes, number: int) -> tuple[str, bytes]:
        """A line as its word, which may hold spaces, and its values."""
        width = self.form.width
        spaces = line.count(b" ")
        if spaces == width and b"  " not in line:
            word, _, values = line.partition(b" ")
            return word.decode("utf-8", "replace"), values
        pieces = line.rsplit(maxsplit=width)
        name = pieces[0].split() if len(pieces) > width else []
        more = sum(1 for piece in name[1:] if _DECIMAL.fullmatch(piece))
        if not name or more:
            has = len(pieces) - 1 if not name else width + more
            first = number == self.form.header + 1 and self.form.words
            others = "its header promises" if first else "the others have"
            raise self._wrong(f"a row of {has} values, {others} {width}", number)
        return pieces[0].strip().decode("utf-8", "replace"), b" ".join(pieces[1:])

    def _numbers(self, words: list[str], rows: list[bytes], places: list[int]) -> np.ndarray:
        """Values (B, D) of a block; if some are not finite numbers, the line is named."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", DeprecationWarning)  # how numpy says that it met something else
                values = np.fromstring(b" ".join(rows).decode("latin-1"), np.float32, sep=" ")
            if len(values) == len(rows) * self.form.width and np.isfinite(values).all():
                return values.reshape(len(rows), self.form.width)
        except (ValueError, DeprecationWarning):
            pass  # the line is looked for below
        for word, row, number in zip(words, rows, places, strict=True):
            for piece in row.split():
                try:
                    value = np.float32(piece.decode("latin-1"))
                except ValueError as error:
                    raise self._wrong(f"{piece.decode('utf-8', 'replace')!r} is not a number", number) from error
                if not np.isfinite(value):
                    raise self._wrong(f"the vector of {word!r} holds {piece.decode()}", number)
        raise self._wrong(f"rows of {self.form.width} values end here", places[-1])


def words_of(path: Path, form: Form) -> int:
    """Number of words: what the header promises, else an estimate from the first lines and the size of the file."""
    if form.words:
        return form.words
    head = [len(line) + 1 for line in islice(_lines(path), 200)]
    text = path.stat().st_size * (PACKED if path.suffix.lower() == ".gz" else 1.0)
    return max(1, round(text * len(head) / sum(head)))


def is_table(path: Path) -> bool:
    """Whether the name and the first two lines of a file are those of word vectors."""
    if not path.name.lower().removesuffix(".gz").endswith(NAMES) or not path.is_file():
        return False
    try:
        form = form_of(path)
        first, second = (*islice(_lines(path), 2), b"", b"")[:2]
    except SourceError:
        return False
    named = form.words or any(_trailing(b"word " + line.split(b" ", 1)[0]) == 0 for line in (first, second))
    return bool(named) and form.width >= NARROWEST and _trailing(second) >= form.width
