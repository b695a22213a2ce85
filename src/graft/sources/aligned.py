"""Word by word: a source whose rows are sentences and whose pooled features are those of every word.

The feature of a word is the state of its first token (Devlin et al. 2019 tag words so): the first that reaches into it, by
the places of characters, so that it does not matter how a tokenizer cuts.  A sentence that is longer than the network reads
is read in windows that overlap; the state of a word comes from the window in whose middle it is nearest to.

A source that reads small letters alone does not see what tells most names from other words.  There the state of a word has
a few columns more: its capitals, and those of the words beside it (Collobert et al. 2011).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.ragged import cut, ragged
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.data.sentences import Sentence, SentenceRows
from graft.sources.base import Backbone, Batch, Coverage

ROW, PLACE = "word_rows", "word_places"  # entries of a batch: row and token of every word, row after row
CAPITALS = "word_capitals"  # and, where the source does not see them, its capitals
KINDS = 8  # of capitals, see ``capitals``
OVERLAP = 0.5  # share of a window that the next one reads again


@dataclass(frozen=True)
class Aligned:
    """An encoded sentence with the place of the first token of every word (T,), and its capitals (T, 3 K) or None."""

    encoded: Any
    places: np.ndarray
    looks: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes it takes."""
        return int(self.places.nbytes + getattr(self.encoded, "nbytes", 1024))


class WordStates(Backbone):
    """A text source that gives features of words: ``pool`` and ``forward`` give (ΣT, D), words of all rows in turn.

    Args:
        inner: The source; its weights are shared.

    Example:
        >>> from graft.sources.base import open_model
        >>> states = WordStates(open_model("sbert:all-MiniLM-L6-v2"))
        >>> rows = states.preprocess([Sentence.of(["Where", "is", "Heidelberg", "?"]), Sentence.of(["Here"])])
        >>> tuple(states(states.collate(rows)).shape)  # 384 of the source, which reads small letters, and 3 · 8 of capitals
        (5, 408)
    """

    def __init__(self, inner: Backbone) -> None:
        super().__init__()
        self.inner = inner
        big, small = (inner.align([Sentence.of([word])])[0][0] for word in ("The", "the"))
        self.blind = np.array_equal(big, small)  # to capitals
        was = inner.training
        inner.eval()
        place = next(inner.parameters()).device
        with torch.no_grad():
            batch = self.collate(self.preprocess([Sentence.of(["a"])]))
            batch = {name: value.to(place) for name, value in batch.items()}
            self._width = int(self.pool(self.forward_features(batch)[-1], batch).shape[-1])
        inner.train(was)

    @property
    def spec(self) -> ModelSpec:  # type: ignore[override]
        """That of the source, with the width of a word's features."""
        return dataclasses.replace(self.inner.spec, hidden_size=self._width)

    @spec.setter
    def spec(self, value: ModelSpec) -> None:
        self.inner.spec = dataclasses.replace(value, hidden_size=self.inner.spec.hidden_size)

    def preprocess(self, examples: Any) -> list[Any]:
        """Encode sentences."""
        examples = list(examples)
        looks = [capitals(one) if self.blind else None for one in examples]
        return [Aligned(*pair, look) for pair, look in zip(self.inner.align(examples), looks, strict=True)]

    def length(self, encoded: Aligned) -> int:
        """That of the source."""
        return self.inner.length(encoded.encoded)

    def collate(self, encoded: list[Aligned]) -> Batch:
        """A batch of the source with the places of the words."""
        batch = dict(self.inner.collate([one.encoded for one in encoded]))
        rows = np.repeat(np.arange(len(encoded)), [len(one.places) for one in encoded])
        batch[ROW] = torch.from_numpy(rows)
        batch[PLACE] = torch.from_numpy(np.concatenate([one.places for one in encoded]).astype(np.int64))
        if self.blind:
            batch[CAPITALS] = torch.from_numpy(np.concatenate([one.looks for one in encoded]))
        return batch

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Layers that have a state for every token."""
        inputs = {name: value for name, value in batch.items() if name not in (ROW, PLACE, CAPITALS)}
        return [layer for layer in self.inner.forward_features(inputs) if layer.ndim == 3]

    def forward_all(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """The layers; a word has no class of the source's own."""
        return self.forward_features(batch), None

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """States (ΣT, D) of the first tokens of all words."""
        if hidden.ndim == 2:
            return hidden
        states = hidden[batch[ROW], batch[PLACE]]
        return torch.cat([states, batch[CAPITALS].to(states.dtype)], dim=1) if CAPITALS in batch else states

    def stem(self) -> list[nn.Module]:
        """That of the source."""
        return self.inner.stem()

    def blocks(self) -> list[nn.Module]:
        """Those of the source."""
        return self.inner.blocks()

    def coverage(self, examples: Any) -> Coverage:
        """That of the source."""
        return self.inner.coverage(examples)

    def preprocessing(self) -> dict[str, Any]:
        """That of the source."""
        return {
            "words": "first token",
            "capitals": self.blind,
            "inner": type(self.inner).__qualname__,
            **self.inner.preprocessing(),
        }

    def save(self, folder: Path) -> None:
        """Save the source."""
        self.inner.save(folder)


