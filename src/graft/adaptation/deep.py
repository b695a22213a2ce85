"""Adaptation of a whole network: source and target rows go through it together, in one training."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graft.adaptation.base import BaseAdaptation
from graft.adaptation.domains import Domains
from graft.core.runtime import bf16_is_faster, device, seeded
from graft.core.store import Store
from graft.core.types import Dataset, ModelSpec, Task
from graft.engine.callbacks import Checkpoint
from graft.engine.loop import fit
from graft.engine.objective import Batch, Objective
from graft.engine.optim import discriminative_groups
from graft.nn.heads import LinearHead
from graft.sources.base import Backbone
from graft.sources.native import build_backbone
from graft.transfer.base import Setting

KEYS = ("y", "row", "origin", "weight")  # of a batch, beside what the backbone reads
STEEP = 10.0  # of the ramp of the adaptation's weight


def ramp(progress: float) -> float:
    """Weight of the adaptation's term as training goes on: 2 / (1 + exp(-10 p)) - 1.  Ganin et al. (2016)."""
    return 2.0 / (1.0 + math.exp(-STEEP * progress)) - 1.0


class AdaptationObjective(Objective):
    """Base of the objectives: the source rows' loss, and a term that both domains give.

    A batch holds source rows and target rows together: ``y`` (B,) is -1 for target rows, ``row`` (B,) is the number of a
    row in its domain, ``origin`` (B,) its source domain, -1 for target rows.

    Args:
        backbone: Maps a batch to features (B, D).
        head: Maps features to logits (B, C).
        task: Gives the loss.
        groups: Parameter groups of backbone and head.
        strength: Weight of the adaptation's term when the ramp is up.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, task: Task, groups: list[dict[str, Any]], strength: float
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.task, self.groups, self.strength = backbone, head, task, groups, strength
        self.progress = 0.0

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": self.groups}

    def on_step(self, progress: float) -> None:
        self.progress = progress

    @property
    def amount(self) -> float:
        """Weight of the adaptation's term now."""
        return self.strength * ramp(self.progress)

    def features(self, batch: Batch) -> Tensor:
        """Features of all rows (B, D), float32."""
        return self.backbone({key: value for key, value in batch.items() if key not in KEYS}).float()

    def supervised(self, logits: Tensor, y: Tensor) -> Tensor:
        """Loss per row (B,), scaled so that its mean over the batch is the mean over labelled rows; 0 for target rows."""
        known = y >= 0
        losses = logits.new_zeros(len(y))
        if known.any():
            losses[known] = self.task.loss(logits[known], y[known]) * (len(y) / int(known.sum()))
        return losses


