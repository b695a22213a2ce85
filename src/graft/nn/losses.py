"""Losses beyond torch's: one that never holds all scores of a large vocabulary, two over pairs of vectors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

ROWS = 512  # rows whose scores are held at a time …
FEW = 32  # … and rows that are exponentiated at a time: with ten thousand tokens they stay in the cache of a core


class _LinearCrossEntropy(torch.autograd.Function):
    """Scores are made in chunks of rows, turned into gradients on the spot, and forgotten.

    The gradients are those of the sum; a row's share in that of the states scales with what comes back for the row.
    Those of weight and bias only do where that is the same for all rows, as it is for a mean, and are made anew otherwise.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor, shares: Tensor | None) -> Tensor:
        low = x.to(weight.dtype)
        losses = torch.empty(len(x), dtype=_exact(weight), device=x.device)
        to_x = torch.empty_like(low) if any(ctx.needs_input_grad) else None
        to_weight, to_bias = _pass(low, weight, bias, wanted, losses, to_x, shares, learned=ctx.needs_input_grad[1])
        ctx.save_for_backward(low, weight, bias, wanted, shares, to_x, to_weight, to_bias)
        ctx.kind = x.dtype
        return losses if shares is None else losses * shares

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None, None]:
        low, weight, bias, wanted, shares, to_x, to_weight, to_bias = ctx.saved_tensors
        (gradient,), learned = gradients, ctx.needs_input_grad[1]
        if bool((gradient == gradient[0]).all()):
            to_weight, to_bias = to_weight * gradient[0], to_bias * gradient[0]
        else:
            factor = gradient if shares is None else gradient * shares
            losses = torch.empty_like(gradient)
            to_weight, to_bias = _pass(
                low, weight, bias, wanted, losses, torch.empty_like(low), factor, learned=learned
            )
        to_x = to_x * gradient[:, None].to(to_x.dtype)
        kept = to_weight.to(weight.dtype) if learned else None
        return to_x.to(ctx.kind), kept, to_bias.to(bias.dtype), None, None


def _exact(weight: Tensor) -> torch.dtype:
    return torch.float32 if weight.dtype == torch.bfloat16 else weight.dtype


def _pass(
    low: Tensor,
    weight: Tensor,
    bias: Tensor,
    wanted: Tensor,
    losses: Tensor,
    to_x: Tensor | None = None,
    factor: Tensor | None = None,
    *,
    learned: bool,
) -> tuple[Tensor, Tensor]:
    """Write the losses (N,) and, if asked, the gradients of the states (N, D); return those of weight and bias.

    ``factor`` (N,) weighs the rows in the gradients; that of the weight is made only where it is ``learned``.
    """
    exact = _exact(weight)
    to_weight = torch.zeros(weight.shape if learned else 0, dtype=exact, device=weight.device)
    to_bias = torch.zeros_like(bias, dtype=exact)
    buffer = torch.empty(min(FEW, len(low)), len(weight), dtype=exact, device=low.device)
    offset = bias.to(weight.dtype)
    # one piece of memory for all products: fresh pages cost time
    products = torch.empty(min(ROWS, len(low)), len(weight), dtype=weight.dtype, device=low.device)
    for some in _chunks(len(low), ROWS):
        product = torch.addmm(offset, low[some], weight.T, out=products[: len(low[some])])
        classes, found = wanted[some, None], losses[some]
        for rows in _chunks(len(product), FEW):
            here, chance = classes[rows], buffer[: len(product[rows])].copy_(product[rows])
            most, scored = chance.amax(dim=1, keepdim=True), chance.gather(1, here)
            total = chance.sub_(most).exp_().sum(dim=1, keepdim=True)
            found[rows] = (total.log() + most - scored)[:, 0]
            if to_x is not None:
                chance.div_(total).scatter_add_(1, here, torch.full_like(total, -1.0))
                if factor is not None:
                    chance.mul_(factor[some][rows, None])
                to_bias += chance.sum(dim=0)
                product[rows] = chance
        if to_x is not None:
            torch.mm(product, weight, out=to_x[some])
            if learned:
                to_weight += product.T @ low[some]
    return to_weight, to_bias


