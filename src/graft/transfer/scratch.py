"""From scratch: a small network without any pretraining.  A transfer that does not beat it did not transfer."""

from __future__ import annotations

from typing import Any, ClassVar

from graft.core.registry import TRANSFERS
from graft.core.types import Dataset
from graft.nn.crf import ChainHead
from graft.sources.base import Backbone
from graft.sources.native import build_backbone
from graft.transfer.finetune import Finetune

EPOCHS, MIN_STEPS = 15, 200  # passes over the rows; small data is seen often enough to take this many steps


@TRANSFERS.register("scratch")
class Scratch(Finetune):
    """Train TextCNN, a BiLSTM with a CRF (tagging), a small ResNet, a transformer over sound or an MLP on the task alone.

    The fitted network is itself a source: ``graft fit OTHER --models RUN`` starts from it.

    Args:
        epochs: Passes over the rows; None: 15, or more on small data.
        lr: Peak rate of the body; that of the head follows from the size of its features.
        batch_size: Rows per step.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and dropout.
    """

    label = "training from scratch"
    name = "scratch"
    needs_source = False
    space: ClassVar = {"lr": (3e-4, 1e-2), "weight_decay": (1e-3, 0.1)}
    simplicity = 2

    def __init__(
        self,
        *,
        epochs: float | None = None,
        lr: float = 1e-3,
        batch_size: int = 32,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(
            None,
            epochs=epochs,
            lr=lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            head_start="zero",
            dropout=None,
            seed=seed,
        )

    def steps(self, rows: int) -> int:
        if self.epochs is not None:
            return super().steps(rows)
        return max(MIN_STEPS, EPOCHS * -(-rows // self.batch_size))

    def _backbone(self, data: Dataset) -> Backbone:
        return build_backbone(data)

    def _chained(self, head: Any, data: Dataset) -> Any:
        return ChainHead(head) if data.task.is_tagging else head