class DeepAdaptation(BaseAdaptation):
    """Base of adaptations that train a network.  A subclass writes ``objective``.

    Args:
        source: URI, ``ModelSpec`` or ``Backbone`` to start from; None for a small network trained from scratch.
        strength: Weight of the adaptation's term against the source rows' loss.
        epochs: Passes over the larger domain; None: as many as 3,000 steps take, 30 at most.
        lr: Peak rate of the network; None: 1e-3 from scratch, 1e-4 for a source.
        head_lr: Peak rate of the head and of networks that only training needs.
        batch_size: Source rows per step, and as many target rows.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and dropout.
    """

    trains: ClassVar[bool] = True
    simplicity = 3

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        strength: float = 1.0,
        epochs: float | None = None,
        lr: float | None = None,
        head_lr: float = 1e-3,
        batch_size: int = 64,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.source, self.strength, self.epochs = source, strength, epochs
        self.lr, self.head_lr, self.batch_size = lr, head_lr, batch_size
        self.weight_decay, self.seed = weight_decay, seed

    @abstractmethod
    def objective(
        self, backbone: Backbone, head: nn.Linear, groups: list[dict[str, Any]], domains: Domains
    ) -> AdaptationObjective:
        """What is minimised."""

    def steps(self, domains: Domains) -> int:
        """Optimizer steps."""
        per_epoch = math.ceil(max(len(domains.source), len(domains.target)) / self.batch_size)
        epochs = self.epochs if self.epochs is not None else min(30.0, max(3.0, 3000 / per_epoch))
        return max(1, round(epochs * per_epoch))

    def _adapt(self, domains: Domains, setting: Setting) -> None:
        with seeded(self.seed):
            fresh = self.source is None
            backbone = build_backbone(domains.source) if fresh else self._open_copy()
            head = nn.Linear(backbone.spec.hidden_size or _width(backbone, domains.source), self.task_.outputs)
            groups = discriminative_groups(
                backbone.layer_groups(),
                head,
                lr=self.lr or (1e-3 if fresh else 1e-4),
                head_lr=self.head_lr,
                weight_decay=self.weight_decay,
            )
            history = fit(
                self.objective(backbone, head, groups, domains),
                paired_batches(backbone, domains, self.batch_size, self.seed),
                steps=self.steps(domains),
                precision="bf16" if bf16_is_faster() else "fp32",
                device=device(),
                clock=setting.clock,
                callbacks=[Checkpoint(setting.checkpoint)] if setting.checkpoint else [],
                progress=setting.progress,
                name=self.label,
            )
        self.curve_, self.stopped_ = history.points, history.stopped
        self.backbone_ = backbone.requires_grad_(requires_grad=False).eval()
        self.head_ = LinearHead.from_module(head)

    def _open_copy(self) -> Backbone:
        import copy

        opened = self._open()
        return copy.deepcopy(opened) if opened is self.source else opened

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store  # trained weights are used once per row: nothing to keep
        return self._read_out(self.head_, data)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, self.head_.arrays()

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del state
        self.head_ = LinearHead.from_arrays(arrays)


def _width(backbone: Backbone, data: Dataset) -> int:
    batch = backbone.collate(backbone.preprocess(data.take(slice(0, 2))))
    backbone.eval()
    with torch.no_grad():
        return int(backbone(batch).shape[1])


def paired_batches(
    backbone: Backbone, domains: Domains, batch_size: int, seed: int
) -> Callable[[int], Iterator[Batch]]:
    """Batches of as many source rows as target rows; an epoch sees all of the larger domain, the other again and again.

    Args:
        backbone: Encodes and pads.
        domains: Both sides; labelled target rows, where there are a few, come among the source rows.
        batch_size: Rows of each side.
        seed: Decides the order.
    """
    sides = [domains.source, domains.target]
    encoded = [_encoded(backbone, side) for side in sides]
    y, origin = domains.source.y, domains.origin
    rows = np.arange(len(y))
    if domains.few is not None and len(domains.few):
        again = max(1, len(y) // (2 * len(domains.few)))  # a third of the labelled rows of a batch
        encoded[0] = encoded[0] + _encoded(backbone, domains.few) * again
        y = np.concatenate([y, np.tile(domains.few.y, again)])
        origin = np.concatenate([origin, np.full(len(y) - len(origin), domains.sources)])
        rows = np.concatenate([rows, np.arange(len(rows), len(y))])
    sizes = [len(part) for part in encoded]
    each = [min(batch_size, size) for size in sizes]

    def batches(epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng((seed, epoch))
        count = max(math.ceil(size / part) for size, part in zip(sizes, each, strict=True))
        orders = [_endless(rng, size, count * part) for size, part in zip(sizes, each, strict=True)]
        for step in range(count):
            one, two = (order[step * part : (step + 1) * part] for order, part in zip(orders, each, strict=True))
            batch = dict(backbone.collate([encoded[0][i] for i in one] + [encoded[1][i] for i in two]))
            away = np.full(len(two), -1)
            batch["y"] = torch.from_numpy(np.concatenate([y[one], away]).astype(np.int64))
            batch["row"] = torch.from_numpy(np.concatenate([rows[one], two]).astype(np.int64))
            batch["origin"] = torch.from_numpy(np.concatenate([origin[one], away]).astype(np.int64))
            yield batch

    return batches


def _encoded(backbone: Backbone, data: Dataset) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(data), 4096):
        found += backbone.preprocess(data.take(slice(start, start + 4096)))
    return found


def _endless(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """``count`` numbers below ``size``: whole permutations, one after the other."""
    return np.concatenate([rng.permutation(size) for _ in range(math.ceil(count / size))])[:count]
