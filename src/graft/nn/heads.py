"""Heads: what stands on pooled features.  The linear head is fitted in closed form and is where fine-tuning starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from graft.core.errors import UsageError
from graft.core.rows import evenly_spaced
from graft.core.task import Task
from graft.core.types import Features
from graft.nn.calibration import fit_temperature, nll
from graft.nn.discriminant import fit_discriminant
from graft.nn.layer_rows import LayerRows, MixedRows, choose_layers, layer_options, layer_scale
from graft.nn.logistic import fit_each_label, fit_logistic
from graft.nn.mixing import mix_layers
from graft.nn.multilabel import fit_sigmoid
from graft.nn.ridge import STRENGTHS, fit_ridge

if TYPE_CHECKING:
    from torch import nn

MANY_CLASSES = 20  # from here on least squares begins to mask classes: the logistic loss is worth its time
MIX_ROWS = 1_000  # rows on which the shares of mixed layers are found


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A linear map on pooled features: outputs = X[:, layers] / scale @ coef + intercept.

    Attributes:
        layers: Layers that are concatenated.
        scale: Divisor of each column (d,).
        coef: Coefficients (d, k).
        intercept: Intercepts (k,).
        temperature: Softmax temperature of the class scores; 1 for regression.
        loo: Left-out scores (m, k) on training rows, all or evenly spaced ones.
        error: Left-out error: mean square, or mean negative log-likelihood.
        strength: Strength that was chosen.
    """

    layers: tuple[int, ...]
    scale: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    temperature: float = 1.0
    loo: np.ndarray | None = None
    error: float = float("nan")
    strength: float = float("nan")

    def scores(self, features: Features) -> np.ndarray:
        """Raw scores (n, k), block by block."""
        rows = LayerRows(features, self.layers, self.scale)
        out = np.empty((len(rows), self.coef.shape[1]))
        for start in range(0, len(rows), 8192):
            block = slice(start, start + 8192)
            out[block] = rows[block].astype(np.float64) @ self.coef + self.intercept
        return out

    def outputs(self, features: Features, task: Task) -> np.ndarray:
        """Class probabilities (n, C), or standardised values (n,)."""
        return to_outputs(self.scores(features), task, self.temperature)

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be saved."""
        return {
            "layers": np.asarray(self.layers, dtype=np.int64),
            "scale": np.asarray(self.scale, dtype=np.float32),
            "coef": self.coef,
            "intercept": self.intercept,
            "temperature": np.asarray([self.temperature]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> LinearHead:
        """The inverse of ``arrays``."""
        layers = tuple(int(layer) for layer in arrays["layers"])
        return cls(layers, arrays["scale"], arrays["coef"], arrays["intercept"], float(arrays["temperature"][0]))

    def module(self) -> nn.Linear:
        """A torch layer that gives the same class scores over temperature, for training on."""
        import torch

        linear = torch.nn.Linear(*self.coef.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy((self.coef / self.scale[:, None] / self.temperature).T.copy()))
            linear.bias.copy_(torch.from_numpy(np.asarray(self.intercept / self.temperature)))
        return linear

    @classmethod
    def from_module(cls, linear: nn.Linear, layer: int = -1, temperature: float = 1.0) -> LinearHead:
        """A head on one layer (the last) with the weights of a torch layer."""
        coef = linear.weight.detach().double().cpu().numpy().T.copy()
        bias = linear.bias.detach().double().cpu().numpy().copy()
        return cls((layer,), np.ones(len(coef), dtype=np.float32), coef, bias, temperature)


def to_outputs(scores: np.ndarray, task: Task, temperature: float = 1.0) -> np.ndarray:
    """Scores (n, k) to class probabilities (n, C) by a softmax with a temperature, of several labels by a sigmoid, or to values (n,)."""
    if task.is_multilabel:
        return np.asarray(expit(scores / temperature))
    if not task.is_classification:
        return scores[:, 0]
    logits = scores / temperature
    logits = logits - logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    probabilities: np.ndarray = logits / logits.sum(axis=1, keepdims=True)
    return probabilities


class OneHot:
    """Rows (n, k) with 1 for the class and 0 elsewhere, made when they are asked for."""

    ndim = 2

    def __init__(self, y: np.ndarray, classes: int) -> None:
        self.y, self.rows = y, np.eye(classes)
        self.shape = (len(y), classes)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        out: np.ndarray = self.rows[self.y[rows]]
        return out


def targets(y: np.ndarray, task: Task) -> Any:
    """Targets (n, k) of a least-squares fit: 1 for the class and 0 elsewhere, or the values as a column."""
    if task.is_multilabel:
        return np.asarray(y, dtype=np.float64)
    return OneHot(y, task.outputs) if task.is_classification else np.asarray(y, dtype=np.float64)[:, None]


def fit_probe(
    features: Features,
    y: np.ndarray,
    task: Task,
    *,
    layers: Sequence[int] | str = "auto",
    loss: str = "squared",
    strengths: tuple[float, ...] = STRENGTHS,
) -> LinearHead:
    """Fit the closed-form probe: ridge on one layer or several, its strength and layers chosen by leave-one-out.

    ``layers="auto"`` compares the last layer, the upper half and all layers, and takes the one with the smallest
    leave-one-out squared error; on TREC the upper half of a sentence encoder beats its last layer by four points.
    A softmax temperature is then fitted to the left-out scores, so that probabilities are calibrated on rows that the
    scores have not seen.

    ``layers="mix"`` takes a mean of all layers, with shares that ``mixing`` finds on at most 1,000 rows.

    ``loss="logistic"`` takes the softmax's likelihood in the place of squares, and a fifth of the rows in the place of
    leave-one-out.  It is slower and holds all rows in memory; on the 77 classes of BANKING77 it is two points better
    (held-out training rows), on the 6 of TREC two points worse.  ``loss="lda"`` takes Gaussian classes of one shrunken
    covariance, see ``discriminant``; layers are then compared by the likelihood of rows left out.

    Args:
        features: Pooled activations of the training rows.
        y: Encoded targets (n,).
        task: Says what the targets are.
        layers: Layer indices, ``"last"``, ``"concatenated"``, ``"mix"`` or ``"auto"``.
        loss: ``"squared"``, ``"logistic"`` or ``"lda"``.
        strengths: Ridge strengths compared.

    Raises:
        UsageError: There is no such layer or loss, a loss for classes was asked for values, or layers of several widths
            cannot be mixed.
    """
    fits: dict[str, Callable[[LayerRows, np.ndarray, Task], LinearHead]] = {
        "squared": partial(_fit_ridge, strengths=strengths),
        "logistic": _fit_logistic,
        "lda": _fit_discriminant,
    }
    if loss not in fits or not (
        loss == "squared" or task.is_classification or (loss, task.kind) == ("logistic", "multilabel")
    ):
        raise UsageError(f"no loss {loss!r} for {task.kind}", hint="use squared, or for classes logistic or lda")
    fit = fits[loss]
    if layers == "mix":
        return fit(_mixed(features, y, task), y, task)
    # all layers are for the likelihood as slow as they are seldom better
    options = layer_options(features, layers, most=1 if loss == "logistic" else 2, wide=loss != "lda")

    def one(some: Features, labels: np.ndarray, option: tuple[int, ...]) -> LinearHead:
        return fit(LayerRows(some, option, layer_scale(some, option)), labels, task)

    return choose_layers(features, y, options, one)


def fit_soft(
    features: Features, targets: np.ndarray, layers: tuple[int, ...], *, weight: np.ndarray | None = None
) -> LinearHead:
    """Fit ridge to soft targets, its strength by leave-one-out; the temperature is left at 1.

    Args:
        features: Pooled activations of the rows.
        targets: Class probabilities, or values (n, k).
        layers: Layers that are put side by side.
        weight: Weight (n,) of each row.
    """
    rows = LayerRows(features, layers, layer_scale(features, layers))
    fit = fit_ridge(rows.read(), targets, weight=weight)
    return LinearHead(
        rows.layers, rows.scale, fit.coef, fit.intercept, 1.0, fit.loo, float(fit.errors.min()), fit.strength
    )


def _mixed(features: Features, y: np.ndarray, task: Task) -> MixedRows:
    """All layers as one, in shares that are found on evenly spaced rows."""
    if len(set(features.sizes)) > 1:
        widths = ", ".join(map(str, dict.fromkeys(features.sizes)))
        raise UsageError(f"layers of the widths {widths} cannot be mixed", hint="use layers='concatenated'")
    every = tuple(range(features.layers))
    scale = layer_scale(features, every)
    some = evenly_spaced(len(y), MIX_ROWS)
    parts = LayerRows(features, every, scale)[some].reshape(len(some), len(every), -1).transpose(1, 0, 2)
    wanted, weight = targets(y[some], task)[:], task.sample_weights(y[some])
    strength = fit_ridge(parts.mean(axis=0), wanted, weight=weight).strength
    return MixedRows(features, every, scale, mix_layers(parts, wanted, strength=strength, weight=weight))


def _fit_ridge(rows: LayerRows, y: np.ndarray, task: Task, strengths: tuple[float, ...]) -> LinearHead:
    fit = fit_ridge(rows.read(), targets(y, task), weight=task.sample_weights(y), strengths=strengths)
    if task.is_multilabel:  # scores near 0 and 1 become log-odds
        slope, bias = fit_sigmoid(fit.loo, y[fit.rows], start=(5.0, -2.5), pull=0.01)
        coef, intercept, loo = rows.spread(fit.coef) * slope, fit.intercept * slope + bias, fit.loo * slope + bias
        return LinearHead(rows.layers, rows.scale, coef, intercept, 1.0, loo, float(fit.errors.min()), fit.strength)
    temperature = fit_temperature(fit.loo, y[fit.rows], prior=1) if task.is_classification else 1.0
    error = float(fit.errors.min())
    coef = rows.spread(fit.coef)
    return LinearHead(rows.layers, rows.scale, coef, fit.intercept, temperature, fit.loo, error, fit.strength)


def _fit_logistic(rows: LayerRows, y: np.ndarray, task: Task) -> LinearHead:
    if task.is_multilabel:
        each = fit_each_label(rows[:], y)
        coef = rows.spread(each.coef)
        return LinearHead(rows.layers, rows.scale, coef, each.intercept, 1.0, each.held_out, each.error, each.strength)
    fit = fit_logistic(rows[:], y, task.outputs, weight=task.sample_weights(y))
    temperature = fit_temperature(fit.held_out, y[fit.rows], prior=1) if len(fit.rows) else 1.0
    coef, error = rows.spread(fit.coef), float(fit.error)
    return LinearHead(rows.layers, rows.scale, coef, fit.intercept, temperature, fit.held_out, error, fit.strength)


def _fit_discriminant(rows: LayerRows, y: np.ndarray, task: Task) -> LinearHead:
    fit = fit_discriminant(rows.read(), y, task.outputs, weight=task.sample_weights(y))
    temperature, error = 1.0, float("nan")
    if len(fit.rows):
        scores, labels = fit.loo[:, fit.seen], np.searchsorted(fit.seen, y[fit.rows])
        temperature = fit_temperature(scores, labels, prior=1)
        error = nll(scores / temperature, labels)
    intercept = fit.intercept.copy()
    unseen = np.setdiff1d(np.arange(task.outputs), fit.seen)
    intercept[unseen] = intercept[unseen] * max(1.0, temperature)
    coef = rows.spread(fit.coef)
    return LinearHead(rows.layers, rows.scale, coef, intercept, temperature, fit.loo, error, fit.shrinkage)
