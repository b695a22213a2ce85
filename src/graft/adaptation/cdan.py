"""Conditional adversarial adaptation (条件对抗适配): the discriminator sees features together with predictions.

Idea: the product of features and class probabilities shows the discriminator which class a row is taken for, so each class
must be hidden by itself.  Helps when: both domains have several clusters, one per class; with entropy weights rows that are
easy to classify are aligned first.  Hurts when: predictions on the target are mostly wrong.
References: Long, Cao, Wang & Jordan (2018), Conditional adversarial domain adaptation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.adaptation.adversary import discriminator, reverse
from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given
from graft.adaptation.information import entropy
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.engine.objective import Batch, Loss
from graft.sources.base import Backbone

LARGEST, RANDOM = 4096, 1024  # products from which they are drawn at random, and how many numbers then stand for them


class Multilinear(nn.Module):
    """The product f ⊗ g (B, D · C) of features and probabilities; where it is large, (R_f f) ⊙ (R_g g) / √d.

    R_f and R_g are fixed normal matrices, d = 1024: the inner products of random maps are, in the mean, those of the
    products (Long et al. 2018, section 3.2).

    Args:
        width: D.
        classes: C.
        largest: Products up to which they are taken as they are.
        random: d.
    """

    def __init__(self, width: int, classes: int, *, largest: int = LARGEST, random: int = RANDOM) -> None:
        super().__init__()
        self.drawn = width * classes > largest
        self.outputs = random if self.drawn else width * classes
        if self.drawn:
            self.register_buffer("left", torch.randn(width, random))
            self.register_buffer("right", torch.randn(classes, random))

    def forward(self, features: Tensor, chances: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            if not self.drawn:
                return (features[:, :, None] * chances[:, None]).flatten(1)
            left, right = self.get_buffer("left"), self.get_buffer("right")
            product: Tensor = (features @ left) * (chances @ right) / self.outputs**0.5
            return product


class ConditionalAdversarial(AdaptationObjective):
    """ℓ(source) + weighted cross-entropy of the domains from f ⊗ g, with gradients times -λ into f.

    As in the published code g enters the product as a constant, and with entropy weights 1 + exp(-H(g)), which have the
    sum 1 in each domain, H's gradients are reversed too.

    Args:
        given: Networks, task and settings.
        entropy_weights: Whether rows are weighted by how sure they are: CDAN+E.
    """

    def __init__(self, given: Given, *, entropy_weights: bool) -> None:
        super().__init__(given)
        self.entropy_weights = entropy_weights
        self.product = Multilinear(given.width, given.head.out_features)
        self.discriminator = discriminator(self.product.outputs, 1)

    def extra(self) -> list[nn.Parameter]:
        return list(self.discriminator.parameters())

    def apart(self, features: Tensor, logits: Tensor, domain: float) -> tuple[Tensor, Tensor]:
        """Loss of the discriminator on the rows of one domain (a scalar), and where it is right (B,)."""
        product = self.product(features, logits.softmax(1).detach())
        score = self.discriminator(reverse(product, self.amount)).float()[:, 0]
        each = F.binary_cross_entropy_with_logits(score, torch.full_like(score, domain), reduction="none")
        weight = torch.ones_like(each)
        if self.entropy_weights:
            weight = 1 + torch.exp(-entropy(reverse(logits, self.amount)))
        return (weight * each).sum() / weight.sum().detach(), ((score > 0) == (domain > 0.5)).float()

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        seen = self.see(batch)
        right = float((seen.source_logits.argmax(1) == batch["y"]).float().mean())
        own, told_own = self.apart(seen.source, seen.source_logits, 1.0)
        away, told_away = self.apart(seen.target, seen.target_logits, 0.0)
        told = 0.5 * float(told_own.mean() + told_away.mean())
        per_example = self.supervised(seen.source_logits, batch, seen.target_logits)
        return Loss(per_example, 0.5 * (own + away), {"accuracy": right, "told_apart": told})


@ADAPTATIONS.register("cdan")
class CDAN(DeepAdaptation):
    """Hide the domain from a discriminator of features times predictions.

    Args:
        source: URI, ``ModelSpec`` or ``Backbone`` to start from; None for a small network trained from scratch.
        entropy_weights: Whether sure rows weigh more: CDAN+E.
        strength: Factor λ on reversed gradients when the ramp is up.
        epochs: Passes over the larger domain; None: as many as 3,000 steps take, 30 at most.
        lr: Peak rate of the network.
        head_lr: Peak rate of head and discriminator.
        batch_size: Rows of each domain per step.
        weight_decay: Decoupled weight decay.
        augment: Whether pictures are seen in random views; None: for a network of graft's own.
        seed: Seed of weights, order, views and dropout.
    """

    label = "conditional adversarial training"
    name = "cdan"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        entropy_weights: bool = True,
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
        self.entropy_weights = entropy_weights

    def objective(self, given: Given) -> ConditionalAdversarial:
        return ConditionalAdversarial(given, entropy_weights=self.entropy_weights)
