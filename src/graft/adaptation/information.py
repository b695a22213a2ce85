"""What predictions without labels tell: how sure they are, how they spread over the classes, which classes they mix up."""

from __future__ import annotations

import torch
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Entropy -Σ p log p in nats (B,) of softmax(logits) (B, C).

    Example:
        >>> round(float(entropy(torch.zeros(1, 2))), 3)
        0.693
    """
    logs = logits.float().log_softmax(1)
    return -(logs.exp() * logs).sum(1)


def diversity(logits: Tensor) -> Tensor:
    """Entropy of the mean of softmax(logits) (B, C) over the rows: log C where all classes are as frequent."""
    mean = logits.float().softmax(1).mean(0)
    return -(mean * mean.clamp(min=1e-12).log()).sum()


def mutual_information(logits: Tensor) -> Tensor:
    """H(mean p) - mean H(p), between 0 and log C: high where each row is sure and the classes are as frequent.

    Gomes, Krause & Perona (2010), Discriminative clustering by regularized information maximization, NIPS.

    Example:
        >>> sure = 50 * torch.eye(2)
        >>> round(float(mutual_information(sure)), 3), abs(round(float(mutual_information(sure[:1])), 3))
        (0.693, 0.0)
    """
    return diversity(logits) - entropy(logits).mean()


def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """Mean over the classes of how much of a class's weight lies on others: 0 where no two classes are mixed up.

    With p = softmax(logits / T) and row weights w ∝ 1 + exp(-H(p)) of mean 1, C = pᵀ diag(w) p has its rows brought to the
    sum 1; the loss is the sum of what stands beside the diagonal over the number of classes.
    Jin et al. (2020), Minimum class confusion, equations 3 to 6.

    Args:
        logits: (B, C).
        temperature: T > 0.

    Example:
        >>> sure, even = 50 * torch.eye(2), torch.zeros(2, 2)
        >>> abs(round(float(class_confusion(sure, 1.0)), 3)), round(float(class_confusion(even, 1.0)), 3)
        (0.0, 0.5)
    """
    with torch.autocast(logits.device.type, enabled=False):
        scaled = logits.float() / temperature
        p = scaled.softmax(1)
        weight = 1 + torch.exp(-entropy(scaled).detach())
        weight = weight * len(weight) / weight.sum()
        together = p.T @ (weight[:, None] * p)
        together = together / together.sum(1, keepdim=True)
        return (together.sum() - together.diagonal().sum()) / p.shape[1]


def centroid_labels(features: Tensor, logits: Tensor, *, rounds: int = 2) -> Tensor:
    """Classes (n,) of rows by the nearest class centre in cosine; the centres are weighted by what is predicted.

    c_k = Σ_i p_ik f_i / Σ_i p_ik with f_i the features with a 1 appended, of length 1; each row takes its nearest centre;
    from the second round on p is 1 for that class.  A class that no row is nearest to keeps its centre, and takes no part
    in the next round where nothing was predicted for it.  Liang et al. (2020), equations 6 and 7.

    Args:
        features: (n, D).
        logits: (n, C).
        rounds: How often rows are labelled.
    """
    features = torch.cat([features.float(), torch.ones(len(features), 1, device=features.device)], dim=1)
    rows = torch.nn.functional.normalize(features, dim=1)
    weights = logits.float().softmax(1)
    found = weights.argmax(1)
    present = torch.zeros(weights.shape[1], dtype=torch.bool, device=found.device)
    present[found] = True
    for _ in range(rounds):
        centres = torch.nn.functional.normalize(weights.T @ rows / weights.sum(0).clamp(min=1e-8)[:, None], dim=1)
        near = (rows @ centres.T).masked_fill(~present, -torch.inf)
        found = near.argmax(1)
        weights = torch.nn.functional.one_hot(found, weights.shape[1]).float()
    return found


def surest_labels(logits: Tensor, share: float) -> Tensor:
    """Predicted classes (n,) of the surest rows of every class, -1 for the others: a threshold for each class.

    The threshold of a class is such that of the rows that are predicted as it ``share`` lie at or above it, at least one.
    Zou et al. (2018), Unsupervised domain adaptation for semantic segmentation via class-balanced self-training, section 3.

    Args:
        logits: (n, C).
        share: Between 0 and 1.

    Example:
        >>> surest_labels(torch.tensor([[9.0, 0.0], [1.0, 0.0], [0.0, 0.1], [0.0, 0.2]]), 0.5).tolist()
        [0, -1, -1, 1]
    """
    sure, found = logits.float().softmax(1).max(1)
    labels = torch.full_like(found, -1)
    for c in found.unique().tolist():
        rows = (found == c).nonzero()[:, 0]
        kept = max(1, round(share * len(rows)))
        labels[rows[sure[rows].argsort(descending=True, stable=True)[:kept]]] = c
    return labels
