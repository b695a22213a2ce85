"""Contrastive tuning (对比微调): the source is tuned until rows of one class lie together, then the probe reads it.

Idea: n labelled rows are n² labelled pairs, enough to move a whole encoder where a new head on it would learn its few
rows by heart; and one forward pass of B rows gives all B² pairs among them, not one pair for two rows.  Helps when:
few rows per class (SetFit's range is 8 to 64), and a source that was trained to compare (sentence encoders).
Hurts when: hundreds of rows per class, then fine-tune; or a class of things that have nothing in common ("other"),
which are forced together.
References: Khosla et al. (2020), Supervised contrastive learning; Tunstall et al. (2022), Efficient few-shot learning
without prompts (SetFit); Gao, Yao & Chen (2021), SimCSE, for dropout as the second view of a row and the temperature;
Gao et al. (2021), Scaling deep contrastive learning batch size under memory limited setup, for computing parts twice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.rows import evenly_spaced
from graft.core.runtime import Clock, bf16_is_faster, device, seeded
from graft.core.store import Store
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.engine.callbacks import Checkpoint
from graft.engine.loop import fit
from graft.engine.objective import Batch, Loss, Objective
from graft.engine.optim import discriminative_groups
from graft.engine.precision import fast_products
from graft.features import predict_seconds
from graft.nn.heads import LinearHead, fit_probe
from graft.nn.losses import supervised_contrastive
from graft.nn.views import SHIFT_DRAWS, shifted
from graft.sources.answers import ANSWERS
from graft.sources.base import Backbone
from graft.sources.words import WORD_VECTORS
from graft.transfer.activations import Activations, reused_activations
from graft.transfer.base import BaseTransfer, Setting, Workload

STEPS = 20  # whatever the number of classes: held-out rows of TREC, SST-2 and BANKING77 gain nothing from more …
PASSES = 2  # … but passes over all rows, and never more than twice as many steps for them
UPPER = 0.67  # share of the blocks that is trained: the lower ones run once
PROBE_ROWS = 10_000  # rows that the probe is fitted on: more cost a pass each and hardly move a linear head …
RARE = 16  # … and rows of every class that it sees at least
ENCODED = 2_048  # rows that are kept encoded; of more rows those of a batch are encoded when it is made
CHUNK = {
    "text": 1_024,
    "sequence": 1_024,
    "series": 4_096,
    "image": 16,
    "audio": 16,
    "table": 4_096,
    "counts": 256,
}  # tokens or rows of one chunk: little padding
ROOM = 1 << 31  # bytes of activations kept for the backward pass; of a larger batch they are computed twice
MASKED = 1.8  # times the activations that a network without dropout keeps: masks, and holes that varying shapes leave
FEW = 32  # rows per class up to which it is tried without being asked for
SLACK = 1.5  # of the predicted time that the features of the probe take


@TRANSFERS.register("contrastive")
class ContrastiveFewShot(BaseTransfer):
    """Tune a source by the supervised contrastive loss over all pairs of a batch, then fit the probe on its features.

    The loss is ``nn.losses.supervised_contrastive`` on the pooled last layer, at unit length: only directions are
    compared, as sentence encoders were trained to.  There is no head to train, so no weights start from nothing; the linear
    read-out is fitted afterwards.

    A batch holds all rows where they fit, else as many classes as possible with equally many rows each, two at least, so
    that every row has a partner; every class counts alike in the loss.  The only row of a class comes twice: its partner
    is itself under another dropout, in pictures also moved by a few pixels.  Chunks of rows of similar length are passed
    one after the other; the activations of a batch beyond 2 GiB are computed again in the backward pass, chunk by chunk,
    which gives the same gradient.

    The loss is all but constant once classes lie a few temperatures apart, so steps beyond that move little.

    The probe's temperature comes from rows that the probe has not seen but the features have: do not rely on how sure
    the probabilities are before ``calibrate`` was given held-out ones, as ``graft fit`` does.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone``, which stays as it is.
        steps: Optimizer steps; None: 20, or two passes where that is more, up to 40.
        lr: Peak rate of all blocks; token embeddings stay as they are.
        temperature: Of the loss: the lower, the more the nearest rows of other classes count.
        batch_size: Rows per step.
        blocks: How many blocks to train, counted from the top, or a share of them below 1; None for all.
        weight_decay: Decoupled weight decay.
        warmup: Share of the steps over which the rate rises.
        dropout: Dropout inside the source while training; None: none, but where a class has one row what the source was
            made with.
        layers: Layers of the probe, as of ``Probe``; the loss shapes the last one.
        loss: Loss of the probe, as of ``Probe``; left-out squares tell little here, as the features have seen all rows.
        seed: Seed of batches and dropout.

    Example:
        >>> from graft.transfer.contrastive import ContrastiveFewShot
        >>> texts = ["great film", "dull film", "a joy", "a bore"]
        >>> tuned = ContrastiveFewShot("sbert:all-MiniLM-L6-v2", steps=4).fit(texts, ["good", "bad"] * 2)
        >>> tuned.predict(["what a joy"]).tolist()
        ['good']
    """

    label = "contrastive tuning"
    name = "contrastive"
    kinds = ("classification",)
    needs_source = True
    space: ClassVar = {"lr": (3e-5, 4e-4), "temperature": (0.03, 0.3)}
    simplicity = 3

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        steps: int | None = None,
        lr: float = 1.5e-4,
        temperature: float = 0.1,
        batch_size: int = 64,
        blocks: float | None = UPPER,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        dropout: float | None = None,
        layers: str | tuple[int, ...] = "last",
        loss: str = "logistic",
        seed: int = 0,
    ) -> None:
        self.source = source
        self.steps = steps
        self.lr = lr
        self.temperature = temperature
        self.batch_size = batch_size
        self.blocks = blocks
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.dropout = dropout
        self.layers = layers
        self.loss = loss
        self.seed = seed

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        if spec.architecture == ANSWERS:
            return f"{spec.name} is a model whose answers are read: it has no blocks"
        return f"{spec.name} is a table of word vectors: it has no blocks" if spec.architecture == WORD_VECTORS else ""

    @classmethod
    def promising(cls, data: Dataset) -> bool:
        """Few rows per class; with many fine-tuning does the same, and better."""
        return len(data) <= FEW * data.task.outputs

    def workload(self, rows: int, task: Task) -> Workload:
        del task
        steps, size = self.planned(rows), min(rows, self.batch_size)
        kept = MASKED if self.dropout else 1.0
        lower = rows if self.blocks is not None and steps * size >= 2 * rows else 0
        return Workload(steps, size, self.blocks, lower=lower, read=min(rows, PROBE_ROWS), kept=kept, room=ROOM)

    def planned(self, rows: int) -> int:
        """Optimizer steps for so many rows."""
        if self.steps is not None:
            return self.steps
        return min(max(STEPS, PASSES * math.ceil(rows / self.batch_size)), 2 * STEPS)

    def _fit(self, data: Dataset, setting: Setting) -> None:
        self._check()
        with seeded(self.seed):
            backbone = self._open_to_train()
            y = np.asarray(data.y)
            rows = probe_rows(y)
            some = data.select(rows)
            self.stopped_, loss = "there is one class only", "squared"
            if len(np.unique(y)) > 1:
                loss = self.loss
                self._tune(backbone, data, setting, self._clock(backbone, some, setting.clock))
            self.backbone_ = backbone.requires_grad_(requires_grad=False).eval()
            before = f"{backbone.spec.objective}, then " if backbone.spec.objective else ""
            learned = f"{before}contrast of classes of {data.name} ({len(data):,} rows)"
            backbone.spec = dataclasses.replace(backbone.spec, objective=learned)
            features = self._features(some, None)  # tuned weights are used once: nothing to keep
            self.head_ = fit_probe(features, y[rows], data.task, layers=self.layers, loss=loss)

    def _check(self) -> None:
        """Refuse what cannot be trained before anything is opened."""
        rules = {
            "steps": (self.steps is None or self.steps >= 1, "1 or more"),
            "temperature": (self.temperature > 0, "more than 0"),
            "batch_size": (self.batch_size >= 4, "4 or more: two rows of two classes"),
            "blocks": (
                self.blocks is None or self.blocks > 0,
                "1 or more, or a share; with no block to train use probe",
            ),
            "loss": (self.loss in {"squared", "logistic", "lda"}, "squared, logistic or lda"),
        }
        for name, (kept, allowed) in rules.items():
            if not kept:
                raise UsageError(f"{self.name} cannot have {name}={getattr(self, name)!r}", hint=f"use {allowed}")

    def _clock(self, backbone: Backbone, some: Dataset, clock: Clock) -> Clock:
        """The time for training: what the pass that gives the probe its features will not need."""
        if clock.budget is None:
            return clock
        needed = SLACK * predict_seconds(backbone, some)
        return clock.part(clock.left() - needed)

    def _tune(self, backbone: Backbone, data: Dataset, setting: Setting, clock: Clock) -> None:
        backbone.freeze_below(self.blocks)
        alone = np.unique(np.asarray(data.y), return_counts=True)[1].min() == 1  # without dropout its partner is itself
        dropout = 0.0 if self.dropout is None and not alone else self.dropout
        if dropout is not None:
            backbone.set_dropout(dropout)
        lower = self._lower(backbone, data, setting) if dropout == 0.0 and not alone else None
        groups = discriminative_groups(
            backbone.layer_groups(), torch.nn.Identity(), lr=self.lr, head_lr=0.0, weight_decay=self.weight_decay
        )
        history = fit(
            ClassContrast(lower.upper if lower else backbone, self.temperature, groups),
            contrasted_batches(backbone, data, self.batch_size, self.seed, lower),
            steps=self.planned(len(data)),
            warmup=self.warmup,
            precision="bf16" if bf16_is_faster() else "fp32",
            device=device(),
            clock=clock,
            callbacks=[Checkpoint(setting.checkpoint)] if setting.checkpoint else [],
            progress=setting.progress,
            name=self.label,
        )
        self.curve_, self.stopped_ = history.points, history.stopped

    def _lower(self, backbone: Backbone, data: Dataset, setting: Setting) -> Activations | None:
        """What the frozen blocks put out, where every row is read more than once."""
        return reused_activations(backbone, data, self.blocks, self.planned(len(data)) * self.batch_size, setting)

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store  # tuned weights are used once per row: nothing to keep
        return self._read_out(self.head_, data)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"strength": self.head_.strength}, self.head_.arrays()

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del state
        self.head_ = LinearHead.from_arrays(arrays)


class ClassContrast(Objective):
    """A backbone whose pooled features are drawn together within classes and pushed apart between them.

    Args:
        backbone: Maps a batch to pooled features (B, D).
        temperature: Of the loss.
        groups: Parameter groups with their rates.
    """

    def __init__(self, backbone: Backbone, temperature: float, groups: list[dict[str, Any]]) -> None:
        super().__init__()
        self.backbone, self.temperature, self.groups = backbone, temperature, groups

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": self.groups}

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        return Loss(supervised_contrastive(self.features(batch), batch["y"], self.temperature) * batch["weight"])

    def features(self, batch: Batch) -> Tensor:
        """Pooled features (B, D) of all chunks (``0.input_ids``, ``1.input_ids``, …), one pass each.

        What the first chunk, the one with the longest rows, keeps for its backward pass is counted.  If that of all
        would be more than ``ROOM``, the others keep nothing and are computed again when the backward pass reaches them.
        """
        chunks: dict[str, Batch] = {}
        for key, value in batch.items():
            number, dot, name = key.partition(".")
            if dot:
                chunks.setdefault(number, {})[name] = value
        first, *rest = chunks.values()
        weights = {p.untyped_storage().data_ptr() for p in self.parameters()}
        kept: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            parts = [self._pooled(first)]
        size = sum(number for place, number in kept.items() if place not in weights)
        twice = size * len(chunks) > ROOM
        parts += [checkpoint(self._pooled, some, use_reentrant=False) if twice else self._pooled(some) for some in rest]
        return torch.cat(parts)

    def _pooled(self, chunk: Batch) -> Tensor:
        place = next(iter(chunk.values())).device.type
        with fast_products(place, low=torch.is_autocast_enabled(place)):  # the loop's, also when it is computed again
            pooled: Tensor = self.backbone(chunk)
        return pooled.float()


def contrasted_batches(
    backbone: Backbone, data: Dataset, size: int, seed: int, lower: Activations | None = None
) -> Callable[[int], Iterator[Batch]]:
    """Balanced batches of one pass, as chunks of rows of similar length with ``y`` (B,) and ``weight`` (B,).

    ``lower`` puts what the frozen blocks gave into every chunk.  The weights of the rows of a class sum to the same for every class of a batch, and their mean over the batch is 1.
    """
    y = np.asarray(data.y, dtype=np.int64)
    encoded = backbone.preprocess(data.take()) if len(data) <= ENCODED else None
    pictures, budget = backbone.spec.modality == "image", CHUNK[backbone.spec.modality]

    def batches(epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng((seed, epoch))
        for rows in balanced(rng, y, size):
            some = backbone.preprocess(data.take(rows)) if encoded is None else [encoded[row] for row in rows]
            chunks = _chunks([backbone.length(one) for one in some], budget)
            again = np.ones(len(rows), dtype=bool)
            again[np.unique(rows, return_index=True)[1]] = False
            batch: Batch = {}
            for number, chunk in enumerate(chunks):
                inputs = dict(backbone.collate([some[place] for place in chunk]))
                if pictures:
                    inputs["pixel_values"] = _moved(inputs["pixel_values"], again[chunk], rng)
                if lower is not None:
                    lower.attach(data.rows[rows[chunk]], inputs)
                batch |= {f"{number}.{name}": value for name, value in inputs.items()}
            classes = y[rows[np.concatenate(chunks)]]
            _, where, counts = np.unique(classes, return_inverse=True, return_counts=True)
            batch["y"] = torch.from_numpy(classes)
            batch["weight"] = torch.from_numpy((len(rows) / (len(counts) * counts[where])).astype(np.float32))
            yield batch

    return batches


def balanced(rng: np.random.Generator, y: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Rows of the batches of one pass, each with two rows or more of every class in it.

    All rows where they fit into ``size``; else ``size // 2`` classes at most, in turn, with equally many rows each, as
    far as they have them.  A class of one row gives it twice.

    Args:
        rng: Where order and choice come from.
        y: Classes (n,) int64.
        size: Rows of a batch at most, 4 or more.

    Example:
        >>> import numpy as np
        >>> [np.sort(rows).tolist() for rows in balanced(np.random.default_rng(0), np.array([0, 0, 1, 1, 2]), 8)]
        [[0, 1, 2, 3, 4, 4]]
    """
    members = [np.flatnonzero(y == c) for c in np.unique(y)]
    alone = [rows for rows in members if len(rows) == 1]
    if len(y) + len(alone) <= size:
        yield np.concatenate([np.arange(len(y)), *alone])
        return
    many = min(len(members), size // 2)
    orders, turn = [rng.permutation(rows) for rows in members], rng.permutation(len(members))
    used = np.zeros(len(members), dtype=np.int64)
    for batch in range(math.ceil(len(y) / size)):
        parts = []
        for c in turn.take(np.arange(batch * many, (batch + 1) * many), mode="wrap"):
            count = max(2, min(size // many, len(orders[c])))
            parts.append(orders[c].take(np.arange(used[c], used[c] + count), mode="wrap"))
            used[c] += count
        yield np.concatenate(parts)


def probe_rows(y: np.ndarray) -> np.ndarray:
    """Positions of the rows that the probe is fitted on: all, or evenly spaced ones with some of every class."""
    if len(y) <= PROBE_ROWS:
        return np.arange(len(y))
    rare = [np.flatnonzero(y == c)[:RARE] for c in np.unique(y)]
    return np.unique(np.concatenate([evenly_spaced(len(y), PROBE_ROWS), *rare]))


def _chunks(lengths: list[int], budget: int) -> list[np.ndarray]:
    """Positions, longest first, cut so that rows times longest stays within the budget."""
    order, chunks, start = np.argsort(-np.asarray(lengths), kind="stable"), [], 0
    while start < len(order):
        count = max(1, budget // max(1, lengths[order[start]]))
        chunks.append(order[start : start + count])
        start += count
    return chunks


def _moved(pixels: Tensor, again: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Pictures (B, C, H, W) of which those that are there ``again`` (B,) are moved: networks for pictures have no dropout."""
    if again.any() and pixels.shape[-1] == pixels.shape[-2]:
        draws = torch.from_numpy(rng.random((int(again.sum()), SHIFT_DRAWS), dtype=np.float32))
        pixels[again] = shifted(pixels[again], draws, flip=False)
    return pixels