def capitals(sentence: Sentence) -> np.ndarray:
    """One-hot kinds of the capitals of every word, of the one before and of the one after: float32 (T, 3 · ``KINDS``).

    Kinds: no letters, digits among them, small letters, a capital first, the same at the beginning of the sentence, all
    capitals, the same in a sentence that has hardly anything else, capitals inside.

    Example:
        >>> capitals(Sentence.of(["The", "EU", "acts"]))[:, :8].argmax(axis=1).tolist()
        [4, 5, 2]
    """
    words = sentence.words
    loud = 2 * sum(word.isupper() for word in words) > len(words) > 1
    kinds = np.zeros(len(words), np.int64)
    for place, word in enumerate(words):
        if any(map(str.isdigit, word)):
            kinds[place] = 1
        elif word.isupper() and len(word) > 1:
            kinds[place] = 6 if loud else 5
        elif word[:1].isupper():
            kinds[place] = 7 if any(map(str.isupper, word[1:])) else 4 if place == 0 else 3
        elif any(map(str.isalpha, word)):
            kinds[place] = 7 if any(map(str.isupper, word)) else 2
    own = np.eye(KINDS, dtype=np.float32)[kinds]
    edge = np.zeros((1, KINDS), np.float32)
    return (
        np.hstack([own, np.vstack([edge, own[:-1]]), np.vstack([own[1:], edge])])
        if len(words)
        else np.zeros((0, 3 * KINDS), np.float32)
    )


def of_rows(backbone: Backbone, task: Task) -> Backbone:
    """A source that gives features of what a task has targets for: words of a tagging, else whole rows."""
    return WordStates(backbone) if task.is_tagging and not isinstance(backbone, WordStates) else backbone


# -- windows -----------------------------------------------------------------------------------------------------------


def windows(sizes: Sequence[int] | np.ndarray, room: int, overlap: float = OVERLAP) -> list[tuple[int, int]]:
    """Cut a sentence into runs of words (first, after the last) of at most ``room`` tokens, which overlap.

    Args:
        sizes: Tokens of each word; one that is larger than ``room`` stands alone.
        room: Tokens of a window.
        overlap: Share of the words of a window that the next one begins with.

    Example:
        >>> windows([1, 1, 1, 1, 1, 1], 4), windows([2, 9, 1], 4, overlap=0.0), windows([1, 1], 4)
        ([(0, 4), (2, 6)], [(0, 1), (1, 2), (2, 3)], [(0, 2)])
    """
    total = np.concatenate([[0], np.cumsum(sizes)])
    found, start = [], 0
    while True:
        stop = max(start + 1, int(np.searchsorted(total, total[start] + room, side="right")) - 1)
        found.append((start, stop))
        if stop >= len(sizes):
            return found
        start = max(start + 1, stop - int(overlap * (stop - start)))


