"""Take the label bias out of zero-shot scores, without labels: offsets b so that softmax(s + b) is fair.

A model prefers some class names whatever it reads.  What it says of rows that say nothing, or on average of unlabelled rows,
shows the preference.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax, logsumexp

from graft.core.errors import DataError, UsageError

STEPS, CLOSE = 200, 1e-6


def mean_offsets(scores: np.ndarray) -> np.ndarray:
    """Offsets (C,) that divide by the mean probability of each class over some rows.

    Over rows that say nothing it takes away what a model says of those (Zhao et al. 2021; Holtzman et al. 2021 divide by the
    probability of an answer without its question).  Over unlabelled rows (Hu et al. 2022) it moves classes that are
    preferred, and does not force their shares to be equal: rare classes stay rarer.  It is one step of ``match_offsets``.

    Args:
        scores: Logits (n, C).

    References:
        Zhao et al. (2021). Calibrate before use: improving few-shot performance of language models. ICML.  Holtzman et al.
        (2021). Surface form competition: why the highest probability answer isn't always right. EMNLP.  Hu et al. (2022).
        Knowledgeable prompt-tuning: incorporating knowledge into prompt verbalizer for text classification. ACL.

    Example:
        >>> mean_offsets(np.log([[0.9, 0.1], [0.7, 0.3]])).round(3).tolist()
        [-0.693, 0.693]
    """
    offsets = -_log_mean(log_softmax(_checked(scores), axis=1))
    return np.asarray(offsets - offsets.mean())


def match_offsets(scores: np.ndarray, prior: np.ndarray | None = None) -> np.ndarray:
    """Offsets (C,) with which the mean probability of each class over unlabelled rows is its prior.

    Solves mean_i softmax(s_i + b) = π by b ← b + log π - log mean_i softmax(s_i + b): Sinkhorn's scaling of the matrix exp(s)
    to rows of sum 1 and columns of sum nπ, which converges for all positive matrices.

    Args:
        scores: Logits (n, C).
        prior: π (C,), positive; None: equal shares.

    References:
        Sinkhorn (1967), Amer. Math. Monthly 74.  Liusie et al. (2023). Mitigating word bias in zero-shot prompt-based
        classifiers. IJCNLP-AACL.

    Example:
        >>> scores = np.log([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]])
        >>> chances = np.exp(scores + match_offsets(scores))
        >>> (chances / chances.sum(axis=1, keepdims=True)).mean(axis=0).round(4).tolist()
        [0.5, 0.5]
    """
    z = _checked(scores)
    count = z.shape[1]
    share = np.full(count, 1 / count) if prior is None else np.asarray(prior, dtype=np.float64)
    if share.shape != (count,) or not (share > 0).all() or not np.isfinite(share).all():
        raise UsageError(f"the prior must be {count} positive shares")
    goal = np.log(share / share.sum())
    offsets = np.zeros(count)
    for _ in range(STEPS):
        step = goal - _log_mean(log_softmax(z + offsets, axis=1))
        offsets += step
        if np.abs(step - step.mean()).max() < CLOSE:
            break
    return np.asarray(offsets - offsets.mean())


def _log_mean(logs: np.ndarray) -> np.ndarray:
    return np.asarray(logsumexp(logs, axis=0) - np.log(len(logs)))


def _checked(scores: np.ndarray) -> np.ndarray:
    z = np.asarray(scores, dtype=np.float64)
    if z.ndim != 2 or not len(z) or not np.isfinite(z).all():
        raise DataError("calibration needs finite scores of at least one row")
    return z
