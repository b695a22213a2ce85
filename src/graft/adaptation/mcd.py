"""Maximum classifier discrepancy (最大分类器差异): two heads that disagree on the target show where features must move.

Idea: two heads that are right on the source are driven apart on the target, the features then bring them together, until
target rows lie far from both borders.  Helps when: target rows lie near the source's borders between classes.  Hurts when: they
lie deep in the wrong class, where both heads agree; and it takes several backward passes per step.
References: Saito, Watanabe, Ushiku & Harada (2018), Maximum classifier discrepancy for unsupervised domain adaptation.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given
from graft.adaptation.paired import part_of
from graft.core.errors import UsageError
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.engine.objective import Batch, Loss
from graft.sources.base import Backbone


def discrepancy(one: Tensor, two: Tensor) -> Tensor:
    """Mean over the classes of |softmax(one) - softmax(two)| per row (B,), for logits (B, C).

    Example:
        >>> round(float(discrepancy(torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]]))), 3)
        1.0
    """
    return (one.softmax(1) - two.softmax(1)).abs().mean(1)


class TwoHeads(AdaptationObjective):
    """Three steps as players: all learn the source; heads part on the target; features, n times, bring them together.

    ``model`` minimises ℓ₁ + ℓ₂ on labelled rows, ``heads`` ℓ₁ + ℓ₂ - λ d on target rows with the features fixed,
    ``features_1`` … ``features_n`` λ d with the heads fixed.  The mean of both heads is kept.

    Args:
        given: Networks, task and settings.
        repeats: n.
    """

    def __init__(self, given: Given, *, repeats: int) -> None:
        super().__init__(given)
        self.repeats = repeats
        self.other = copy.deepcopy(self.head)
        self.other.reset_parameters()

    def extra(self) -> list[nn.Parameter]:
        return list(self.other.parameters())

    def players(self) -> dict[str, list[dict[str, Any]]]:
        heads = [*self.head.parameters(), *self.other.parameters()]
        own = {id(parameter) for parameter in heads}
        below = [{**group, "params": [p for p in group["params"] if id(p) not in own]} for group in self.given.groups]
        features = {f"features_{number + 1}": below for number in range(self.repeats)}
        return {**super().players(), "heads": self.group(heads), **features}

    def loss(self, batch: Batch, player: str) -> Loss:
        if player.startswith("features"):
            return Loss(self.strength * self.apart(self.features(self.view(part_of(batch, "target")))))
        with torch.set_grad_enabled(player == "model"):
            source = self.features(self.view(part_of(batch, "source")))
        right = float((self.head(source).argmax(1) == batch["y"]).float().mean())
        if player == "model":
            few = bool((batch["target_y"] >= 0).any())
            target = self.features(self.view(part_of(batch, "target"))) if few else None
            return Loss(self.both(source, target, batch), logs={"accuracy": right})
        with torch.no_grad():
            target = self.features(self.view(part_of(batch, "target")))
        apart = self.apart(target).mean()
        return Loss(self.both(source, target, batch), -self.strength * apart, {"discrepancy": float(apart.detach())})

    def both(self, source: Tensor, target: Tensor | None, batch: Batch) -> Tensor:
        """Losses of both heads on the labelled rows."""
        losses = [
            self.supervised(head(source).float(), batch, None if target is None else head(target).float())
            for head in (self.head, self.other)
        ]
        return losses[0] + losses[1]

    def apart(self, rows: Tensor) -> Tensor:
        """Discrepancy of both heads on features (B, D), per row."""
        return discrepancy(self.head(rows).float(), self.other(rows).float())

    def finish(self) -> None:
        with torch.no_grad():
            for one, two in zip(self.head.parameters(), self.other.parameters(), strict=True):
                one.copy_((one + two) / 2)


@ADAPTATIONS.register("mcd")
class MCD(DeepAdaptation):
    """Two heads against the features.

    Args:
        source: URI, ``ModelSpec`` or ``Backbone`` to start from; None for a small network trained from scratch.
        repeats: How often per step the features bring the heads together; 4 in the paper.
        strength: Weight λ of the discrepancy.
        epochs: Passes over the larger domain; None: as many as 3,000 steps take, 30 at most.
        lr: Peak rate of the network.
        head_lr: Peak rate of both heads.
        batch_size: Rows of each domain per step.
        weight_decay: Decoupled weight decay.
        augment: Whether pictures are seen in random views; None: for a network of graft's own.
        seed: Seed of weights, order, views and dropout.
    """

    label = "maximum classifier discrepancy"
    name = "mcd"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        repeats: int = 2,
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
        self.repeats = repeats

    def _check(self) -> None:
        super()._check()
        if self.repeats < 1:
            raise UsageError(f"repeats cannot be {self.repeats}", hint="use 1 or more")

    def objective(self, given: Given) -> TwoHeads:
        return TwoHeads(given, repeats=self.repeats)
