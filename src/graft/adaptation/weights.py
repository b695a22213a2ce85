"""Weights of source rows: what their sum is worth, and how steep ones are flattened."""

from __future__ import annotations

import numpy as np

POWERS = np.linspace(1.0, 0.0, 21)


def effective_rows(weight: np.ndarray) -> float:
    """Rows that equal weights of the same spread would be worth: (Σ w)² / Σ w².  Kish (1965).

    Example:
        >>> effective_rows(np.ones(7)), effective_rows(np.array([1.0, 0.0, 0.0]))
        (7.0, 1.0)
    """
    return float(weight.sum() ** 2 / max(float((weight**2).sum()), 1e-300))


def flattened(weight: np.ndarray, least: float) -> np.ndarray:
    """Weights to the highest power of at most 1 at which a share ``least`` of the rows is effective; their mean is 1.

    A power below 1 trades the bias of the source rows against the variance of few heavy ones.  Shimodaira (2000).

    Args:
        weight: Weights (n,), not negative.
        least: Effective rows over rows, 0 to 1.

    Example:
        >>> steep = np.array([1.0, 1.0, 1.0, 97.0])
        >>> effective_rows(flattened(steep, 0.5)) >= 2.0
        True
    """
    safe = np.maximum(weight / max(float(weight.max()), 1e-300), 1e-12)
    for power in POWERS:
        found = safe**power
        if effective_rows(found) >= least * len(found):
            break
    return found / found.mean()
