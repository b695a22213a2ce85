"""Optimizers, layer groups with their own rates, and schedules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from graft.core.errors import UsageError

OPTIMIZERS = {
    "adamw": lambda groups: torch.optim.AdamW(groups, fused=_fused(groups)),
    "adam": lambda groups: torch.optim.Adam(groups, fused=_fused(groups)),
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=_fused(groups)),
}


def _fused(groups: Sequence[dict[str, Any]]) -> bool:
    kinds = {p.device.type for group in groups for p in group["params"]}
    return bool(kinds) and kinds <= {"cpu", "cuda"}


def make_optimizer(name: str, groups: Sequence[dict[str, Any]]) -> torch.optim.Optimizer:
    """Build ``"adamw"``, ``"adam"`` or ``"sgd"`` over parameter groups; each group's ``lr`` is its peak rate."""
    if name not in OPTIMIZERS:
        raise UsageError(f"no optimizer {name!r}", hint=f"known: {', '.join(sorted(OPTIMIZERS))}")
    optimizer = OPTIMIZERS[name]([dict(group) for group in groups if group["params"]])
    for group in optimizer.param_groups:
        group["peak_lr"] = group["lr"]
    return optimizer


def discriminative_groups(
    layer_groups: Sequence[Iterable[nn.Parameter]],
    head: nn.Module,
    *,
    lr: float,
    head_lr: float,
    layer_decay: float = 1.0,
    weight_decay: float = 0.0,
    head_decay: float | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups whose rate falls from top to bottom.

    Block b of B (0 at the bottom) learns with ``lr · layer_decay^(B-1-b)``, the head with ``head_lr``.  Vectors (biases,
    normalisation) are not decayed.  Howard & Ruder 2018; Clark et al. 2020.

    Args:
        layer_groups: Parameters bottom to top; frozen ones are left out.
        head: The new head.
        lr: Rate of the top block.
        head_lr: Rate of the head.
        layer_decay: Factor per block downwards, 1 for one rate.
        weight_decay: Decoupled weight decay of matrices.
        head_decay: That of the head; None for the same.
    """
    top = len(layer_groups) - 1
    rated = [(lr * layer_decay ** (top - depth), weight_decay, list(group)) for depth, group in enumerate(layer_groups)]
    rated.append((head_lr, weight_decay if head_decay is None else head_decay, list(head.parameters())))
    groups: list[tuple[float, float, list[nn.Parameter]]] = []
    for rate, decay, members in rated:
        trainable = [p for p in members if p.requires_grad]
        matrices, vectors = [p for p in trainable if p.ndim > 1], [p for p in trainable if p.ndim <= 1]
        groups += [(rate, decay, matrices), (rate, 0.0, vectors)]
    # groups of the same rate become one: the fused step then makes one pass instead of many small ones
    merged: dict[tuple[float, float], list[nn.Parameter]] = {}
    for rate, decay, parameters in groups:
        if parameters:
            merged.setdefault((rate, decay), []).extend(parameters)
    return [{"params": ps, "lr": rate, "weight_decay": decay} for (rate, decay), ps in merged.items()]


def warmup_linear(progress: float, warmup: float) -> float:
    """Factor on the peak rate: rises linearly over the share ``warmup`` of training, then falls linearly to 0.

    With a warm-up of 0.1 it is the slanted triangle of Howard & Ruder (2018), who end at 1/32 instead of 0.

    Example:
        >>> [round(warmup_linear(p, 0.1), 2) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    return max(0.0, (1.0 - progress) / (1.0 - warmup)) if warmup < 1 else 1.0


def warmup_cosine(progress: float, warmup: float) -> float:
    """Factor on the peak rate: linear over the share ``warmup`` w, then ½ (1 + cos π(p - w)/(1 - w)).

    Loshchilov & Hutter (2017), SGDR, ICLR, with one cycle.

    Example:
        >>> [round(warmup_cosine(p, 0.2), 2) for p in (0.1, 0.2, 0.4, 0.6, 1.0)]
        [0.5, 1.0, 0.85, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    done = min(1.0, (progress - warmup) / (1.0 - warmup)) if warmup < 1 else 0.0
    return 0.5 * (1.0 + math.cos(math.pi * done))


def warmup_constant(progress: float, warmup: float) -> float:
    """Factor on the peak rate: linear over the share ``warmup``, then 1; goes with an average of the weights.

    Example:
        >>> [warmup_constant(p, 0.2) for p in (0.1, 0.2, 1.0)]
        [0.5, 1.0, 1.0]
    """
    return progress / warmup if progress < warmup else 1.0


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "linear": warmup_linear,
    "cosine": warmup_cosine,
    "constant": warmup_constant,
}


def make_schedule(name: str) -> Callable[[float, float], float]:
    """Find ``"linear"``, ``"cosine"`` or ``"constant"``, each after a warm-up: (share done, warm-up) to a factor."""
    if name not in SCHEDULES:
        raise UsageError(f"no schedule {name!r}", hint=f"use {', '.join(SCHEDULES)}")
    return SCHEDULES[name]


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to ``factor`` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def clip_gradients(optimizer: torch.optim.Optimizer, limit: float) -> None:
    """Scale all gradients of the optimizer so that their joint norm is at most ``limit``."""
    everything = itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups)
    gradients = [parameter.grad for parameter in everything if parameter.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients, foreach=True))
    if norm > limit:  # most steps are below: no need to pass over the memory again
        torch._foreach_mul_(gradients, limit / norm)
