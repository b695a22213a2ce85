"""Rows of some layers of a network's features as one matrix, read block by block, and which layers to take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from graft.core.errors import UsageError
from graft.core.rows import evenly_spaced
from graft.core.types import Features

IN_MEMORY = 1 << 26  # bytes of float32 features read at once; above it they are read block by block
CHOOSE_ROWS = 20_000  # rows on which layers are chosen; the chosen ones are fitted on all
WIDEST = 4_096  # columns up to which layers are put side by side unasked, where a head takes memory for their square


class LayerRows:
    """Rows (n, d) of some layers side by side, each layer divided by its scale, read block by block.

    Layers of one network differ in scale by factors of ten; a ridge penalty on the raw concatenation would silence the
    small ones.
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(self, features: Features, layers: Sequence[int], scale: np.ndarray) -> None:
        self.features, self.layers, self.scale = features, tuple(layers), scale.astype(np.float32)
        self.shape = (len(features), len(scale))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        values = self.features.layer(*self.layers, rows=rows)  # a copy: concatenated
        values /= self.scale
        return values

    def read(self) -> Any:
        """The rows as one array if they fit into memory, else this object, which gives blocks of them."""
        return self[:] if len(self) * self.shape[1] * 4 <= IN_MEMORY or len(self) < self.shape[1] else self

    def spread(self, coef: np.ndarray) -> np.ndarray:
        """Coefficients (ΣD, k) of the layers side by side that do what ``coef`` (d, k) does on these rows."""
        return coef


class MixedRows(LayerRows):
    """Rows (n, D) that are a mean Σ_l s_l X_l of layers of one width, each divided by its scale.

    A linear head on them is one on the layers side by side whose coefficients are s_l times the same.  Peters et al.
    (2018), Deep contextualized word representations, who learn s with the task.

    Args:
        features: All layers.
        layers: Those that are mixed.
        scale: Divisor of each column (L · D,).
        shares: s (L,), of sum one.
    """

    def __init__(self, features: Features, layers: Sequence[int], scale: np.ndarray, shares: np.ndarray) -> None:
        super().__init__(features, layers, scale)
        self.shares = shares
        self.shape = (len(features), len(scale) // len(self.layers))

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        mixed: np.ndarray = np.zeros(1, dtype=np.float32)
        for place, layer in enumerate(self.layers):  # one after the other: memory is that of one layer
            factor = np.float32(self.shares[place]) / self.scale[place * self.shape[1]]
            mixed = mixed + factor * self.features.layer(layer, rows=rows)
        return mixed

    def spread(self, coef: np.ndarray) -> np.ndarray:
        return np.concatenate([share * coef for share in self.shares])


def layer_scale(features: Features, layers: Sequence[int]) -> np.ndarray:
    """Root mean square of each layer about its mean, repeated over its columns, from at most 4096 rows."""
    some = evenly_spaced(len(features), 4096)
    widths = [features.sizes[layer] for layer in layers]
    values = features.layer(*layers, rows=some)
    parts = np.split(values - values.mean(axis=0), np.cumsum(widths)[:-1], axis=1)
    scales = [float(np.sqrt(np.square(part).mean(dtype=np.float64))) or 1.0 for part in parts]
    return np.repeat(np.asarray(scales, dtype=np.float32), widths)


class Fitted(Protocol):
    """What was fitted on some layers."""

    @property
    def error(self) -> float:
        """Left-out error."""


Head = TypeVar("Head", bound=Fitted)


def layer_options(
    features: Features, layers: Sequence[int] | str, *, most: int = 2, wide: bool = True
) -> list[tuple[int, ...]]:
    """The sets of layers to compare; one unless ``layers`` is ``"auto"``.

    Args:
        features: Say how many layers there are, and how wide.
        layers: Layer indices, ``"last"``, ``"concatenated"`` or ``"auto"``.
        most: 1: the last one and the upper half; 2: all too.
        wide: Whether more than ``WIDEST`` columns may be compared.

    Raises:
        UsageError: There are no such layers.
    """
    count = features.layers
    every = tuple(range(count))
    if layers == "auto":
        options = [(count - 1,), *[every[count // 2 :], every][:most]]
        width = {option: sum(features.sizes[layer] for layer in option) for option in options}
        return [option for option in width if wide or len(option) == 1 or width[option] <= WIDEST]
    if layers in ("last", "concatenated"):
        return [every if layers == "concatenated" else (count - 1,)]
    if isinstance(layers, str) or not layers or not all(-count <= layer < count for layer in layers):
        hint = f"use auto, last, concatenated, mix, or numbers from 0 to {count - 1}"
        raise UsageError(f"no layers {layers!r}", hint=hint)
    return [tuple(int(layer) % count for layer in layers)]


def choose_layers(
    features: Features,
    y: np.ndarray,
    options: Sequence[tuple[int, ...]],
    one: Callable[[Features, np.ndarray, tuple[int, ...]], Head],
) -> Head:
    """What ``one`` fits on the option with the smallest left-out error, found on at most ``CHOOSE_ROWS`` rows."""
    if len(options) == 1:
        return one(features, y, options[0])
    some = evenly_spaced(len(y), CHOOSE_ROWS)
    sample = features.select(features.rows[some])
    fits = [one(sample, y[some], option) for option in options]
    best = min(range(len(fits)), key=lambda index: fits[index].error)
    return fits[best] if len(some) == len(y) else one(features, y, options[best])
