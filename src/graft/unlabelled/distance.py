"""How far two domains are apart, and where: proxy A-distance, MMD², and the columns that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import norm

from graft.core.errors import DataError, UsageError
from graft.core.rows import evenly_spaced
from graft.nn.bootstrap import Interval
from graft.unlabelled.ratio import domain_odds

MOST = 4000  # rows of a domain that are looked at
WAVES = 256  # random features of the kernel


def a_distance(
    source_features: Any, target_features: Any, *, level: float = 0.9, seed: int = 0, most: int = MOST
) -> Interval:
    """Estimate the proxy A-distance 2 (1 - 2 ε), ε the held-out error of a linear domain classifier.

    0 for domains that it cannot tell apart, 2 for separate ones; below 0 by chance.  Both domains count alike in ε.  Its
    interval is that of the mean of two independent shares, each with Wilson's standard error: not empty for an error of 0.

    Args:
        source_features: Rows (n_s, d), an array or CSR matrix, never made dense.
        target_features: Rows (n_t, d), of the same kind.
        level: Coverage of the interval.
        seed: Seed of the folds.
        most: Rows of each domain, evenly spaced, that are looked at.

    Returns:
        (value, low, high), within [-2, 2].

    Raises:
        DataError: A domain has fewer than four rows, or widths differ.

    References:
        Ben-David, Blitzer, Crammer & Pereira (2007), Analysis of representations for domain adaptation, NIPS.

    Example:
        >>> import numpy as np
        >>> a_distance(np.zeros((200, 1)), np.ones((200, 1)))[0]
        2.0
    """
    one, two = _alike(source_features, target_features, most)
    odds = domain_odds(one, two, seed=seed)
    size = one.shape[0]
    wrong = [np.mean(_errors(odds[:size])), np.mean(_errors(-odds[size:]))]
    error = float(np.mean(wrong))
    z = float(norm.ppf((1 + level) / 2))
    variances = []
    for share, rows in zip(wrong, (size, two.shape[0]), strict=True):
        moved = (share * rows + z * z / 2) / (rows + z * z)
        variances.append(moved * (1 - moved) / (rows + z * z))
    half = z * float(np.sqrt(sum(variances))) / 2
    return 2 - 4 * error, max(-2.0, 2 - 4 * (error + half)), min(2.0, 2 - 4 * (error - half))


def _errors(odds: np.ndarray) -> np.ndarray:
    """Errors (n,) of odds that should be negative; half an error where they are 0."""
    wrong: np.ndarray = (odds > 0) + 0.5 * (odds == 0)
    return wrong


@dataclass(frozen=True)
class Discrepancy:
    """A squared maximum mean discrepancy.

    Attributes:
        value: Unbiased estimate; about 0, and below it by chance, where the domains are alike.
        p: Share of permutations of the rows with a value as large, at least 1 / (times + 1).
        bandwidth: Median distance of the rows, the kernel's scale.
    """

    value: float
    p: float
    bandwidth: float


def mmd(
    source_features: Any, target_features: Any, *, times: int = 200, seed: int = 0, most: int = MOST
) -> Discrepancy:
    """Estimate MMD² of the Gaussian kernel exp(-|x - y|² / (2 s²)) with a permutation test.

    The kernel is written as the inner product of ``WAVES`` random Fourier features, cos and sin of the same random waves;
    the U-statistic on them, |Σφ(x)|² - Σ|φ(x)|² over n (n - 1), is linear in the rows, and unbiased for that kernel.
    s is the median distance of 500 pairs.

    Args:
        source_features: Rows (n_s, d), an array or CSR matrix, never made dense.
        target_features: Rows (n_t, d), of the same kind.
        times: Number of permutations.
        seed: Seed of waves, pairs and permutations.
        most: Rows of each domain, evenly spaced, that are looked at.

    Raises:
        DataError: A domain has fewer than two rows, or widths differ.

    References:
        Gretton et al. (2012), A kernel two-sample test, JMLR 13; Rahimi & Recht (2007), Random features for large-scale
        kernel machines, NIPS.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 2))
        >>> mmd(X[:150], X[150:]).p > 0.05, mmd(X[:150], X[150:] + 1).p < 0.01
        (True, True)
    """
    one, two = _alike(source_features, target_features, most)
    n, m = one.shape[0], two.shape[0]
    if min(n, m) < 2:
        raise DataError("a discrepancy needs two rows of each domain")
    X = sparse.vstack([one, two], format="csr") if sparse.issparse(one) else np.concatenate([one, two])
    rng = np.random.default_rng(seed)
    bandwidth = _median_distance(X, rng)
    angles = np.asarray(X @ (rng.standard_normal((X.shape[1], WAVES)) / bandwidth))
    phi = np.hstack([np.cos(angles), np.sin(angles)]) / np.sqrt(WAVES)  # every row has norm 1
    total = phi.sum(axis=0)

    def values(sums: np.ndarray) -> np.ndarray:
        """MMD² from the sums (r, 2 W) over the rows that play the source."""
        rest = total - sums
        within = (np.square(sums).sum(axis=1) - n) / (n * (n - 1)) + (np.square(rest).sum(axis=1) - m) / (m * (m - 1))
        difference: np.ndarray = within - 2 * (sums * rest).sum(axis=1) / (n * m)
        return difference

    value = float(values(phi[:n].sum(axis=0)[None])[0])
    masks = np.stack([rng.permutation(n + m) < n for _ in range(times)]).astype(np.float64)
    larger = int((values(masks @ phi) >= value - 1e-12).sum())
    return Discrepancy(value, (larger + 1) / (times + 1), bandwidth)


def _median_distance(X: Any, rng: np.random.Generator) -> float:
    pairs = rng.integers(0, X.shape[0], (2, 500))
    gaps = X[pairs[0]] - X[pairs[1]]
    squares = (
        np.asarray(gaps.multiply(gaps).sum(axis=1)).ravel() if sparse.issparse(gaps) else np.square(gaps).sum(axis=1)
    )
    positive = squares[squares > 0]
    return float(np.sqrt(np.median(positive))) if len(positive) else 1.0


@dataclass(frozen=True)
class Column:
    """A column, word or pixel that tells the domains apart.

    Attributes:
        name: Its name.
        difference: (m_t - m_s) / s with s the pooled standard deviation: (value, low, high).
        p: Two-sided probability of such a difference if there were none.
        source: Mean in the source.
        target: Mean in the target.
    """

    name: str
    difference: Interval
    p: float
    source: float
    target: float


def where_shift(
    source_features: Any,
    target_features: Any,
    names: Sequence[str] | None = None,
    *,
    top: int = 20,
    rate: float = 0.1,
    level: float = 0.9,
) -> list[Column]:
    """List the columns whose means differ most between the domains, largest standardised difference first.

    Columns are kept by Welch's test (normal approximation) with the false discovery rate controlled at ``rate`` (Benjamini
    and Hochberg), so of those kept about that share is there by chance at most.  One pass over the entries; CSR stays CSR.

    Args:
        source_features: Rows (n_s, d), an array or CSR matrix.
        target_features: Rows (n_t, d), of the same kind.
        names: Names of the columns (d,): words, columns, pixels; None: their numbers.
        top: Columns to list at most.
        rate: False discovery rate.
        level: Coverage of the intervals.

    Raises:
        DataError: Widths differ, or a domain has fewer than two rows.
        UsageError: Not one name per column.

    References:
        Cohen (1988), Statistical power analysis (standardised difference); Hedges & Olkin (1985) (its standard error);
        Benjamini & Hochberg (1995), Controlling the false discovery rate, J. Royal Statistical Society B 57.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, Z = rng.normal(size=(100, 3)), rng.normal(size=(100, 3)) + [0, 2, 0]
        >>> [column.name for column in where_shift(X, Z, ["a", "b", "c"])]
        ['b']
    """
    width = source_features.shape[1]
    if target_features.shape[1] != width:
        raise DataError(f"the source has {width} columns, the target {target_features.shape[1]}")
    if names is not None and len(names) != width:
        raise UsageError(f"{len(names)} names for {width} columns", hint="give one name per column")
    n, m = source_features.shape[0], target_features.shape[0]
    if min(n, m) < 2:
        raise DataError("where the shift is needs two rows of each domain")
    (mean_s, var_s), (mean_t, var_t) = _moments(source_features), _moments(target_features)
    error = np.sqrt(var_s / n + var_t / m)
    pooled = np.sqrt(((n - 1) * var_s + (m - 1) * var_t) / (n + m - 2))
    gap = mean_t - mean_s
    tiny = 1e-9 * (np.abs(mean_s) + np.abs(mean_t)) + 1e-300  # columns without spread in either domain
    differs = np.abs(gap) > tiny
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(differs, 2 * norm.sf(np.abs(gap) / error), 1.0)
        standardised = np.where(differs, gap / np.maximum(pooled, tiny), 0.0)
    found = np.flatnonzero(_discovered(p, rate))
    found = found[np.argsort(-np.abs(standardised[found]), kind="stable")][:top]
    z = float(norm.ppf((1 + level) / 2))
    columns = []
    for j in found:
        value = float(standardised[j])
        half = z * float(np.sqrt((n + m) / (n * m) + min(value**2, 1e12) / (2 * (n + m))))
        name = str(j) if names is None else str(names[int(j)])
        columns.append(
            Column(name, (value, value - half, value + half), float(p[j]), float(mean_s[j]), float(mean_t[j]))
        )
    return columns


def _discovered(p: np.ndarray, rate: float) -> np.ndarray:
    """Mask (d,) of what Benjamini and Hochberg's step-up procedure keeps."""
    ordered = np.sort(p)
    below = np.flatnonzero(ordered <= rate * np.arange(1, len(p) + 1) / len(p))
    kept: np.ndarray = p <= ordered[below[-1]] if len(below) else np.zeros(len(p), bool)
    return kept


def _moments(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and unbiased variance (d,) of each column."""
    n = X.shape[0]
    if sparse.issparse(X):
        mean = np.asarray(X.mean(axis=0), np.float64).ravel()
        square = np.asarray(X.multiply(X).sum(axis=0), np.float64).ravel()
        return mean, ((square - n * np.square(mean)) / (n - 1)).clip(0)
    return np.asarray(np.mean(X, axis=0, dtype=np.float64)), np.asarray(np.var(X, axis=0, ddof=1, dtype=np.float64))


def _alike(one: Any, two: Any, most: int) -> tuple[Any, Any]:
    if one.ndim != 2 or two.ndim != 2 or one.shape[1] != two.shape[1]:
        raise DataError(f"domains have shapes {one.shape} and {two.shape}", hint="give rows with the same columns")
    return tuple(X if X.shape[0] <= most else X[evenly_spaced(X.shape[0], most)] for X in (one, two))
