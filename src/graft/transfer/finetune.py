"""Fine-tuning: the source's top blocks and a new head are trained on the task.

Idea: adapt the representation itself.  Helps when: enough rows (hundreds), or a task far from the source's.
Hurts when: a handful of rows per class, where it forgets more than it learns; then probe.
References: Howard & Ruder (2018); Kumar et al. (2022), whose head-first start keeps features from being distorted.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.runtime import bf16_is_faster, device, seeded
from graft.core.store import Store
from graft.core.types import Dataset, ModelSpec
from graft.engine.callbacks import Callback, Checkpoint, State
from graft.engine.loop import History, fit
from graft.engine.objective import Batch, Supervised
from graft.engine.optim import discriminative_groups
from graft.features import SAMPLE
from graft.nn.heads import MANY_CLASSES, LinearHead, fit_probe
from graft.sources.base import Backbone
from graft.sources.words import WORD_VECTORS
from graft.transfer.base import BaseTransfer, Setting

IN_MEMORY = 1 << 31  # bytes of encoded rows kept; above it rows are encoded again in every epoch
MIN_STEPS = 150  # small data is seen often enough to take this many steps …
MAX_EPOCHS = 20  # … but never more often than this
HEAD_ROWS = 2_000  # rows that the head's start is fitted on: more cost a pass and change nothing that training keeps
HEAD_SHARE = 4  # rows per feature from which the head starts from the probe; with fewer it nearly interpolates the rows
WARM = 2  # steps before the clock counts
SORTED_BATCHES = 50  # batches of similar length are cut from windows of this many


@TRANSFERS.register("finetune")
class Finetune(BaseTransfer):
    """Train the top blocks of a source with a new linear head.

    On enough rows the head starts from the closed-form probe on the last layer; on few the probe fits them so well that
    no gradient is left for the network (200 rows of TREC: 0.85 held out against 0.88 from zero).  Token embeddings stay
    as they are, batches hold rows of similar length, and matrix products run in bfloat16 where the machine is faster
    with it (weights stay float32).

    Args:
        source: URI or ``ModelSpec``.
        blocks: How many blocks to train, counted from the top; None for all.
        epochs: Passes over the rows; None: 3, or more on small data.
        lr: Peak rate of the top block.
        head_lr: Peak rate of the head.
        layer_decay: Factor on the rate per block downwards.
        batch_size: Rows per step.
        weight_decay: Decoupled weight decay.
        warmup: Share of the steps over which the rate rises.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
        head_start: ``"probe"``, ``"zero"``, or None: the probe from four rows per feature.
        dropout: Dropout inside the source while training; None leaves what the source was made with.
        seed: Seed of order and dropout.

    Example:
        >>> from graft.transfer.finetune import Finetune
        >>> texts = ["great film", "dull film", "a joy", "a bore"] * 3
        >>> tuned = Finetune("sbert:all-MiniLM-L6-v2", blocks=1, epochs=1).fit(texts, ["good", "bad"] * 6)
        >>> tuned.predict(["what a joy"]).tolist()
        ['good']
    """

    label = "fine-tuning"
    name = "finetune"
    needs_source = True
    simplicity = 3

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        blocks: int | None = None,
        epochs: float | None = None,
        lr: float = 1.2e-4,
        head_lr: float = 1e-3,
        layer_decay: float = 1.0,
        batch_size: int = 40,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        optimizer: str = "adamw",
        head_start: str | None = None,
        dropout: float | None = 0.0,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.blocks = blocks
        self.epochs = epochs
        self.lr = lr
        self.head_lr = head_lr
        self.layer_decay = layer_decay
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.optimizer = optimizer
        self.head_start = head_start
        self.dropout = dropout
        self.seed = seed

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        return f"{spec.name} is a table of word vectors: it has no blocks" if spec.architecture == WORD_VECTORS else ""

    def steps(self, rows: int) -> int:
        """Optimizer steps for that many rows."""
        per_epoch = math.ceil(rows / self.batch_size)
        epochs = self.epochs if self.epochs is not None else min(max(3.0, MIN_STEPS / per_epoch), MAX_EPOCHS)
        return max(1, round(epochs * per_epoch))

    def step_seconds(self, data: Dataset, steps: int = 6) -> float:
        """Measured seconds of one optimizer step: the mean over a few warm ones, on rows of all lengths.

        What was predicted from a forward pass is up to half too high or too low; a second of measuring buys epochs.
        """
        rows = np.linspace(0, len(data) - 1, min(len(data), (steps + WARM) * self.batch_size)).astype(np.int64)
        some, times = data.select(rows), [0.0]
        with seeded(self.seed):
            backbone = self._backbone(some)
            head = _zero_head(backbone, some)
            self._train(backbone, head, some, Setting(), steps=steps + WARM, callbacks=[_Stopwatch(times)])
        return float(np.mean(np.diff(times)[WARM:]))

    def _fit(self, data: Dataset, setting: Setting) -> None:
        if self.head_start not in (None, "probe", "zero"):
            raise UsageError(f"no head start {self.head_start!r}", hint="use probe, zero, or None")
        with seeded(self.seed):
            backbone = self._backbone(data)
            head = self._head(backbone, data, setting)
            callbacks = [Checkpoint(setting.checkpoint)] if setting.checkpoint else []
            history = self._train(backbone, head, data, setting, steps=self.steps(len(data)), callbacks=callbacks)
            self.curve_, self.stopped_ = history.points, history.stopped
            self.backbone_ = backbone.requires_grad_(requires_grad=False).eval()
            before = f"{backbone.spec.objective}, then " if backbone.spec.objective else ""
            learned = f"{before}{data.task.kind} of {data.name} ({len(data):,} rows)"
            backbone.spec = dataclasses.replace(backbone.spec, objective=learned)
            self.head_ = LinearHead.from_module(head)
            self._features(data.select(np.arange(min(len(data), SAMPLE))), None)  # settles the precision

    def _train(
        self,
        backbone: Backbone,
        head: torch.nn.Linear,
        data: Dataset,
        setting: Setting,
        *,
        steps: int,
        callbacks: Sequence[Callback],
    ) -> History:
        self._freeze(backbone)
        if self.dropout is not None:
            backbone.set_dropout(self.dropout)
        groups = discriminative_groups(
            backbone.layer_groups(),
            head,
            lr=self.lr,
            head_lr=self.head_lr,
            layer_decay=self.layer_decay,
            weight_decay=self.weight_decay,
        )
        return fit(
            Supervised(backbone, head, data.task, groups),
            labelled_batches(backbone, data, self.batch_size, self.seed),
            steps=steps,
            optimizer=self.optimizer,
            warmup=self.warmup,
            precision="bf16" if bf16_is_faster() else "fp32",
            device=device(),
            clock=setting.clock,
            callbacks=callbacks,
            progress=setting.progress,
            name=self.label,
        )

    def _freeze(self, backbone: Backbone) -> None:
        """Say which weights stay as they are."""
        backbone.freeze_below(self.blocks)

    def _backbone(self, data: Dataset) -> Backbone:
        """The network to train; an opened source is copied, as training changes it."""
        del data
        backbone = self._open()
        return copy.deepcopy(backbone) if backbone is self.source else backbone

    def _head(self, backbone: Backbone, data: Dataset, setting: Setting) -> torch.nn.Linear:
        enough = len(data) >= HEAD_SHARE * backbone.spec.hidden_size
        if (self.head_start or ("probe" if enough else "zero")) == "probe":
            self.backbone_ = backbone.eval()
            rows = np.linspace(0, len(data) - 1, min(len(data), HEAD_ROWS)).astype(np.int64)
            features = self._features(data.select(rows), setting.store, setting)
            self.backbone_, self.precision_ = None, None  # training changes the weights
            loss = "logistic" if data.task.outputs >= MANY_CLASSES else "squared"
            return fit_probe(features, data.y[rows], data.task, layers="last", loss=loss).module()
        return _zero_head(backbone, data)

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store  # tuned weights are used once per row: nothing to keep
        blocks = range(0, max(1, len(data)), 4096)
        parts = [data.select(np.arange(start, min(start + 4096, len(data)))) for start in blocks]
        return np.concatenate([self.head_.outputs(self._features(part, None), self.task_) for part in parts])

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, self.head_.arrays()

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del state
        self.head_ = LinearHead.from_arrays(arrays)


def _zero_head(backbone: Backbone, data: Dataset) -> torch.nn.Linear:
    head = torch.nn.Linear(backbone.spec.hidden_size, data.task.outputs)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return head


class _Stopwatch(Callback):
    """Notes when a training starts and when each step ends."""

    def __init__(self, times: list[float]) -> None:
        self.times = times

    def on_start(self, state: State) -> None:
        del state
        self.times[:] = [time.perf_counter()]

    def on_step(self, state: State) -> bool:
        del state
        self.times.append(time.perf_counter())
        return False


def labelled_batches(backbone: Backbone, data: Dataset, batch_size: int, seed: int) -> Callable[[int], Iterator[Batch]]:
    """Batches of one epoch in an order of its own: windows of shuffled rows, cut into batches of similar length.

    Sorting inside windows keeps nearly all padding away and leaves the order random; the batches of a window come in
    random order too.
    """
    sample = backbone.preprocess(data.take(slice(0, min(len(data), 64))))
    fits = _bytes(sample) / max(1, len(sample)) * len(data) <= IN_MEMORY
    encoded = _encode(backbone, data) if fits else None
    lengths = None if encoded is None else np.asarray([backbone.length(row) for row in encoded])
    dtype = np.int64 if data.task.is_classification else np.float32
    y = torch.from_numpy(np.asarray(data.y, dtype=dtype))
    weights = data.task.sample_weights(data.y)
    weight = None if weights is None else torch.from_numpy(weights.astype(np.float32))

    def batches(epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng((seed, epoch))
        for rows in _bucketed(rng, len(data), batch_size, lengths):
            some = backbone.preprocess(data.take(rows)) if encoded is None else [encoded[row] for row in rows]
            batch = dict(backbone.collate(some))
            batch["y"] = y[rows]
            if weight is not None:
                batch["weight"] = weight[rows]
            yield batch

    return batches


def _encode(backbone: Backbone, data: Dataset) -> list[Any]:
    encoded: list[Any] = []
    for start in range(0, len(data), 4096):
        encoded += backbone.preprocess(data.take(slice(start, start + 4096)))
    return encoded


def _bytes(encoded: list[Any]) -> int:
    return sum(int(getattr(row, "nbytes", 1024)) for row in encoded)


def _bucketed(rng: np.random.Generator, n: int, size: int, lengths: np.ndarray | None) -> Iterator[np.ndarray]:
    order = rng.permutation(n)
    for start in range(0, n, size * SORTED_BATCHES):
        window = order[start : start + size * SORTED_BATCHES]
        if lengths is not None:
            window = window[np.argsort(lengths[window], kind="stable")]
        batches = [window[at : at + size] for at in range(0, len(window), size)]
        for index in rng.permutation(len(batches)):
            yield batches[index]
