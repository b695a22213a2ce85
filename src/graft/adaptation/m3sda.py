"""Moment matching of several sources (多源矩匹配): features with the same moments in every source domain and in the target.

Idea: with several labelled domains, what is alike in all of them and in the target is likelier to hold.  Helps when: rows
come from several places, and it is noted which from which.  Hurts when: one of the sources is far from the target and draws
the others away.  With one source it matches two domains.
References: Peng, Bai, Xia, Huang, Saenko & Wang (2019), Moment matching for multi-source domain adaptation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given, Seen
from graft.adaptation.discrepancy import moment_distance
from graft.core.registry import ADAPTATIONS
from graft.engine.objective import Batch


class Moments(AdaptationObjective):
    """ℓ(source) + λ Σ_k of the distances of mean x^k over source-target pairs, and over pairs of sources.

    Both sums are means over their pairs, k = 1, 2; a source domain without a row in the batch takes no part.
    """

    def adapt(self, seen: Seen, batch: Batch) -> Tensor:
        origin = batch["origin"]
        sources = [seen.source[origin == number] for number in origin.unique()]
        term = torch.stack([moment_distance([source, seen.target]) for source in sources]).mean()
        if len(sources) > 1:
            term = term + moment_distance(sources)
        return self.amount * term


@ADAPTATIONS.register("m3sda")
class M3SDA(DeepAdaptation):
    """Match the first two moments of all domains, each source by itself."""

    label = "moment matching"
    name = "m3sda"
    several = True

    def objective(self, given: Given) -> Moments:
        return Moments(given)
