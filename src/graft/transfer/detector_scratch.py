"""A detector without any pretraining: a small network and a head, trained on the boxes alone.

Idea: what a source brings is the difference to it.  Helps when: pictures are unlike every source's, and there are thousands.
Hurts when: there are few pictures.
"""

from __future__ import annotations

from typing import ClassVar

from graft.core.registry import TRANSFERS
from graft.core.types import Dataset
from graft.sources.base import Backbone
from graft.sources.native import build_backbone
from graft.transfer.detector import Detector


@TRANSFERS.register("detector_scratch")
class DetectorScratch(Detector):
    """Train a small ResNet with a detector's head from random weights.

    Args:
        size: Longer side in pixels to which pictures are brought, the other in proportion.
        width: Channels of the head.
        epochs: Passes over the pictures; None: 25, or more on small data.
        lr: Peak rate.
        batch_size: Pictures per step.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, views and order.
    """

    label = "detector from scratch"
    name = "detector_scratch"
    needs_source = False
    space: ClassVar = {"lr": (5e-4, 4e-3)}
    simplicity = 2

    def __init__(
        self,
        *,
        size: int = 192,
        width: int = 64,
        epochs: float | None = None,
        lr: float = 2e-3,
        batch_size: int = 8,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(
            None, blocks=None, size=size, width=width, epochs=epochs, lr=lr, head_lr=lr, batch_size=batch_size,
            weight_decay=weight_decay, seed=seed,
        )  # fmt: skip

    def _backbone(self, data: Dataset) -> Backbone:
        return build_backbone(data)
