"""How much of each layer goes into a mixture of them: shares that predict rows left out best."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

STEPS, RATE = 40, 0.2  # of Adam on the logits of the shares: from equal shares to nearly all on one layer


def left_out_error(X: Tensor, Y: Tensor, weight: Tensor, strength: float) -> Tensor:
    """Weighted mean squared error of ridge predictions of rows left out, as in ``nn.ridge``, for one strength.

    Args:
        X: Rows (n, d) float64.
        Y: Targets (n, k).
        weight: Of the rows (n,).
        strength: The penalty is strength · trace(X̃ᵀWX̃) / min(n, d).

    Returns:
        A scalar that knows its gradient.

    Example:
        >>> import torch
        >>> X = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
        >>> round(float(left_out_error(X, 2 * X, torch.ones(4), 1e-12)), 6)  # a line: what is left out lies on it
        0.0
    """
    weight = weight.to(X.dtype)
    total, root = weight.sum(), weight.sqrt()[:, None]
    X = (X - weight @ X / total) * root
    Y = (Y - weight @ Y / total) * root
    n, d = X.shape
    penalty = strength * X.square().sum() / min(int((weight > 0).sum()), d)
    if d <= n:
        factor = torch.linalg.cholesky(X.T @ X + penalty * torch.eye(d, dtype=X.dtype))
        residual = Y - X @ torch.cholesky_solve(X.T @ Y, factor)
        leverage = torch.linalg.solve_triangular(factor, X.T, upper=False).square().sum(dim=0)
    else:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(X @ X.T + penalty * torch.eye(n, dtype=X.dtype)))
        residual = penalty * inverse @ Y
        leverage = 1 - penalty * inverse.diagonal()
    left_out = residual / (1 - leverage - weight / total)[:, None]
    error: Tensor = left_out.square().sum() / total
    return error


def mix_layers(
    layers: np.ndarray, Y: np.ndarray, *, strength: float, weight: np.ndarray | None = None, steps: int = STEPS
) -> np.ndarray:
    """Find the shares s = softmax(a) for which ridge on Σ_l s_l X_l predicts left-out rows best.

    One number per layer is learned by gradient descent on the leave-one-out error in closed form, from equal shares on;
    the best shares met are returned.

    Args:
        layers: Rows of each layer (L, n, d), of about equal scale.
        Y: Targets (n, k).
        strength: Of the ridge.
        weight: Of the rows (n,).
        steps: Of descent.

    Returns:
        Shares (L,) float64 of sum one.

    References:
        Peters et al. (2018). Deep contextualized word representations. NAACL; the shares, not the way to them.
    """
    X = torch.from_numpy(np.ascontiguousarray(layers, dtype=np.float32))
    targets = torch.from_numpy(np.asarray(Y, dtype=np.float64))
    weights = torch.ones(X.shape[1]) if weight is None else torch.from_numpy(np.asarray(weight, dtype=np.float64))
    best, found = float("inf"), np.full(len(X), 1 / len(X))
    with torch.enable_grad():
        logits = torch.zeros(len(X), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=RATE)
        for _ in range(steps + 1):
            shares = torch.softmax(logits, dim=0)
            mixed = torch.tensordot(shares.float(), X, dims=1).double()
            error = left_out_error(mixed, targets, weights, strength)
            if float(error.detach()) < best:
                best, found = float(error.detach()), shares.detach().numpy().copy()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
    return found
