"""Adaptive batch normalisation (自适应批归一化): the source's network with the target's statistics.

Idea: batch normalisation holds what is particular to a domain in means and variances, and these need no labels: those of the
target take the place of the source's.  Helps when: the domains differ in brightness, contrast, sensor or style.  Hurts when:
class frequencies differ much, or the target is a handful of rows.  A network without batch normalisation cannot do it.
References: Li, Wang, Shi, Hou & Liu (2018), Adaptive batch normalization for practical domain adaptation.
"""

from __future__ import annotations

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given, SourceObjective
from graft.adaptation.domains import Domains
from graft.adaptation.networks import normalisations
from graft.core.errors import UsageError
from graft.core.registry import ADAPTATIONS
from graft.sources.base import Backbone


@ADAPTATIONS.register("batch_norm")
class AdaBN(DeepAdaptation):
    """Train on the source alone, then take the batch statistics of the target; ``strength`` has no effect.

    Raises:
        UsageError: The network has no batch normalisation.
    """

    label = "target batch statistics"
    name = "batch_norm"
    sides = ("source",)
    simplicity = 2

    def _network(self, domains: Domains) -> Backbone:
        backbone = super()._network(domains)
        if not normalisations(backbone):
            hint = "give a source with it (most residual networks for pictures), or use another method"
            raise UsageError(f"the network {backbone.spec.name} has no batch normalisation to adapt", hint=hint)
        return backbone

    def objective(self, given: Given) -> AdaptationObjective:
        return SourceObjective(given)
