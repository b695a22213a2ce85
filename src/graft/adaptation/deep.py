"""Adaptation of a whole network: source and target rows go through it in one training."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graft.adaptation.base import BaseAdaptation
from graft.adaptation.domains import Domains
from graft.adaptation.networks import fresh_backbone, normalisations, row_batches, set_statistics
from graft.adaptation.paired import PairedRows, part_of
from graft.core.errors import UsageError
from graft.core.runtime import bf16_is_faster, device, seeded
from graft.core.store import Store
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.engine.callbacks import Checkpoint
from graft.engine.loop import fit
from graft.engine.objective import Batch, Loss, Objective
from graft.engine.optim import discriminative_groups
from graft.engine.precision import fast_products
from graft.nn.affine import DRAWS, perturbed
from graft.nn.heads import LinearHead
from graft.sources.bands import of_channels
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone
from graft.transfer.base import Setting
from graft.transfer.batches import encoded_rows

STEEP = 10.0  # of the ramp of the adaptation's weight
# handwritten digits, held-out source rows after 316 steps with rates of 1e-3, 3e-3 and 1e-2: 0.916, 0.967, 0.984
NORMALISED_LR, FRESH_LR, SOURCE_LR, HEAD_LR = 5e-3, 1e-3, 1e-4, 1e-3
STEPS, EPOCHS = 3000, 30  # of a training whose length nobody says, at most


def ramp(progress: float) -> float:
    """Weight of the adaptation's term as training goes on: 2 / (1 + exp(-10 p)) - 1.  Ganin et al. (2016)."""
    return 2.0 / (1.0 + math.exp(-STEEP * progress)) - 1.0


@dataclass(eq=False)
class Given:
    """What an objective is made of.

    Attributes:
        backbone: Maps a batch to features (B, D).
        head: Maps features to logits (B, C).
        width: D.
        task: Gives the loss.
        groups: Parameter groups of backbone and head.
        head_lr: Rate of networks that only training needs.
        strength: Weight of the adaptation's term when its ramp is up.
        augment: Whether pictures go through in random views.
        balance: Weights (C,) of the classes where the metric sees imbalance; None otherwise.
        sources: Number of source domains.
        targets: Number of target rows without label.
        rows: Gives the target rows in their order, in batches; labelled ones, if any, come last.
    """

    backbone: Backbone
    head: nn.Linear
    width: int
    task: Task
    groups: list[dict[str, Any]]
    head_lr: float
    strength: float
    augment: bool
    balance: Tensor | None
    sources: int
    targets: int
    rows: Callable[[], Any]


@dataclass(eq=False)
class Seen:
    """What the network makes of a batch, each domain by itself, in float32.

    Attributes:
        source: Features of the source rows (n_s, D).
        target: Features of the target rows (n_t, D).
        source_logits: (n_s, C).
        target_logits: (n_t, C).
    """

    source: Tensor
    target: Tensor
    source_logits: Tensor
    target_logits: Tensor


