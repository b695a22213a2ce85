"""Sentences: texts that know their words; how raw text is cut into words, and words put together to a text."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa

from graft.core.ragged import flat, lines
from graft.core.types import Dataset
from graft.data.rows import TextRows
from graft.data.text import _EACH as EACH

UNITS = ("words", "pieces")  # how raw text is cut: with marks inside of words kept, or every mark alone
_ENDING = r"['’](?:s|re|ve|ll|d|m|t)\b"
_LETTERS = rf"[^\W{EACH}]+"
_INSIDE = r"(?:[-.,&/_@:]|['’](?!(?:s|re|ve|ll|d|m|t)\b))"
_CUTS = {
    "words": re.compile(
        rf"[{EACH}]|(?:[^\W\d_{EACH}]\.){{2,}}|{_LETTERS}(?:{_INSIDE}{_LETTERS})*|{_ENDING}|[^\w\s]|_", re.IGNORECASE
    ),
    "pieces": re.compile(rf"[{EACH}]|{_LETTERS}|[^\w\s]|_", re.IGNORECASE),
}
_TIGHT = re.compile(
    rf"[{EACH}，。、；：？！（）《》「」『』【】“”‘’…—]"
)  # what stands without a space before and after


class Sentence(str):  # noqa: SLOT000  (numpy arrays beside a text need no slots)
    """A text with the places of its words.

    Attributes:
        starts: First character of every word (T,).
        ends: Character after the last of every word (T,).

    Example:
        >>> one = Sentence.of(["U.N.", "official", "Ekeus"])
        >>> one, one.words, one.part(1, 3)
        ('U.N. official Ekeus', ['U.N.', 'official', 'Ekeus'], 'official Ekeus')
    """

    starts: np.ndarray
    ends: np.ndarray

    def __new__(cls, text: str, starts: np.ndarray, ends: np.ndarray) -> Self:
        """A text and the places of its words."""
        made = super().__new__(cls, text)
        made.starts, made.ends = starts, ends
        return made

    @classmethod
    def of(cls, words: Sequence[str]) -> Sentence:
        """Words with a space between them; Chinese, Japanese and Thai characters without."""
        parts: list[str] = []
        starts, ends, at, before = [], [], 0, ""
        for word in words:
            if before and not (_TIGHT.match(before[-1:]) and _TIGHT.match(word[:1])):
                parts.append(" ")
                at += 1
            parts.append(word)
            starts.append(at)
            at += len(word)
            ends.append(at)
            before = word
        return cls("".join(parts), np.array(starts, np.int32), np.array(ends, np.int32))

    @classmethod
    def cut(cls, text: str, unit: str = "words", at: Iterable[int] = ()) -> Sentence:
        """A text cut into words.

        Args:
            text: Any text.
            unit: One of ``UNITS``.
            at: Characters before which it is cut in any case.

        Example:
            >>> Sentence.cut("He left the U.S. on 3-4 May.").words
            ['He', 'left', 'the', 'U.S.', 'on', '3-4', 'May', '.']
            >>> Sentence.cut("他在北京 2008").words
            ['他', '在', '北', '京', '2008']
        """
        places = sorted(set(at))
        starts, ends = [], []
        for match in _CUTS[unit].finditer(text):
            inside = [place for place in places if match.start() < place < match.end()] if places else []
            starts += [match.start(), *inside]
            ends += [*inside, match.end()]
        return cls(text, np.array(starts, np.int32), np.array(ends, np.int32))

    @property
    def words(self) -> list[str]:
        """The words."""
        text = str(self)
        return [text[start:end] for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True)]

    def part(self, start: int, stop: int) -> Sentence:
        """Words ``start`` to ``stop`` (not included) with what stands between them."""
        if stop <= start:
            return Sentence("", self.starts[:0], self.ends[:0])
        first = int(self.starts[start])
        text = str(self)[first : int(self.ends[stop - 1])]
        return Sentence(text, self.starts[start:stop] - first, self.ends[start:stop] - first)

    def __reduce__(self) -> Any:
        return Sentence, (str(self), self.starts, self.ends)


class SentenceRows(TextRows):
    """Sentences as rows.

    Args:
        texts: Column of texts.
        starts: First characters of all words, sentence after sentence (ΣT,).
        ends: Characters after their last.
        counts: Words of each sentence (N,).
        unit: How raw text is cut where words are not given; one of ``UNITS``.

    Example:
        >>> rows = SentenceRows.of_sentences([Sentence.of(["a", "b"]), Sentence.of(["c"])])
        >>> rows.take(np.array([1]))[0].words, rows.words
        (['c'], 3)
    """

    def __init__(
        self, texts: pa.ChunkedArray, starts: np.ndarray, ends: np.ndarray, counts: np.ndarray, unit: str = "words"
    ) -> None:
        super().__init__([texts])
        self.starts, self.ends, self.counts = starts, ends, np.asarray(counts, np.int64)
        self.firsts = np.cumsum(self.counts) - self.counts
        self.kinds = {"words": unit}

    @classmethod
    def of_sentences(cls, sentences: Sequence[Sentence], unit: str = "words") -> SentenceRows:
        """Rows of sentences that are in memory."""
        texts = pa.chunked_array([pa.array(map(str, sentences), pa.large_string())])
        none = [np.zeros(0, np.int32)]
        starts, ends = (
            np.concatenate([getattr(one, name) for one in sentences] or none) for name in ("starts", "ends")
        )
        return cls(texts, starts, ends, np.array([len(one.starts) for one in sentences], np.int64), unit)

    @property
    def words(self) -> int:
        """Number of words in all."""
        return len(self.starts)

    def take(self, rows: np.ndarray) -> list[Any]:
        """Sentences in the order of ``rows``."""
        rows = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        taken = []
        for text, row in zip(super().take(rows), rows.tolist(), strict=True):
            first, count = int(self.firsts[row]), int(self.counts[row])
            taken.append(Sentence(text, self.starts[first : first + count], self.ends[first : first + count]))
        return taken

    @cached_property
    def _whole(self) -> str:
        parts = [super().digest().encode(), self.starts.tobytes(), self.ends.tobytes(), self.counts.tobytes()]
        return hashlib.sha256(b"sentences" + b"".join(parts)).hexdigest()

    def digest(self) -> str:
        """Hash of all texts and of where their words are."""
        return self._whole


class WordRows:
    """The words of sentences as rows: row i is word i, counted through all sentences.

    Args:
        sentences: The sentences.
    """

    def __init__(self, sentences: SentenceRows) -> None:
        self.sentences = sentences

    def __len__(self) -> int:
        return self.sentences.words

    def take(self, rows: np.ndarray) -> list[str]:
        """Words in the order of ``rows``."""
        rows = np.arange(len(self))[rows] if isinstance(rows, slice) else np.asarray(rows)
        of = np.searchsorted(self.sentences.firsts + self.sentences.counts, rows, side="right")
        unique, place = np.unique(of, return_inverse=True)
        texts = [str(sentence) for sentence in self.sentences.take(unique)]
        starts, ends = self.sentences.starts[rows].tolist(), self.sentences.ends[rows].tolist()
        return [texts[p][a:b] for p, a, b in zip(place.tolist(), starts, ends, strict=True)]

    def digest(self) -> str:
        """That of the sentences."""
        return self.sentences.digest()


def by_words(data: Dataset, rows: np.ndarray | None = None) -> Dataset:
    """The words of a tagging as rows of a classification; a sentence is a group.

    Args:
        data: Sentences.
        rows: Positions of some of them; all if not given.
    """
    some = data if rows is None else data.select(rows)
    store = some.X
    assert isinstance(store, SentenceRows)
    counts = store.counts[some.rows]
    y = None if some.y is None else flat(some.y).astype(np.int64)
    groups = np.repeat(np.arange(len(some)), counts)
    words = lines(store.firsts[some.rows], counts)
    return dataclasses.replace(some, X=WordRows(store), y=y, task=some.task.of_parts, rows=words, groups=groups)
