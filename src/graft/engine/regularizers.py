"""Terms of the loss that keep a training from fitting its few rows, or their wrong labels, too well.

What acts on the weights between the steps stands in ``weights``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.errors import UsageError
from graft.engine.objective import Batch, Loss, Supervised

MIXED = ("pixel_values", "frames", "values")  # inputs between two of which a mixture means something


def within(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Refuse an option outside [low, high].

    Raises:
        UsageError: It is outside, or no number.
    """
    if not low <= value <= high:
        upward = "or more" if high == float("inf") else f"to {high:g}"
        raise UsageError(f"{name} cannot be {value}", hint=f"use {low:g} {upward}")


@dataclass(frozen=True)
class Terms:
    """What changes the loss of a supervised training; each is off by default, and they go together.

    Attributes:
        smoothing: ε: the target of class c becomes (1 - ε) [c = y] + ε / C.  Szegedy et al. (2016).
        robust: q: -log p becomes (1 - p^q) / q, which a wrong label cannot drive beyond 1 / q; q → 0 is cross-entropy,
            1 the mean absolute error, 0.7 what the paper takes.  Zhang & Sabuncu (2018).
        mixup: α: rows i and j of a batch become λ x_i + (1 - λ) x_j with the loss λ l_i + (1 - λ) l_j and λ from
            Beta(α, α), one per batch.  Zhang et al. (2018).  Where inputs are tokens the pooled features are mixed, as in
            Verma et al. (2019), Manifold mixup.
        shrinkage: η: adds η σ², σ the smallest singular value of the batch's features (B, D).  What a batch varies least
            along is what hardly transfers.  Chen et al. (2019), Catastrophic forgetting meets negative transfer, who take
            0.001 and gain most where rows are fewest.  R-Drop (Liang et al. 2021), which was considered too, costs a
            second pass and needs dropout.
    """

    smoothing: float = 0.0
    robust: float = 0.0
    mixup: float = 0.0
    shrinkage: float = 0.0

    def check(self, task: Any) -> None:
        """Refuse what is out of range, or has no meaning for the task.

        Raises:
            UsageError: A value is out of range, or asks for classes where there are none.
        """
        within("label_smoothing", self.smoothing, 0, 1)
        within("robust", self.robust, 0, 1)
        within("mixup", self.mixup, 0)
        within("shrinkage", self.shrinkage, 0)
        for name, value in (("label_smoothing", self.smoothing), ("robust", self.robust)):
            if value and not task.is_classification:
                raise UsageError(f"{name} needs classes", hint="leave it at 0 for a regression")


class Regularized(Supervised):
    """Labelled rows through a backbone and a head, with ``Terms`` in the loss and other views of the inputs.

    Args:
        backbone: Maps a batch to pooled features (B, D).
        head: Maps features to outputs (B, C).
        task: Says whether there are classes; gives the loss where there are none.
        groups: Parameter groups with their rates.
        terms: What changes the loss.
        view: Maps ``pixel_values`` (B, C, H, W) and random numbers (B, 5) to another view of the pictures.
        retake: Maps the inputs to those of other takes of the same sounds.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        task: Any,
        groups: list[dict[str, Any]] | None = None,
        *,
        terms: Terms,
        view: Callable[[Tensor, Tensor], Tensor] | None = None,
        retake: Callable[[Batch], Batch] | None = None,
    ) -> None:
        super().__init__(backbone, head, task, groups)
        self.terms, self.view, self.retake = terms, view, retake

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        inputs = {key: value for key, value in batch.items() if key not in ("y", "weight")}
        y, pixels = batch["y"], inputs.get("pixel_values")
        if self.view is not None and pixels is not None:
            inputs["pixel_values"] = self.view(pixels.float(), torch.rand(len(pixels), 5).to(pixels.device))
        inputs = inputs if self.retake is None else self.retake(inputs)
        share, partner = self._pairs(y)
        outside = self.terms.mixup > 0 and mix(inputs, share, partner)
        features = self.backbone(inputs).float()
        if self.terms.mixup and not outside:
            features = share * features + (1 - share) * features[partner]
        outputs = self.head(features)
        correct = (outputs.argmax(1) == y).float() if self.task.is_classification else None
        per_example = self._weighted(outputs, batch, slice(None))
        if self.terms.mixup:
            per_example = share * per_example + (1 - share) * self._weighted(outputs, batch, partner)
        extra = self.terms.shrinkage * smallest_square(features) if self.terms.shrinkage else 0.0
        logs = {} if correct is None else {"accuracy": float(correct.mean())}
        return Loss(per_example, batch=extra, logs=logs)

    def _pairs(self, y: Tensor) -> tuple[float, Tensor]:
        """λ and the partner of each row, from torch's global random state, which checkpoints keep."""
        if not self.terms.mixup:
            return 1.0, y
        alpha = torch.tensor(self.terms.mixup, dtype=torch.float64)
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        return share, torch.randperm(len(y)).to(y.device)

    def _weighted(self, outputs: Tensor, batch: Batch, rows: slice | Tensor) -> Tensor:
        y = batch["y"][rows]
        if self.task.is_classification:
            losses = classification_loss(outputs, y, smoothing=self.terms.smoothing, robust=self.terms.robust)
        else:
            losses = self.task.loss(outputs, y)
        return losses * batch["weight"][rows] if "weight" in batch else losses


def classification_loss(outputs: Tensor, y: Tensor, *, smoothing: float = 0.0, robust: float = 0.0) -> Tensor:
    """Σ_c t_c l(p_c) per row (B,), with t the smoothed target and l(p) = -log p, or (1 - p^q) / q.

    Args:
        outputs: Logits (B, C).
        y: Classes (B,).
        smoothing: ε.
        robust: q.

    Example:
        >>> import torch
        >>> even = torch.zeros(1, 2)
        >>> [round(float(classification_loss(even, torch.tensor([0]), robust=q)), 3) for q in (0.0, 1.0)]
        [0.693, 0.5]
    """
    log_p = F.log_softmax(outputs, dim=1)
    each = -torch.expm1(robust * log_p) / robust if robust else -log_p  # exact for a small q too
    chosen = each.gather(1, y[:, None])[:, 0]
    return (1 - smoothing) * chosen + smoothing * each.mean(dim=1) if smoothing else chosen


def mix(inputs: Batch, share: float, partner: Tensor) -> bool:
    """Mix the inputs of a batch with those of their partners, in place; False if they are of no kind that can be mixed.

    Where one of the two sounds ends first the other goes on: the mask is that of the longer one.
    """
    found = [key for key in MIXED if key in inputs]
    for key in found:
        inputs[key] = share * inputs[key] + (1 - share) * inputs[key][partner]
    if found and "attention_mask" in inputs:
        inputs["attention_mask"] = torch.maximum(inputs["attention_mask"], inputs["attention_mask"][partner])
    return bool(found)


def smallest_square(features: Tensor) -> Tensor:
    """Square of the smallest of the min(B, D) singular values of features (B, D), a scalar.

    Example:
        >>> import torch
        >>> round(float(smallest_square(torch.diag(torch.tensor([3.0, 2.0])))), 3)
        4.0
    """
    smallest: Tensor = torch.linalg.svdvals(features.float())[-1]
    return smallest.square()