class AdaptationObjective(Objective):
    """Base of the objectives: the loss of the labelled rows, and a term that both domains give.

    Each domain goes through the network by itself, so that batch normalisation takes the statistics of one domain
    (Li et al. 2017); those of the target are kept in the end.  A subclass writes ``adapt``, and names in ``extra`` the
    networks that only training needs.

    Args:
        given: Networks, task and settings.
    """

    progress: Tensor
    balance: Tensor | None

    def __init__(self, given: Given) -> None:
        super().__init__()
        self.backbone, self.head, self.task, self.given = given.backbone, given.head, given.task, given
        self.strength = given.strength
        self.register_buffer("progress", torch.zeros(()))  # a buffer: a training that goes on must know it
        self.register_buffer("balance", given.balance, persistent=False)

    def extra(self) -> list[nn.Parameter]:
        """Parameters of networks that only training needs."""
        return []

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": [*self.given.groups, *self.group(self.extra())]}

    def group(self, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
        """A group at the head's rate, if there are any."""
        return [{"params": parameters, "lr": self.given.head_lr, "weight_decay": 0.0}] if parameters else []

    def on_step(self, progress: float) -> None:
        self.progress.fill_(progress)

    def finish(self) -> None:
        """After the last step: put what shall be kept into backbone and head."""

    @property
    def amount(self) -> float:
        """Weight of the adaptation's term now."""
        return self.strength * ramp(float(self.progress))

    def view(self, inputs: Batch) -> Batch:
        """Pictures in a random view, where they shall be; draws come from torch's state, which checkpoints keep."""
        pixels = inputs.get("pixel_values")
        if pixels is None or not self.given.augment or not self.training:
            return inputs
        return {**inputs, "pixel_values": perturbed(pixels, torch.rand(len(pixels), DRAWS).to(pixels.device))}

    def features(self, inputs: Batch) -> Tensor:
        """Features (B, D) of the rows of one domain, float32."""
        features: Tensor = self.backbone(inputs).float()
        return features

    def see(self, batch: Batch) -> Seen:
        """Both domains through the network, the source first."""
        source = self.features(self.view(part_of(batch, "source")))
        target = self.features(self.view(part_of(batch, "target")))
        return Seen(source, target, self.head(source).float(), self.head(target).float())

    def supervised(self, logits: Tensor, batch: Batch, target_logits: Tensor | None = None) -> Tensor:
        """Loss of each labelled row: those of the source, then the few of the target in the batch."""
        losses: Tensor = self.task.loss(logits, batch["y"], self.balance)
        known = batch.get("target_y")
        if target_logits is None or known is None or not bool((known >= 0).any()):
            return losses
        few = known >= 0
        return torch.cat([losses, self.task.loss(target_logits[few], known[few], self.balance)])

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        seen = self.see(batch)
        right = float((seen.source_logits.argmax(1) == batch["y"]).float().mean())
        per_example = self.supervised(seen.source_logits, batch, seen.target_logits)
        return Loss(per_example, self.adapt(seen, batch), {"accuracy": right})

    def adapt(self, seen: Seen, batch: Batch) -> Tensor | float:
        """The term of the adaptation, its weight included (a scalar)."""
        raise NotImplementedError

    @contextmanager
    def judging(self) -> Iterator[str]:
        """No dropout, no gradients, the target's own batch statistics; gives the device.  Running ones stay as they are."""
        where = next(self.parameters()).device
        layers, momenta = normalisations(self.backbone), [part.momentum for part in normalisations(self.backbone)]
        self.eval()
        for layer in layers:
            layer.momentum = 0.0
            layer.train()
        low = next(self.head.parameters()).dtype == torch.bfloat16
        try:
            with torch.no_grad(), fast_products(str(where), low=low):
                yield str(where)
        finally:
            self.train()
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum

    def judged(self) -> tuple[Tensor, Tensor]:
        """Features (n_t, D) and logits (n_t, C) of the target rows without label as the network stands now."""
        with self.judging() as where:
            batches = ({key: value.to(where) for key, value in batch.items()} for batch in self.given.rows())
            features = torch.cat([self.features(batch) for batch in batches])[: self.given.targets]
            return features, self.head(features).float()


class SourceObjective(AdaptationObjective):
    """The loss of the labelled rows alone; target rows are not looked at."""

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        logits = self.head(self.features(self.view(part_of(batch, "source")))).float()
        right = float((logits.argmax(1) == batch["y"]).float().mean())
        return Loss(self.supervised(logits, batch), logs={"accuracy": right})


class DeepAdaptation(BaseAdaptation):
    """Base of adaptations that train a network.  A subclass writes ``objective``.

    Args:
        source: URI, ``ModelSpec`` or ``Backbone`` to start from; None for a small network trained from scratch.
        strength: Weight of the adaptation's term against the loss of the labelled rows.
        epochs: Passes over the larger domain; None: as many as 3,000 steps take, 30 at most.
        lr: Peak rate of the network; None: 1e-3 from scratch (5e-3 with batch normalisation), 1e-4 for a source.
        head_lr: Peak rate of the head and of networks that only training needs; None: at least 1e-3, and that of the network.
        batch_size: Source rows per step, and as many target rows.
        weight_decay: Decoupled weight decay.
        augment: Whether pictures are moved, zoomed, slanted and recoloured at random; None: for a network of graft's own.
        seed: Seed of weights, order, views and dropout.

    Attributes:
        sides: Which domains the training reads.
        statistics: Of which domain batch normalisation keeps its statistics.
    """

    trains: ClassVar[bool] = True
    tried: ClassVar[bool] = False  # minutes each: only the ones that say so
    sides: ClassVar[tuple[str, ...]] = ("source", "target")
    statistics: ClassVar[str] = "target"
    simplicity = 3

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        strength: float = 1.0,
        epochs: float | None = None,
        lr: float | None = None,
        head_lr: float | None = None,
        batch_size: int = 64,
        weight_decay: float = 0.01,
        augment: bool | None = None,
        seed: int = 0,
    ) -> None:
        self.source, self.strength, self.epochs = source, strength, epochs
        self.lr, self.head_lr, self.batch_size = lr, head_lr, batch_size
        self.weight_decay, self.augment, self.seed = weight_decay, augment, seed

    @abstractmethod
    def objective(self, given: Given) -> AdaptationObjective:
        """What is minimised."""

    def steps(self, per_epoch: int) -> int:
        """Optimizer steps."""
        epochs = self.epochs if self.epochs is not None else min(EPOCHS, max(1.0, STEPS / per_epoch))
        return max(1, round(epochs * per_epoch))

    def _adapt(self, domains: Domains, setting: Setting) -> None:
        self._check()
        with seeded(self.seed):
            backbone = self._network(domains)
            width = backbone.spec.hidden_size or _width(backbone, domains.target)
            self._train(backbone, nn.Linear(width, self.task_.outputs), domains, setting)

    def _check(self) -> None:
        """Refuse settings that make no sense."""
        if self.strength < 0 or self.batch_size < 2:
            what = f"strength {self.strength} and batch_size {self.batch_size} cannot be learned with"
            raise UsageError(what, hint="use a strength of 0 or more, and batches of 2 or more rows")

    def _network(self, domains: Domains) -> Backbone:
        return (
            fresh_backbone(domains)
            if self.source is None
            else of_channels(self._open_to_train(), domains.target, form="mixed")
        )

    def _sides(self) -> tuple[str, ...]:
        return self.sides

    def _rate(self, backbone: Backbone) -> float:
        """Peak rate of the network where none is given."""
        if self.source is not None:
            return SOURCE_LR
        return NORMALISED_LR if normalisations(backbone) else FRESH_LR

    def _train(self, backbone: Backbone, head: nn.Linear, domains: Domains, setting: Setting) -> None:
        backbone.freeze_below(None)
        lr = self.lr or self._rate(backbone)
        head_lr = self.head_lr or max(HEAD_LR, lr)
        groups = discriminative_groups(
            backbone.layer_groups(),
            head,
            lr=lr,
            head_lr=head_lr,
            weight_decay=self.weight_decay,
        )
        balance = None if domains.source.y is None else self.task_.class_weights(domains.source.y)
        paired = PairedRows(backbone, domains, self.batch_size, self.seed, self._sides())
        rows = row_batches(backbone, paired.encoded.get("target", []), 2 * self.batch_size)
        objective = self.objective(
            Given(
                backbone=backbone,
                head=head,
                width=head.in_features,
                task=self.task_,
                groups=groups,
                head_lr=head_lr,
                strength=self.strength,
                augment=self.augment if self.augment is not None else isinstance(backbone, NativeBackbone),
                balance=None if balance is None else torch.from_numpy(balance).float(),
                sources=domains.sources,
                targets=len(domains.target),
                rows=rows,
            )
        )
        history = fit(
            objective,
            paired,
            steps=self.steps(paired.per_epoch),
            precision="bf16" if bf16_is_faster() else "fp32",
            device=device(),
            clock=setting.clock,
            callbacks=[Checkpoint(setting.checkpoint)] if setting.checkpoint else [],
            progress=setting.progress,
            name=self.label,
        )
        objective.finish()
        if self.statistics == "target":
            if "target" not in self._sides():
                rows = row_batches(backbone, encoded_rows(backbone, domains.target), 2 * self.batch_size)
            set_statistics(backbone, rows(), device())
        self.curve_, self.stopped_ = history.points, history.stopped
        self.backbone_ = backbone.requires_grad_(requires_grad=False).eval()
        self.head_ = LinearHead.from_module(head)

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
