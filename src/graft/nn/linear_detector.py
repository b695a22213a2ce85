"""A detector in closed form: the answers of ``nn.detector`` as a linear map of what is known of a cell."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from graft.nn.detector import boxes_of, peaks

CELLS = 40_000  # that the map is fitted on: all with heat, and a draw of the others
WARM = 0.05  # heat from which a cell is always among them
PULL = 1e-2  # ridge, over the mean square of standardised features times the cells
_LEAST = 0.05  # cells, distance to an edge


class LinearDetector:
    """Ridge regressions from the features of a cell to the heat of each class and the logarithms of four distances.

    The heat is learned on all cells, each standing for those that it was drawn from, the distances on those inside of
    objects, by their share of the loss of boxes.

    Attributes:
        centre: Mean of each feature (D,).
        scale: Inverse spread of each feature (D,).
        weight: (D + 1, C + 4), the intercepts last.
    """

    def __init__(self, centre: np.ndarray, scale: np.ndarray, weight: np.ndarray) -> None:
        self.centre, self.scale, self.weight = centre, scale, weight

    @classmethod
    def fit(
        cls, features: Callable[[], Iterable[np.ndarray]], wanted: list[dict[str, np.ndarray]], seed: int
    ) -> LinearDetector:
        """Learn from the cells of pictures.

        Args:
            features: Gives the features (D, H, W) of one picture after the other.
            wanted: ``nn.detector.targets`` of each.
            seed: Of the draw of cells.
        """
        rng = np.random.default_rng(seed)
        warm = [(one["heat"].max(axis=0) > WARM) | (one["share"] > 0) for one in wanted]
        cold = sum(int((~mask).sum()) for mask in warm)
        room = max(CELLS - sum(int(mask.sum()) for mask in warm), CELLS // 2)
        chance = min(1.0, room / max(1, cold))
        X, heat, edges, share, count = [], [], [], [], []
        for values, one, mask in zip(features(), wanted, warm, strict=True):
            chosen = mask | (rng.random(mask.shape) < chance)
            X.append(values[:, chosen].T.astype(np.float32))
            heat.append(one["heat"][:, chosen].T)
            edges.append(_distances(one["box"])[:, chosen].T)
            share.append(one["share"][chosen])
            count.append(np.where(mask, 1.0, 1 / chance)[chosen])
        cells, weights = np.concatenate(X), np.concatenate(count)
        centre, scale = cells.mean(axis=0), 1 / (cells.std(axis=0) + 1e-6)
        cells = (cells - centre) * scale
        own = np.concatenate(share)
        weight = np.hstack(
            [
                _ridge(cells, np.concatenate(heat), weights),
                _ridge(cells[own > 0], np.concatenate(edges)[own > 0], own[own > 0]),
            ]
        )
        return cls(centre, scale, weight)

    def find(self, values: np.ndarray) -> np.ndarray:
        """Boxes (k, 6), coordinates as shares of the picture, of the features (D, H, W) of one picture."""
        high, wide = values.shape[1:]
        cells = (values.reshape(len(values), -1).T.astype(np.float32) - self.centre) * self.scale
        answer = (cells @ self.weight[:-1] + self.weight[-1]).T.reshape(-1, high, wide)
        said: Tensor = torch.from_numpy(np.ascontiguousarray(answer)).float()[None]
        return peaks(said[:, :-4].clamp(0, 1), boxes_of(said[:, -4:].clamp(max=8).exp()))[0]

    def arrays(self) -> dict[str, np.ndarray]:
        """What was learned."""
        return {"centre": self.centre, "scale": self.scale, "weight": self.weight}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> LinearDetector:
        """The inverse of ``arrays``."""
        return cls(arrays["centre"], arrays["scale"], arrays["weight"])


def _distances(box: np.ndarray) -> np.ndarray:
    """Logarithms of the distances (4, H, W) from the middle of each cell to the edges of its box."""
    high, wide = box.shape[1:]
    x, y = np.arange(wide) + 0.5, (np.arange(high) + 0.5)[:, None]
    edges = np.stack([x - box[0], y - box[1], box[2] - x, box[3] - y])
    return np.asarray(np.log(edges.clip(min=_LEAST)))


def _ridge(X: np.ndarray, Y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weights (D + 1, K), intercept last, that minimise Σ w (y - xW - b)² + a |W|²; zeros without rows."""
    if not len(X) or not weight.sum():
        return np.zeros((X.shape[1] + 1, Y.shape[1]), np.float32)
    w = (weight / weight.mean()).astype(np.float32)[:, None]
    mean_x, mean_y = (w * X).mean(axis=0), (w * Y).mean(axis=0)
    centred = X - mean_x
    gram = (centred * w).T @ centred
    gram[np.diag_indices(len(gram))] += PULL * len(X)
    found = np.linalg.solve(gram.astype(np.float64), ((centred * w).T @ (Y - mean_y)).astype(np.float64))
    return np.vstack([found, mean_y - mean_x @ found]).astype(np.float32)
