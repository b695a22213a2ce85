"""A graph of nearest neighbours, and labels that spread over it: a sparse matrix, solved by conjugate gradients.

With closeness s_ij = max(0, cos)³ of the nearest neighbours, W = A + Aᵀ and S = D^-½ W D^-½, spreading labels Y means
F = (I - αS)⁻¹ Y, the limit of F ← αSF + Y.  I - αS is positive definite for 0 ≤ α < 1, so every column of F is found by
conjugate gradients in memory that grows with the number of edges.

References: Zhou et al. (2004), Learning with local and global consistency, NeurIPS; Iscen et al. (2019), Label propagation
for deep semi-supervised learning, CVPR, for the closeness; Zhu, Ghahramani & Lafferty (2003), ICML, for class masses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.nn.neighbours import CLOSE, nearest

POWER = 3  # of the cosine: near neighbours count much more than far ones
TOLERANCE = 1e-5  # of the residual, relative to the start
MOST_STEPS = 300


def neighbour_graph(unit: np.ndarray, count: int) -> Any:
    """Build S (n, n), sparse and symmetric, of rows that have length one.

    Compares every row with all others: n² d products, in blocks.

    Args:
        unit: Rows (n, d) of length one.
        count: Neighbours of each row; fewer where there are no more rows.

    Example:
        >>> import numpy as np
        >>> two_pairs = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=np.float32)
        >>> neighbour_graph(two_pairs, 1).toarray().round(6).tolist()
        [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]
    """
    from scipy.sparse import csr_matrix, diags

    n = len(unit)
    count = min(count, n - 1)
    if count < 1:
        return csr_matrix((n, n))
    size = max(1, CLOSE // n)
    parts = [np.arange(start, min(start + size, n)) for start in range(0, n, size)]
    near = [nearest(unit[part], unit, count, part) for part in parts]
    close = np.concatenate([one for one, _ in near]).astype(np.float64).clip(0) ** POWER
    found = np.concatenate([one for _, one in near])
    edges = csr_matrix((close.ravel(), (np.repeat(np.arange(n), count), found.ravel())), shape=(n, n))
    weights = edges + edges.T
    degree = np.asarray(weights.sum(axis=1)).ravel()
    root = diags(np.where(degree > 0, 1 / np.sqrt(np.where(degree > 0, degree, 1)), 0))
    return (root @ weights @ root).tocsr()


def spread(graph: Any, start: np.ndarray, alpha: float) -> np.ndarray:
    """Solve (I - αS) F = Y for all columns at once.

    Args:
        graph: S (n, n).
        start: Y (n, k): what is known of each row, zeros where nothing is.
        alpha: Weight of the neighbours, 0 to below 1.

    Example:
        >>> import numpy as np
        >>> from scipy.sparse import csr_matrix
        >>> pair = csr_matrix(np.array([[0.0, 1.0], [1.0, 0.0]]))
        >>> spread(pair, np.array([[3.0], [0.0]]), 0.5).round(6).tolist()  # 3 / (1 - 1/4) and half of it
        [[4.0], [2.0]]
    """
    found = np.zeros_like(start, dtype=np.float64)
    rest = start.astype(np.float64)
    way, size = rest.copy(), np.square(rest).sum(axis=0)
    limit = TOLERANCE**2 * size
    for _ in range(MOST_STEPS):
        live = size > limit
        if not live.any():
            break
        image = way - alpha * (graph @ way)
        bend = (way * image).sum(axis=0)
        step = np.where(live, size / np.where(bend > 0, bend, 1), 0)
        found += step * way
        rest -= step * image
        before, size = size, np.square(rest).sum(axis=0)
        way = rest + np.where(live, size / np.where(before > 0, before, 1), 0) * way
    return found


def soft_labels(spread_out: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Turn what has arrived (n, C) into class probabilities whose masses follow the shares (C,) of the classes.

    A row that nothing has reached gets the shares themselves.

    Example:
        >>> import numpy as np
        >>> soft_labels(np.array([[4.0, 1.0], [2.0, 1.0], [0.0, 0.0]]), np.array([0.5, 0.5])).round(2).tolist()
        [[0.57, 0.43], [0.4, 0.6], [0.5, 0.5]]
    """
    positive = np.maximum(spread_out, 0)
    mass = positive.sum(axis=0)
    scaled = positive * np.where(mass > 0, shares / np.where(mass > 0, mass, 1), 0)
    total = scaled.sum(axis=1, keepdims=True)
    out: np.ndarray = np.where(total > 0, scaled / np.where(total > 0, total, 1), shares / shares.sum())
    return out
