"""Pools whose best proposals are known: clouds of rows in two directions."""

import numpy as np

from graft.active.pool import Pool
from graft.core.task import Task

CENTRES = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def clouds(sizes=(40, 30, 20, 10), known=(), spread=0.12, seed=0, outputs=None, kind="classification"):
    """Clouds in four directions, numbered one after the other; ``known`` are positions with the label of their cloud."""
    rng = np.random.default_rng(seed)
    cloud = np.repeat(np.arange(len(sizes)), sizes)
    rows = CENTRES[cloud] + spread * rng.normal(size=(len(cloud), 2))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    known = np.asarray(known, np.int64)
    classes = tuple("abcd"[: len(sizes)]) if kind == "classification" else ()
    task = Task(kind, "table", classes, "accuracy" if classes else "r2")
    free = np.setdiff1d(np.arange(len(rows)), known)
    return cloud, Pool(rows, known, cloud[known].astype(float if not classes else int), free, task, outputs)


def rng(seed=0):
    return np.random.default_rng(seed)
