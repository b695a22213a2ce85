"""Deep CORAL (深度相关对齐): logits whose covariance is the same in both domains.

Idea: second moments are cheap to match and steady to train.  Helps when: the domains differ in scale and correlation, as by
lighting or sensor.  Hurts when: they differ in class frequencies, or in more than two moments: it then changes little.
References: Sun & Saenko (2016), Deep CORAL: correlation alignment for deep domain adaptation.
"""

from __future__ import annotations

from torch import Tensor

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given, Seen
from graft.adaptation.discrepancy import coral
from graft.core.registry import ADAPTATIONS
from graft.engine.objective import Batch


class Correlations(AdaptationObjective):
    """ℓ(source) + λ |cov(z_s) - cov(z_t)|²_F / (4 C²) of the logits z, the layer that the paper aligns."""

    def adapt(self, seen: Seen, batch: Batch) -> Tensor:
        del batch
        return self.amount * coral(seen.source_logits, seen.target_logits)


@ADAPTATIONS.register("deep_coral")
class DeepCORAL(DeepAdaptation):
    """Match the covariances of the logits."""

    label = "deep correlation alignment"
    name = "deep_coral"

    def objective(self, given: Given) -> Correlations:
        return Correlations(given)
