"""Words of texts as numbers: what stands before word vectors, and before networks on top of them."""

from __future__ import annotations

import functools
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from graft.core.errors import UsageError
from graft.core.runtime import require
from graft.sources.base import Batch, Coverage
from graft.sources.readers import Reader
from graft.sources.scripts import join, main_script

WORD_VECTORS = "word vectors"  # the architecture of a source that is a table of them
UNITS = ("word", "character", "segmented")
LONGEST = 4_096  # words of one row that are read
KNOWN = 0.5  # share of its words from which a row counts as covered
SAMPLE = 20_000  # words of a vocabulary that its unit is read off
PUNCTUATION = "\"'`.,;:!?()[]{}<>«»“”‘’„…-–—*/\\|~_#$%&+=@^。，、；：？！（）《》「」『』【】"
HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAN = re.compile(f"[{HAN}]+")
# as the Penn Treebank cuts: "don't" is "do" and "n't", "king's" is "king" and "'s"; one Han character is one piece
_PIECES = re.compile(
    rf"[{HAN}]|[^\W{HAN}]+(?=n['’]t\b)|n['’]t\b|['’](?:s|re|ve|ll|d|m)\b|[^\W{HAN}]+|[^\w\s]", re.IGNORECASE
)


class WordReader(Reader):
    """Turns texts into numbers of words: 0 is padding, then, if unknown words keep their place, 1; then the words.

    A piece between spaces is looked up as it stands, then without the punctuation around it, then cut as the Penn
    Treebank does.  Chinese is cut into characters, or into words by jieba; a word that is not known there is taken
    character by character.

    Args:
        words: The vocabulary, most frequent word first.
        unit: ``"word"``, ``"character"`` or ``"segmented"`` (jieba); it makes a difference for Chinese only.
        lower: Whether texts are put in lower case.
        places: Whether an unknown word keeps its place, with number 1; else it is left out.
        notes: What was noticed about the vocabulary, one sentence each.

    Example:
        >>> reader = WordReader(["the", "parcel", "do", "n't"], lower=True)
        >>> reader.tokens("The parcel? Don't!")
        ['the', 'parcel', '?', 'do', "n't", '!']
        >>> reader.encode(["The parcel? Don't!"])[0].tolist()
        [1, 2, 3, 4]
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        unit: str = "word",
        lower: bool = False,
        places: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        if unit not in UNITS:
            raise UsageError(f"no unit {unit!r}", hint=f"use {', '.join(UNITS)}")
        self.words, self.unit, self.lower, self.places, self.notes = list(words), unit, lower, places, notes
        self.index = {word: number for number, word in enumerate(self.words, start=self.first)}

    @property
    def first(self) -> int:
        """Number of the first word."""
        return 2 if self.places else 1

    @property
    def vocabulary(self) -> int:
        """Numbers in use: words, padding and, where it has one, the number of unknown words."""
        return len(self.words) + self.first

    @classmethod
    def for_words(cls, words: Sequence[str], *, notes: tuple[str, ...] = ()) -> WordReader:
        """The reader that suits a vocabulary: its letter case and, for Chinese, its unit."""
        return cls(words, unit=unit_of(words), lower=all(word == word.lower() for word in words), notes=notes)

    def tokens(self, text: str) -> list[str]:
        """Cut a text into words; those that the vocabulary knows are spelled as it spells them."""
        text = text.lower() if self.lower else text
        if self.unit == "word":
            return [piece for chunk in text.split() for piece in self._chunk(chunk)]
        cut = segment if self.unit == "segmented" else _cut
        return [piece for word in cut(text) for piece in self._backed_off(word)]

    def _known(self, word: str) -> str:
        """The word as the vocabulary spells it; empty if it does not know it."""
        if word in self.index:
            return word
        lowered = word if self.lower else word.lower()
        return lowered if lowered in self.index else ""

    def _chunk(self, chunk: str) -> list[str]:
        known = self._known(chunk)
        if known:
            return [known]
        start = len(chunk) - len(chunk.lstrip(PUNCTUATION))
        for end in range(len(chunk), start, -1):  # mark by mark: the stop of "u.s.," belongs to the word
            known = self._known(chunk[start:end])
            if known:
                before, after = ([self._known(mark) or mark for mark in side] for side in (chunk[:start], chunk[end:]))
                return [*before, known, *after]
            if chunk[end - 1] not in PUNCTUATION:
                break
        return [self._known(piece) or piece for piece in _PIECES.findall(chunk)]

    def _backed_off(self, word: str) -> list[str]:
        known = self._known(word)
        if known or not self.index:
            return [known or word]
        letters = [self._known(letter) for letter in word]
        return [letter or raw for letter, raw in zip(letters, word, strict=True)] if any(letters) else [word]

    def numbers(self, text: str) -> np.ndarray:
        """Numbers of the words of a text; [0] where nothing is known."""
        some = islice(self.tokens(text), LONGEST)
        found = [self.index.get(token, 1 if self.places else 0) for token in some]
        return np.asarray([number for number in found if number] or [0], dtype=np.int32)

    def encode(self, examples: Any) -> list[Any]:
        return [self.numbers(join(example)) for example in examples]

    def length(self, encoded: Any) -> int:
        return len(encoded)

    def collate(self, encoded: list[Any]) -> Batch:
        ids = np.zeros((len(encoded), max(map(len, encoded), default=1)), np.int64)
        for row, numbers in enumerate(encoded):
            ids[row, : len(numbers)] = numbers
        numbers_ = torch.from_numpy(ids)
        return {"input_ids": numbers_, "attention_mask": (numbers_ != 0).float()}

    def coverage(self, examples: Any) -> Coverage:
        """The share of rows of which half the words are known; the sentence says which words are not."""
        unknown: Counter[str] = Counter()
        total, rows, covered = 0, 0, 0
        for example in islice(examples, 500):
            words = [token for token in self.tokens(join(example)) if any(map(str.isalnum, token))]
            lost = [word for word in words if word not in self.index]
            unknown.update(lost)
            total, rows = total + len(words), rows + bool(words)
            covered += bool(words) and len(lost) <= KNOWN * len(words)
        if not unknown:
            return Coverage()
        some = ", ".join(repr(word) for word, _ in sorted(unknown.items(), key=lambda item: (-item[1], item[0]))[:4])
        known = f"its {len(self.words):,} words cover {1 - unknown.total() / total:.0%} of the words of the rows"
        return Coverage(covered / rows, f"{known}; among those it does not know: {some}")

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        words = np.frombuffer(bytearray("\n".join(self.words).encode("utf-8", "surrogatepass")), np.uint8)
        facts = {"unit": self.unit, "lower": self.lower, "places": self.places, "notes": list(self.notes)}
        return {"modality": "text", "kind": "words", **facts}, {"words": words}

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> WordReader:
        """The inverse of ``state``."""
        words = arrays["words"].tobytes().decode("utf-8", "surrogatepass").split("\n")
        settings = {key: state[key] for key in ("unit", "lower", "places")}
        return cls(words, **settings, notes=tuple(state["notes"]))


def unit_of(words: Sequence[str]) -> str:
    """The unit of a vocabulary: characters if its Han entries are mostly single ones, else words; by jieba if Han.

    Example:
        >>> unit_of(["the", "parcel"]), unit_of(["的", "一", "是"]), unit_of(["的", "包裹", "银行卡"])
        ('word', 'character', 'segmented')
    """
    some = words[:SAMPLE]
    han = [word for word in some if main_script(word) == "Han"]
    if len(han) <= 0.05 * len(some):
        return "word"
    return "character" if sum(len(word) == 1 for word in han) > len(han) / 2 else "segmented"


def _cut(text: str) -> Iterator[str]:
    """Han characters one by one, other words whole, marks one by one."""
    return (match.group() for match in _PIECES.finditer(text))


def segment(text: str) -> Iterator[str]:
    """Chinese words as jieba cuts them, everything else as ``WordReader`` does.

    Raises:
        MissingExtraError: jieba is not installed.
    """
    start = 0
    for match in _HAN.finditer(text):
        yield from _cut(text[start : match.start()])
        yield from _jieba().cut(match.group())
        start = match.end()
    yield from _cut(text[start:])


@functools.cache
def _jieba() -> Any:
    """A segmenter of our own: jieba's shared one reads a binary cache from a folder that anyone may write to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for pkg_resources, and its patterns are not raw strings
        jieba = require("jieba", extra="vectors")
    segmenter = jieba.Tokenizer()
    segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
    segmenter.initialized = True
    return segmenter
