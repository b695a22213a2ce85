"""What reshaping needs to know of a kind of network: its settings, and which tensors hang on which of them."""

from __future__ import annotations

import dataclasses
import re
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import nn

from graft.reshape.plan import Changes
from graft.sources.base import Backbone

BLOCKS = ("remove", "order", "insert")
Plan = tuple[tuple[int, bool], ...]
Rows = tuple[list[np.ndarray], str]  # old numbers of every new token, and how many are of which kind


class Family(ABC):
    """A network, its settings, and networks with other settings.

    Attributes:
        backbone: The network.
        settings: What its shape follows from.
        prefix: What stands before the names of its tensors in the backbone.
        path: What stands before the numbers of its blocks; empty where they cannot be told apart.
        depth: How many blocks it has.
        reader: What turns rows into its input, after the changes.
    """

    prefix: str
    path: str
    settings: Any

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        self.depth = len(backbone.blocks())
        self._axes: dict[str, dict[str, tuple[int, ...]]] = {}

    @abstractmethod
    def able(self) -> list[str]:
        """The changes that it can make."""

    @abstractmethod
    def vocabulary(self, changes: Changes) -> Rows:
        """Learn the new vocabulary, and say what its tokens are made of."""

    @abstractmethod
    def changed(self, changes: Changes, plan: Plan | None) -> Any:
        """The settings after the changes."""

    @abstractmethod
    def build(self, settings: Any, changes: Changes) -> Backbone:
        """A network with fresh weights from torch's random state."""

    @abstractmethod
    def _module(self, settings: Any) -> nn.Module:
        """The bare module of these settings."""

    @abstractmethod
    def _varied(self, what: str) -> Any:
        """Settings that differ in one thing from those of the source; None where it has no such thing."""

    def needed(self, changes: Changes) -> Changes:
        """The changes without those that ask for what is there already."""
        channels, size = self._now()
        return dataclasses.replace(
            changes,
            channels=None if changes.channels == channels else changes.channels,
            size=None if changes.size == size else changes.size,
        )

    @abstractmethod
    def _now(self) -> tuple[int | None, int | None]:
        """Channels and size of its input, where it reads pictures."""

    def normalisation(self) -> tuple[list[float], list[float], float, float]:
        """Means and deviations by which brightness is read now, one or one per channel, and those of a new input."""
        return [0.0], [1.0], 0.0, 1.0

    def grid(self, settings: Any) -> int:
        """Patches on a side of a picture; 0 where there are none."""
        del settings
        return 0

    def columns(self, tensor: torch.Tensor) -> int:
        """Columns of the first layer per channel of the input."""
        del tensor
        return 1

    def shapes(self, settings: Any) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors that these settings ask for."""
        with torch.device("meta"), torch.no_grad():
            module = self._module(settings)
        return {self.prefix + name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}

    def axes(self, what: str) -> dict[str, tuple[int, ...]]:
        """Axes, by tensor, whose length follows ``"width"``, ``"tokens"``, ``"channels"`` or ``"places"``.

        Found by asking for the shapes of a network that differs in this alone, so no table of architectures is needed.
        """
        if what not in self._axes:
            other = self._varied(what)
            now, then = self.shapes(self.settings), {} if other is None else self.shapes(other)
            found = {
                name: tuple(axis for axis, side in enumerate(shape) if side != then[name][axis])
                for name, shape in now.items()
                if len(then.get(name, ())) == len(shape)
            }
            self._axes[what] = {name: axes for name, axes in found.items() if axes}
        return self._axes[what]

    def origin(self, name: str, plan: Plan | None) -> str | None:
        """The old name of a tensor of the new network; None in a block that is new."""
        match = re.match(rf"{re.escape(self.path)}\.(\d+)\.(.*)", name) if plan and self.path else None
        if match is None or plan is None:
            return name
        number, kept = plan[int(match.group(1))]
        return f"{self.path}.{number}.{match.group(2)}" if kept else None
