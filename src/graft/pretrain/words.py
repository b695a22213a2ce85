"""A corpus as words in files, a row per line, so that memory does not grow with it and no row is cut up twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from graft.core.errors import DataError
from graft.core.runtime import Clock, Progress
from graft.core.types import Dataset
from graft.pretrain.base import held_out_rows
from graft.sources.scripts import join
from graft.sources.words import WordReader

CHUNK = 4096  # rows read at a time
LONGEST = 10_000  # words of a line: gensim cuts what is longer
SWEEP = 4_000_000  # words counted at a time before those seen once are dropped
LOOK = 256  # rows between two looks at the clock


def _silent(rows: int) -> None:
    del rows


@dataclass
class Sentences:
    r"""Rows of a corpus file, a list of words each; can be gone through again and again.

    Attributes:
        path: A row per line, words with spaces between.
        most: Rows given at most; None for all.
        clock: When it has run out, the rows end.
        told: Called now and then with the number of rows given.
        given: Rows given in the last pass.
        failed: What broke the last pass; it ends there, as an error in gensim's thread would stop it for ever.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "rows"
        >>> _ = path.write_text("my card\nmy parcel\n")
        >>> rows = Sentences(path)
        >>> list(rows), len(list(rows))
        ([['my', 'card'], ['my', 'parcel']], 2)
    """

    path: Path
    most: int | None = None
    clock: Clock = field(default_factory=Clock)
    told: Callable[[int], None] = _silent
    given: int = 0
    failed: Exception | None = None

    def __iter__(self) -> Iterator[list[str]]:
        self.given, self.failed = 0, None
        try:
            with self.path.open(encoding="utf-8", errors="surrogatepass", newline="\n") as file:
                for line in islice(file, self.most):
                    if self.given % LOOK == 0:
                        if self.clock.expired:
                            return
                        self.told(self.given)
                    self.given += 1
                    yield line.split()
        except Exception as error:  # noqa: BLE001  (whoever asked for the rows raises it)
            self.failed = error


@dataclass(frozen=True)
class Words:
    """A corpus as files of words.

    Attributes:
        train: File of training rows.
        held_out: File of held-out rows.
        facts: Rows and words of each.
        counts: Words that are kept with their number in training rows, most frequent first.
    """

    train: Path
    held_out: Path
    facts: dict[str, int]
    counts: dict[str, int]


def write_words(
    reader: WordReader,
    data: Dataset,
    folder: Path,
    *,
    seed: int,
    min_count: int,
    vocabulary: int,
    progress: Progress,
) -> Words:
    """Cut every row into words once; a corpus that lies in the folder already is used as it is.

    Args:
        reader: Cuts texts.
        data: The rows.
        folder: Where the files go.
        seed: Seed of which rows are held out.
        min_count: Occurrences from which a word is kept.
        vocabulary: Words kept at most, most frequent first, ties by spelling.
        progress: Told how far it is.

    Raises:
        DataError: There are too few rows, or fewer than two words are kept.
    """
    if len(data) < 2:
        raise DataError(f"{data.name} has {len(data)} row(s)", hint="one is trained on, another is held out to measure")
    record = folder / "words.json"
    files = {name: folder / f"{name}.words" for name in ("train", "held_out")}
    if not record.exists():
        facts, counts = _write(reader, data, files, held_out_rows(len(data), seed), progress)
        kept = sorted((item for item in counts.items() if item[1] >= min_count), key=lambda item: (-item[1], item[0]))
        text = json.dumps({"facts": facts, "counts": dict(kept[:vocabulary])})
        record.write_text(text, encoding="utf-8")  # last: a corpus without it is not whole
    found = json.loads(record.read_text(encoding="utf-8"))
    if len(found["counts"]) < 2:
        hint = "give more rows, lower --min-count, or check --unit and the language"
        raise DataError(f"{data.name} holds no two words that occur {min_count} times", hint=hint)
    return Words(files["train"], files["held_out"], found["facts"], found["counts"])


def _write(
    reader: WordReader, data: Dataset, files: dict[str, Path], held_out: np.ndarray, progress: Progress
) -> tuple[dict[str, int], Counter[str]]:
    counts: Counter[str] = Counter()
    facts = dict.fromkeys(("train_rows", "train_words", "held_out_rows", "held_out_words"), 0)
    options = {"encoding": "utf-8", "errors": "surrogatepass", "newline": "\n"}
    with files["train"].open("w", **options) as train, files["held_out"].open("w", **options) as other:
        for start in range(0, len(data), CHUNK):
            for position, row in enumerate(data.take(slice(start, start + CHUNK)), start=start):
                words = reader.tokens(join(row))
                name = "held_out" if held_out[position] else "train"
                for at in range(0, len(words), LONGEST):
                    part = words[at : at + LONGEST]
                    (other if held_out[position] else train).write(" ".join(part) + "\n")
                    facts[f"{name}_rows"] += 1
                    facts[f"{name}_words"] += len(part)
                if name == "train":
                    counts.update(words)
            if len(counts) > SWEEP:
                counts = Counter({word: n for word, n in counts.items() if n > 1})
            done = min(start + CHUNK, len(data))
            progress("words", done / len(data), f"{done:,} rows")
    return facts, counts