def _chunks(length: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, length, size)]


def linear_cross_entropy(
    x: Tensor, weight: Tensor, bias: Tensor, wanted: Tensor, shares: Tensor | None = None
) -> Tensor:
    """-log softmax(x Wᵀ + b) of the wanted classes, each times its row's share, without ever holding all scores.

    With a vocabulary of ten thousand the scores of one batch take a hundred times the memory of the states they come
    from; here ``ROWS`` of them are held at a time, and the gradients are made along with them.
    Wijmans et al. (2025), Cut your losses in large-vocabulary language models, ICLR.

    Args:
        x: States (N, D).
        weight: W (V, D); products run in its precision.
        bias: b (V,).
        wanted: Classes (N,) int64.
        shares: Factors (N,) on the losses; naming them here instead of multiplying later spares a second pass.

    Returns:
        Losses (N,), float32 where the weights are bfloat16.

    Example:
        >>> import torch
        >>> x, weight = torch.eye(2), torch.eye(2)
        >>> [round(loss, 3) for loss in linear_cross_entropy(x, weight, torch.zeros(2), torch.tensor([0, 1])).tolist()]
        [0.313, 0.313]
    """
    losses: Tensor = _LinearCrossEntropy.apply(x, weight, bias, wanted, shares)
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


def supervised_contrastive(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss over all pairs of a batch: rows of one class must be nearer than rows of others.

    For unit vectors z and the other rows P(i) of the class of row i,
    l(i) = log Σ_{k≠i} exp(z_i·z_k / τ) - mean_{p∈P(i)} z_i·z_p / τ; a row that is alone in its class has the loss 0.  Where
    every class has two rows, the two views of a picture, it is ``nt_xent``.  Computed in float32, or float64 if given.
    Khosla et al. (2020), Supervised contrastive learning, NeurIPS, equation 2.

    Args:
        x: Vectors (B, D) of any length, B ≥ 2.
        y: Classes (B,) int64.
        temperature: τ > 0; the lower, the more the nearest rows of other classes count.

    Returns:
        Losses (B,).

    Example:
        >>> import torch
        >>> x = torch.eye(2).repeat_interleave(2, dim=0)
        >>> [round(loss, 3) for loss in supervised_contrastive(x, torch.tensor([0, 0, 1, 1]), 1.0).tolist()]  # log(e + 2) - 1
        [0.551, 0.551, 0.551, 0.551]
    """
    with torch.autocast(x.device.type, enabled=False):
        unit = F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=1)
        scores = unit @ unit.T / temperature
        same = (y[:, None] == y[None]).fill_diagonal_(fill_value=False)
        own = (scores * same).sum(dim=1) / same.sum(dim=1).clamp(min=1)
        every = torch.logsumexp(scores.fill_diagonal_(-torch.inf), dim=1)
        return (every - own) * same.any(dim=1)


def distillation(outputs: Tensor, soft: Tensor, temperature: float) -> Tensor:
    """T² · KL(q ‖ softmax(z / T)): how far a student's softened classes are from its teacher's.

    Gradients of softened classes shrink by T²; the factor makes them weigh as much as those of hard labels.
    Hinton et al. (2015), Distilling the knowledge in a neural network, section 2.

    Args:
        outputs: Logits z (B, C) of the student.
        soft: q (B, C), the teacher's classes softened by the same temperature: softmax of its logits over T.
        temperature: T > 0.

    Returns:
        Losses (B,).

    Example:
        >>> import torch
        >>> round(float(distillation(torch.zeros(1, 2), torch.tensor([[0.8, 0.2]]), 2.0)), 3)
        0.771
    """
    logs = F.log_softmax(outputs / temperature, dim=1)
    return temperature**2 * F.kl_div(logs, soft, reduction="none").sum(dim=1)
