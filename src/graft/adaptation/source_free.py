"""Source-free adaptation (无源域适配): a fitted model and unlabelled target rows; the source rows are not needed.

Idea: the head, which says what the classes are, stays; the features move until the target's rows are sure, spread over the
classes, and near the centre of their own class.  Helps when: source rows cannot be had any more, and the model is roughly
right.  Hurts when: it is not: nothing holds it back, and the classes' frequencies are taken to be alike.
References: Liang, Hu & Feng (2020), Do we really need to access the source data? (SHOT).
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

from graft.adaptation.deep import FRESH_LR, SOURCE_LR, AdaptationObjective, DeepAdaptation, Given
from graft.adaptation.domains import FEWEST, Domains
from graft.adaptation.information import centroid_labels, mutual_information
from graft.adaptation.paired import part_of
from graft.core.errors import DataError, UsageError
from graft.core.registry import ADAPTATIONS
from graft.core.runtime import seeded
from graft.core.types import Dataset, ModelSpec
from graft.data.load import load
from graft.engine.objective import Batch, Loss
from graft.engine.regularizers import classification_loss
from graft.nn.heads import LinearHead
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone
from graft.transfer.base import BaseTransfer, Setting, load_transfer

SMOOTHING = 0.1  # of the labels while the source is learned
ROUNDS = 10  # how often the target rows are labelled


class Hypothesis(AdaptationObjective):
    """mean H(p) - H(mean p) + β ℓ(own label) of target rows under a fixed head, times λ.

    Up to the share ``start`` of training the source is learned instead, with smoothed labels and without a look at the
    target; after it the source is not looked at.  Labels come from the nearest class centres, ten times.

    Args:
        given: Networks, task and settings.
        start: Share of training that goes to the source.
        beta: β.
        layers: Layers that the head reads side by side.
    """

    labels: Tensor
    round: Tensor

    def __init__(self, given: Given, *, start: float, beta: float, layers: tuple[int, ...] = (-1,)) -> None:
        super().__init__(given)
        self.start, self.beta, self.layers = start, beta, layers
        self.register_buffer("labels", torch.full((given.targets,), -1))
        self.register_buffer("round", torch.full((), -1))

    def features(self, inputs: Batch) -> Tensor:
        if self.layers == (-1,):
            return super().features(inputs)
        states = self.given.backbone.forward_features(inputs)
        pooled = [self.given.backbone.pool(states[layer], inputs).float() for layer in self.layers]
        return torch.cat(pooled, dim=1)

    def own(self, batch: Batch) -> Tensor:
        """Labels of the target rows of a batch: those of the few that have one, and those of the round."""
        found, row = batch["target_y"].clone(), batch["row"]
        there = row < len(self.labels)
        found[there] = self.labels[row[there]]
        return found

    def on_step(self, progress: float) -> None:
        super().on_step(progress)
        if progress < self.start:
            return
        number = int((progress - self.start) / (1 - self.start) * ROUNDS + 1e-9)
        if number > int(self.round):
            self.round.fill_(number)
            self.labels.copy_(centroid_labels(*self.judged()))

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        if self.start and int(self.round) < 0:
            logits = self.head(self.features(self.view(part_of(batch, "source")))).float()
            right = float((logits.argmax(1) == batch["y"]).float().mean())
            return Loss(classification_loss(logits, batch["y"], smoothing=SMOOTHING), logs={"accuracy": right})
        if int(self.round) < 0:
            self.round.fill_(0)
            self.labels.copy_(centroid_labels(*self.judged()))
        weight, bias = (parameter.detach() for parameter in self.head.parameters())
        logits = F.linear(self.features(self.view(part_of(batch, "target"))), weight, bias).float()
        per_example = self.beta * F.cross_entropy(logits, self.own(batch), reduction="none")
        return Loss(self.strength * per_example, -self.strength * mutual_information(logits))


@ADAPTATIONS.register("source_free")
class SourceFree(DeepAdaptation):
    """Adapt a fitted model to unlabelled rows alone; without one, a network learns the source rows first.

    ``fit`` takes target rows, which need no labels, where ``run`` is given: ``SourceFree("run").fit(rows)``; rows of the
    source are then not looked at even if they are there.

    Args:
        source: Where there is no ``run``: URI, ``ModelSpec`` or ``Backbone`` to start from; None for a small network.
        run: Folder that ``graft fit`` wrote, or a fitted transfer with a network and a linear head; it stays as it is.
        beta: Weight of the rows' own labels; 0.3 in the paper, 0.1 for digits.
        strength: Weight of the whole loss on target rows.
        epochs: Passes over the larger domain; None: as many as 3,000 steps take, 30 at most.  Without a ``run`` half of the
            steps go to the source.
        lr: Peak rate of the network; None: 1e-3 for a network of graft's own, 1e-4 for another.
        head_lr: Peak rate of the head while the source is learned.
        batch_size: Rows per step.
        weight_decay: Decoupled weight decay.
        augment: Whether pictures are seen in random views; None: for a network of graft's own.
        seed: Seed of weights, order, views and dropout.

    Raises:
        UsageError: ``run`` is for a regression, or holds no network with a linear head.
    """

    label = "source-free adaptation"
    name = "source_free"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        run: str | Path | BaseTransfer | None = None,
        beta: float = 0.3,
        strength: float = 1.0,
        epochs: float | None = None,
        lr: float | None = None,
        head_lr: float | None = None,
        batch_size: int = 64,
        weight_decay: float = 0.01,
        augment: bool | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            source, strength=strength, epochs=epochs, lr=lr, head_lr=head_lr, batch_size=batch_size,
            weight_decay=weight_decay, augment=augment, seed=seed,
        )  # fmt: skip
        self.run, self.beta = run, beta

    def fit(self, X: Any, y: Any = None, *, sample_domain: Any = None, setting: Setting | None = None) -> SourceFree:
        """Learn from target rows alone where there is a ``run``, else as every adaptation does.

        Args:
            X: Unlabelled target rows, raw or a ``Dataset``; or ``Domains``.
            y: Labels of raw rows; those of the target are ignored.
            sample_domain: For each row: 0 or more, a source domain; below 0, the target.
            setting: Clock, progress, cache and checkpoint.

        Raises:
            DataError: There are fewer than ten target rows.
            UsageError: ``run`` cannot be adapted.
        """
        if self.run is None:
            return super().fit(X, y, sample_domain=sample_domain, setting=setting)
        self._check()
        run = self.run if isinstance(self.run, BaseTransfer) else load_transfer(self.run)
        head = _linear_head(run)
        target = _target(X, sample_domain, run)
        if len(target) < FEWEST:
            raise DataError(f"{target.name} has {len(target)} rows: too few to adapt to", hint=f"give {FEWEST} or more")
        self.task_, self.recipe_, self.curve_ = run.task_, run.recipe_, []
        self.temperature_, self.precision_ = run.temperature_, None
        self.layers_ = head.layers
        with seeded(self.seed):
            assert run.backbone_ is not None
            backbone = copy.deepcopy(run.backbone_)
            module = dataclasses.replace(head, temperature=1.0).module()
            alone = Domains(target, target, np.zeros(len(target), np.int64))
            self._train(backbone, module, alone, setting or Setting())
        self.head_ = head
        return self

    def _sides(self) -> tuple[str, ...]:
        return self.sides if self.run is None else ("target",)

    def _rate(self, backbone: Backbone) -> float:
        if self.run is None:
            return super()._rate(backbone)
        return FRESH_LR if isinstance(backbone, NativeBackbone) else SOURCE_LR

    def objective(self, given: Given) -> Hypothesis:
        if self.run is None:
            return Hypothesis(given, start=0.5, beta=self.beta)
        return Hypothesis(given, start=0.0, beta=self.beta, layers=self.layers_)

    def settings(self) -> dict[str, Any]:
        found = super().settings()
        return {**found, "run": None if isinstance(self.run, BaseTransfer | None) else str(self.run)}


def _linear_head(run: BaseTransfer) -> LinearHead:
    head = getattr(run, "head_", None)
    if not run.task_.is_classification:
        raise UsageError("a regression has no classes to adapt by", hint="give a run of a classification")
    if run.backbone_ is None or not isinstance(head, LinearHead):
        what = f"{run.label} has no network with a linear head that could be adapted"
        raise UsageError(what, hint="give a run of finetune, probe, scratch or network")
    return head


def _target(X: Any, sample_domain: Any, run: BaseTransfer) -> Dataset:
    if isinstance(X, Domains):
        return X.target
    data = X if isinstance(X, Dataset) else load(X, labelled=False, like=run.recipe_)
    if sample_domain is not None:
        data = data.select(np.flatnonzero(np.asarray(sample_domain) < 0))
    return dataclasses.replace(data, y=None)
