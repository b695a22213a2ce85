"""Models whose outputs on source and target are drawn, with the truth known."""

import numpy as np

from graft.unlabelled.observed import Observed


def outputs(y, right, classes=3, *, rng, sure=0.8):
    """Probabilities (n, C) that are right with probability ``right``, more often where they are surer."""
    confidence = rng.uniform(0.4, min(sure + 0.15, 0.99), len(y))
    hit = rng.random(len(y)) < np.clip(right + (confidence - confidence.mean()), 0, 1)
    predicted = np.where(hit, y, (y + rng.integers(1, classes, len(y))) % classes)
    p = np.repeat(((1 - confidence) / (classes - 1))[:, None], classes, axis=1)
    p[np.arange(len(y)), predicted] = confidence
    return p


def model(right=0.8, *, seed=0, rows=300, held=200, features=True):
    """One model on 200 held-out source rows and 300 target rows, and the target's classes, which no function takes."""
    rng = np.random.default_rng(seed)
    y, truth = rng.integers(0, 3, held), rng.integers(0, 3, rows)
    runs = np.stack([outputs(truth, right, rng=rng) for _ in range(3)])
    centres = 3 * np.eye(3, 4)
    seen = Observed(
        runs[0],
        outputs(y, 0.85, rng=rng),
        y,
        centres[truth] + rng.normal(size=(rows, 4)) if features else None,
        centres[y] + rng.normal(size=(held, 4)) if features else None,
        rng.uniform(0.5, 1.5, held),
        runs,
        runs.mean(axis=0),
    )
    return seen, truth
