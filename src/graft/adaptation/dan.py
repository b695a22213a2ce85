"""Deep adaptation network (深度适配网络): features whose mean in a kernel's space is the same in both domains.

Idea: where the maximum mean discrepancy of features and of logits is 0 the two domains are alike to the classifier.  Helps
when: the classes are about as frequent in both domains, and batches are large enough to see all of them.  Hurts when: they are
not: then equal distributions put rows of one class on another.
References: Long, Cao, Wang & Jordan (2015), Learning transferable features with deep adaptation networks; Gretton et al. (2012).
"""

from __future__ import annotations

from torch import Tensor

from graft.adaptation.deep import AdaptationObjective, DeepAdaptation, Given, Seen
from graft.adaptation.discrepancy import mean_discrepancy
from graft.core.errors import UsageError
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.engine.objective import Batch
from graft.sources.base import Backbone

ESTIMATES = ("quadratic", "linear")


class KernelMeans(AdaptationObjective):
    """ℓ(source) + λ Σ over features and logits of their squared discrepancy, with five bandwidths around the median.

    Args:
        given: Networks, task and settings.
        linear: Whether it is estimated over n / 2 pairs instead of all.
    """

    def __init__(self, given: Given, *, linear: bool) -> None:
        super().__init__(given)
        self.linear = linear

    def adapt(self, seen: Seen, batch: Batch) -> Tensor:
        del batch
        layers = ((seen.source, seen.target), (seen.source_logits, seen.target_logits))
        far = [mean_discrepancy([source], [target], linear=self.linear) for source, target in layers]
        return self.amount * (far[0] + far[1])


@ADAPTATIONS.register("dan")
class DAN(DeepAdaptation):
    """Lower the multi-kernel discrepancy of features and logits; settings beside the first as in ``DeepAdaptation``.

    Args:
        source: URI, ``ModelSpec`` or ``Backbone`` to start from; None for a small network trained from scratch.
        estimate: ``"quadratic"`` over all pairs of a batch, or ``"linear"`` over half as many pairs as rows, noisier.
        strength: Weight λ when the ramp is up.
        epochs: Passes over the larger domain; None: as many as 3,000 steps take, 30 at most.
        lr: Peak rate of the network.
        head_lr: Peak rate of the head.
        batch_size: Rows of each domain per step.
        weight_decay: Decoupled weight decay.
        augment: Whether pictures are seen in random views; None: for a network of graft's own.
        seed: Seed of weights, order, views and dropout.
    """

    label = "multi-kernel discrepancy"
    name = "dan"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        estimate: str = "quadratic",
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
        self.estimate = estimate

    def _check(self) -> None:
        super()._check()
        if self.estimate not in ESTIMATES:
            raise UsageError(f"no estimate {self.estimate!r}", hint=f"use {' or '.join(ESTIMATES)}")

    def objective(self, given: Given) -> KernelMeans:
        return KernelMeans(given, linear=self.estimate == "linear")
