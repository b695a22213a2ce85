"""Which trials to average, and with which weights: greedy ensemble selection on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graft.core.task import Task

ROUNDS = 20  # members are drawn with replacement: weights come in twentieths
TINY = 1e-12


def blend(
    task: Task,
    y: np.ndarray,
    outputs: Sequence[np.ndarray],
    *,
    rounds: int = ROUNDS,
    costs: np.ndarray | None = None,
    most: np.ndarray | None = None,
) -> np.ndarray:
    """Weights (M,) of models whose weighted mean has the lowest loss on held-out rows.

    Starting from nothing, the model is added (again) that lowers the loss of the mean most; the loss is the mean negative
    log-likelihood, or the squared error.  Stopping after few rounds and drawing with replacement keep it from fitting the
    rows: weights are multiples of 1/rounds, and most models get none.

    Args:
        task: What is asked for.
        y: Encoded targets (n,).
        outputs: Held-out outputs (n, C) or (n,) of each model, without gaps.
        rounds: Draws.
        costs: What each model takes (M, K), of K kinds; none of them alone takes more than ``most``.
        most: What all members together may take (K,).

    References:
        Caruana, Niculescu-Mizil, Crew & Ksikes (2004), Ensemble selection from libraries of models, ICML.

    Example:
        >>> task = Task("classification", "text", ("a", "b"))
        >>> y = np.array([0, 1, 0, 1])
        >>> right, wrong = np.eye(2)[y] * 0.8 + 0.1, np.eye(2)[1 - y] * 0.8 + 0.1
        >>> blend(task, y, [wrong, right]).tolist()
        [0.0, 1.0]
    """
    weight = task.sample_weights(y)
    counts, total = np.zeros(len(outputs)), np.zeros_like(np.asarray(outputs[0], np.float64))
    for number in range(1, rounds + 1):
        losses = np.array([_loss(task, y, (total + each) / number, weight) for each in outputs])
        if costs is not None and most is not None:
            spent = costs[counts > 0].sum(axis=0)
            losses[(counts == 0) & (spent + costs > most).any(axis=1)] = np.inf
        best = int(np.argmin(losses))
        counts[best] += 1
        total += outputs[best]
    return counts / counts.sum()


def _loss(task: Task, y: np.ndarray, outputs: np.ndarray, weight: np.ndarray | None) -> float:
    if task.is_multilabel:
        inside = outputs.clip(TINY, 1 - TINY)
        return -float((y * np.log(inside) + (1 - y) * np.log1p(-inside)).mean())
    if not task.is_classification:
        return float(((outputs.reshape(-1) - y) ** 2).mean())
    return float(np.average(-np.log(outputs[np.arange(len(y)), y].clip(TINY)), weights=weight))


def blended(
    task: Task,
    y: np.ndarray,
    outputs: Sequence[np.ndarray],
    parts: Sequence[np.ndarray],
    *,
    costs: np.ndarray | None = None,
    most: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of the mean on rows that did not choose its weights, and the weights that all rows choose.

    Args:
        task: What is asked for.
        y: Encoded targets (n,).
        outputs: Held-out outputs of each model.
        parts: Positions of the rows of each part; the weights for one part come from all others.
        costs: As in ``blend``.
        most: As in ``blend``.
    """
    mean = np.zeros_like(np.asarray(outputs[0], np.float64))
    for part in parts:
        others = np.setdiff1d(np.arange(len(y)), part)
        weights = blend(task, y[others], [each[others] for each in outputs], costs=costs, most=most)
        mean[part] = sum(share * each[part] for share, each in zip(weights, outputs, strict=True))
    return mean, blend(task, y, outputs, costs=costs, most=most)
