"""Source only, with a network (仅用源域的网络): train on source rows alone, predict the target.

Idea: what a deep adaptation has to beat: the same network, views, steps and rates without a look at the target.  Helps when:
the domains hardly differ, or the target misleads.  Hurts when: they differ in more than the network ignores.
References: the "source only" rows of Ganin et al. (2016) and of every paper after it.
"""

from __future__ import annotations

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given, SourceObjective
from graft.core.registry import ADAPTATIONS


@ADAPTATIONS.register("network")
class SourceOnlyNetwork(DeepAdaptation):
    """A network that learns from the labelled rows alone.

    ``strength`` has no effect; ``epochs`` counts passes over the source.
    """

    label = "source only network"
    name = "network"
    sides = ("source",)
    statistics = "source"

    def objective(self, given: Given) -> AdaptationObjective:
        return SourceObjective(given)
