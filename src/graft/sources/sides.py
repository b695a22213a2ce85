"""Pairs of texts side by side: each is read alone, and what differs and agrees stands beside both."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graft.core.types import Dataset
from graft.sources.base import Backbone, Batch, Coverage

PARTS = 4  # u, v, |u - v| and u · v


@dataclass(frozen=True)
class Pair:
    """Two encoded texts."""

    first: Any
    second: Any

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return sum(int(getattr(one, "nbytes", 1024)) for one in (self.first, self.second))


class Sides(Backbone):
    """A text network that reads the texts of a pair one by one: every layer is pooled to [u, v, |u - v|, u · v] (B, 4D).

    u and v are brought to length √D first, so that all four have numbers of one size.  A linear head on it finds
    similarity, which is linear in u · v, and what follows from what.

    Args:
        inner: The network.

    References:
        Conneau et al. (2017), Supervised learning of universal sentence representations from natural language inference
        data, EMNLP.

    Example:
        >>> from graft.sources.base import open_model
        >>> sides = Sides(open_model("sbert:all-MiniLM-L6-v2"))
        >>> tuple(sides(sides.collate(sides.preprocess([("a cat", "the cat"), ("a", "b")]))).shape)
        (2, 1536)
    """

    def __init__(self, inner: Backbone) -> None:
        super().__init__()
        self.inner = inner
        self.spec = dataclasses.replace(inner.spec, hidden_size=PARTS * inner.spec.hidden_size)
        self.notes = inner.notes

    def preprocess(self, examples: Any) -> list[Pair]:
        """Encode both texts of every pair."""
        firsts, seconds = (self.inner.preprocess([pair[side] for pair in examples]) for side in (0, 1))
        return [Pair(*pair) for pair in zip(firsts, seconds, strict=True)]

    def length(self, encoded: Pair) -> int:
        """Tokens of both."""
        return self.inner.length(encoded.first) + self.inner.length(encoded.second)

    def collate(self, encoded: list[Pair]) -> Batch:
        """Stack both texts of every pair, one after the other."""
        return self.inner.collate([text for pair in encoded for text in (pair.first, pair.second)])

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Layers of both texts of every pair (2B, T, D)."""
        return self.inner.forward_features(batch)

    def forward_all(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """Layers; the network's own head reads pairs as one text."""
        return self.forward_features(batch), None

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Pool every text, then bring the two of a pair together: (B, 4D)."""
        values = self.inner.pool(hidden, batch)
        values = nn.functional.normalize(values, dim=1) * values.shape[1] ** 0.5
        first, second = values[0::2], values[1::2]
        return torch.cat([first, second, (first - second).abs(), first * second], dim=1)

    def stem(self) -> list[nn.Module]:
        """That of the network."""
        return self.inner.stem()

    def blocks(self) -> list[nn.Module]:
        """Those of the network."""
        return self.inner.blocks()

    def save(self, folder: Path) -> None:
        """Write the network."""
        self.inner.save(folder)

    def coverage(self, examples: Any) -> Coverage:
        """That of the network."""
        return self.inner.coverage(examples)

    def preprocessing(self) -> dict[str, Any]:
        """That of the network, and that pairs are parted."""
        return {**self.inner.preprocessing(), "sides": PARTS}


def of_sides(backbone: Backbone, data: Dataset) -> Backbone:
    """The network as it reads the rows frozen: side by side where they are pairs of texts.

    A network with classes of its own has learned to read pairs together, or what it says of them; it stays as it is.
    """
    apart = data.task.modality == "text" and len(data.columns) == 2 and backbone.spec.modality == "text"
    known = isinstance(backbone, Sides) or not hasattr(backbone, "pooling") or backbone.spec.classes
    return Sides(backbone) if apart and not known and not data.task.is_tagging else backbone
