"""Self-training (自训练): the surest predictions of every class become labels, round after round.

Idea: a network learns from its own labels where it is surest; a threshold of its own for each class keeps easy classes from
driving out hard ones.  Helps when: the source network is right where it is sure, and classes are clusters.  Hurts when: it is
sure and wrong: errors are then taught again.
References: Lee (2013), Pseudo-label; Zou, Yu, Vijaya Kumar & Wang (2018), class-balanced self-training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given, Seen
from graft.adaptation.information import surest_labels
from graft.core.errors import UsageError
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.engine.objective import Batch
from graft.sources.base import Backbone


class Rounds(AdaptationObjective):
    """ℓ(source) + λ mean 1[labelled] ℓ(target, own label); labels are made at the start of each of R rounds.

    Training has R + 1 equal parts; the first knows the source alone.  In round r = 1 … R the share
    first + (last - first) (r - 1) / (R - 1) of the rows of each predicted class is labelled, the surest ones.

    Args:
        given: Networks, task and settings.
        rounds: R.
        first: Share in the first round.
        last: Share in the last.
    """

    labels: Tensor
    round: Tensor

    def __init__(self, given: Given, *, rounds: int, first: float, last: float) -> None:
        super().__init__(given)
        self.rounds, self.first, self.last = rounds, first, last
        self.register_buffer("labels", torch.full((given.targets,), -1))  # in checkpoints, as all buffers
        self.register_buffer("round", torch.zeros((), dtype=torch.int64))

    def share(self, number: int) -> float:
        """Share of the rows of each class that is labelled in a round."""
        return self.first + (self.last - self.first) * (number - 1) / max(1, self.rounds - 1)

    def on_step(self, progress: float) -> None:
        super().on_step(progress)
        number = min(self.rounds, int(progress * (self.rounds + 1) + 1e-9))
        if number > int(self.round):
            self.round.fill_(number)
            self.labels.copy_(surest_labels(self.judged()[1], self.share(number)))

    def adapt(self, seen: Seen, batch: Batch) -> Tensor:
        row = batch["row"]
        own = torch.full_like(row, -1)
        there = row < len(self.labels)  # beyond are the few with a label
        own[there] = self.labels[row[there]]
        if not bool((own >= 0).any()):
            return seen.target_logits.new_zeros(())
        return self.strength * F.cross_entropy(seen.target_logits, own, ignore_index=-1, reduction="sum") / len(own)


@ADAPTATIONS.register("self_training")
class SelfTraining(DeepAdaptation):
    """Rounds of labels from the network itself, class by class.

    Args:
        source: URI, ``ModelSpec`` or ``Backbone`` to start from; None for a small network trained from scratch.
        rounds: How often the target rows are labelled anew.
        first: Share of each class that is labelled in the first round.
        last: Share in the last.
        strength: Weight of the loss on rows so labelled.
        epochs: Passes over the larger domain; None: as many as 3,000 steps take, 30 at most.
        lr: Peak rate of the network.
        head_lr: Peak rate of the head.
        batch_size: Rows of each domain per step.
        weight_decay: Decoupled weight decay.
        augment: Whether pictures are seen in random views; None: for a network of graft's own.
        seed: Seed of weights, order, views and dropout.
    """

    label = "self-training"
    name = "self_training"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        rounds: int = 7,
        first: float = 0.2,
        last: float = 0.8,
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
        self.rounds, self.first, self.last = rounds, first, last

    def _check(self) -> None:
        super()._check()
        if self.rounds < 1 or not 0 < self.first <= self.last <= 1:
            what = f"rounds {self.rounds}, first {self.first}, last {self.last} cannot be learned with"
            raise UsageError(what, hint="use 1 or more rounds, and 0 < first <= last <= 1")

    def objective(self, given: Given) -> Rounds:
        return Rounds(given, rounds=self.rounds, first=self.first, last=self.last)
