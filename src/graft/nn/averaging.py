"""Averages of networks, weight by weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from graft.core.errors import UsageError

Weights = dict[str, torch.Tensor]


def average_weights(networks: Sequence[Weights]) -> Weights:
    """Mean of networks, weight by weight; what is equal in all stays as it is, and so do whole numbers.

    Raises:
        UsageError: They are networks of other shapes.

    Example:
        >>> import torch
        >>> average_weights([{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 2.0])}])["w"].tolist()
        [2.0, 2.0]
    """
    first = networks[0]
    for other in networks[1:]:
        shapes = [{name: tuple(tensor.shape) for name, tensor in network.items()} for network in (first, other)]
        if shapes[0] != shapes[1]:
            name = next(iter(sorted(name for name, _ in set(shapes[0].items()) ^ set(shapes[1].items()))))
            hint = "members must be fine-tunings of one source on one task"
            raise UsageError(f"networks of other shapes cannot be averaged: {name} differs", hint=hint)
    averaged = {}
    for name, tensor in first.items():
        others = [network[name] for network in networks[1:]]
        if not tensor.is_floating_point() or all(one is tensor or torch.equal(one, tensor) for one in others):
            averaged[name] = tensor
        else:
            averaged[name] = torch.stack([tensor, *others]).mean(dim=0)
    return averaged


def sharing(weights: Weights, first: Weights) -> Weights:
    """The weights, with the very tensors of ``first`` where they are equal: what several networks share is kept once."""
    return {name: first[name] if torch.equal(tensor, first[name]) else tensor for name, tensor in weights.items()}
