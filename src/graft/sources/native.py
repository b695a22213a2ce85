"""graft's own encoders as backbones: built on a data set, saved as ``graft.json`` and safetensors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from graft.core.errors import SourceError
from graft.core.registry import MODALITIES
from graft.core.types import Dataset, ModelSpec
from graft.nn.encoders import make_encoder
from graft.sources.base import Backbone, Batch, Coverage

VOCABULARY = 30_000
MAX_TOKENS = 256
PADDING, UNKNOWN = "[PAD]", "[UNK]"


class NativeBackbone(Backbone):
    """One of graft's encoders with the preprocessing it was built with.

    Args:
        encoder: Name in ``ENCODERS``.
        arguments: Its arguments.
        preprocessing: JSON and arrays that turn raw rows into its input.
        spec: Facts.
    """

    def __init__(self, encoder: str, arguments: dict[str, Any], reader: Reader, spec: ModelSpec) -> None:
        super().__init__()
        self.encoder, self.arguments, self.reader = encoder, arguments, reader
        self.body = make_encoder(encoder, **arguments)
        count = sum(p.numel() for p in self.body.parameters())
        self.spec = dataclasses.replace(spec, parameters=count, bytes=4 * count, hidden_size=self.body.hidden_size)

    def preprocess(self, examples: Any) -> list[Any]:
        return self.reader.encode(examples)

    def length(self, encoded: Any) -> int:
        return self.reader.length(encoded)

    def collate(self, encoded: list[Any]) -> Batch:
        return self.reader.collate(encoded)

    def forward_features(self, batch: Batch) -> list[Tensor]:
        return self.body.forward_features(batch)

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        return self.body.pool(hidden, batch)

    def stem(self) -> list[nn.Module]:
        return self.body.stem()

    def blocks(self) -> list[nn.Module]:
        return self.body.blocks()

    def coverage(self, examples: Any) -> Coverage:
        return self.reader.coverage(examples)

    def preprocessing(self) -> dict[str, Any]:
        state, arrays = self.reader.state()
        digests = {key: hashlib.sha256(np.ascontiguousarray(value)).hexdigest() for key, value in arrays.items()}
        return {"encoder": self.encoder, "arguments": self.arguments, "reader": state, "arrays": digests}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        state, arrays = self.reader.state()
        facts = {
            "format": 1,
            "kind": "backbone",
            "encoder": self.encoder,
            "arguments": self.arguments,
            "spec": {**dataclasses.asdict(self.spec), "path": ""},
            "reader": state,
        }
        tensors = {f"body.{key}": value.contiguous() for key, value in self.body.state_dict().items()}
        tensors |= {f"reader.{key}": torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}
        save_file(tensors, folder / "model.safetensors")
        (folder / "graft.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")


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
    """Words for scripts written with spaces, single characters for those written without, by frequency."""

    def __init__(self, tokenizer: str) -> None:
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(tokenizer)
        self.tokenizer.enable_truncation(MAX_TOKENS)

    @classmethod
    def build(cls, texts: list[Any]) -> TextReader:
        """Count the vocabulary of texts (or tuples of texts)."""
        from tokenizers import Tokenizer, normalizers, pre_tokenizers
        from tokenizers.models import WordLevel
        from tokenizers.trainers import WordLevelTrainer

        flat = _joined(texts)
        tokenizer = Tokenizer(WordLevel(unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, handle_chinese_chars=True)
        words = sum(len(text.split()) for text in flat) / max(1, len(flat))
        if words < 2 and max(map(len, flat), default=0) > 20:  # one long word per row: letters are the units (DNA)
            tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
        else:
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = WordLevelTrainer(vocab_size=VOCABULARY, special_tokens=[PADDING, UNKNOWN], show_progress=False)
        tokenizer.train_from_iterator(sorted(flat), trainer)  # sorted: ties in frequency break the same way every time
        return cls(tokenizer.to_str())

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.tokenizer.get_vocab_size()

    def encode(self, examples: Any) -> list[Any]:
        encodings = self.tokenizer.encode_batch(_joined(examples), add_special_tokens=False)
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
        return {"modality": "text", "tokenizer": self.tokenizer.to_str()}, {}


def _joined(texts: Any) -> list[str]:
    """Pairs as one text with a mark between, which is a word of its own."""
    return [text if isinstance(text, str) else " ⁂ ".join(text) for text in texts]


class ImageReader(Reader):
    """Pictures resized to a square, scaled to [-1, 1]."""

    def __init__(self, size: int, *, grey: bool) -> None:
        self.size, self.grey = size, grey

    @classmethod
    def build(cls, pictures: list[np.ndarray]) -> ImageReader:
        """Choose the size (at most 64) and whether colour matters from a sample."""
        largest = int(np.median([max(picture.shape[:2]) for picture in pictures]))
        grey = all(np.ptp(picture.astype(np.int16), axis=2).max() == 0 for picture in pictures)
        return cls(min(64, max(8, 8 * round(largest / 8))), grey=grey)

    def encode(self, examples: Any) -> list[Any]:
        from PIL import Image

        size = (self.size, self.size)
        rows = []
        for picture in examples:
            image = Image.fromarray(picture)
            image = image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
            rows.append(pixels[..., :1] if self.grey else pixels)
        return rows

    def collate(self, encoded: list[Any]) -> Batch:
        pixels = torch.from_numpy(np.stack(encoded)).permute(0, 3, 1, 2).float()
        return {"pixel_values": (pixels / 127.5 - 1.0).contiguous()}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"modality": "image", "size": self.size, "grey": self.grey}, {}


@dataclass(frozen=True)
class _Columns:
    """Columns that were taken already, as the vectors of a table want them."""

    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, rows: slice) -> dict[str, np.ndarray]:
        return {name: values[rows] for name, values in self.columns.items()}


class TableReader(Reader):
    """Columns as the classical baseline sees them: standardised numbers, one-hot categories."""

    def __init__(self, vectors: Any) -> None:
        self.vectors = vectors

    def encode(self, examples: Any) -> list[Any]:
        return list(self.vectors.transform(_Columns(examples)))

    def collate(self, encoded: list[Any]) -> Batch:
        return {"values": torch.from_numpy(np.stack(encoded))}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = self.vectors.state()
        return {"modality": "table", "vectors": state}, arrays


def build_backbone(data: Dataset) -> NativeBackbone:
    """A fresh encoder for a data set: TextCNN, a small ResNet or an MLP, with preprocessing read off its rows."""
    modality = data.task.modality
    if modality == "text":
        texts = data.take()
        reader: Any = TextReader.build(texts)
        encoder, arguments = "textcnn", {"vocabulary": reader.vocabulary}
    elif modality == "image":
        some = np.linspace(0, len(data) - 1, min(64, len(data))).astype(np.int64)
        reader = ImageReader.build(data.take(some))
        encoder, arguments = "resnet", {"channels": 1 if reader.grey else 3}
    else:
        reader = TableReader(MODALITIES["table"].vectors().fit(data))
        width = len(reader.encode(data.take(slice(0, 1)))[0])
        encoder, arguments = "mlp", {"inputs": width}
    spec = ModelSpec(f"new:{encoder}", encoder, modality, architecture=encoder, objective="")
    return NativeBackbone(encoder, arguments, reader, spec)


def open_native(folder: Path) -> NativeBackbone:
    """Open what ``NativeBackbone.save`` wrote."""
    try:
        facts = json.loads((folder / "graft.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
        spec = describe_native(folder)
        state = facts["reader"]
        arrays = {k.removeprefix("reader."): v.numpy() for k, v in tensors.items() if k.startswith("reader.")}
        backbone = NativeBackbone(facts["encoder"], facts["arguments"], _reader(state, arrays), spec)
        body = {k.removeprefix("body."): v for k, v in tensors.items() if k.startswith("body.")}
        backbone.body.load_state_dict(body)
    except FileNotFoundError as error:
        missing = next((name for name in ("graft.json", "model.safetensors") if not (folder / name).exists()), "a file")
        raise SourceError(f"{folder} lacks {missing}", hint="it is not a whole checkpoint") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        line = str(error).splitlines()[-1].strip()
        raise SourceError(f"the checkpoint {folder} is damaged: {line}", hint="make it again") from error
    return backbone.eval()


def _reader(state: dict[str, Any], arrays: dict[str, np.ndarray]) -> Reader:
    if state["modality"] == "text":
        return TextReader(state["tokenizer"])
    if state["modality"] == "image":
        return ImageReader(state["size"], grey=state["grey"])
    return TableReader(MODALITIES["table"].vectors().from_state(state["vectors"], arrays))


def describe_native(folder: Path) -> ModelSpec:
    """The facts of a saved encoder, without its weights."""
    facts = json.loads((folder / "graft.json").read_text(encoding="utf-8"))["spec"]
    facts |= {"languages": tuple(facts["languages"]), "classes": tuple(facts["classes"])}
    return ModelSpec(**{**facts, "uri": f"file:{folder}", "path": str(folder)})
