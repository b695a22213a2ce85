"""Tagging with a chain of tags: the objective of a CRF."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from graft.engine.objective import Batch, Loss, Supervised
from graft.sources.aligned import ROW


class ChainObjective(Supervised):
    """-ln p of the tags of a sentence under a CRF, over the mean number of words: every word weighs the same.

    Args:
        backbone: Gives features of words (ΣT, D).
        head: Gives emissions, and holds the transitions as ``crf`` (``nn.crf.ChainHead``).
        task: What is asked for.
        groups: Parameter groups with their rates.
    """

    def __init__(self, backbone: nn.Module, head: Any, task: Any, groups: list[dict[str, Any]]) -> None:
        super().__init__(backbone, head, task, groups)

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        inputs = {key: value for key, value in batch.items() if key not in ("y", "weight")}
        emissions = self.head(self.backbone(inputs).float())
        counts = torch.bincount(batch[ROW])
        losses: Any = self.head.crf.nll(emissions, batch["y"], counts)
        return Loss(losses * (len(counts) / counts.sum().clamp(min=1)))
