"""Distances between two samples that a network can lower: kernel mean discrepancies, covariances, moments.

All are computed in float32 whatever the precision around.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # bandwidths in parts of the median squared distance.  Long et al. (2015)


def squared_distances(one: Tensor, two: Tensor) -> Tensor:
    """|a_i - b_j|² (n, m) of rows (n, D) and (m, D)."""
    both = one.square().sum(1)[:, None] + two.square().sum(1) - 2 * one @ two.T
    return both.clamp(min=0)


def gaussian(squares: Tensor, factors: Sequence[float] = FACTORS) -> Tensor:
    """Mean over factors f of exp(-d² / (f m)), m the median of the squared distances above 0, as a constant."""
    there = squares.detach()[squares.detach() > 0]
    middle = float(there.median()) if len(there) else 1.0
    return torch.stack([torch.exp(-squares / (factor * middle)) for factor in factors]).mean(0)


def mean_discrepancy(
    source: Sequence[Tensor],
    target: Sequence[Tensor],
    *,
    linear: bool = False,
    factors: Sequence[float] = FACTORS,
) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy of two samples (a scalar; it may be below 0).

    Of n rows each, the mean over i ≠ j of k(s_i, s_j) + k(t_i, t_j) - k(s_i, t_j) - k(s_j, t_i); with ``linear`` over the
    pairs (1, 2), (3, 4) … alone, in O(n).  With several layers k is the product of their kernels: the joint discrepancy.
    Rows beyond those of the smaller sample are left out.  Gretton et al. (2012), A kernel two-sample test, JMLR, lemma 6
    and section 6; Long et al. (2015, 2017).

    Args:
        source: Layers (n_s, D_l) of one sample.
        target: The same layers (n_t, D_l) of the other.
        linear: Whether to take the estimate over n / 2 pairs.
        factors: Of the bandwidths.

    Example:
        >>> x = torch.arange(12.0).view(6, 2)
        >>> bool(mean_discrepancy([x], [x]).abs() < 1e-6), bool(mean_discrepancy([x], [x + 100]) > 0.5)
        (True, True)
    """
    count = min(len(source[0]), len(target[0]))
    with torch.autocast(source[0].device.type, enabled=False):
        kernel: Tensor | float = 1.0
        for one, two in zip(source, target, strict=True):
            s, t = one[:count].float(), two[:count].float()
            if linear:
                even = count - count % 2
                a, b, c, d = s[:even:2], s[1:even:2], t[:even:2], t[1:even:2]
                squares = torch.stack([(x - y).square().sum(1) for x, y in ((a, b), (c, d), (a, d), (b, c))])
            else:
                rows = torch.cat([s, t])
                squares = squared_distances(rows, rows)
            kernel = kernel * gaussian(squares, factors)
        assert isinstance(kernel, Tensor)
        if linear:
            return (kernel[0] + kernel[1] - kernel[2] - kernel[3]).mean()
        between = kernel[:count, count:]
        whole = kernel[:count, :count] + kernel[count:, count:] - between - between.T
        return (whole.sum() - whole.diagonal().sum()) / max(1, count * (count - 1))


def covariance(rows: Tensor) -> Tensor:
    """Covariance (D, D) of rows (n, D), n ≥ 2."""
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)


def coral(source: Tensor, target: Tensor) -> Tensor:
    """|cov(S) - cov(T)|²_F / (4 D²) of rows (n_s, D) and (n_t, D).  Sun & Saenko (2016), equation 1.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
        >>> float(coral(x, x + 5)), float(coral(x, x * 2))  # variances 2 and 8: 36 / 16
        (0.0, 2.25)
    """
    with torch.autocast(source.device.type, enabled=False):
        difference = covariance(source.float()) - covariance(target.float())
        return difference.square().sum() / (4 * source.shape[1] ** 2)


def moment_distance(samples: Sequence[Tensor], *, orders: int = 2) -> Tensor:
    """Mean over the pairs of samples of Σ_k |E x^k - E y^k|₂, k = 1 … orders.  Peng et al. (2019), definition 1.

    Args:
        samples: Two or more samples (n_i, D), none empty.
        orders: Moments that are matched.

    Example:
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> float(moment_distance([x, x + 1]))  # means 2 and 3, mean squares 5 and 10
        6.0
    """
    with torch.autocast(samples[0].device.type, enabled=False):
        powers = [[sample.float().pow(order).mean(0) for order in range(1, orders + 1)] for sample in samples]
        pairs = [(i, j) for i in range(len(samples)) for j in range(i)]
        each = [torch.linalg.vector_norm(a - b) for i, j in pairs for a, b in zip(powers[i], powers[j], strict=True)]
        return torch.stack(each).sum() / len(pairs)
