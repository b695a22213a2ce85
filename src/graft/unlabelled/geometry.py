"""Criteria that read how target rows lie: dense neighbourhoods, and clusters that agree with the predicted classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from graft.core.registry import CRITERIA
from graft.core.rows import evenly_spaced

MOST = 2000  # rows that measures of all pairs look at
_TINY = 1e-12


@CRITERIA.register("snd")
def snd(target_outputs: np.ndarray, temperature: float = 0.05, most: int = MOST) -> float:
    """Compute the soft neighbourhood density of target outputs (n_t, C), in nats: mean entropy of S_ij, j ≠ i.

    S_i is the softmax over the other rows of cosine(p_i, p_j) / temperature.  Large where every row has many equally near
    neighbours, and so in a collapsed model too.  At most log(n - 1); over evenly spaced rows, at most ``most``.

    References:
        Saito et al. (2021), Tune it the right way: unsupervised validation of domain adaptation via soft neighborhood
        density, ICCV.

    Example:
        >>> import numpy as np
        >>> round(snd(np.full((4, 2), 0.5)), 4)  # all others alike: log 3
        1.0986
    """
    p = np.asarray(target_outputs, dtype=np.float64)[evenly_spaced(len(target_outputs), most)]
    if len(p) < 3:
        return 0.0
    p = p / np.linalg.norm(p, axis=1, keepdims=True).clip(_TINY)
    near = p @ p.T / temperature
    np.fill_diagonal(near, -np.inf)
    near -= near.max(axis=1, keepdims=True)
    weight = np.exp(near)
    total = weight.sum(axis=1)
    np.fill_diagonal(near, 0.0)  # weight 0 times minus infinity
    return float((np.log(total) - (weight * near).sum(axis=1) / total).mean())


@CRITERIA.register("silhouette")
def silhouette(target_features: Any, target_outputs: np.ndarray, most: int = MOST) -> float:
    """Compute the mean silhouette (b - a) / max(a, b) of target features (n_t, d) by predicted class, in [-1, 1].

    a is the mean distance to rows of the same class, b to those of the nearest other.  Over evenly spaced rows, at most
    ``most``; -1 where only one class is predicted.

    References:
        Rousseeuw (1987), Silhouettes, J. Computational and Applied Mathematics 20; Robbiano et al. (2022), Adversarial
        branch architecture search for unsupervised domain adaptation, WACV (as a criterion).

    Example:
        >>> import numpy as np
        >>> silhouette(np.array([[0.0], [0.0], [1.0], [1.0]]), np.eye(2)[[0, 0, 1, 1]])
        1.0
    """
    from sklearn.metrics import silhouette_score

    rows = evenly_spaced(len(target_outputs), most)
    labels = np.argmax(target_outputs, axis=1)[rows]
    if not 2 <= len(np.unique(labels)) < len(labels):
        return -1.0
    return float(silhouette_score(target_features[rows], labels))


@CRITERIA.register("calinski_harabasz")
def calinski_harabasz(target_features: Any, target_outputs: np.ndarray) -> float:
    """Compute log((B / (K - 1)) / (W / (n - K))) of target features (n_t, d) by predicted class; -20 for one class.

    B is the scatter of the K class means, W that of the rows about them.  Linear in the rows; the logarithm of the usual
    index, so that it can be averaged.

    References:
        Caliński & Harabasz (1974), A dendrite method for cluster analysis, Communications in Statistics 3.

    Example:
        >>> import numpy as np
        >>> round(calinski_harabasz(np.array([[0.0], [1.0], [4.0], [5.0]]), np.eye(2)[[0, 0, 1, 1]]), 4)  # log 32
        3.4657
    """
    labels, means, distances = _clusters(target_features, target_outputs)
    counts = np.bincount(labels)
    n, classes = len(labels), len(counts)
    if not 2 <= classes < n:
        return -20.0
    centre = counts @ means / n
    between = float(counts @ np.square(means - centre).sum(axis=1)) / (classes - 1)
    within = float(np.square(distances).sum()) / (n - classes)
    return float(np.clip(np.log(max(between, _TINY) / max(within, _TINY)), -20.0, 20.0))


@CRITERIA.register("davies_bouldin")
def davies_bouldin(target_features: Any, target_outputs: np.ndarray) -> float:
    """Compute -mean_k max_l (s_k + s_l) / |m_k - m_l| of target features (n_t, d) by predicted class; -100 for one class.

    s is the mean distance of a class's rows to their mean m.  At most 0, and linear in the rows.

    References:
        Davies & Bouldin (1979), A cluster separation measure, IEEE Trans. Pattern Analysis and Machine Intelligence 1.

    Example:
        >>> import numpy as np
        >>> davies_bouldin(np.array([[0.0], [1.0], [4.0], [5.0]]), np.eye(2)[[0, 0, 1, 1]])  # (½ + ½) / 4
        -0.25
    """
    labels, means, distances = _clusters(target_features, target_outputs)
    counts = np.bincount(labels)
    if len(counts) < 2:
        return -100.0
    spread = np.bincount(labels, weights=distances) / counts
    apart = np.sqrt(np.square(means[:, None] - means[None]).sum(axis=2))
    ratio = (spread[:, None] + spread[None]) / apart.clip(_TINY)
    np.fill_diagonal(ratio, 0.0)
    return -float(ratio.max(axis=1).mean().clip(0.0, 100.0))


def _clusters(features: Any, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted classes numbered without gaps (n,), their means (K, d), and each row's distance to its own (n,)."""
    labels = np.unique(np.argmax(outputs, axis=1), return_inverse=True)[1]
    counts = np.bincount(labels)
    member = sparse.csr_array((1.0 / counts[labels], (labels, np.arange(len(labels)))))
    if sparse.issparse(features):
        X = sparse.csr_array(features, dtype=np.float64)
        means = (member @ X).toarray()
        inner = (X @ means.T)[np.arange(len(labels)), labels]
        squares = np.asarray(X.multiply(X).sum(axis=1)).ravel() - 2 * inner + np.square(means).sum(axis=1)[labels]
    else:
        X = np.asarray(features, dtype=np.float64)
        means = member @ X
        squares = np.square(X - means[labels]).sum(axis=1)
    return labels, means, np.sqrt(squares.clip(0))