@dataclass(frozen=True)
class Pieces:
    """Sentences as a network reads them.

    Attributes:
        sentences: What is read: whole sentences, or windows of them.
        rows: Number of the sentence that each is from.
        words: Of each: the words (first, after the last) of its sentence that it is.
        kept: Of each: the words of its sentence that are taken from it.
    """

    sentences: list[Sentence]
    rows: list[int]
    words: list[tuple[int, int]]
    kept: list[tuple[int, int]]

    def lines(self, starts: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each: which of its words are taken, and their places where sentence i begins at ``starts[i]``."""
        found = []
        for row, (first, _), (a, b) in zip(self.rows, self.words, self.kept, strict=True):
            found.append((np.arange(a - first, b - first), int(starts[row]) + np.arange(a, b)))
        return found


def pieces(backbone: Backbone, sentences: Sequence[Sentence], overlap: float = OVERLAP) -> Pieces:
    """Cut the sentences that are too long for a source into windows.

    Of two windows that overlap each gives the words of its half of the overlap: a word has as much before it as after it.

    Args:
        backbone: The source, word by word or not.
        sentences: The sentences.
        overlap: Share of a window that the next one reads again; 0 where every word is to be read once.
    """
    inner = backbone.inner if isinstance(backbone, WordStates) else backbone
    room = inner.room
    found = Pieces([], [], [], [])
    for row, sentence in enumerate(sentences):
        count = len(sentence.starts)
        spans = [(0, count)]
        if room is not None and len(str(sentence).encode("utf-8", "replace")) > room:
            spans = windows(_sizes(inner, sentence), room, overlap)
        for place, (start, stop) in enumerate(spans):
            low = (start + spans[place - 1][1]) // 2 if place else 0
            high = (spans[place + 1][0] + stop) // 2 if place + 1 < len(spans) else count
            found.sentences.append(sentence if len(spans) == 1 else sentence.part(start, stop))
            found.rows.append(row)
            found.words.append((start, stop))
            found.kept.append((low, high))
    return found


def _sizes(backbone: Backbone, sentence: Sentence) -> np.ndarray:
    """Tokens of every word of a sentence, each read alone (a mark that a tokenizer adds to words is counted too)."""
    words = [Sentence(word, np.array([0]), np.array([len(word)])) for word in sentence.words]
    unique = list(dict.fromkeys(map(str, words)))
    known = {str(word): word for word in words}
    extra = backbone.length(backbone.align([Sentence.of([])])[0][0])
    encoded = backbone.align([known[word] for word in unique])
    size = {word: max(1, backbone.length(one) - extra) for word, (one, _) in zip(unique, encoded, strict=True)}
    return np.array([size[str(word)] for word in words])


def in_pieces(backbone: Backbone, data: Dataset) -> Dataset:
    """A tagging without a sentence that is too long for a source: such ones become several, that do not overlap."""
    if not isinstance(data.X, SentenceRows):
        return data
    sentences = data.take()
    parts = pieces(backbone, sentences, overlap=0.0)
    if len(parts.rows) == len(sentences):
        return data
    y = None
    if data.y is not None:
        y = ragged(data.y[row][start:stop] for row, (start, stop) in zip(parts.rows, parts.words, strict=True))
    rows = SentenceRows.of_sentences(parts.sentences, data.X.kinds["words"])
    groups = None if data.groups is None else data.groups[parts.rows]
    return dataclasses.replace(data, X=rows, y=y, rows=np.arange(len(rows)), groups=groups, line_of=None)


def per_sentence(data: Dataset, values: np.ndarray) -> np.ndarray:
    """Values (ΣT, …) of the words of a tagging as one array per sentence; those of other tasks as they are."""
    return cut(values, data.X.counts[data.rows]) if isinstance(data.X, SentenceRows) else values
