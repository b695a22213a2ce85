"""Supervised pretraining (监督预训练): learn a source task with labels, keep the encoder for other tasks.

Idea: what tells the classes of a large labelled data set apart often tells those of a related small one apart too.
Helps when: there is a large labelled set near the task.  Hurts when: the labels ask for something else, as the encoder
forgets what they do not need.
References: Donahue et al. (2014), DeCAF; Yosinski et al. (2014), How transferable are features in deep neural networks?
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from graft.core.registry import OBJECTIVES
from graft.core.rows import in_batches
from graft.core.runtime import Clock, Progress
from graft.core.types import Dataset
from graft.engine.loop import History
from graft.engine.objective import Batch, Objective
from graft.engine.objective import Supervised as SupervisedObjective
from graft.pretrain.base import decayed
from graft.pretrain.labelled import LabelledPretrain, has_label
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone

EPOCHS, STEPS = 15, 300  # passes without a number asked for, and steps that small data take at least


@OBJECTIVES.register("supervised")
class Supervised(LabelledPretrain):
    """Train an encoder with a linear head on labels; the head is thrown away.

    The loss of a row is the cross-entropy of its class, or the squared error of its standardised value.  Pictures move
    by up to an eighth of their side and, in colour, are mirrored.  Scored on held-out rows, about 200, beside the
    commonest class or the mean.

    Args:
        encoder: For text ``"textcnn"``, ``"lstm"``, ``"gru"``, ``"cnn"`` or ``"transformer"``, for pictures ``"resnet"``,
            ``"vgg"`` or ``"patches"``, for tables ``"mlp"``; the first if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        side: Height and width of pictures; read off them (at most 64) if None.
        unit: What tokens of text are: ``"subword"``, ``"word"``, ``"character"`` or ``"auto"``.
        vocabulary: Tokens of the vocabulary at most.
        epochs: Passes over the rows; None: 15, or more on small data.
        batch_size: Rows of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and what is held out.

    Example:
        >>> from graft.pretrain.supervised import Supervised
        >>> rows, y = ["good film", "bad film", "a good one", "a bad one"] * 20, ["+", "-"] * 40
        >>> made = Supervised(size="tiny", epochs=5).fit(rows, y)
        >>> made.record_["scores"][0]["name"], made.backbone_.spec.classes
        ('accuracy', ())
    """

    name = "supervised"
    label = "supervised pretraining"
    labels = "all"

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        if data.y is not None:
            data = data.select(has_label(data.y, data.task))
        return super()._start(data, folder, progress)

    def _steps(self, per_epoch: int, clock: Clock) -> int | None:
        return super()._steps(per_epoch, clock) if self.epochs is not None else max(STEPS, EPOCHS * per_epoch)

    def _objective(self, backbone: NativeBackbone) -> Objective:
        head = self._head(backbone)
        groups = decayed(nn.ModuleList([backbone, head]), lr=self.lr, weight_decay=self.weight_decay)
        self.weight_ = self.task_.sample_weights(self.y_)
        return SupervisedObjective(backbone, head, self.task_, groups)

    def _per_epoch(self) -> int:
        return math.ceil(len(self.y_) / self.batch_size)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng((self.seed, epoch))
        for rows in in_batches(rng.permutation(len(self.y_)), self.batch_size, self.lengths_, rng):
            batch = self._weak(rows, rng)
            batch["y"] = self._targets(rows)
            if self.weight_ is not None:
                batch["weight"] = torch.from_numpy(self.weight_[rows].astype(np.float32))
            yield batch

    def _measure(self, objective: Any) -> list[dict[str, Any]]:
        assert isinstance(objective, SupervisedObjective)
        self.outputs_ = self._outputs(objective.backbone, objective.head)
        return [self._judged_score(self.outputs_, {})]

    def _samples(self, objective: Any) -> list[dict[str, Any]]:
        del objective
        return self._shown(self.outputs_)

    def _throughput(self, history: History) -> dict[str, float]:
        return self._rate(history.steps * min(self.batch_size, len(self.y_)), history)
