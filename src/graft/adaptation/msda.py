"""Marginalised stacked denoising autoencoder: features that say a word from the words around it, in closed form.

Idea: each layer is the linear map that best restores rows from which columns were struck out at random, in the mean over all
ways to strike them out, followed by tanh; a word that only one domain uses then speaks through words that both use.  Helps
when: rows are long and sparse, reviews for example.  Hurts when: there are few columns or few rows to learn from, or the
classes have other shares in the target, which moves its mean.
References: Chen et al. (2012), Marginalized denoising autoencoders for domain adaptation, also for many columns;
Glorot, Bordes & Bengio (2011) for binary counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import linalg, sparse

from graft.adaptation.lowrank import are_counts, drawn, leading
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.core.errors import UsageError
from graft.core.registry import ADAPTATIONS
from graft.core.types import ModelSpec
from graft.sources.base import Backbone

INPUTS = 10_000  # columns that are read at most: the most frequent ones
AT_ONCE = 5_000  # columns in one solve
TAUGHT = 6_000  # rows of each domain that the layers are learned from at most
BLOCK = 2_048  # rows whose hidden layers are in memory at a time
RIDGE = 1e-5
Layer = tuple[np.ndarray, np.ndarray]  # weights (d, r) and bias (r,)


def denoiser(second: np.ndarray, cross: np.ndarray, mean: np.ndarray, goal: np.ndarray, corruption: float) -> Layer:
    """W (d, r) and b (r,) with the least E ‖z - W' x̃ - b‖², x̃ being x with each column at 0 with probability p.

    With q = 1 - p and Σ = E[xx'] - E[x] E[x]', the expectation over all ways to strike columns out gives
    W = (q² Σ + p q diag E[xx'])⁻¹ q (E[xz'] - E[x] E[z]') and b = E[z] - q W' E[x].

    Args:
        second: E[xx'] (d, d).
        cross: E[xz'] (d, r).
        mean: E[x] (d,).
        goal: E[z] (r,); z are the columns to restore, some of x itself or others.
        corruption: p, between 0 and 1.

    Example:
        >>> W, b = denoiser(np.ones((2, 2)), np.ones((2, 1)), np.zeros(2), np.zeros(1), 0.5)  # x = (s, s), s = ±1
        >>> W.round(2).ravel().tolist(), b.tolist()
        ([0.67, 0.67], [0.0])
    """
    keep = 1.0 - corruption
    power = np.diag(second).copy()
    scale = np.sqrt(np.where(power > 0, power, 1.0))  # columns of one size: single precision then suffices
    left = second - np.outer(mean, mean)
    left *= keep * keep / np.outer(scale, scale)
    left[np.diag_indices_from(left)] += corruption * keep * (power > 0) + RIDGE
    right = (cross - np.outer(mean, goal)) * (keep / scale[:, None])
    W = linalg.cho_solve(linalg.cho_factor(left, overwrite_a=True, check_finite=False), right, check_finite=False)
    W = np.ascontiguousarray(W / scale[:, None])
    return W, goal - keep * (mean @ W)


def denoiser_of_rows(X: Any, goals: np.ndarray, corruption: float) -> Layer:
    """The same layer from the rows X (n, d) themselves, exact, at O(n² (d + r) + n³): for fewer rows than columns.

    With columns scaled to E[x²] = 1 the matrix to invert is q² X'X / n + c, c = p q, of centred rows, so that
    W = q/n X' (q² XX' / n + c)⁻¹ Z.

    Args:
        X: Rows (n, d), an array or a CSR matrix.
        goals: What is to be restored (n, r).
        corruption: p.

    Example:
        >>> X = np.random.default_rng(0).random((5, 8))
        >>> second, mean = X.T @ X / 5, X.mean(0)
        >>> W, b = denoiser(second, second[:, :2], mean, mean[:2], 0.5)
        >>> bool(np.allclose(denoiser_of_rows(X, X[:, :2], 0.5)[0], W, atol=1e-6))
        True
    """
    keep, n, kind = 1.0 - corruption, X.shape[0], X.dtype.type
    mean, goal = _mean(X), np.asarray(goals.mean(0), X.dtype)
    scale = np.sqrt(_power(X))
    scale[scale <= 0] = 1.0
    scaled = (X @ sparse.diags(1.0 / scale)).astype(X.dtype).tocsr() if sparse.issparse(X) else X / scale
    middle = mean / scale
    gram = scaled @ scaled.T
    gram = gram.toarray() if sparse.issparse(gram) else gram
    along = np.asarray(scaled @ middle)
    gram -= along[:, None] + (along - middle @ middle)[None]
    gram *= kind(keep * keep / n)
    gram[np.diag_indices_from(gram)] += kind(corruption * keep + RIDGE)
    solved = linalg.cho_solve(
        linalg.cho_factor(gram, overwrite_a=True, check_finite=False), goals - goal, check_finite=False
    )
    W = np.asarray(
        scaled.T @ solved
    )  # less middle times the sum of ``solved``, which is 0 as that of ``goals - goal`` is
    W *= kind(keep / n) / scale[:, None]
    return np.ascontiguousarray(W), goal - kind(keep) * (mean @ W)


def denoiser_of_itself(second: np.ndarray, mean: np.ndarray, corruption: float) -> Layer:
    """The same layer where all columns are restored: with A = q² S + c in columns of one size, W = (1 - c A⁻¹) / q.

    One inverse takes the place of a solve for every column.

    Args:
        second: E[xx'] (d, d).
        mean: E[x] (d,).
        corruption: p.
    """
    keep = 1.0 - corruption
    power = np.diag(second).copy()
    scale = np.sqrt(np.where(power > 0, power, 1.0))
    left = second - np.outer(mean, mean)
    left *= keep * keep / np.outer(scale, scale)
    added = corruption * keep * (power > 0) + RIDGE
    left[np.diag_indices_from(left)] += added
    potrf, potri = linalg.get_lapack_funcs(("potrf", "potri"), (left,))
    factor, wrong = potrf(left, lower=True, overwrite_a=True)
    inverse, fault = potri(factor, lower=True, overwrite_c=True)
    if wrong or fault:
        raise np.linalg.LinAlgError("a layer cannot be restored from itself")
    W = np.tril(inverse, -1)
    W += W.T
    W[np.diag_indices_from(W)] = np.diag(inverse)
    W *= -added[:, None]
    W[np.diag_indices_from(W)] += 1.0
    W *= scale[None] / (keep * scale[:, None])
    W = np.ascontiguousarray(W, second.dtype)
    return W, mean - second.dtype.type(keep) * (mean @ W)


def restore(X: Any, wanted: np.ndarray, corruption: float, *, at_once: int = AT_ONCE, seed: int = 0) -> Layer:
    """The layer that restores ``wanted`` columns (r,) of X (n, d) from all: W (d, r), b (r,).

    Of fewer rows than columns it is found from the rows, else from the columns; both are exact.  More than ``at_once``
    of both rows and columns are too much for either: then columns are dealt to parts, each of which restores all that
    is wanted, and their mean is taken.

    Args:
        X: Rows, an array or a CSR matrix.
        wanted: Columns to restore.
        corruption: Probability that a column is struck out.
        at_once: Columns in one part.
        seed: Deals them.
    """
    n, size = X.shape
    goals = X[:, wanted]
    if n < size and n <= at_once:
        return denoiser_of_rows(X, goals.toarray() if sparse.issparse(goals) else goals, corruption)
    mean = _mean(X)
    if len(wanted) == size <= at_once:
        return denoiser_of_itself(_product(X, X), mean, corruption)
    count = math.ceil(size / at_once)
    order = np.random.default_rng(seed).permutation(size) if count > 1 else np.arange(size)
    goal = _mean(goals)
    W, b = np.zeros((size, len(wanted)), X.dtype), np.zeros(len(wanted), X.dtype)
    for part in np.array_split(order, count):
        inside = X[:, part] if count > 1 else X
        second = _product(inside, inside)
        cross = second[:, wanted] if count == 1 else _product(inside, goals)
        found = denoiser(second, cross, mean[part], goal, corruption)
        W[part] = found[0] / count
        b += found[1] / count
    return W, b


def _power(X: Any) -> np.ndarray:
    """E[x²] (d,) of each column."""
    return _mean(X.multiply(X).tocsr()) if sparse.issparse(X) else np.einsum("ij,ij->j", X, X) / X.dtype.type(len(X))


def _mean(X: Any) -> np.ndarray:
    return np.asarray(X.mean(0), X.dtype).ravel()


def _product(X: Any, Y: Any) -> np.ndarray:
    """X'Y / n, dense, of the columns of both."""
    product = X.T @ Y
    return (product.toarray() if sparse.issparse(product) else product) / X.dtype.type(X.shape[0])


@ADAPTATIONS.register("msda")
class DenoisingAutoencoder(FeatureAdaptation):
    """Learn on the rows beside all layers of a marginalised stacked denoising autoencoder of both domains.

    Counts are made binary, as is usual; other sparse rows are brought to a mean entry of 1.  Rows with their layers are
    brought to length one where they are sparse, and to their leading directions, which a linear classifier hardly notices.
    With ``centre`` each domain then loses its own mean: the intercept moves with the domain.

    The defaults were chosen on one pair of domains, reviews of books and of electronics, by labels apart from those of its test.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone`` whose features are adapted; None for the rows themselves.
        layers: How many.
        corruption: Probability that a column is struck out.
        hidden: Columns that each layer restores, the most frequent ones.
        components: Leading directions of rows and layers.
        centre: Whether the classes are taken to have the same shares in both domains.
        C: Inverse strength of the classifier's regularisation; None: chosen on source rows held out.
        seed: Seed of everything drawn.
    """

    label = "marginalised denoising autoencoder"
    name = "msda"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        layers: int = 3,
        corruption: float = 0.7,
        hidden: int = 2_000,
        components: int = 250,
        centre: bool = True,
        C: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(source, C=C, seed=seed)
        self.layers, self.corruption, self.hidden = layers, corruption, hidden
        self.components, self.centre = components, centre

    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        if not 0.0 < self.corruption < 1.0 or self.layers < 1:
            what = f"corruption {self.corruption} with {self.layers} layers cannot be learned"
            raise UsageError(what, hint="a corruption between 0 and 1, and one layer or more")
        both = (rows.source, rows.target)
        self._measure(both)
        taught = [self._inputs(drawn(X, TAUGHT, self.seed)) for X in both]
        sizes = [X.shape[0] for X in taught]
        X: Any = sparse.vstack(taught, format="csr") if sparse.issparse(taught[0]) else np.concatenate(taught)
        wanted = np.sort(np.argsort(-_power(X), kind="stable")[: self.hidden])
        self.weights_, above, hidden = [], X, []
        for _ in range(self.layers):
            layer = restore(above, wanted, self.corruption, seed=self.seed)
            self.weights_.append(layer)
            above = np.tanh(above @ layer[0] + layer[1])
            hidden.append(above)
            wanted = np.arange(len(wanted))
        self._compress(X, hidden, sizes)
        self.centre_ = np.zeros((2, self.basis_.shape[1]))
        places = np.split(self._image(X, hidden), sizes[:1])
        if self.centre:
            self.centre_ = np.stack([place.mean(0) for place in places])
        source = places[0] if sizes[0] == rows.source.shape[0] else self._seen(rows.source)
        return source - self.centre_[0], None

    def _measure(self, both: tuple[Any, Any]) -> None:
        """Which columns are read, and how."""
        self.binary_, self.unit_, self.scale_ = all(map(are_counts, both)), sparse.issparse(both[0]), 1.0
        self.inputs_ = np.arange(both[0].shape[1])
        if not self.unit_:
            return
        if not self.binary_:
            total = sum(float(np.abs(X.data).sum()) for X in both)
            self.scale_ = sum(X.nnz for X in both) / total if total > 0 else 1.0
        found = sum(np.bincount(X.indices, minlength=X.shape[1]) for X in both)
        self.inputs_ = np.sort(np.argsort(-found, kind="stable")[:INPUTS])

    def _inputs(self, X: Any) -> Any:
        """Rows as the first layer reads them, single precision."""
        if not self.unit_:
            return np.asarray(X, np.float32)
        X = (X[:, self.inputs_] if len(self.inputs_) < X.shape[1] else X.copy()).astype(np.float32)
        X.data = (X.data != 0).astype(np.float32) if self.binary_ else X.data * np.float32(self.scale_)
        return X

    def _compress(self, X: Any, hidden: list[np.ndarray], sizes: list[int]) -> None:
        """Find the leading directions of rows beside their layers, each domain about its own mean."""
        length = self._lengths(X, hidden)
        cuts = np.cumsum([X.shape[1]] + [layer.shape[1] for layer in hidden])

        def own_mean_away(image: np.ndarray) -> np.ndarray:
            for rows in (slice(0, sizes[0]), slice(sizes[0], None)):
                image[rows] -= image[rows].mean(0)
            return image

        def forward(probe: np.ndarray) -> np.ndarray:
            parts = np.split(probe, cuts[:-1])
            image = X @ parts[0]
            for layer, part in zip(hidden, parts[1:], strict=True):
                image += layer @ part
            return own_mean_away(image / length)

        def backward(image: np.ndarray) -> np.ndarray:
            image = own_mean_away(image.copy()) / length
            return np.concatenate([X.T @ image] + [layer.T @ image for layer in hidden])

        size = (X.shape[0], int(cuts[-1]), self.components)
        self.basis_, _ = leading(forward, backward, *size, seed=self.seed, dtype=np.float32)

    def _lengths(self, X: Any, hidden: list[np.ndarray]) -> np.ndarray:
        """Lengths (n, 1) of rows beside their layers, or 1 where rows are dense."""
        if not self.unit_:
            return np.ones((X.shape[0], 1), np.float32)
        squares = np.asarray(X.multiply(X).sum(1), np.float32).ravel()
        squares = squares + sum(np.einsum("ij,ij->i", layer, layer) for layer in hidden)
        return np.sqrt(np.where(squares > 0, squares, 1.0))[:, None].astype(np.float32)

    def _project(self, X: Any) -> np.ndarray:
        """Leading directions (n, k), float64, of rows that are inputs already; a block of rows at a time."""
        return np.concatenate([np.zeros((0, self.basis_.shape[1])), *self._blocks(X)])

    def _blocks(self, X: Any) -> Iterator[np.ndarray]:
        for start in range(0, X.shape[0], BLOCK):
            below = X[start : start + BLOCK]
            hidden, above = [], below
            for W, b in self.weights_:
                above = np.tanh(above @ W + b)
                hidden.append(above)
            yield self._image(below, hidden)

    def _image(self, X: Any, hidden: list[np.ndarray]) -> np.ndarray:
        """Leading directions (n, k), float64, of inputs with their layers."""
        at = X.shape[1]
        image = X @ self.basis_[:at]
        for layer in hidden:
            image += layer @ self.basis_[at : at + layer.shape[1]]
            at += layer.shape[1]
        return np.asarray(image / self._lengths(X, hidden), np.float64)

    def _seen(self, X: Any) -> np.ndarray:
        return self._project(self._inputs(X))

    def _see(self, X: Any) -> Any:
        return self._seen(X) - self.centre_[1]

    def _see_source(self, X: Any) -> Any:
        return self._seen(X) - self.centre_[0]

    def _map(self) -> dict[str, np.ndarray]:
        facts = np.asarray([self.binary_, self.unit_, self.scale_], np.float64)
        arrays = {"facts": facts, "inputs": self.inputs_, "basis": self.basis_, "centre": self.centre_}
        for place, (W, b) in enumerate(self.weights_):
            arrays |= {f"weights.{place}": W, f"bias.{place}": b}
        return arrays

    def _set_map(self, arrays: dict[str, np.ndarray]) -> None:
        self.binary_, self.unit_ = (bool(fact) for fact in arrays["facts"][:2])
        self.scale_ = float(arrays["facts"][2])
        self.inputs_, self.basis_, self.centre_ = arrays["inputs"], arrays["basis"], arrays["centre"]
        count = sum(key.startswith("weights.") for key in arrays)
        self.weights_ = [(arrays[f"weights.{place}"], arrays[f"bias.{place}"]) for place in range(count)]
