"""Tensors of one shape made from tensors of another: more units, other positions, other channels, other tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

UNEVEN = 0.5  # how far the shares of copies of one unit differ from equal ones, so that training tells them apart


def copies(old: int, new: int, chunks: int = 1) -> Tensor:
    """Which old unit each new unit is a copy of (new,): copies stand side by side, as evenly as can be.

    Args:
        old: Units before.
        new: Units now.
        chunks: Groups of equal size that stay apart, where one tensor holds several layers (gate and value, LSTM gates).

    Example:
        >>> copies(4, 6, chunks=2).tolist()
        [0, 0, 1, 2, 2, 3]
    """
    before, after = old // chunks, new // chunks
    one = torch.arange(after) * before // after
    return torch.cat([one + chunk * before for chunk in range(chunks)])


def widened(tensor: Tensor, axis: int, new: int, *, chunks: int = 1, divide: bool = False) -> Tensor:
    """Copy units along an axis until there are ``new``; Chen et al. (2016), Net2Net.

    Args:
        tensor: Weights.
        axis: That of the units.
        new: Its length afterwards.
        chunks: See ``copies``.
        divide: Whether the axis is that of inputs: copies of one unit then share its weight, unevenly (by torch's random
            state), so that their sum stays and training can tell them apart.
    """
    old = tensor.shape[axis]
    units = copies(old, new, chunks)
    out = tensor.index_select(axis, units)
    if divide:
        raw = 1 + UNEVEN * (2 * torch.rand(new, dtype=tensor.dtype) - 1)
        share = raw / torch.zeros(old, dtype=tensor.dtype).index_add(0, units, raw)[units]
        out = out * share.reshape([-1 if place == axis % tensor.ndim else 1 for place in range(tensor.ndim)])
    return out


def input_axis(module: nn.Module, tensor: Tensor) -> int | None:
    """The axis of inputs among those of a weight: None for vectors and for tables of embeddings."""
    if tensor.ndim < 2 or isinstance(module, nn.Embedding):
        return None
    return 0 if type(module).__name__ == "Conv1D" else 1  # GPT-2 keeps its matrices the other way round


def on_grid(table: Tensor, old: int, new: int) -> Tensor | None:
    """Positions of a grid of patches (…, P + old², D) made those of another (…, P + new², D), bicubically.

    The P rows in front (class tokens) stay.  None where the table holds no such grid.  Dosovitskiy et al. (2021).
    """
    front = table.shape[-2] - old * old
    if front < 0 or old < 1 or new < 1:
        return None
    width = table.shape[-1]
    grid = table[..., front:, :].reshape(1, old, old, width).permute(0, 3, 1, 2)
    resized = F.interpolate(grid, (new, new), mode="bicubic", align_corners=False, antialias=True)
    body = resized.permute(0, 2, 3, 1).reshape(*table.shape[:-2], new * new, width)
    return torch.cat([table[..., :front, :], body], dim=-2)


def on_line(table: Tensor, rows: int, old_start: int = 0, new_start: int = 0) -> tuple[Tensor, str]:
    """Positions of a text (N, D) made ``rows`` many: cut, or repeated from the first on; and which, in words.

    Repeating keeps what short texts compute, which interpolation would not.  Beltagy et al. (2020), Longformer.

    Args:
        table: Positions.
        rows: How many there are to be.
        old_start: Row of the first position; what stands before it belongs to the padding.
        new_start: The same afterwards.
    """
    front, body, count = table[:old_start], table[old_start:], rows - new_start
    head = torch.cat([front, body[:1].expand(max(0, new_start - old_start), -1)])[:new_start]
    how = f"cut to the first {count}" if count <= len(body) else f"position p starts as p mod {len(body)}"
    return torch.cat([head, body[torch.arange(count) % len(body)]]), how


def to_channels(
    weight: Tensor, new: int, *, per: int = 1, old_scale: Sequence[float] = (1.0,), new_scale: Sequence[float] = (1.0,)
) -> Tensor:
    """First layer (O, C · per, …) for another number of input channels, so that grey pictures give the same.

    Channel c reads ``(v - mean_c) / scale_c`` of brightness v; the weights on v are summed over the old channels and spread
    evenly over the new ones.

    Args:
        weight: Of a convolution, or of a linear map of patches whose columns stand channel by channel.
        new: Channels afterwards.
        per: Columns per channel.
        old_scale: scale_c of the old channels; one for all, or one each.
        new_scale: The same of the new channels.
    """
    apart = weight.reshape(len(weight), -1, per, *weight.shape[2:])
    one = [1, -1] + [1] * (apart.ndim - 2)
    before = torch.tensor(old_scale, dtype=weight.dtype).expand(apart.shape[1]).reshape(one)
    after = torch.tensor(new_scale, dtype=weight.dtype).expand(new).reshape(one)
    on_brightness = (apart / before).sum(1, keepdim=True)
    return (on_brightness / new * after).reshape(len(weight), new * per, *weight.shape[2:])


def offset(weight: Tensor, means: Sequence[float], scale: Sequence[float], mean: float) -> Tensor:
    """What a first layer (O, C, …) adds to its answer (O,) to grey of the value ``mean``, which will be read as zero."""
    zero = (mean - torch.tensor(means, dtype=weight.dtype)) / torch.tensor(scale, dtype=weight.dtype)
    return (weight.flatten(2).sum(2) * zero.expand(weight.shape[1])).sum(1)


def from_rows(table: Tensor, origins: Sequence[np.ndarray]) -> Tensor:
    """Embeddings (V, D) of new tokens: that of the one old row, the mean of several, or a draw where there is none.

    Draws are normal with mean and deviation of the old table, by torch's random state.

    Args:
        table: Old embeddings (V_old, D).
        origins: Old rows of every new token.
    """
    out = table.new_empty(len(origins), *table.shape[1:])
    mean, spread = table.mean(0), table.std(0)
    for row, old in enumerate(origins):
        if len(old) == 1:
            out[row] = table[int(old[0])]
        elif len(old):
            out[row] = table[torch.from_numpy(old)].mean(0)
        else:
            out[row] = mean + spread * torch.randn_like(mean)
    return out
