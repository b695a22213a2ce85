"""Losses beyond torch's: one that never holds all scores of a large vocabulary, one over pairs of views."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

ROWS = 512  # rows whose scores are held at a time: with ten thousand tokens they stay in the cache of a core


class _LinearCrossEntropy(torch.autograd.Function):
    """Scores are made in chunks of rows, used and forgotten; the backward pass makes them again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor) -> Tensor:
        low = x.to(weight.dtype)
        level = torch.empty(len(x), dtype=torch.float32 if weight.dtype == torch.bfloat16 else weight.dtype)
        level = level.to(x.device)
        losses = torch.empty_like(level)
        for rows in _chunks(len(x)):
            scores = _scores(low[rows], weight, bias)
            level[rows] = torch.logsumexp(scores, dim=1)
            losses[rows] = level[rows] - scores.gather(1, wanted[rows, None])[:, 0]
        ctx.save_for_backward(low, weight, bias, wanted, level)
        ctx.kind = x.dtype
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None]:
        low, weight, bias, wanted, level = ctx.saved_tensors
        (gradient,) = gradients
        to_x = torch.empty_like(low)
        to_weight = torch.zeros(weight.shape, dtype=level.dtype, device=weight.device)
        to_bias = torch.zeros(bias.shape, dtype=level.dtype, device=weight.device)
        for rows in _chunks(len(low)):
            chance = (_scores(low[rows], weight, bias) - level[rows, None]).exp_()
            chance.scatter_add_(1, wanted[rows, None], torch.full_like(level[rows, None], -1.0))
            chance *= gradient[rows, None]
            to_bias += chance.sum(dim=0)
            part = chance.to(weight.dtype)
            to_x[rows] = part @ weight
            if ctx.needs_input_grad[1]:
                to_weight += part.T @ low[rows]
        frozen = not ctx.needs_input_grad[1]
        return to_x.to(ctx.kind), None if frozen else to_weight.to(weight.dtype), to_bias.to(bias.dtype), None


def _scores(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    product = x @ weight.T
    return (product.float() if product.dtype == torch.bfloat16 else product) + bias


def _chunks(length: int) -> list[slice]:
    return [slice(start, start + ROWS) for start in range(0, length, ROWS)]


def linear_cross_entropy(x: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor) -> Tensor:
    """-log softmax(x Wᵀ + b) of the wanted classes, without ever holding all scores.

    With a vocabulary of ten thousand the scores of one batch take a hundred times the memory of the states they come
    from; here ``ROWS`` of them are held at a time, at the price of one more product in the backward pass.
    Wijmans et al. (2025), Cut your losses in large-vocabulary language models, ICLR.

    Args:
        x: States (N, D).
        weight: W (V, D); products run in its precision.
        bias: b (V,).
        wanted: Classes (N,) int64.

    Returns:
        Losses (N,), float32 where the weights are bfloat16.

    Example:
        >>> import torch
        >>> x, weight = torch.eye(2), torch.eye(2)
        >>> [round(loss, 3) for loss in linear_cross_entropy(x, weight, torch.zeros(2), torch.tensor([0, 1])).tolist()]
        [0.313, 0.313]
    """
    losses: Tensor = _LinearCrossEntropy.apply(x, weight, bias, wanted)
    return losses


def nt_xent(one: Tensor, two: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy: a view must be nearer to its partner than to all other views.

    For unit vectors z of the 2 B views, l(i) = log Σ_{k≠i} exp(z_i·z_k / τ) - z_i·z_p(i) / τ with p(i) the other view of
    the same picture; a row's loss is the mean over its two views.  Computed in float32 whatever the precision around.
    Sohn (2016); Chen et al. (2020), A simple framework for contrastive learning of visual representations, ICML.

    Args:
        one: First views (B, D), of any length.
        two: Second views (B, D).
        temperature: τ > 0.

    Returns:
        Losses (B,), float32.

    Example:
        >>> import torch
        >>> x = torch.eye(2)
        >>> [round(loss, 3) for loss in nt_xent(x, x, 1.0).tolist()]  # log(e + 2) - 1
        [0.551, 0.551]
    """
    with torch.autocast(one.device.type, enabled=False):
        views = F.normalize(torch.cat([one, two]).float(), dim=1)
        scores = (views @ views.T / temperature).fill_diagonal_(-torch.inf)
        rows = len(one)
        partner = torch.arange(2 * rows, device=views.device).roll(rows)
        losses = torch.logsumexp(scores, dim=1) - scores.gather(1, partner[:, None])[:, 0]
        return losses.view(2, rows).mean(dim=0)
