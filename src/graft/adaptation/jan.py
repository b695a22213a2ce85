"""Joint adaptation network (联合适配网络): features and predictions together have the same mean in a kernel's space.

Idea: the product of the kernels of two layers compares their joint distributions, where ``dan`` compares each by itself: a
feature must mean the same class in both domains.  Helps when: features agree between the domains but go with other classes.
Hurts when: predictions on the target are mostly wrong: they are part of what is compared.
References: Long, Zhu, Wang & Jordan (2017), Deep transfer learning with joint adaptation networks.
"""

from __future__ import annotations

from torch import Tensor

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given, Seen
from graft.adaptation.discrepancy import mean_discrepancy
from graft.core.registry import ADAPTATIONS
from graft.engine.objective import Batch


class JointMeans(AdaptationObjective):
    """ℓ(source) + λ times the squared discrepancy under the product of the kernels of features and softmax."""

    def adapt(self, seen: Seen, batch: Batch) -> Tensor:
        del batch
        source = [seen.source, seen.source_logits.softmax(1)]
        target = [seen.target, seen.target_logits.softmax(1)]
        return self.amount * mean_discrepancy(source, target)


@ADAPTATIONS.register("jan")
class JAN(DeepAdaptation):
    """Lower the joint discrepancy of features and predictions."""

    label = "joint discrepancy"
    name = "jan"

    def objective(self, given: Given) -> JointMeans:
        return JointMeans(given)
