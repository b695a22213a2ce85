"""Consistency: where a network is sure of a row, it must say the same of a distorted view of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.engine.objective import Batch, Loss, Objective


class Consistent(Objective):
    """A network that learns from labels and from itself.

    With q the prediction on a weak view of a row without label, it adds to the cross-entropy of the labelled rows
    λ · mean 1[max q ≥ τ] · -log p(argmax q | distorted view).  A batch holds the tensors of three views, their names led by
    ``known.``, ``weak.`` and ``strong.``, with the labels ``y`` and, where rows count differently, the ``weight`` of the
    first.

    Args:
        backbone: Maps a batch to pooled features (B, D).
        head: Maps features to outputs (B, C).
        task: Gives the loss of labelled rows.
        groups: Parameter groups with their rates; all trainable parameters alike if None.
        threshold: τ.
        trust: λ.

    References:
        Lee (2013), Pseudo-label; Sohn et al. (2020), FixMatch.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        task: Any,
        groups: list[dict[str, Any]] | None = None,
        *,
        threshold: float,
        trust: float,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.task, self.groups = backbone, head, task, groups
        self.threshold, self.trust = threshold, trust

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": self.groups} if self.groups is not None else super().players()

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        outputs = self.outputs(part_of(batch, "known"))
        per_example = self.task.loss(outputs, batch["y"])
        if "weight" in batch:
            per_example = per_example * batch["weight"]
        right = float((outputs.argmax(dim=1) == batch["y"]).float().mean())
        own, used = self.consistency(batch)
        return Loss(per_example, self.trust * own, {"accuracy": right, "used": used})

    def outputs(self, batch: Batch) -> Tensor:
        """Scores (B, C)."""
        scores: Tensor = self.head(self.backbone(batch).float())
        return scores.float()

    def consistency(self, batch: Batch) -> tuple[Tensor, float]:
        """Mean loss on the distorted views of what the network is sure of, and the share of such rows."""
        modes = [(part, part.training) for part in self.backbone.modules()]
        self.backbone.eval()
        with torch.no_grad():
            sure, guess = torch.softmax(self.outputs(part_of(batch, "weak")), dim=1).max(1)
        for part, mode in modes:  # one by one: parts whose statistics stay are not trained
            part.training = mode
        kept = (sure >= self.threshold).float()
        outputs = self.outputs(part_of(batch, "strong"))
        return (F.cross_entropy(outputs, guess, reduction="none") * kept).mean(), float(kept.mean())


def part_of(batch: Batch, name: str) -> Batch:
    """The tensors of one view: those whose names begin with ``name.``."""
    return {key.partition(".")[2]: value for key, value in batch.items() if key.startswith(f"{name}.")}


def in_one(views: dict[str, Batch]) -> Batch:
    """The tensors of several views in one batch, the inverse of ``part_of``.

    Example:
        >>> import torch
        >>> batch = in_one({"weak": {"ids": torch.zeros(2)}, "strong": {"ids": torch.ones(2)}})
        >>> sorted(batch), part_of(batch, "strong")["ids"].tolist()
        (['strong.ids', 'weak.ids'], [1.0, 1.0])
    """
    return {f"{name}.{key}": tensor for name, view in views.items() for key, tensor in view.items()}
