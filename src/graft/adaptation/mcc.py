"""Minimum class confusion (最小类别混淆): predictions on the target that mix up no two classes.

Idea: what a batch of target predictions confuses shows in the product of its class probabilities; less of it is better,
whatever the shift.  No alignment, no second network.  Helps when: the source network is roughly right on the target.  Hurts
when: batches are smaller than a few rows per class, or confusion hides a class that is not there.
References: Jin, Wang, Long & Wang (2020), Minimum class confusion for versatile domain adaptation.
"""

from __future__ import annotations

from torch import Tensor

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given, Seen
from graft.adaptation.information import class_confusion
from graft.core.errors import UsageError
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.engine.objective import Batch
from graft.sources.base import Backbone


class Confusion(AdaptationObjective):
    """ℓ(source) + λ times the class confusion of the batch's target rows.

    Args:
        given: Networks, task and settings.
        temperature: T, by which the logits are divided.
    """

    def __init__(self, given: Given, *, temperature: float) -> None:
        super().__init__(given)
        self.temperature = temperature

    def adapt(self, seen: Seen, batch: Batch) -> Tensor:
        del batch
        return self.amount * class_confusion(seen.target_logits, self.temperature)


@ADAPTATIONS.register("mcc")
class MCC(DeepAdaptation):
    """Lower the class confusion on the target.

    Args:
        source: URI, ``ModelSpec`` or ``Backbone`` to start from; None for a small network trained from scratch.
        temperature: Of the softmax inside the term; 2.5 in the paper.
        strength: Weight λ when the ramp is up.
        epochs: Passes over the larger domain; None: as many as 3,000 steps take, 30 at most.
        lr: Peak rate of the network.
        head_lr: Peak rate of the head.
        batch_size: Rows of each domain per step.
        weight_decay: Decoupled weight decay.
        augment: Whether pictures are seen in random views; None: for a network of graft's own.
        seed: Seed of weights, order, views and dropout.
    """

    label = "minimum class confusion"
    name = "mcc"
    tried = True

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        temperature: float = 2.5,
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
        self.temperature = temperature

    def _check(self) -> None:
        super()._check()
        if self.temperature <= 0:
            raise UsageError(f"temperature cannot be {self.temperature}", hint="use more than 0")

    def objective(self, given: Given) -> Confusion:
        return Confusion(given, temperature=self.temperature)
