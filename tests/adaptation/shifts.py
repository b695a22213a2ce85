"""Small pairs of domains whose shift is known."""

import numpy as np

from graft.adaptation.domains import Domains, pair
from graft.data.load import load


def turned(angle: float, *, rows: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of points in the plane, turned by an angle, with three columns of noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    points = np.where(y[:, None] == 1, [[2.0, 0.5]], [[-2.0, -0.5]]) + 0.5 * rng.standard_normal((rows, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([points @ turn.T, 0.3 * rng.standard_normal((rows, 3))]), y


def two_domains(source: tuple[np.ndarray, np.ndarray], target: np.ndarray, **more: object) -> Domains:
    """Tables as domains."""
    labelled = load((source[0], source[1]), task="classification")
    return pair(labelled, load(target, labelled=False, like=labelled), **more)


def rotated() -> tuple[Domains, np.ndarray]:
    """Source, and a target turned by 60 degrees, with its labels beside it for the score."""
    target, y = turned(np.pi / 3, seed=1)
    return two_domains(turned(0.0), target), y


def covariate(*, rows: int = 400, seed: int = 0) -> tuple[Domains, np.ndarray]:
    """Points of a curved rule: the source lies all over, the target on one side, where the line that fits all is wrong."""
    rng = np.random.default_rng(seed)
    source, target = rng.uniform(-2, 2, (rows, 2)), rng.uniform(-2, 2, (rows, 2)) * [0.5, 1.0] + [1.0, 0.0]

    def rule(X: np.ndarray) -> np.ndarray:
        return (X[:, 1] > 2.0 * np.abs(X[:, 0]) - 2.0).astype(int)

    return two_domains((source, rule(source)), target), rule(target)
