"""What objectives with labels share: rows of any kind on disk, what is held out of them, an encoder, scores, samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.errors import DataError
from graft.core.runtime import Progress
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.engine.loop import History
from graft.engine.objective import Batch, Objective
from graft.nn.bootstrap import DECIDERS
from graft.nn.encoders import size_of
from graft.nn.views import SHIFT_DRAWS, shifted
from graft.pretrain.base import MOST_HELD_OUT, BasePretrain, choose_encoder
from graft.pretrain.pictures import patch_of, picture_reader, sheet, write_pictures
from graft.pretrain.tables import write_vectors
from graft.pretrain.tokens import learn_reader, write_corpus
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone
from graft.sources.readers import END, MAX_TOKENS, Reader, TextReader

WANTED, SHARES = 200, (0.05, 0.2)  # labelled rows to hold out, and the bounds of their share
MEASURED_ROWS = 64  # rows scored at a time
SHOWN = (8, 12)  # classes and pictures of each on the sheet
JUDGED = 4  # rows of text or of a table among the samples
LETTERS = 200  # of a row that is shown
METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "quadratic_kappa": "quadratic kappa", "r2": "R²"}


class TokenRows:
    """Rows of a corpus, each up to its end token and at most as long as the reader allows.

    Args:
        tokens: Token numbers, every row followed by the end token.
        reader: Whose tokens they are.
    """

    def __init__(self, tokens: np.ndarray, reader: TextReader) -> None:
        self.tokens = tokens
        self.ends = np.flatnonzero(np.asarray(tokens) == reader.number(END))
        self.starts = np.concatenate([[0], self.ends[:-1] + 1]).astype(np.int64)
        self.lengths = np.minimum(self.ends - self.starts, reader.longest)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> np.ndarray:
        start = self.starts[row]
        ids = np.asarray(self.tokens[start : start + self.lengths[row]]).astype(np.int32)
        return ids if len(ids) else np.ones(1, np.int32)  # 1 is the unknown token


def drawn(rng: np.random.Generator, rows: int, count: int) -> Tensor:
    """Uniform random numbers (rows, count) in [0, 1), float32."""
    return torch.from_numpy(rng.random((rows, count), dtype=np.float32))


def has_label(y: np.ndarray, task: Task) -> np.ndarray:
    """Mask (N,) of the rows with a label."""
    if task.is_multilabel:
        raise DataError("pretraining with labels is for rows with one label each", hint="graft fit takes several")
    return y >= 0 if task.is_classification else ~np.isnan(y)


def held_out_labelled(y: np.ndarray, task: Task, seed: int) -> np.ndarray:
    """Mask (N,) of the labelled rows held out: about 200, between 5 % and 20 % of them, of each class alike much.

    Every class keeps a row to learn from.

    Raises:
        DataError: There is no class of which two rows are known.
    """
    there = has_label(y, task)
    known = int(there.sum())
    share = float(np.clip(WANTED / max(1, known), *SHARES))
    rng = np.random.default_rng(seed)
    classes = np.unique(y[there]) if task.is_classification else [None]
    held_out = np.zeros(len(y), bool)
    largest = np.zeros(0, np.int64)
    for value in classes:
        members = rng.permutation(np.flatnonzero(there if value is None else y == value))
        largest = members if len(members) > len(largest) else largest
        held_out[members[: min(round(share * len(members)), len(members) - 1)]] = True
    if not held_out.any():
        if len(largest) < 2:
            raise DataError(f"only {known} row(s) have a label", hint="label more: one is held out, others are learned")
        held_out[largest[0]] = True
    places = np.flatnonzero(held_out)
    if len(places) > MOST_HELD_OUT:
        held_out[rng.permutation(places)[MOST_HELD_OUT:]] = False
    return held_out


class LabelledPretrain(BasePretrain):
    """Base of objectives with labels.  A subclass writes ``_objective``, ``_batches``, ``_per_epoch`` and ``_measure``."""

    encoders: ClassVar[dict[str, tuple[str, ...]]] = {
        "text": ("textcnn", "lstm", "gru", "cnn", "transformer"),
        "image": ("resnet", "vgg", "patches"),
        "sequence": ("cnn", "textcnn", "lstm", "gru", "transformer"),
        "table": ("mlp",),
    }

    task_: Task
    reader_: Reader

    def __init__(
        self,
        *,
        encoder: str | None = None,
        size: str = "small",
        side: int | None = None,
        unit: str = "auto",
        vocabulary: int = 8_000,
        epochs: float | None = None,
        batch_size: int = 32,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.size = size
        self.side = side
        self.unit = unit
        self.vocabulary = vocabulary
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.seed = seed

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        name = choose_encoder(self.encoder, self.encoders[data.task.modality], self.label)
        arguments = size_of(name, self.size)
        if data.y is None:
            raise DataError(f"{data.name} has no labels", hint="name their column with --label")
        held_out = held_out_labelled(data.y, data.task, self.seed)
        self.task_, self.y_, self.truth_ = data.task, data.y[~held_out], data.y[held_out]
        own = self._read(data, held_out, folder, progress)
        if name == "patches":
            own |= {"size": own["side"], "patch": patch_of(own["side"])}
        own.pop("side", None)
        modality = data.task.modality
        spec = ModelSpec(f"new:{name}", name, modality, architecture=f"{name}-{self.size}")
        backbone = NativeBackbone(name, {**own, **arguments}, self.reader_, spec)
        self.raw_ = data.select(np.flatnonzero(held_out)[:JUDGED]).take() if modality != "image" else None
        return backbone, self._objective(backbone), self._batches, self._per_epoch()

    def _read(self, data: Dataset, held_out: np.ndarray, folder: Path, progress: Progress) -> dict[str, Any]:
        """Encode all rows on disk; the arguments of an encoder of them."""
        self.lengths_ = None
        if data.task.modality == "image":
            reader = picture_reader(data, self.side)
            parts = write_pictures(reader, data, folder, seed=self.seed, progress=progress, held_out=held_out)
            self.reader_, self.rows_, self.unseen_ = reader, parts.train, parts.held_out
            return {"channels": 1 if reader.grey else 3, "side": reader.size}
        if data.task.modality == "table":
            found = write_vectors(data, folder, held_out=held_out, progress=progress)
            self.reader_, self.rows_, self.unseen_ = found.reader, found.train, found.held_out
            return {"inputs": found.train.shape[1]}
        train = data.select(~held_out)
        text = learn_reader(train, unit=self.unit, vocabulary=self.vocabulary, longest=MAX_TOKENS)
        corpus = write_corpus(text, data, folder, seed=self.seed, progress=progress, held_out=held_out)
        self.reader_, self.rows_, self.unseen_ = text, TokenRows(corpus.train, text), TokenRows(corpus.held_out, text)
        self.lengths_ = self.rows_.lengths
        return {"vocabulary": text.vocabulary}

    @abstractmethod
    def _objective(self, backbone: NativeBackbone) -> Objective:
        """What is minimised."""

    @abstractmethod
    def _batches(self, epoch: int) -> Iterator[Batch]:
        """Batches of one epoch."""

    @abstractmethod
    def _per_epoch(self) -> int:
        """How many these are."""

    def _head(self, backbone: NativeBackbone) -> nn.Linear:
        return nn.Linear(backbone.spec.hidden_size, self.task_.outputs)

    def _targets(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.y_[rows].astype(np.int64 if self.task_.is_classification else np.float32))

    def _weak(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Training rows in a view that nobody would notice: pictures are moved and, in colour, mirrored."""
        batch = dict(self.reader_.collate([self.rows_[row] for row in rows]))
        if "pixel_values" in batch:
            pixels = batch["pixel_values"]
            batch["pixel_values"] = shifted(pixels, drawn(rng, len(rows), SHIFT_DRAWS), flip=pixels.shape[1] == 3)
        return batch

    def _outputs(self, body: Any, head: nn.Module) -> np.ndarray:
        """Outputs (M, C) on the held-out rows."""
        weight = next(head.parameters())
        parts = []
        with torch.inference_mode():
            for start in range(0, len(self.unseen_), MEASURED_ROWS):
                rows = range(start, min(start + MEASURED_ROWS, len(self.unseen_)))
                batch = self.reader_.collate([self.unseen_[row] for row in rows])
                batch = {name: tensor.to(weight.device) for name, tensor in batch.items()}
                pooled = body.pool(body.forward_features(batch)[-1], batch)
                parts.append(head(pooled.float()).float().cpu().numpy())
        return np.concatenate(parts)

    def _value(self, outputs: np.ndarray) -> float:
        """The metric of the task on the held-out rows."""
        return float(DECIDERS[self.task_.metric](self.truth_, outputs)(np.ones((1, len(self.truth_))))[0])

    def _judged_score(self, outputs: np.ndarray, beside: dict[str, np.ndarray]) -> dict[str, Any]:
        """The metric of the task with its interval, beside other outputs and what knows only the labels."""
        count = len(self.truth_)
        if self.task_.is_classification:
            known = self.y_[self.y_ >= 0]
            simple = np.tile(np.bincount(known, minlength=self.task_.outputs), (count, 1))
            beside = {**beside, "commonest class": simple}
        else:
            beside = {**beside, "mean": np.zeros((count, 1))}
        found = {name: self._value(other) for name, other in beside.items()}
        statistic = DECIDERS[self.task_.metric](self.truth_, outputs)
        return self._scored(METRICS[self.task_.metric], statistic, count, found, "share")

    def _shown(self, outputs: np.ndarray) -> list[dict[str, Any]]:
        """Held-out pictures by predicted class, or some held-out rows with prediction and truth."""
        if self.raw_ is None:
            if not self.task_.is_classification:
                return []
            said = outputs.argmax(axis=1)
            most = np.argsort(-np.bincount(said, minlength=self.task_.outputs), kind="stable")[: SHOWN[0]]
            rows = [np.asarray(self.unseen_[np.flatnonzero(said == one)[: SHOWN[1]]]) for one in sorted(most)]
            return [{"kind": "classes", "picture": sheet([row for row in rows if len(row)])}]
        said, true = self.task_.decode(outputs[:JUDGED]), self._truths()
        texts = [f"{_text(one)} ({_text(other)})" for one, other in zip(said, true, strict=True)]
        given = self.raw_ if not isinstance(self.raw_, dict) else _lines(self.raw_)
        return [
            {"kind": "judged", "given": _text(row)[:LETTERS], "text": text}
            for row, text in zip(given, texts, strict=True)
        ]

    def _truths(self) -> np.ndarray:
        some = self.truth_[:JUDGED]
        if self.task_.is_classification:
            return np.asarray(self.task_.classes, dtype=object)[some]
        return self.task_.decode(some)

    def _facts(self) -> dict[str, Any]:
        known = int(has_label(self.y_, self.task_).sum())
        facts = {"train_rows": len(self.y_), "labelled_rows": known, "held_out_rows": len(self.truth_)}
        return facts | {"target": self.task_.target, "classes": list(self.task_.classes)}

    def _rate(self, seen: float, history: History) -> dict[str, float]:
        unit = "pictures" if self.task_.modality == "image" else "rows"
        return {f"{unit}_per_second": round(seen / history.seconds) if history.seconds else 0.0}


def _lines(columns: dict[str, np.ndarray]) -> list[str]:
    """Rows of a table in words."""
    count = len(next(iter(columns.values())))
    return [", ".join(f"{name}={_text(values[row])}" for name, values in columns.items()) for row in range(count)]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return " | ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else "?" if value is None else str(value)
