"""Both domains in a plane, for the report: where rows of each class lie before and after an adaptation."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from graft.core.rows import evenly_spaced

SHOWN = 250  # rows of each domain


def flat(source: Any, target: Any, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n_s, d) and (n_t, d) in the plane of the two leading directions of both: (n_s, 2) and (n_t, 2).

    Dense columns are centred first; of CSR rows the first direction, which is their mean, is left out.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> one, two = flat(rng.standard_normal((9, 4)), rng.standard_normal((5, 4)))
        >>> one.shape, two.shape
        ((9, 2), (5, 2))
    """
    from sklearn.utils.extmath import randomized_svd

    first = 0
    if sparse.issparse(source):
        both, first = sparse.vstack([source, target], format="csr"), 1
    else:
        both = np.concatenate([source, target]).astype(np.float64)
        both -= both.mean(axis=0)
    size = min(2 + first, *both.shape)
    _, _, basis = randomized_svd(both, size, random_state=seed)
    places = np.asarray(both @ basis[first:].T)
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    return places[: source.shape[0]], places[source.shape[0] :]


def view(source: Any, target: Any, y: np.ndarray, predicted: np.ndarray, *, seed: int = 0) -> list[list[float]]:
    """Points for the report: x, y, 0 for the source or 1 for the target, and the class, true or predicted.

    Args:
        source: Source rows (n_s, d).
        target: Target rows (n_t, d).
        y: Classes (n_s,) of the source rows.
        predicted: Classes (n_t,) that the target rows are predicted to have.
        seed: Seed of the directions.
    """
    some = [evenly_spaced(rows.shape[0], SHOWN) for rows in (source, target)]
    places = flat(source[some[0]], target[some[1]], seed=seed)
    classes = y[some[0]], predicted[some[1]]
    return [
        [float(a), float(b), domain, int(c)]
        for domain in (0, 1)
        for (a, b), c in zip(places[domain], classes[domain], strict=True)
    ]
