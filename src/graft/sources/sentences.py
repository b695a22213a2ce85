"""Sentences word by word: the numbers of words and of their letters, as networks that read no subwords take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from graft.core.errors import DataError
from graft.data.sentences import Sentence
from graft.sources.base import Batch, Coverage
from graft.sources.readers import Reader

LETTERS = 20  # of a word that are read: the first ones and the last
VOCABULARY = 30_000
UNKNOWN = 1  # number of words, and of letters, without one of their own; 0 is padding
FIRST = 2  # number of the first that has


class SentenceReader(Reader):
    """Turns sentences into numbers of words, which keep their places, and of letters.

    A word is looked up as it is written, then in lower case; digits are all the same digit where neither is known.

    Args:
        words: The vocabulary, most frequent word first.
        letters: The letters, most frequent first.

    Example:
        >>> reader = SentenceReader(["the", "rhine"], "ehRt")
        >>> row = reader.encode([Sentence.of(["The", "Rhine", "!"])])[0]
        >>> row[:, 0].tolist(), row[1, 1:6].tolist()
        ([2, 3, 1], [4, 3, 1, 1, 2])
    """

    def __init__(self, words: Sequence[str], letters: Sequence[str]) -> None:
        self.words, self.letters = list(words), "".join(letters)
        self.index = {word: number for number, word in enumerate(self.words, start=FIRST)}
        self.letter = {letter: number for number, letter in enumerate(self.letters, start=FIRST)}
        self._known: dict[str, np.ndarray] = {}

    @property
    def vocabulary(self) -> int:
        """Numbers of words in use."""
        return len(self.words) + FIRST

    @property
    def characters(self) -> int:
        """Numbers of letters in use."""
        return len(self.letters) + FIRST

    @classmethod
    def build(cls, sentences: Iterable[Sentence], *, most: int = VOCABULARY) -> SentenceReader:
        """Learn words that occur twice, and letters, from training sentences."""
        words, letters = counted(sentences)
        kept = [word for word, n in words if n > 1][:most]
        return cls(kept, [letter for letter, _ in letters])

    def number(self, word: str) -> int:
        """Number of a word."""
        for form in (word, word.lower(), as_digits(word.lower())):
            if form in self.index:
                return self.index[form]
        return UNKNOWN

    def _row(self, word: str) -> np.ndarray:
        row = self._known.get(word)
        if row is None:
            row = np.zeros(1 + LETTERS, np.int32)
            row[0] = self.number(word)
            spelled = word if len(word) <= LETTERS else word[: LETTERS // 2] + word[-(LETTERS // 2) :]
            row[1 : 1 + len(spelled)] = [self.letter.get(letter, UNKNOWN) for letter in spelled]
            self._known[word] = row
        return row

    def encode(self, examples: Any) -> list[Any]:
        """Arrays (T, 1 + K): the number of each word, and those of its letters.

        Raises:
            DataError: A row is no sentence.
        """
        rows = []
        for example in examples:
            if not isinstance(example, Sentence):
                raise DataError("this model reads sentences, not texts", hint="it was made by tagging")
            words = [self._row(word) for word in example.words]
            rows.append(np.stack(words) if words else np.zeros((0, 1 + LETTERS), np.int32))
        return rows

    def length(self, encoded: Any) -> int:
        return max(1, len(encoded))

    def collate(self, encoded: list[Any]) -> Batch:
        longest = max((len(row) for row in encoded), default=1)
        table = np.zeros((len(encoded), max(1, longest), 1 + LETTERS), np.int64)
        mask = np.zeros(table.shape[:2], np.float32)
        for place, row in enumerate(encoded):
            table[place, : len(row)] = row
            mask[place, : len(row)] = 1
        whole = torch.from_numpy(table)
        return {"input_ids": whole[:, :, 0], "letters": whole[:, :, 1:], "attention_mask": torch.from_numpy(mask)}

    def coverage(self, examples: Any) -> Coverage:
        """Letters are known or not; words may be new."""
        del examples
        return Coverage()

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        words = np.frombuffer(bytearray("\n".join(self.words).encode("utf-8", "surrogatepass")), np.uint8)
        letters = np.frombuffer(bytearray(self.letters.encode("utf-8", "surrogatepass")), np.uint8)
        return {"modality": "text", "kind": "sentences"}, {"words": words, "letters": letters}

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> SentenceReader:
        """The inverse of ``state``."""
        del state
        words, letters = (arrays[name].tobytes().decode("utf-8", "surrogatepass") for name in ("words", "letters"))
        return cls(words.split("\n") if words else [], letters)


def as_digits(word: str) -> str:
    """The word with every digit a 0: ``1996-08-22`` is ``0000-00-00``."""
    return "".join("0" if letter.isdigit() else letter for letter in word)


def counted(sentences: Iterable[Sentence]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Words in lower case with digits as 0, and letters, with how often they occur, most frequent first."""
    words: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    for sentence in sentences:
        for word in sentence.words:
            words[as_digits(word.lower())] += 1
            letters.update(word)
    most = lambda item: (-item[1], item[0])  # noqa: E731
    return sorted(words.items(), key=most), sorted(letters.items(), key=most)
