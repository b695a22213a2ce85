"""Decode a text file line by line with exact line numbers; a bad byte spoils its line, not the file."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

from graft.core.errors import DataError, UsageError

HEAD = 1 << 16  # bytes looked at to tell line ends and encodings
WIDE = {"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}  # a newline is more than one byte


class Lines:
    r"""The lines of a file, ends kept, as the csv module wants them.

    Attributes:
        number: How many lines were read so far; the 1-based number of the last one.
        size: How many characters or bytes were read so far.
        odd: Reason by line number of every line with undecodable bytes or NUL; the reader takes them out.
        ended: Whether the file is at its end.

    Raises:
        DataError: The file is not what its name says, or is UTF-16 though ``encoding`` is not.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        try:
            self.codec = codecs.lookup(encoding).name
        except LookupError:
            raise UsageError(f"unknown encoding {encoding!r}", hint="for example utf-8, gb18030, latin-1") from None
        self.path, self.encoding = path, encoding
        self.number, self.size, self.ended = 0, 0, False
        self.odd: dict[int, str] = {}
        self.head = self._read_head()
        bom = next((name for mark, name in _MARKS if self.head.startswith(mark)), None)
        if bom and self.codec not in WIDE:
            raise DataError(f"the file is {bom}, not {encoding}", where=str(path), hint=f"pass --encoding {bom}")

    def open(self) -> BinaryIO:
        """Open the file, unpacking ``.gz``."""
        return gzip.open(self.path, "rb") if self.path.suffix.lower() == ".gz" else self.path.open("rb")

    def _read_head(self) -> bytes:
        try:
            with self.open() as handle:
                return handle.read(HEAD)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"not a readable gzip file ({error})", where=str(self.path)) from None
        except OSError as error:
            raise DataError(f"the file cannot be read ({error.strerror})", where=str(self.path)) from None

    def __iter__(self) -> Generator[str, None, None]:
        lone_returns = b"\r" in self.head and b"\n" not in self.head  # line ends of old spreadsheet programs
        try:
            with self.open() as handle:
                yield from self._wide(handle) if lone_returns or self.codec in WIDE else self._narrow(handle)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            where = f"{self.path}, line {self.number + 1}"
            raise DataError(f"the gzip file is cut short or damaged ({error})", where=where) from None
        self.ended = True

    def _narrow(self, handle: BinaryIO) -> Iterator[str]:
        """Encodings in which the byte 0x0A is always a line end."""
        codec = self.codec
        for raw in handle:
            if self.number == 0 and codec == "utf-8" and raw.startswith(codecs.BOM_UTF8):
                raw = raw[3:]  # noqa: PLW2901  (the mark is no text)
            self.number += 1
            self.size += len(raw)
            try:
                line = raw.decode(codec)
            except UnicodeDecodeError as error:
                line = raw.decode(codec, "replace")
                self.odd[self.number] = f"byte 0x{raw[error.start]:02x} at position {error.start + 1} is not {codec}"
            if "\0" in line:
                self.odd[self.number] = f"NUL byte at character {line.index(chr(0)) + 1}"
            yield line

    def _wide(self, handle: BinaryIO) -> Iterator[str]:
        """Encodings with wide newlines and files with lone carriage returns: decoded as one stream."""
        codec = "utf-8-sig" if self.codec == "utf-8" else self.codec
        try:
            with io.TextIOWrapper(handle, codec, newline="") as text:
                for line in text:
                    self.number += 1
                    self.size += len(line)
                    if "\0" in line:
                        self.odd[self.number] = f"NUL byte at character {line.index(chr(0)) + 1}"
                    yield line
        except UnicodeError as error:
            where = f"{self.path}, after line {self.number}"
            raise DataError(f"the file is not {self.encoding} ({error})", where=where) from None

    def advice(self) -> str:
        """What to do about undecodable bytes: the encoding that fits the head of the file."""
        for encoding in ("gb18030", "big5", "shift_jis", "euc_kr"):
            text = _decoded(self.head, encoding)
            if text is not None and _looks_written(text):
                return f"it looks like {encoding}: pass --encoding {encoding}"
        return "it may be Latin-1: pass --encoding latin-1 (or cp1252)"


_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the other's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _decoded(head: bytes, encoding: str) -> str | None:
    """The head in this encoding, or None; a character cut in two at the end is no objection."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        return decoder.decode(head)
    except UnicodeDecodeError:
        return None


def _looks_written(text: str) -> bool:
    """Whether what is not ASCII is mostly everyday Han, Kana or Hangul: chance pairs of bytes are scattered."""
    foreign = [ord(c) for c in text if ord(c) > 127]
    usual = sum(0x3000 <= c <= 0x30FF or 0x4E00 <= c <= 0x9FA5 or 0xAC00 <= c <= 0xD7A3 or c >= 0xFF00 for c in foreign)
    # Latin-1 words read as pairs eat the ASCII letter that follows; real East Asian text comes in runs
    runs = sum(ord(a) > 127 and ord(b) > 127 for a, b in itertools.pairwise(text))
    return bool(foreign) and usual >= 0.9 * len(foreign) and runs >= 0.4 * len(foreign)
