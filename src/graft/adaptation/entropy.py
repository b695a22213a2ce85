"""Information maximisation (信息最大化): predictions on the target that are sure one by one and spread over the classes.

Idea: borders between classes belong where few target rows lie; the spread over the classes keeps all rows from becoming one
class.  Helps when: classes are clusters in the target too, about as frequent as each other.  Hurts when: they are of very
different frequency: the spread then asks for the wrong thing.
References: Grandvalet & Bengio (2005), Semi-supervised learning by entropy minimization; Gomes, Krause & Perona (2010);
Shi & Sha (2012), Information-theoretical learning of discriminative clusters for unsupervised domain adaptation.
"""

from __future__ import annotations

from torch import Tensor

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given, Seen
from graft.adaptation.information import mutual_information
from graft.core.registry import ADAPTATIONS
from graft.engine.objective import Batch


class Information(AdaptationObjective):
    """ℓ(source) + λ (mean H(p) - H(mean p)) over the batch's target rows."""

    def adapt(self, seen: Seen, batch: Batch) -> Tensor:
        del batch
        return -self.amount * mutual_information(seen.target_logits)


@ADAPTATIONS.register("entropy")
class InformationMaximization(DeepAdaptation):
    """Minimum entropy with diversity on the target."""

    label = "information maximisation"
    name = "entropy"

    def objective(self, given: Given) -> Information:
        return Information(given)
