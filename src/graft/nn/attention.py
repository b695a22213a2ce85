"""Attention with rotary positions, and its backward pass written out for CPUs.

Vaswani et al. (2017), Attention is all you need; Su et al. (2021), RoFormer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

Turn = tuple[Tensor, Tensor]  # cosines and sines (T, d / 2), or (B, T, d / 2), of the angles of positions

BLIND = -1e4  # added to the score of what may not be seen: finite, so that a row that sees nothing is no NaN


def angles(length: int, width: int, like: Tensor) -> Turn:
    """Angles by which rotary positions turn pairs of columns: position · 10,000^(-2 i / width)."""
    rate = 10_000.0 ** (-torch.arange(0, width, 2, device=like.device, dtype=torch.float32) / width)
    angle = torch.arange(length, device=like.device, dtype=torch.float32)[:, None] * rate
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def attend(
    parts: Tensor,
    q: Tensor | None = None,
    *,
    seen: Tensor | None = None,
    turn: Turn | None = None,
    turn_q: Turn | None = None,
    training: bool = False,
) -> Tensor:
    """softmax(q kᵀ / √d) v of every head, with q and k turned by the angles of their positions.

    Args:
        parts: Queries, keys and values of all places (B, T, 3, H, d), or keys and values (B, T, 2, H, d).
        q: Queries of some places (B, K, H, d), where ``parts`` does not hold them.
        seen: Which keys a query may see, a mask that expands to (B, H, K, T).
        turn: Angles of the T places.
        turn_q: Angles of the places of ``q``.
        training: Whether a backward pass follows.

    Returns:
        (B, K, H · d).
    """
    if training and parts.device.type == "cpu":
        bias = None if seen is None else torch.zeros(seen.shape, dtype=parts.dtype).masked_fill_(~seen, BLIND)
        out: Tensor = _Attention.apply(parts, q, bias, turn, turn if q is None else turn_q)
        return out
    k, v = (parts[:, :, i].transpose(1, 2) for i in (-2, -1))
    q = (parts[:, :, 0] if q is None else q).transpose(1, 2)
    if turn is not None:
        q, k = turned(q, turn_q or turn), turned(k, turn)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)


def turned(x: Tensor, turn: Turn) -> Tensor:
    """Pairs of columns, half the width apart, of x (B, H, T, d) turned by the angles of their positions."""
    cos, sin = _wide(turn)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def _wide(turn: Turn) -> Turn:
    """With an axis for the heads where places differ from row to row."""
    cos, sin = turn
    return (cos[:, None], sin[:, None]) if cos.ndim == 3 else turn


class _Attention(torch.autograd.Function):
    """The same in few passes over the memory: what autograd makes of it takes twice as long on a CPU."""

    @staticmethod
    def forward(
        ctx: Any, parts: Tensor, q: Tensor | None, bias: Tensor | None, turn: Turn | None, turn_q: Turn | None
    ) -> Tensor:
        rows, keys, _, heads, width = parts.shape
        asked = parts[:, :, 0] if q is None else q
        with torch.autocast("cpu", enabled=False):
            low = _by_head(asked, turn_q, scale=width**-0.5)
            k, v = _by_head(parts[:, :, -2], turn), _by_head(parts[:, :, -1], None)
            if bias is None:
                scores = torch.bmm(low, k.transpose(1, 2))
            else:
                wide = bias.expand(rows, heads, low.shape[1], keys).reshape(len(low), -1, keys)
                scores = torch.baddbmm(wide, low, k.transpose(1, 2))
            chance = torch.softmax(scores, dim=-1)
            y = torch.bmm(chance, v)
        ctx.save_for_backward(low, k, v, chance)
        ctx.shape, ctx.turns, ctx.apart = parts.shape, (turn, turn_q), q is not None
        return y.view(rows, heads, -1, width).transpose(1, 2).flatten(2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, chance = ctx.saved_tensors
        turn, turn_q = ctx.turns
        rows, _, _, heads, width = ctx.shape
        to_y = _by_head(gradients[0].unflatten(2, (heads, width)), None)
        to_chance = torch.bmm(to_y, v.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_chance, chance, -1, chance.dtype)  # noqa: SLF001  (in one pass)
        to_parts = torch.empty(ctx.shape, dtype=q.dtype)
        to_q = torch.empty(rows, q.shape[1], heads, width, dtype=q.dtype) if ctx.apart else to_parts[:, :, 0]
        _back(torch.bmm(to_scores, k), turn_q, to_q, scale=width**-0.5)
        _back(torch.bmm(to_scores.transpose(1, 2), q), turn, to_parts[:, :, -2])
        _back(torch.bmm(chance.transpose(1, 2), to_y), None, to_parts[:, :, -1])
        return to_parts, to_q if ctx.apart else None, None, None, None


def _by_head(x: Tensor, turn: Turn | None, *, scale: float = 1.0) -> Tensor:
    """(B, T, H, d) -> (B · H, T, d), turned and scaled on the way."""
    rows, length, heads, width = x.shape
    out = torch.empty(rows, heads, length, width, dtype=x.dtype)
    _turn(x.transpose(1, 2), turn, out, sign=1.0, scale=scale)
    return out.flatten(0, 1)


def _back(gradient: Tensor, turn: Turn | None, out: Tensor, *, scale: float = 1.0) -> None:
    """The derivative of ``_by_head``, written to ``out`` (B, T, H, d)."""
    apart = gradient.view(out.shape[0], out.shape[2], out.shape[1], out.shape[3])
    _turn(apart, turn, out.transpose(1, 2), sign=-1.0, scale=scale)


def _turn(x: Tensor, turn: Turn | None, out: Tensor, *, sign: float, scale: float) -> None:
    """Write x (B, H, T, d), turned forth or back and scaled, to ``out``."""
    if turn is None:
        torch.mul(x, scale, out=out)
        return
    cos, sin = (each * scale for each in _wide(turn))
    (a, b), (first, second) = x.chunk(2, dim=-1), out.chunk(2, dim=-1)
    torch.mul(a, cos, out=first).addcmul_(b, sin, value=-sign)
    torch.mul(b, cos, out=second).addcmul_(a, sin, value=sign)
