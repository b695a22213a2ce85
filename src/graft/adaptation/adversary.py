"""The adversary of a network: a discriminator of domains, and the reversal that turns its gradients around."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

HIDDEN, DROPPED = 256, 0.5  # of a discriminator


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, amount: float) -> Tensor:
        ctx.amount = amount
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.amount * gradients[0], None


def reverse(x: Tensor, amount: float) -> Tensor:
    """Leave x as it is, and turn its gradients around: they come back times -amount.  Ganin et al. (2016), section 4.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> reverse(3 * x, 0.5).sum().backward()
        >>> x.grad.tolist()
        [-1.5, -1.5]
    """
    found: Tensor = _Reversal.apply(x, amount)
    return found


def discriminator(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers with dropout, then logits (B, outputs)."""
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Dropout(DROPPED),
        nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Dropout(DROPPED),
        nn.Linear(HIDDEN, outputs),
    )  # fmt: skip
