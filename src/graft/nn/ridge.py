"""Ridge regression in closed form: every strength and every leave-one-out prediction from one eigendecomposition.

With rows weighted by w, x̃ = x - Σwx/Σw and ỹ likewise, the fit is B = (X̃ᵀWX̃ + λI)⁻¹ X̃ᵀWỸ; the intercept is not
penalised.  The prediction of row i by the fit without it is y_i - e_i / (1 - h_i) with residual e_i and leverage h_i,
exactly, so choosing λ costs no refits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from graft.core.errors import DataError

STRENGTHS: tuple[float, ...] = tuple(float(f"{10 ** (power / 2):.6g}") for power in range(-8, 7))  # 1e-4 … 1e3

Criterion = Callable[[np.ndarray], float]

_CHUNK = 1 << 25  # bytes of float64 rows (or columns) in work at a time: 32 MB
_HELD = 1 << 28  # bytes of predictions held at a time while strengths are compared: 256 MB


@dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted ridge regression.

    Attributes:
        coef: Coefficients (d, k).
        intercept: Intercepts (k,).
        strength: The chosen strength, relative to the mean eigenvalue of X̃ᵀWX̃.
        penalty: The same as an absolute λ.
        loo: Prediction (n, k) of every row by the fit that left it (or its fold) out, at the chosen strength.
        errors: Criterion of the left-out predictions for each strength, in the order of ``strengths``.
        strengths: The strengths compared.
    """

    coef: np.ndarray
    intercept: np.ndarray
    strength: float
    penalty: float
    loo: np.ndarray
    errors: np.ndarray
    strengths: tuple[float, ...]

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Predictions (n, k) float64 for rows (n, d), read in chunks."""
        return _predict(X, self.coef[None], self.intercept[None])[0]


def fit_ridge(
    X: np.ndarray,
    Y: np.ndarray,
    *,
    folds: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    strengths: tuple[float, ...] = STRENGTHS,
    criterion: Criterion | None = None,
) -> Ridge:
    """Fit ridge regression and choose its strength by predictions of rows left out.

    The penalty is λ = strength · trace(X̃ᵀWX̃) / min(n, d), so it does not depend on the units of X or of the weights.
    Costs one pass for the Gram matrix, one eigendecomposition of min(n, d)² and one pass for the leverages; memory is
    O(min(n, d)² + chunk + n·k).  A weight of zero is the same as dropping the row (which is still predicted).

    Args:
        X: Rows (n, d), an array or a memory map of float16, float32 or float64; read in chunks.
        Y: Targets (n,) or (n, k).
        folds: Fold (n,) of each row; rows of one fold are left out together.  None: every row alone.
        weight: Non-negative weight (n,) of each row.
        strengths: The strengths compared; on a tie the larger one wins.
        criterion: Takes left-out predictions (n, k), returns an error (smaller is better).  None: the weighted mean
            squared error.

    Raises:
        DataError: Fewer than two rows, shapes that do not agree, values that are not finite, or a weight below zero.

    References:
        Allen, D. M. (1974). The relationship between variable selection and data augmentation and a method for
        prediction. Technometrics 16.  Golub, Heath & Wahba (1979), same journal 21.

    Example:
        >>> import numpy as np
        >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> fit = fit_ridge(X, 2 * X[:, 0] + 1, strengths=(1e-9,))
        >>> fit.coef.round(6).tolist(), fit.intercept.round(6).tolist(), fit.loo.round(6).ravel().tolist()
        ([[2.0]], [1.0], [1.0, 3.0, 5.0, 7.0])
    """
    Y, weight = _checked(X, Y, weight)
    mean_x, mean_y = _weighted_mean(X, weight), weight @ Y / weight.sum()
    spectrum = _decompose(X, Y - mean_y, weight, mean_x)
    penalties = np.asarray(strengths, dtype=np.float64) * spectrum.mean
    if folds is None:
        left_out = _LeaveOneOut(X, Y, weight, spectrum, penalties)
    else:
        left_out = _LeaveFoldsOut(X, Y, weight, penalties, np.asarray(folds))
    measure = criterion or (lambda loo: float(weight @ np.square(Y - loo).sum(axis=1) / weight.sum()))
    best, loo, errors = _choose(left_out, penalties, measure, Y.size)
    coef = spectrum.coef(penalties[best : best + 1])[0]
    return Ridge(
        coef, mean_y - mean_x @ coef, float(strengths[best]), float(penalties[best]), loo, errors, tuple(strengths)
    )


def _choose(
    left_out: _LeftOut, penalties: np.ndarray, measure: Criterion
) -> tuple[int, np.ndarray, np.ndarray]:
    """Index of the best penalty, its left-out predictions, and all errors; few predictions are held at a time."""
    errors = np.empty(len(penalties))
    best, kept = -1, np.empty(0)
    step = max(1, _HELD // (8 * left_out.Y.size))
    for start in range(0, len(penalties), step):
        some = np.arange(start, min(start + step, len(penalties)))
        for index, loo in zip(some, left_out.predictions(some), strict=True):
            errors[index] = measure(loo)
            if best < 0 or errors[index] <= errors[best]:
                best, kept = int(index), loo
    return best, kept, errors


class _Spectrum:
    """Eigendecomposition of X̃ᵀWX̃ (d, d), or of W½X̃X̃ᵀW½ (n, n) where that is smaller.

    ``projection`` gives rows P of shape (b, r + 1) such that the hat matrix between rows i and j, made symmetric by
    √w, is Σ P_ia f_a P_ja with the ``factors`` f of a penalty.  The intercept is the first column with factor 1.
    """

    def __init__(self, X: np.ndarray, Y: np.ndarray, weight: np.ndarray) -> None:
        self.X, self.weight = X, weight
        self.total = float(weight.sum())
        self.root = np.sqrt(weight)
        self.mean_x, self.mean_y = _weighted_mean(X, weight), weight @ Y / self.total
        n, d = X.shape
        self.primal = d <= n
        gram = self._gram() if self.primal else self._kernel()
        rank = max(1, min(int(np.count_nonzero(weight)), d))
        self.mean = float(np.trace(gram)) / rank or 1.0  # constant features: any penalty gives the mean
        values, self.basis = eigh(gram, overwrite_a=True, check_finite=False, driver="evd")
        self.values = values.clip(0.0)
        centred = (Y - self.mean_y) * self.root[:, None]
        self.target = self.basis.T @ (self._cross(centred) if self.primal else centred)

    def _gram(self) -> np.ndarray:
        gram = np.zeros((self.X.shape[1],) * 2)
        for rows in _blocks(*self.X.shape):
            part = self._weighted(rows)
            gram += part.T @ part  # numpy takes the symmetric product, at half the work
        return gram

    def _kernel(self) -> np.ndarray:
        kernel = np.zeros((len(self.X),) * 2)
        for columns in _blocks(self.X.shape[1], len(self.X)):
            part = (self.X[:, columns].astype(np.float64) - self.mean_x[columns]) * self.root[:, None]
            kernel += part @ part.T
        return kernel

    def _weighted(self, rows: slice) -> np.ndarray:
        return (self.X[rows].astype(np.float64) - self.mean_x) * self.root[rows, None]

    def _cross(self, values: np.ndarray) -> np.ndarray:
        """X̃ᵀW½ times values (n, k)."""
        product = np.zeros((self.X.shape[1], values.shape[1]))
        for rows in _blocks(*self.X.shape):
            product += self._weighted(rows).T @ values[rows]
        return product

    def coef(self, penalties: np.ndarray) -> np.ndarray:
        """Coefficients (L, d, k) for absolute penalties (L,)."""
        inner = self.target / (self.values[:, None] + penalties[:, None, None])  # (L, r, k)
        flat = self.basis @ inner.transpose(1, 0, 2).reshape(len(self.values), -1)
        if not self.primal:
            flat = self._cross(flat)
        return flat.reshape(self.X.shape[1], len(penalties), -1).transpose(1, 0, 2)

    def factors(self, penalties: np.ndarray) -> np.ndarray:
        """Factors (L, r + 1) of the columns of ``projection``."""
        shrunk = (1.0 if self.primal else self.values) / (self.values + penalties[:, None])
        return np.hstack([np.ones((len(penalties), 1)), shrunk])

    def projection(self, rows: slice | np.ndarray) -> np.ndarray:
        """Rows (b, r + 1) in the eigenbasis, times √w."""
        inner = self._weighted(rows) @ self.basis if self.primal else self.basis[rows]
        return np.hstack([self.root[rows, None] / np.sqrt(self.total), inner])
