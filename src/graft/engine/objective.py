"""Objective: what is minimised.  A transfer or pretraining method is one of these; the loop knows nothing else."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Batch = dict[str, Tensor]


@dataclass
class Loss:
    """The loss of one batch, per row as long as possible.

    Attributes:
        per_example: Loss of each row (B,); sample weights, clipping per row and audits read it.
        batch: A term of the whole batch that has no meaning per row (scalar).
        logs: Numbers worth showing.
    """

    per_example: Tensor
    batch: Tensor | float = 0.0
    logs: dict[str, float] = field(default_factory=dict)

    def total(self) -> Tensor:
        """Mean over the rows plus the batch term."""
        return self.per_example.mean() + self.batch


class Objective(nn.Module):
    """Something to minimise, with one or several players (a GAN has two)."""

    def players(self) -> dict[str, list[dict[str, Any]]]:
        """Parameter groups of each player, in the order in which they move; one player by default."""
        return {"model": [{"params": [p for p in self.parameters() if p.requires_grad]}]}

    @abstractmethod
    def loss(self, batch: Batch, player: str) -> Loss:
        """The loss that ``player`` minimises on ``batch``."""

    def on_step(self, progress: float) -> None:
        """Adapt to the share of training done, 0 to 1 (schedules inside the loss)."""


class Supervised(Objective):
    """Labelled rows through a backbone and a head.

    The loss of row i is ``task.loss(head(backbone(x_i)), y_i)``, times its weight where the batch has ``weight``.

    Args:
        backbone: Maps a batch to pooled features (B, D).
        head: Maps features to outputs (B, C).
        task: Gives the loss.
        groups: Parameter groups with their rates; all trainable parameters alike by default.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, task: Any, groups: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.task, self.groups = backbone, head, task, groups

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": self.groups} if self.groups is not None else super().players()

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        inputs = {key: value for key, value in batch.items() if key not in ("y", "weight")}
        outputs = self.head(self.backbone(inputs).float())
        per_example = self.task.loss(outputs, batch["y"])
        if "weight" in batch:
            per_example = per_example * batch["weight"]
        with torch.no_grad():
            logs = {}
            if self.task.is_classification:
                logs["accuracy"] = float((outputs.argmax(1) == batch["y"]).float().mean())
        return Loss(per_example, logs=logs)
