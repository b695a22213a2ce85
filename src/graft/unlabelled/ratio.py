"""Which domain a row is from: log-odds, the density ratio that they give, and how many rows that leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from graft.core.errors import DataError

FOLDS = 4
STEEPEST = 1e3  # largest density ratio


def domain_odds(source_features: Any, target_features: Any, *, C: float = 0.1, seed: int = 0) -> np.ndarray:
    """Log-odds (n_s + n_t,) of belonging to the target, each row by a logistic regression that was fitted without it.

    Both domains count alike, so 0 means undecided.  Rows are divided by the root of their mean squared norm about the
    mean, which makes C free of their scale.

    Args:
        source_features: Rows (n_s, d), an array or CSR matrix, never made dense.
        target_features: Rows (n_t, d), of the same kind.
        C: Inverse strength of the penalty.
        seed: Seed of the folds.

    Raises:
        DataError: A domain has fewer than four rows.

    Example:
        >>> import numpy as np
        >>> odds = domain_odds(np.zeros((50, 1)), np.ones((50, 1)), C=100.0)
        >>> bool((odds[:50] < 0).all() and (odds[50:] > 0).all())
        True
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    sizes = source_features.shape[0], target_features.shape[0]
    if min(sizes) < FOLDS:
        raise DataError(f"{min(sizes)} rows of a domain are too few to tell the domains apart", hint="give 4 or more")
    if sparse.issparse(source_features):
        X = sparse.vstack([source_features, target_features], format="csr", dtype=np.float64)
        X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
        size = X.multiply(X).sum() / X.shape[0]
    else:
        X = np.concatenate([source_features, target_features]).astype(np.float64)
        X -= X.mean(axis=0)
        size = np.square(X).sum() / len(X)
    X = X * (1.0 / np.sqrt(max(float(size), 1e-12)))
    domain = np.repeat([0, 1], sizes)
    weight = np.repeat([0.5 / sizes[0], 0.5 / sizes[1]], sizes) * sum(sizes)
    odds = np.empty(len(domain))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(np.zeros(len(domain)), domain):
        model = LogisticRegression(C=C * X.shape[1] ** 0.5, max_iter=300, tol=1e-3)
        odds[test] = model.fit(X[train], domain[train], sample_weight=weight[train]).decision_function(X[test])
    return odds


def density_ratio(source_features: Any, target_features: Any, *, C: float = 0.1, seed: int = 0) -> np.ndarray:
    """Estimate p_t(x) / p_s(x) at source rows (n_s,) as the odds of a cross-fitted logistic domain classifier.

    Their mean is near 1 by itself, and is left as it is: ``dev`` reads the error off it.

    References:
        Bickel, Brückner & Scheffer (2007), Discriminative learning for differing training and test distributions, ICML.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(500, 1))
        >>> ratio = density_ratio(X, rng.normal(1.0, size=(500, 1)))
        >>> bool(np.corrcoef(ratio, np.exp(X[:, 0]))[0, 1] > 0.9)  # the true ratio is exp(x - 1/2)
        True
    """
    odds = domain_odds(source_features, target_features, C=C, seed=seed)[: source_features.shape[0]]
    ratio: np.ndarray = np.exp(np.minimum(odds, np.log(STEEPEST)))
    return ratio


def effective_rows(ratio: np.ndarray) -> float:
    """Number of equally weighted rows that say as much, (Σ w)² / Σ w² (Kish 1965).

    Example:
        >>> import numpy as np
        >>> effective_rows(np.array([1.0, 1.0, 0.0, 0.0]))
        2.0
    """
    ratio = np.asarray(ratio, dtype=np.float64)
    return float(ratio.sum() ** 2 / max(float(np.square(ratio).sum()), 1e-300))
