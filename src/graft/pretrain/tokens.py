"""A corpus as token numbers on disk, end to end, so that memory does not grow with it and no step is spent on padding."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graft.core.errors import DataError
from graft.core.rows import evenly_spaced
from graft.core.runtime import Progress
from graft.core.types import Dataset
from graft.pretrain.base import held_out_rows
from graft.sources.readers import END, SPECIAL, TextReader, letter_reader

CHUNK = 4096  # rows encoded at a time
VOCABULARY_ROWS = 200_000  # rows from which the vocabulary is learned
FIRST = len(SPECIAL)  # number of the first token that is not special


@dataclass(frozen=True)
class Corpus:
    """Token numbers of training rows and of held-out rows; every row ends with the end token.

    Attributes:
        train: Token numbers, memory-mapped.
        held_out: Those of the held-out rows.
        characters: Characters of the held-out rows, the unit in which tokenizers can be compared.
        rows: Number of training rows.
    """

    train: np.ndarray
    held_out: np.ndarray
    characters: int
    rows: int

    def blocks(self, length: int, epoch: int, seed: int) -> np.ndarray:
        """Starts of blocks of ``length`` tokens, in the order of one epoch; each epoch cuts at other places."""
        rng = np.random.default_rng((seed, epoch))
        slack = len(self.train) % length
        starts = rng.integers(slack + 1) + length * np.arange(len(self.train) // length)
        return rng.permutation(starts)

    def take(self, starts: np.ndarray, length: int) -> np.ndarray:
        """Blocks (B, length) int64 that begin at ``starts``."""
        return self.train[starts[:, None] + np.arange(length)].astype(np.int64)


def learn_reader(data: Dataset, *, unit: str, vocabulary: int, longest: int) -> TextReader:
    """A tokenizer learned from at most 200,000 evenly spaced rows; of sequences one of letters, that reads nearly all whole."""
    rows = evenly_spaced(len(data), VOCABULARY_ROWS)
    if data.task.modality == "sequence" and unit in {"auto", "character"}:
        letters = letter_reader(data)
        unit, longest = "character", max(longest, letters.longest)

    def texts() -> Iterator[str]:
        for start in range(0, len(rows), CHUNK):
            yield from data.take(rows[start : start + CHUNK])

    return TextReader.build(texts(), unit=unit, vocabulary=vocabulary, longest=longest)


def write_corpus(
    reader: TextReader,
    data: Dataset,
    folder: Path,
    *,
    seed: int,
    progress: Progress,
    held_out: np.ndarray | None = None,
) -> Corpus:
    """Encode every row once; a corpus that lies in the folder already is used as it is.

    Which rows are held out, one in twenty, hangs on the seed, unless a mask (N,) of them is given.

    Raises:
        DataError: There are too few rows, or none holds a token that the reader knows.
    """
    if len(data) < 2:
        raise DataError(f"{data.name} has {len(data)} row(s)", hint="one is trained on, another is held out to measure")
    dtype = np.dtype(np.uint16 if reader.vocabulary < 1 << 16 else np.uint32)
    record = folder / "corpus.json"
    files = {name: folder / f"{name}.tokens" for name in ("train", "held_out")}
    if not record.exists():
        held_out = held_out_rows(len(data), seed) if held_out is None else held_out
        facts = _encode(reader, data, files, dtype, held_out, progress)
        record.write_text(json.dumps(facts), encoding="utf-8")  # last: a corpus without it is not whole
    facts = json.loads(record.read_text(encoding="utf-8"))
    if not facts["known"]:
        raise DataError(f"{data.name} holds no token that the vocabulary knows", hint="check --unit and the language")
    parts = {name: np.memmap(path, dtype, "r") for name, path in files.items()}
    return Corpus(parts["train"], parts["held_out"], facts["characters"], facts["rows"])


def _encode(
    reader: TextReader,
    data: Dataset,
    files: dict[str, Path],
    dtype: np.dtype,
    held_out: np.ndarray,
    progress: Progress,
) -> dict[str, int]:
    characters = known = 0
    end = reader.number(END)
    with files["train"].open("wb") as train, files["held_out"].open("wb") as other:
        for start in range(0, len(data), CHUNK):
            texts = data.take(slice(start, start + CHUNK))
            encoded = reader.encode_whole(texts)
            for position, ids in enumerate(encoded):
                out = held_out[start + position]
                characters += len(_text(texts[position])) * int(out)
                known += int((ids >= FIRST).sum())
                (other if out else train).write(np.append(ids, end).astype(dtype).tobytes())
            progress("tokens", min(1.0, (start + CHUNK) / len(data)), f"{min(start + CHUNK, len(data)):,} rows")
    return {"characters": characters, "known": known, "rows": int((~held_out).sum())}


def _text(row: str | tuple[str, ...]) -> str:
    return row if isinstance(row, str) else " ".join(row)


def batches_of(
    corpus: Corpus, length: int, batch_size: int, seed: int, make: Callable[[np.ndarray, np.random.Generator], dict]
) -> Callable[[int], Iterator[dict]]:
    """Batches of one epoch: blocks of tokens in random order, made into a batch by ``make(ids, rng)``.

    Raises:
        DataError: The corpus is smaller than one block.
    """
    if len(corpus.train) < length:
        raise DataError(
            f"the corpus has {len(corpus.train):,} tokens, fewer than one block of {length}",
            hint="add text, or lower --length",
        )

    def batches(epoch: int) -> Iterator[dict]:
        starts = corpus.blocks(length, epoch, seed)
        rng = np.random.default_rng((seed, epoch, 1))
        for at in range(0, len(starts), batch_size):
            yield make(corpus.take(starts[at : at + batch_size], length), rng)

    return batches
