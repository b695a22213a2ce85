"""Readers turn raw rows into the batches of graft's own encoders; they are saved with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch

from graft.core.errors import DataError, UsageError
from graft.core.registry import MODALITIES
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset
from graft.data.bands import resized
from graft.data.sparse import SparseRow, chosen, frequencies, stacked
from graft.sources import columns
from graft.sources.base import Batch, Coverage

VOCABULARY = 30_000
MAX_TOKENS = 256
MAX_LETTERS = 1_024  # of a sequence
FEATURES = 20_000  # of sparse counts that a network reads: each has its weights
PADDING, UNKNOWN, MASK, START, END = SPECIAL = ("[PAD]", "[UNK]", "[MASK]", "[START]", "[END]")
SAMPLE = 2_000  # rows from which the kind of writing is read off
UNITS = ("auto", "subword", "word", "character")


class Reader(ABC):
    """Turns raw rows into an encoder's batches; one per modality."""

    @abstractmethod
    def encode(self, examples: Any) -> list[Any]:
        """Encode raw rows."""

    @abstractmethod
    def collate(self, encoded: list[Any]) -> Batch:
        """Stack encoded rows."""

    def length(self, encoded: Any) -> int:
        """Cost of one row."""
        del encoded
        return 1

    def coverage(self, examples: Any) -> Coverage:
        """Whether the rows can be read."""
        del examples
        return Coverage()

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON and arrays to save."""


class TextReader(Reader):
    """Tokens of text: subwords, words or single characters.

    Args:
        tokenizer: A tokenizer of the ``tokenizers`` library as JSON.
        longest: Tokens of one row at most.
    """

    def __init__(self, tokenizer: str, longest: int = MAX_TOKENS) -> None:
        from tokenizers import Tokenizer

        self.tokenizer, self.longest = Tokenizer.from_str(tokenizer), longest
        self.tokenizer.enable_truncation(longest)

    @classmethod
    def build(
        cls, texts: Iterable[Any], *, unit: str = "word", vocabulary: int = VOCABULARY, longest: int = MAX_TOKENS
    ) -> TextReader:
        """Learn a vocabulary from texts (or tuples of texts), read once.

        Args:
            texts: The rows.
            unit: ``"subword"`` (byte-pair merges inside words, Sennrich et al. 2016), ``"word"``, or ``"character"``;
                ``"auto"`` is subwords where words are written with spaces, else characters.  Rows of one long word
                (DNA) are read by letter with every unit.
            vocabulary: Number of tokens at most.
            longest: Tokens of one row at most.
        """
        from tokenizers import Tokenizer, normalizers, pre_tokenizers
        from tokenizers.models import BPE, WordLevel
        from tokenizers.trainers import BpeTrainer, WordLevelTrainer

        if unit not in UNITS:
            raise UsageError(f"no unit {unit!r}", hint=f"use {', '.join(UNITS)}")
        rows = iter(_joined(texts))
        first = list(islice(rows, SAMPLE))
        letters = _is_letters(first)
        if unit == "auto":
            unit = "character" if letters or _is_unspaced(first) else "subword"
        flat = sorted(first + list(rows)) if unit == "word" else chain(first, rows)
        options = {"vocab_size": vocabulary, "special_tokens": list(SPECIAL), "show_progress": False}
        tokenizer = Tokenizer(BPE(unk_token=UNKNOWN) if unit == "subword" else WordLevel(unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, handle_chinese_chars=unit != "character")
        if letters or unit == "character":
            tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        elif unit == "subword":
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Metaspace(),
                    pre_tokenizers.Punctuation(),
                    pre_tokenizers.Digits(individual_digits=True),
                ]
            )
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = BpeTrainer(min_frequency=2, **options) if unit == "subword" else WordLevelTrainer(**options)
        tokenizer.train_from_iterator(flat, trainer)
        if unit == "subword":
            from tokenizers import decoders

            tokenizer.decoder = decoders.Metaspace()
        elif letters or unit == "character":
            from tokenizers import decoders

            tokenizer.decoder = decoders.Fuse()
        return cls(tokenizer.to_str(), longest)

    def number(self, token: str) -> int:
        """The number of a token."""
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise UsageError(f"the vocabulary has no {token}", hint="make the source again with this version of graft")
        return int(found)

    def encode_whole(self, examples: Any) -> list[np.ndarray]:
        """Token numbers of every row, however long; empty where a row has none."""
        self.tokenizer.no_truncation()
        try:
            encodings = self.tokenizer.encode_batch(list(_joined(examples)), add_special_tokens=False)
        finally:
            self.tokenizer.enable_truncation(self.longest)
        return [np.asarray(encoding.ids, dtype=np.int64) for encoding in encodings]

    def decode(self, ids: Any, *, blank: str = "") -> str:
        """Text of token numbers; special tokens are left out, ``blank`` stands for hidden ones."""
        parts: list[str] = []
        run: list[int] = []
        hidden = self.tokenizer.token_to_id(MASK)
        for token in [int(token) for token in ids] + [-1]:
            if token >= len(SPECIAL):
                run.append(token)
                continue
            if run:
                parts.append(self.tokenizer.decode(run))
                run = []
            if token == hidden and blank:
                parts.append(blank)
        return " ".join(parts) if blank else "".join(parts)

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.tokenizer.get_vocab_size()

    def encode(self, examples: Any) -> list[Any]:
        encodings = self.tokenizer.encode_batch(list(_joined(examples)), add_special_tokens=False)
        return [np.asarray(encoding.ids or [1], dtype=np.int32) for encoding in encodings]

    def length(self, encoded: Any) -> int:
        return len(encoded)

    def collate(self, encoded: list[Any]) -> Batch:
        longest = max(8, *(len(row) for row in encoded))
        ids = torch.zeros(len(encoded), longest, dtype=torch.long)
        mask = torch.zeros(len(encoded), longest)
        for index, row in enumerate(encoded):
            ids[index, : len(row)] = torch.from_numpy(row.astype(np.int64))
            mask[index, : len(row)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def coverage(self, examples: Any) -> Coverage:
        rows = self.encode(examples[:500])
        known = [float((row != 1).mean()) >= 0.5 for row in rows]
        share = float(np.mean(known)) if known else 1.0
        return Coverage(
            share, "" if share >= 0.9 else f"its vocabulary knows most words of only {share:.0%} of the rows"
        )

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"modality": "text", "tokenizer": self.tokenizer.to_str(), "longest": self.longest}, {}


def letter_reader(data: Dataset) -> TextReader:
    """The letters of sequences as tokens; nearly all sequences are read whole, but no more than ``MAX_LETTERS``.

    Example:
        >>> from graft.testing import toy_data
        >>> letter_reader(toy_data("sequence")).vocabulary
        9
    """
    some = data.take(evenly_spaced(len(data), SAMPLE))
    long = int(np.quantile([len(row) for row in some], 0.95)) if some else 0
    return TextReader.build(some, unit="character", longest=min(MAX_LETTERS, max(MAX_TOKENS, long)))


def _joined(texts: Iterable[Any]) -> Iterator[str]:
    """Pairs as one text with a mark between, which is a word of its own."""
    return (text if isinstance(text, str) else " ⁂ ".join(text) for text in texts)


def _is_letters(texts: list[str]) -> bool:
    """One long word per row: letters are the units (DNA)."""
    words = sum(len(text.split()) for text in texts) / max(1, len(texts))
    return words < 2 and max(map(len, texts), default=0) > 20 and all(text.isascii() for text in texts)


def _is_unspaced(texts: list[str]) -> bool:
    """Mostly in scripts that are written without spaces."""
    some = "".join(texts)[:100_000]
    return sum("\u3040" <= letter <= "\u9fff" or "\u0e00" <= letter <= "\u0e7f" for letter in some) > len(some) / 3


class ImageReader(Reader):
    """Pictures of ``bands`` channels, of which one is read where all are equal (``grey``), as squares scaled to [-1, 1]."""

    def __init__(self, size: int, *, grey: bool, bands: int = 3) -> None:
        self.size, self.grey, self.bands = size, grey, bands
        self.channels = 1 if grey else bands

    @classmethod
    def build(cls, pictures: list[np.ndarray]) -> ImageReader:
        """Choose the size (at most 64) and whether colour matters from a sample."""
        largest = int(np.median([max(picture.shape[:2]) for picture in pictures]))
        grey = all(np.ptp(picture.astype(np.int16), axis=2).max() == 0 for picture in pictures)
        return cls(min(64, max(8, 8 * round(largest / 8))), grey=grey, bands=pictures[0].shape[2])

    def encode(self, examples: Any) -> list[Any]:
        from PIL import Image

        size = (self.size, self.size)
        rows = []
        for picture in examples:
            if picture.shape[2] != self.bands:
                raise DataError(f"a picture of {picture.shape[2]} channels, where {self.bands} are read")
            pixels = picture if picture.shape[:2] == size else resized(picture, size, Image.Resampling.BILINEAR)
            rows.append(pixels[..., :1] if self.grey else pixels)
        return rows

    def collate(self, encoded: list[Any]) -> Batch:
        pixels = torch.from_numpy(np.stack(encoded)).permute(0, 3, 1, 2).float()
        return {"pixel_values": (pixels / 127.5 - 1.0).contiguous()}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state = {"modality": "image", "size": self.size, "grey": self.grey}
        return state | ({} if self.bands == 3 else {"bands": self.bands}), {}


class PixelReader(ImageReader):
    """Pictures as sequences of tokens: every row of pixels begins with a token that names it, then its channels follow.

    Token 0 is not used, 1 + c · levels + v is brightness v of channel c, the last ``size`` tokens name the rows.

    Args:
        size: Height and width that pictures are brought to.
        grey: Whether there is one channel instead of three.
        levels: Steps of brightness, 2 to 256.

    Example:
        >>> import numpy as np
        >>> reader = PixelReader(2, grey=True, levels=4)
        >>> reader.tokens(np.array([[[[0], [64]], [[128], [255]]]], np.uint8)).tolist()
        [[5, 1, 2, 6, 3, 4]]
    """

    def __init__(self, size: int, *, grey: bool, levels: int = 16) -> None:
        super().__init__(size, grey=grey)
        if not 2 <= levels <= 256:
            raise UsageError(f"brightness cannot have {levels} levels", hint="use 2 to 256")
        self.levels, self.channels = levels, 1 if grey else 3

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return 1 + self.channels * self.levels + self.size

    def brightness(self, pictures: np.ndarray) -> np.ndarray:
        """Steps of brightness (B, H, W, C) int64, from 0, of pictures (B, H, W, C) uint8."""
        return pictures.astype(np.int64) * self.levels // 256

    def tokens(self, pictures: np.ndarray) -> np.ndarray:
        """Token numbers (B, T) int64 of pictures (B, H, W, C) uint8; T = H · (1 + W · C)."""
        values = self.brightness(pictures) + 1 + self.levels * np.arange(self.channels)
        count, size = len(pictures), self.size
        names = np.broadcast_to(np.arange(size) + self.vocabulary - size, (count, size))
        return np.concatenate([names[..., None], values.reshape(count, size, -1)], axis=2).reshape(count, -1)

    def pictures(self, ids: np.ndarray) -> np.ndarray:
        """The inverse of ``tokens`` up to a step of brightness: each becomes its middle."""
        values = np.asarray(ids).reshape(len(ids), self.size, -1)[:, :, 1:].reshape(len(ids), self.size, self.size, -1)
        steps = (values - 1 - self.levels * np.arange(self.channels)).clip(0, self.levels - 1)
        return ((steps + 0.5) * 256 / self.levels).astype(np.uint8)

    def encode(self, examples: Any) -> list[Any]:
        pictures = super().encode(examples)
        return list(self.tokens(np.stack(pictures)).astype(np.int16)) if pictures else []

    def collate(self, encoded: list[Any]) -> Batch:
        return {"input_ids": torch.from_numpy(np.stack(encoded).astype(np.int64))}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {**super().state()[0], "levels": self.levels}, {}


@dataclass(frozen=True)
class Columns:
    """Columns that were taken already, as the vectors of a table want them."""

    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, rows: slice) -> dict[str, np.ndarray]:
        """Columns of these rows."""
        return {name: values[rows] for name, values in self.columns.items()}


class TableReader(Reader):
    """Columns as the classical baseline sees them: standardised numbers, one-hot categories.

    Another table is read by the columns that it shares; the others count as missing.
    """

    def __init__(self, vectors: Any) -> None:
        self.vectors = vectors

    def encode(self, examples: Any) -> list[Any]:
        return list(self.vectors.transform(Columns(columns.aligned(self.vectors.kinds, examples))))

    def coverage(self, examples: Any) -> Coverage:
        return columns.coverage(self.vectors.kinds, examples)

    def collate(self, encoded: list[Any]) -> Batch:
        return {"values": torch.from_numpy(np.stack(encoded))}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = self.vectors.state()
        return {"modality": "table", "vectors": state}, arrays


class CountReader(Reader):
    """Sparse counts as ln(1 + x) of chosen features: rows stay sparse until they are a batch.

    Args:
        columns: Numbers (D,) of the features, ascending.

    Example:
        >>> from graft.data.sparse import SparseRow
        >>> reader = CountReader(np.array([1, 4], np.int32))
        >>> row = SparseRow(np.array([0, 4], np.int32), np.array([2.0, 1.0], np.float32))
        >>> reader.collate(reader.encode([row]))["values"].shape
        torch.Size([1, 2])
    """

    def __init__(self, columns: np.ndarray) -> None:
        self.columns = columns

    @classmethod
    def build(cls, data: Dataset) -> CountReader:
        """The features that the most rows have."""
        return cls(frequencies(data, FEATURES)[0])

    @property
    def width(self) -> int:
        """Number of features D."""
        return len(self.columns)

    def encode(self, examples: Any) -> list[Any]:
        known = [chosen(row, self.columns) for row in examples]
        return [SparseRow(row.indices, np.log1p(row.values)) for row in known]

    def collate(self, encoded: list[Any]) -> Batch:
        return {"values": torch.from_numpy(stacked(encoded, self.width).toarray())}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"modality": "counts"}, {"columns": self.columns}


def restore_reader(state: dict[str, Any], arrays: dict[str, np.ndarray]) -> Reader:
    """The reader whose ``state`` this is."""
    if state["modality"] == "text":
        return TextReader(state["tokenizer"], state.get("longest", MAX_TOKENS))
    if state["modality"] == "image" and "levels" in state:
        return PixelReader(state["size"], grey=state["grey"], levels=state["levels"])
    if state["modality"] == "image":
        return ImageReader(state["size"], grey=state["grey"], bands=state.get("bands", 3))
    if state["modality"] == "counts":
        return CountReader(arrays["columns"])
    return TableReader(MODALITIES["table"].vectors().from_state(state["vectors"], arrays))
