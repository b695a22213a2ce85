"""Reverse validation: can the source be learned back from what a model says about the target?"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from graft.core.registry import CRITERIA


@CRITERIA.register("reverse")
def reverse(
    source_features: Any, source_y: np.ndarray, target_features: Any, target_outputs: np.ndarray, C: float = 0.1
) -> float:
    """Compute the accuracy on source rows (n_v, d) of a linear classifier learned on target rows with predicted classes.

    Both domains are seen as the model sees them, so a map that brings them together is judged with it.  Predictions that
    carry another class structure than the source's cannot be turned back; those that are wrong in the same way can.

    Args:
        source_features: Held-out source rows (n_v, d), an array or CSR matrix.
        source_y: Their classes (n_v,).
        target_features: Target rows (n_t, d).
        target_outputs: Class probabilities (n_t, C).
        C: Inverse strength of the penalty, on rows of mean squared norm 1 and times √d.

    References:
        Zhong, Fan, Yang, Verscheure & Ren (2010), Cross validation framework to choose amongst models and datasets for
        transfer learning, ECML; Ganin et al. (2016), Domain-adversarial training of neural networks, JMLR 17.

    Example:
        >>> import numpy as np
        >>> X = np.array([[-1.0], [1.0]] * 10)
        >>> reverse(X, np.tile([0, 1], 10), X + 0.1, np.tile([[0.9, 0.1], [0.1, 0.9]], (10, 1)))
        1.0
    """
    from sklearn.linear_model import LogisticRegression

    pseudo = np.argmax(target_outputs, axis=1)
    if len(np.unique(pseudo)) < 2:
        return float((source_y == pseudo[0]).mean())
    squares = target_features.multiply(target_features) if sparse.issparse(target_features) else target_features**2
    size = np.sqrt(max(float(squares.sum()) / len(pseudo), 1e-12))
    model = LogisticRegression(C=C * target_features.shape[1] ** 0.5, max_iter=300, tol=1e-3)
    model.fit(target_features / size, pseudo)
    return float((model.predict(source_features / size) == source_y).mean())
