"""Transferability scores: plain functions of arrays, larger is better.

A score takes ``features`` (n, d), or the source's own class ``probabilities`` (n, K) if that is the name of its first
parameter, and targets y (n,): integers are classes, floats are values to regress on.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh

from graft.core.errors import DataError
from graft.core.registry import SCORES

_TINY = 1e-12


@SCORES.register("h_score")
def h_score(features: np.ndarray, y: np.ndarray) -> float:
    """Compute the H-score (1 - a) · tr(S_a⁻¹ S_z) of features (n, d) for classes y (n,).

    S_z is the covariance of the class means, S_a = (1 - a) S + a tr(S)/d · I the covariance of the features with the
    shrinkage of Ledoit and Wolf, without which the score of d >= n features is d whatever they are.  It lies between 0
    and the number of classes less one, and does not change when features are shifted, scaled or rotated.

    Raises:
        DataError: y holds values, not classes.

    References:
        Bao et al. (2019), An information-theoretic approach to transferability in task transfer learning, ICIP;
        Ibrahim et al. (2022), Newer is not always better, ECML (shrinkage).

    Example:
        >>> import numpy as np
        >>> y = np.repeat([0, 1, 2], 500)
        >>> round(h_score(np.eye(3)[y], y), 2)  # class means carry all the variance
        2.0
    """
    y = _classes(y)
    F = _centred(features)
    n, d = F.shape
    covariance = F.T @ F / n
    scale = float(np.trace(covariance)) / d
    if scale == 0.0:
        return 0.0
    shrinkage = _ledoit_wolf(F, covariance, scale)
    covariance *= 1 - shrinkage
    covariance.flat[:: d + 1] += max(shrinkage, 1e-10) * scale  # singular covariances that need no shrinkage
    counts = np.bincount(y)
    means = np.eye(len(counts))[:, y] @ F / np.sqrt(counts * n)[:, None]  # so that S_z = meansᵀ means
    return float((1 - shrinkage) * np.sum(means.T * cho_solve(cho_factor(covariance), means.T)))


def _ledoit_wolf(F: np.ndarray, covariance: np.ndarray, scale: float) -> float:
    """Shrinkage intensity in [0, 1] of centred rows (n, d)."""
    n, d = F.shape
    square = float(np.square(covariance).sum())
    spread = float(np.square(np.square(F).sum(axis=1)).sum()) / n
    noise, signal = (spread - square) / n, square - d * scale**2
    return 0.0 if signal <= _TINY * square else float(np.clip(noise / signal, 0.0, 1.0))  # 0: S is its own target


@SCORES.register("logme")
def logme(features: np.ndarray, y: np.ndarray) -> float:
    """Compute LogME: the largest evidence, in nats per row, of a Bayesian linear model on features (n, d).

    y ~ N(Fw, 1/b), w ~ N(0, 1/a); log p(y | F, a, b) is maximised over a and b by MacKay's fixed point on one
    eigendecomposition of the smaller of FᵀF and FFᵀ.  Classes are regressed one against the rest and averaged.  It
    does not change when features are scaled or rotated.

    References:
        You et al. (2021), LogME: practical assessment of pre-trained models for transfer learning, ICML.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> F = rng.normal(size=(200, 3))
        >>> logme(F, F @ [1.0, 2.0, 3.0]) > logme(F, rng.normal(size=200))
        True
    """
    F = np.asarray(features, dtype=np.float64)
    y = np.asarray(y)
    Y = y.reshape(len(y), -1).astype(np.float64) if y.dtype.kind == "f" else np.eye(int(y.max()) + 1)[y]
    Y = Y[:, Y.any(axis=0)] if y.ndim == 2 else Y  # a label without a row says nothing
    primal = F.shape[1] <= len(F)
    values, basis = eigh(F.T @ F if primal else F @ F.T, driver="evd")
    kept = values > values[-1] * max(F.shape) * np.finfo(float).eps
    values, basis = values[kept], basis[:, kept]
    inner = (basis.T @ (F.T @ Y)) / np.sqrt(values)[:, None] if primal else basis.T @ Y
    rest = np.square(Y).sum(axis=0) - np.square(inner).sum(axis=0)
    each = [_evidence(values, *pair, F.shape) for pair in zip(np.square(inner).T, rest, strict=True)]
    return float(np.mean(each))


def _evidence(values: np.ndarray, inside: np.ndarray, outside: float, shape: tuple[int, int]) -> float:
    """Largest evidence per row of one target with squared coordinates ``inside`` the span and ``outside`` of it."""
    n, d = shape
    outside = max(float(outside), 0.0)
    floor = _TINY * max(float(inside.sum()) + outside, _TINY)
    if inside.sum() <= floor:  # nothing to explain: all is noise
        variance = max((outside + float(inside.sum())) / n, _TINY)
        return -0.5 * float(np.log(2 * np.pi * variance) + 1)
    ratio = float(values.mean())  # a / b
    a = b = 1.0
    for _ in range(200):
        shrunk = values / (values + ratio)
        size = float((shrunk**2 / values) @ inside)  # |m|²
        error = max(float(((1 - shrunk) ** 2) @ inside) + outside, floor)
        used = float(shrunk.sum())
        a, b = used / max(size, _TINY), max(n - used, _TINY) / error
        previous, ratio = ratio, a / b
        if abs(ratio - previous) <= 1e-6 * ratio:
            break
    determinant = np.log(a + b * values).sum() + (d - len(values)) * np.log(a)
    fit = b * error + a * size
    total = n * np.log(b) + d * np.log(a) - n * np.log(2 * np.pi) - fit - determinant
    return float(0.5 * total / n)


@SCORES.register("leep")
def leep(probabilities: np.ndarray, y: np.ndarray) -> float:
    """Compute LEEP: the mean of log Σ_z p(y_i | z) θ_iz, from the source's own probabilities θ (n, K).

    p(y | z) is read off the average joint distribution of labels and source classes.  At most 0.

    References:
        Nguyen et al. (2020), LEEP: a new measure to evaluate transferability of learned representations, ICML.

    Example:
        >>> import numpy as np
        >>> leep(np.eye(2)[[0, 0, 1, 1]], np.array([1, 1, 0, 0]))  # source classes give the labels away
        0.0
        >>> round(leep(np.full((4, 2), 0.5), np.array([0, 0, 1, 1])), 4)  # -log 2
        -0.6931
    """
    y = _classes(y)
    theta = np.asarray(probabilities, dtype=np.float64)
    joint = np.eye(int(y.max()) + 1)[:, y] @ theta
    conditional = joint / np.maximum(joint.sum(axis=0), _TINY)
    likelihood = (theta @ conditional.T)[np.arange(len(y)), y]
    return float(np.log(np.maximum(likelihood, _TINY)).mean())


@SCORES.register("nce")
def nce(probabilities: np.ndarray, y: np.ndarray) -> float:
    """Compute the negative conditional entropy -H(Y | Z), Z the source's own most likely class, in nats.

    References:
        Tran, Nguyen & Hassner (2019), Transferability and hardness of supervised classification tasks, ICCV.

    Example:
        >>> import numpy as np
        >>> round(nce(np.eye(2)[[0, 0, 0, 0]], np.array([0, 0, 1, 1])), 4)  # Z says nothing: -log 2
        -0.6931
    """
    theta = np.asarray(probabilities)
    return float(leep(np.eye(theta.shape[1])[theta.argmax(axis=1)], y))  # the same with hard probabilities


@SCORES.register("knn")
def knn(features: np.ndarray, y: np.ndarray, k: int = 5) -> float:
    """Score the k nearest other rows by cosine: accuracy of their vote, or R² of their mean.

    Votes are weighted by 1 + cosine, which breaks ties.  Equal rows must not occur twice: they are their own
    neighbours.

    Example:
        >>> import numpy as np
        >>> knn(np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]]), np.array([0, 0, 1, 1]), k=1)
        1.0
    """
    F = np.asarray(features, dtype=np.float64)
    F = F / np.maximum(np.linalg.norm(F, axis=1, keepdims=True), _TINY)
    y = np.asarray(y)
    values = y.dtype.kind == "f"
    targets = y.reshape(len(y), -1).astype(np.float64) if values else np.eye(int(y.max()) + 1)[y]
    k = min(k, len(F) - 1)
    predicted = np.empty_like(targets)
    for start in range(0, len(F), 1024):
        rows = np.arange(start, min(start + 1024, len(F)))
        near = F[rows] @ F.T
        near[np.arange(len(rows)), rows] = -np.inf
        chosen = np.argpartition(-near, k - 1, axis=1)[:, :k]
        weight = np.ones(chosen.shape) if values else 1 + np.take_along_axis(near, chosen, axis=1) + _TINY
        predicted[rows] = np.einsum("rk,rkc->rc", weight / weight.sum(axis=1, keepdims=True), targets[chosen])
    if values:
        spread = max(float(np.square(targets - targets.mean(axis=0)).sum()), _TINY)
        return 1 - float(np.square(targets - predicted).sum()) / spread
    return float(np.mean(predicted.argmax(axis=1) == y))


@SCORES.register("transrate")
def transrate(features: np.ndarray, y: np.ndarray, distortion: float = 1e-4) -> float:
    """Compute TransRate R(Z) - Σ_c n_c/n R(Z_c), with coding rate R(Z) = ½ log det(I + ZᵀZ / (n ε)) in nats.

    Features are centred and divided by their root mean square norm, which makes the score free of units; the paper
    leaves them as they are, so its values differ by that scale.  Classes at opposite sides of the mean have equal
    second moments and cannot be told apart by it; with n below d it mostly counts rows.  Not among the defaults.

    References:
        Huang et al. (2022), Frustratingly easy transferability estimation, ICML.

    Example:
        >>> import numpy as np
        >>> y = np.array([0, 0, 1, 1, 2, 2])
        >>> transrate(np.eye(3)[y], y) > transrate(np.eye(3)[y], np.array([0, 1, 2, 0, 1, 2]))
        True
    """
    y = _classes(y)
    Z = _centred(features)
    Z = Z / max(float(np.sqrt(np.square(Z).sum() / len(Z))), _TINY)
    within = [(np.mean(y == c), _coding_rate(Z[y == c], distortion)) for c in np.unique(y)]
    return float(_coding_rate(Z, distortion) - sum(share * rate for share, rate in within))


def _coding_rate(Z: np.ndarray, distortion: float) -> float:
    gram = Z.T @ Z if Z.shape[1] <= len(Z) else Z @ Z.T
    return float(0.5 * np.linalg.slogdet(np.eye(len(gram)) + gram / (len(Z) * distortion))[1])


def _centred(features: np.ndarray) -> np.ndarray:
    F: np.ndarray = np.array(features, dtype=np.float64)
    F -= F.mean(axis=0)
    return F


def _classes(y: np.ndarray) -> np.ndarray:
    """Classes numbered without gaps."""
    if np.asarray(y).dtype.kind not in "iu":
        raise DataError("this score is defined for classes, not for values")
    numbers: np.ndarray = np.unique(y, return_inverse=True)[1]
    return numbers
