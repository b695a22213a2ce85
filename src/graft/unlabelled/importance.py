"""Criteria that score held-out source rows, weighted so that they stand for the target."""

from __future__ import annotations

import numpy as np

from graft.core.registry import CRITERIA


@CRITERIA.register("source_accuracy")
def source_accuracy(source_outputs: np.ndarray, source_y: np.ndarray) -> float:
    """Compute the accuracy on held-out source rows (n_v, C): what the target does not enter at all.

    Example:
        >>> import numpy as np
        >>> source_accuracy(np.eye(2), np.array([0, 0]))
        0.5
    """
    return float((np.argmax(source_outputs, axis=1) == source_y).mean())


@CRITERIA.register("iwv")
def iwv(source_outputs: np.ndarray, source_y: np.ndarray, ratio: np.ndarray) -> float:
    """Estimate the target accuracy by importance-weighted validation, Σ w_i [right_i] / Σ w_i over held-out source rows.

    Unbiased, up to the division by Σ w, under covariate shift with overlapping domains and the true ratio; elsewhere few
    rows carry all weight (``ratio.effective_rows``).

    References:
        Sugiyama, Krauledat & Müller (2007), Covariate shift adaptation by importance weighted cross validation, JMLR 8.

    Example:
        >>> import numpy as np
        >>> iwv(np.eye(2), np.array([0, 0]), np.array([3.0, 1.0]))
        0.75
    """
    right = np.argmax(source_outputs, axis=1) == source_y
    return float(right @ ratio / max(float(np.sum(ratio)), 1e-300))


@CRITERIA.register("dev")
def dev(source_outputs: np.ndarray, source_y: np.ndarray, ratio: np.ndarray) -> float:
    """Estimate the target accuracy by deep embedded validation: 1 - mean(w l) - η (mean(w) - 1), l the 0-1 loss.

    The control variate η = -Cov(w l, w) / Var(w) uses that w has mean 1 under the true ratio, and lowers the variance; a
    ratio that was divided by its mean makes it the plain weighted estimate.

    References:
        You et al. (2019), Towards accurate model selection in deep unsupervised domain adaptation, ICML.

    Example:
        >>> import numpy as np
        >>> dev(np.eye(2), np.array([0, 0]), np.array([1.0, 1.0]))  # no shift: the accuracy
        0.5
    """
    loss = (np.argmax(source_outputs, axis=1) != source_y).astype(np.float64)
    w = np.asarray(ratio, dtype=np.float64)
    weighted = w * loss
    spread = float(np.var(w))
    eta = -float(np.mean((weighted - weighted.mean()) * (w - w.mean()))) / spread if spread > 1e-12 else 0.0
    return 1.0 - float(weighted.mean() + eta * (w.mean() - 1.0))
