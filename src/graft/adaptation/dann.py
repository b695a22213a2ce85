"""Domain-adversarial training (领域对抗训练): features from which no network can tell the domain.

Idea: a discriminator learns to tell the domains apart, reversed gradients make the features hide it.  Helps when: the
domains differ much in appearance and little in class frequencies.  Hurts when: frequencies differ, or the discriminator
wins or loses at once: watch its accuracy in the curve.
References: Ganin et al. (2016), Domain-adversarial training of neural networks; with several source domains each is a class of
its own to the discriminator, as in Schoenauer-Sebag et al. (2019), Multi-domain adversarial learning.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import nn

from graft.adaptation.adversary import discriminator, reverse
from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given
from graft.core.registry import ADAPTATIONS
from graft.engine.objective import Batch, Loss


class Adversarial(AdaptationObjective):
    """ℓ(source) + cross-entropy of the domains, K sources and the target, with gradients times -λ into the features.

    Each domain weighs as much in the discriminator's loss as its rows do, source and target half each.

    Args:
        given: Networks, task and settings.
    """

    def __init__(self, given: Given) -> None:
        super().__init__(given)
        self.discriminator = discriminator(given.width, given.sources + 1)

    def extra(self) -> list[nn.Parameter]:
        return list(self.discriminator.parameters())

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        seen = self.see(batch)
        right = float((seen.source_logits.argmax(1) == batch["y"]).float().mean())
        own, away = (self.discriminator(reverse(rows, self.amount)).float() for rows in (seen.source, seen.target))
        domain = torch.full((len(away),), self.given.sources, device=away.device)
        apart = 0.5 * (F.cross_entropy(own, batch["origin"]) + F.cross_entropy(away, domain))
        told = 0.5 * (
            float((own.argmax(1) == batch["origin"]).float().mean()) + float((away.argmax(1) == domain).float().mean())
        )
        per_example = self.supervised(seen.source_logits, batch, seen.target_logits)
        return Loss(per_example, apart, {"accuracy": right, "told_apart": told})


@ADAPTATIONS.register("dann")
class DANN(DeepAdaptation):
    """Reverse the gradients of a domain discriminator; ``strength`` is λ when its ramp is up."""

    label = "domain-adversarial training"
    name = "dann"
    several = True

    def objective(self, given: Given) -> Adversarial:
        return Adversarial(given)
