"""Criteria that read how sure a model is: entropy, diversity, and estimates of its accuracy from confidence."""

from __future__ import annotations

import numpy as np

from graft.core.registry import CRITERIA

_TINY = 1e-12


def row_entropy(outputs: np.ndarray) -> np.ndarray:
    """-Σ_c p_c log p_c (…,) of probabilities (…, C), in nats."""
    p = np.asarray(outputs, dtype=np.float64)
    entropies: np.ndarray = -(p * np.log(p.clip(_TINY))).sum(axis=-1)
    return entropies


@CRITERIA.register("entropy")
def entropy(target_outputs: np.ndarray) -> float:
    """Compute -mean_i H(p_i) of target outputs (n_t, C), in nats: at most 0, reached where the model is sure.

    A model that puts all rows into one class with certainty scores highest, so it never decides alone.

    References:
        Morerio, Cavazza & Murino (2018), Minimal-entropy correlation alignment for unsupervised deep domain adaptation,
        ICLR.

    Example:
        >>> import numpy as np
        >>> round(entropy(np.full((3, 2), 0.5)), 4)  # -log 2
        -0.6931
    """
    return -float(row_entropy(target_outputs).mean()) + 0.0


@CRITERIA.register("diversity")
def diversity(target_outputs: np.ndarray) -> float:
    """Compute H(mean_i p_i) of target outputs (n_t, C), in nats: how evenly classes are predicted, at most log C.

    Example:
        >>> import numpy as np
        >>> round(diversity(np.eye(2)), 4)  # log 2
        0.6931
    """
    return float(row_entropy(np.mean(target_outputs, axis=0))) + 0.0


@CRITERIA.register("infomax")
def infomax(target_outputs: np.ndarray) -> float:
    """Compute the information that target outputs (n_t, C) carry on rows, H(mean p) - mean H(p), in [0, log C] nats.

    References:
        Liang, Hu & Feng (2020), Do we really need to access the source data?, ICML; Musgrave, Belongie & Lim (2022),
        Three new validators and a large-scale benchmark ranking for unsupervised domain adaptation, arXiv:2208.07360.

    Example:
        >>> import numpy as np
        >>> round(infomax(np.eye(2)), 4), infomax(np.array([[1.0, 0.0], [1.0, 0.0]]))  # sure and even; collapsed
        (0.6931, 0.0)
    """
    return float(diversity(target_outputs) + entropy(target_outputs))


@CRITERIA.register("bnm")
def bnm(target_outputs: np.ndarray) -> float:
    """Compute the nuclear norm of target outputs (n_t, C) over its largest value √(n_t · min(n_t, C)), in (0, 1].

    It grows with certainty (Frobenius norm) and with diversity (rank).  O(n_t C²).

    References:
        Cui et al. (2020), Towards discriminability and diversity: batch nuclear-norm maximization under label
        insufficient situations, CVPR; Musgrave, Belongie & Lim (2022) (as a validator).

    Example:
        >>> import numpy as np
        >>> bnm(np.eye(3)), round(bnm(np.full((3, 3), 1 / 3)), 4)  # 1 / √9 · √(3 · 3 · 1/9)
        (1.0, 0.3333)
    """
    p = np.asarray(target_outputs, dtype=np.float64)
    n, classes = p.shape
    gram = p.T @ p if classes <= n else p @ p.T
    norm = np.sqrt(np.linalg.eigvalsh(gram).clip(0)).sum()
    return float(norm / np.sqrt(n * min(n, classes)))


@CRITERIA.register("atc")
def atc(source_outputs: np.ndarray, source_y: np.ndarray, target_outputs: np.ndarray) -> float:
    """Estimate the accuracy on the target by average thresholded confidence: the share of rows whose -H(p) is above t.

    t is where as many held-out source rows (n_v, C) lie above as are right.  Exact where accuracy among the confident is
    the same in both domains; a model made surer without being righter is believed.

    Returns:
        Estimated accuracy in [0, 1].

    References:
        Garg et al. (2022), Leveraging unlabeled data to predict out-of-distribution performance, ICLR.

    Example:
        >>> import numpy as np
        >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]])
        >>> atc(p, np.array([0, 0, 1, 0]), p)  # the source itself: its accuracy
        0.75
    """
    right = int((np.argmax(source_outputs, axis=1) == source_y).sum())
    held = np.sort(-row_entropy(source_outputs))
    if right == 0:
        return 0.0
    return float((-row_entropy(target_outputs) >= held[len(held) - right]).mean())


@CRITERIA.register("doc")
def doc(source_outputs: np.ndarray, source_y: np.ndarray, target_outputs: np.ndarray) -> float:
    """Estimate the accuracy on the target by the difference of confidences: acc_s + mean max p_t - mean max p_s.

    Returns:
        Estimated accuracy in [0, 1].

    References:
        Guillory et al. (2021), Predicting with confidence on unseen distributions, ICCV.

    Example:
        >>> import numpy as np
        >>> source, target = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.7, 0.3]])
        >>> round(doc(source, np.array([0, 1]), target), 4)  # 1 + 0.7 - 0.85
        0.85
    """
    right = float((np.argmax(source_outputs, axis=1) == source_y).mean())
    moved = float(np.max(target_outputs, axis=1).mean() - np.max(source_outputs, axis=1).mean())
    return min(1.0, max(0.0, right + moved))
