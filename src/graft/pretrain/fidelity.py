"""How like real pictures drawn ones are: distances in the features of a network that is the same in every run."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)

from graft.nn.convolution import VGG
from graft.pretrain.pictures import as_pixels

DIMENSIONS = 64  # principal components in which pictures are compared, at most
GRID, PIXELS = 4, 8  # sides to which feature maps and pixels are averaged
BLOCK = 128  # pictures looked at together
SPREAD, REPEATED, COPIED = 0.6, 0.5, 0.5  # shares of the distances among real pictures below which something is wrong

Moments = tuple[np.ndarray, np.ndarray]


class FixedFeatures:
    """Principal components of the maps of a random VGG and of small pixels.

    The weights come from one seed and never learn, so two runs on the same pictures are measured with the same ruler;
    the discriminator would be a ruler that each run bends its own way, and networks trained on ImageNet are not always
    at hand.  Random convolutions rank generators much as trained ones do: Naeem et al. (2020).

    Args:
        pictures: Training pictures (N, H, W, C) uint8, from which the components are learned.
        dimensions: Number of components.
    """

    def __init__(self, pictures: np.ndarray, dimensions: int = DIMENSIONS) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = VGG(pictures.shape[3], widths=(32, 64), depth=1).eval()
        self.scale = np.ones(2)
        parts = self._raw(pictures)
        self.scale = np.array([np.sqrt(part.var(axis=0).sum()) or 1.0 for part in parts])
        values = self._joined(parts)
        self.mean = values.mean(axis=0)
        _, axes = np.linalg.eigh(moments(values)[1])
        self.axes = axes[:, ::-1][:, : max(1, min(dimensions, len(pictures) - 1))]
        self.variance = float(((values - self.mean) @ self.axes).var(axis=0).sum()) or 1.0

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """Features (N, D) float64."""
        return (self._joined(self._raw(pictures)) - self.mean) @ self.axes

    def _joined(self, parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([part / scale for part, scale in zip(parts, self.scale, strict=True)], axis=1)

    def _raw(self, pictures: np.ndarray) -> list[np.ndarray]:
        maps, small = [], []
        with torch.inference_mode():
            for start in range(0, len(pictures), BLOCK):
                pixels = as_pixels(pictures[start : start + BLOCK])
                deep = self.network.forward_features({"pixel_values": pixels})[-1]
                maps.append(F.adaptive_avg_pool2d(deep, min(GRID, deep.shape[2])).flatten(1).double().numpy())
                small.append(F.adaptive_avg_pool2d(pixels, PIXELS).flatten(1).double().numpy())
        return [np.concatenate(maps), np.concatenate(small)]


def moments(values: np.ndarray, weight: np.ndarray | None = None) -> Moments:
    """Mean (D,) and covariance (D, D) of rows (N, D) with weights (N,)."""
    share = np.full(len(values), 1 / len(values)) if weight is None else weight / weight.sum()
    mean = share @ values
    centred = values - mean
    return mean, (centred * share[:, None]).T @ centred


def frechet(one: Moments, two: Moments) -> float:
    """Fréchet distance of two Gaussians: |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½).  Heusel et al. (2017).

    Example:
        >>> import numpy as np
        >>> round(frechet((np.zeros(1), np.eye(1)), (np.ones(1), 4 * np.eye(1))), 6)  # 1 + (1 - 2)²
        2.0
    """
    values, vectors = np.linalg.eigh(one[1])
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    inner = root @ two[1] @ root
    cross = np.sqrt(np.linalg.eigvalsh((inner + inner.T) / 2).clip(0)).sum()
    gap = one[0] - two[0]
    return max(0.0, float(gap @ gap + np.trace(one[1]) + np.trace(two[1]) - 2 * cross))


def spread(values: np.ndarray) -> float:
    """Root mean square distance of two rows (N, D): √(2 tr Σ)."""
    return float(np.sqrt(2 * values.var(axis=0).sum()))


def nearest(values: np.ndarray, others: np.ndarray, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Which ``count`` of the others (M, D) are nearest to each row (N, D), and how far they are: (N, count) each."""
    square = (values**2).sum(1)[:, None] - 2 * values @ others.T + (others**2).sum(1)
    order = np.argsort(square, axis=1, kind="stable")[:, :count]
    return order, np.sqrt(np.take_along_axis(square, order, axis=1).clip(0))


def gaussian_pictures(pictures: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Pictures (count, H, W, C) drawn from a Gaussian with mean and covariance of the pixels of others (N, H, W, C).

    μ + Xᵀz / √(N - 1) with X the centred rows and z standard normal has that covariance without its ever being made.
    """
    rows = pictures.reshape(len(pictures), -1).astype(np.float32)
    mean = rows.mean(axis=0)
    draws = rng.standard_normal((count, len(rows))).astype(np.float32) @ (rows - mean)
    values = mean + draws / np.sqrt(max(1, len(rows) - 1))
    return values.round().clip(0, 255).astype(np.uint8).reshape(count, *pictures.shape[1:])


def faults(drawn: np.ndarray, real: np.ndarray, train: np.ndarray) -> list[str]:
    """What is wrong with drawn pictures, a sentence each, from features of drawn, held-out and training pictures.

    Collapse to one kind shows in the distance of any two pictures, collapse to a few kinds in the distance to the
    nearest other one, learning by heart in the distance to the nearest training picture; each beside the same distance
    of as many real pictures.
    """
    found = []
    apart = spread(drawn) / (spread(real) or 1.0)
    if apart < SPREAD:
        found.append(
            f"The generator has collapsed: two drawn pictures lie {apart:.0%} as far apart as two real ones. "
            "Train longer, lower the rate, or take another form."
        )
    if min(len(drawn), len(real)) > 2:
        among = nearest(drawn, drawn, 2)[1][:, 1].mean() / (nearest(real, real, 2)[1][:, 1].mean() or 1.0)
        if apart >= SPREAD and among < REPEATED:
            found.append(
                f"The generator repeats itself: a drawn picture has another one {among:.0%} as near as real pictures have."
            )
        copied = nearest(drawn, train)[1].mean() / (nearest(real, train)[1].mean() or 1.0)
        if apart >= SPREAD and copied < COPIED:
            found.append(
                f"The generator has learned pictures by heart: a drawn one is {copied:.0%} as far from its nearest "
                "training picture as an unseen real one is."
            )
    return found
