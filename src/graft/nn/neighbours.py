"""Nearest neighbours: a row is answered by the training rows that point where it points, the nearest ones most.

With rows u of length one about the mean of the training rows, closeness is s_j = u · u_j.  Of the k closest the j-th weighs
(s_j - s_(k+1)) / (s_1 - s_(k+1)), so that nothing jumps where neighbours change places (Dudani 1976); the chance of class c
is (Σ_j w_j [y_j = c] + 1/C) / (Σ_j w_j + 1), a value is Σ_j w_j y_j / Σ_j w_j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from graft.core.errors import DataError
from graft.core.rows import evenly_spaced
from graft.core.task import Task
from graft.core.types import Features
from graft.nn.calibration import fit_temperature, nll
from graft.nn.heads import to_outputs
from graft.nn.layer_rows import LayerRows, choose_layers, layer_options, layer_scale

COUNTS = (1, 2, 3, 5, 8, 13, 21, 34, 55)  # of neighbours, compared by leaving each row out
LEFT_OUT = 20_000  # rows that are left out to compare them
CLOSE = 1 << 23  # closenesses in work at a time: 32 MB


@dataclass(frozen=True, eq=False)
class NeighbourHead:
    """Training rows that answer for what is close to them.  Keeps n · d float16, and compares every row with all of them.

    Attributes:
        layers: Layers that are put side by side.
        scale: Divisor of each column (d,).
        centre: Mean (d,) of the training rows, after that.
        rows: Training rows (n, d) float16, of length one about the mean.
        answers: One-hot classes times the weight of the row, or values (n, k) float32.
        count: Number of neighbours k.
        temperature: Softmax temperature of the logarithms of the chances.
        loo: Left-out scores (m, k) of evenly spaced training rows.
        error: Left-out error: mean negative log-likelihood, or mean square.
    """

    layers: tuple[int, ...]
    scale: np.ndarray
    centre: np.ndarray
    rows: np.ndarray
    answers: np.ndarray
    count: int
    temperature: float = 1.0
    loo: np.ndarray | None = None
    error: float = float("nan")

    @property
    def strength(self) -> float:
        """The number of neighbours."""
        return float(self.count)

    def scores(self, features: Features, task: Task) -> np.ndarray:
        """Logarithms of chances (n, C), or values (n, 1)."""
        asked = LayerRows(features, self.layers, self.scale)
        size = max(1, CLOSE // max(len(self.rows), asked.shape[1], (self.count + 1) * self.answers.shape[1]))
        parts = []
        for start in range(0, len(asked), size):
            unit = unit_rows(asked[start : start + size], self.centre)
            close, found = nearest(unit, self.rows, self.count + 1, None)
            parts.append(_said(close, self.answers[found], self.count, task))
        return np.concatenate(parts)

    def outputs(self, features: Features, task: Task) -> np.ndarray:
        """Class probabilities (n, C), or standardised values (n,)."""
        return to_outputs(self.scores(features, task), task, self.temperature)

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be saved."""
        return {
            "layers": np.asarray(self.layers, dtype=np.int64),
            "scale": np.asarray(self.scale, dtype=np.float32),
            "centre": self.centre,
            "rows": self.rows,
            "answers": self.answers,
            "count": np.asarray([self.count]),
            "temperature": np.asarray([self.temperature]),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> NeighbourHead:
        """The inverse of ``arrays``."""
        layers = tuple(int(layer) for layer in arrays["layers"])
        scale, centre, rows, answers = (arrays[name] for name in ("scale", "centre", "rows", "answers"))
        return cls(layers, scale, centre, rows, answers, int(arrays["count"][0]), float(arrays["temperature"][0]))


def fit_neighbours(
    features: Features, y: np.ndarray, task: Task, *, layers: Sequence[int] | str = "auto"
) -> NeighbourHead:
    """Keep the training rows, with the number of neighbours and the layers that answer best for rows left out.

    All numbers of neighbours are compared on one matrix of closenesses, so choosing costs no refits: n² d products for
    each set of layers.  The mean that rows are seen from stays as it is when one is left out.

    Args:
        features: Pooled activations of the training rows.
        y: Encoded targets (n,).
        task: Says what the targets are.
        layers: Layer indices, ``"last"``, ``"concatenated"``, or ``"auto"``: the last, the upper half or all.

    Raises:
        UsageError: There are no such layers.
        DataError: There is only one row.

    References:
        Dudani (1976). The distance-weighted k-nearest-neighbor rule. IEEE Transactions on Systems, Man, and Cybernetics 6.
    """
    if len(y) < 2:
        raise DataError("neighbours need two rows or more")

    def one(some: Features, labels: np.ndarray, option: tuple[int, ...]) -> NeighbourHead:
        return _fit(some, labels, task, option)

    return choose_layers(features, y, layer_options(features, layers), one)


def votes(close: np.ndarray, answers: np.ndarray, count: int, *, classes: bool) -> np.ndarray:
    """What neighbours, the closest first, say of rows: logarithms of chances, or values, (b, k).

    Args:
        close: Closeness (b, m), falling, with m of ``count`` + 1 or less where there are no more rows.
        answers: One-hot classes times weights, or values (b, m, k).
        count: Number of neighbours.
        classes: Whether the answers are classes.

    Example:
        >>> import numpy as np
        >>> close, answers = np.array([[0.9, 0.6, 0.3]]), np.array([[[4.0], [1.0], [9.0]]])
        >>> votes(close, answers, 2, classes=False).tolist()  # the second is half as close to the first as the third
        [[3.0]]
    """
    voting = min(count, close.shape[1])
    weight = np.ones((len(close), voting))
    if close.shape[1] > count:
        beyond = close[:, count : count + 1].astype(np.float64)
        span = close[:, :1] - beyond
        weight = np.where(span > 0, (close[:, :voting] - beyond) / np.where(span > 0, span, 1.0), 1.0)
    said: np.ndarray = np.einsum("bm,bmk->bk", weight, answers[:, :voting])
    if not classes:
        said /= weight.sum(axis=1, keepdims=True)
        return said
    logs: np.ndarray = np.log((said + 1 / said.shape[1]) / (said.sum(axis=1, keepdims=True) + 1))
    return logs


def _said(close: np.ndarray, answers: np.ndarray, count: int, task: Task) -> np.ndarray:
    """``votes``; of several labels the log-odds of their shares among the neighbours, and of half a vote either way."""
    found = votes(close, answers, count, classes=task.is_classification)
    if not task.is_multilabel:
        return found
    given: np.ndarray = np.log((found * count + 0.5) / ((1 - found) * count + 0.5))
    return given


def _fit(features: Features, y: np.ndarray, task: Task, layers: tuple[int, ...]) -> NeighbourHead:
    scale = layer_scale(features, layers)
    source = LayerRows(features, layers, scale)
    blocks = [slice(start, start + 4096) for start in range(0, len(source), 4096)]
    centre = (sum(source[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(source)).astype(np.float32)
    rows = np.concatenate([unit_rows(source[block], centre).astype(np.float16) for block in blocks])
    answers = np.asarray(y, dtype=np.float32).reshape(len(y), -1)
    if task.is_classification:
        weight = task.sample_weights(y)
        answers = np.eye(task.outputs, dtype=np.float32)[y] * np.float32(1 if weight is None else weight[:, None])
    head = NeighbourHead(layers, scale, centre, rows, answers, 1)
    return _chosen(head, y, task)


def _chosen(head: NeighbourHead, y: np.ndarray, task: Task) -> NeighbourHead:
    """The head with the number of neighbours that answers best for rows left out."""
    n = len(head.rows)
    asked = evenly_spaced(n, LEFT_OUT)
    counts = [count for count in COUNTS if count < n - 1] or [1]
    size = max(1, CLOSE // n)
    parts = [asked[start : start + size] for start in range(0, len(asked), size)]
    near = [nearest(head.rows[part].astype(np.float32), head.rows, max(counts) + 1, part) for part in parts]
    best = replace(head, error=float("inf"))
    for count in counts:
        scores = np.concatenate([_said(close, head.answers[found], count, task) for close, found in near])
        labels, temperature = y[asked], 1.0
        if task.is_classification:
            temperature = fit_temperature(scores, labels, prior=1)
            error = nll(scores / temperature, labels)
        elif task.is_multilabel:
            error = float((np.logaddexp(0, scores) - labels * scores).mean())
        else:
            error = float(np.square(scores[:, 0] - labels).mean())
        if error < best.error:
            best = replace(head, count=count, temperature=temperature, loo=scores, error=error)
    return best


def unit_rows(rows: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Rows of length one about the centre; zeros where there is nothing."""
    moved = rows - centre
    unit: np.ndarray = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), np.float32(1e-12))
    return unit


def nearest(unit: np.ndarray, rows: np.ndarray, count: int, own: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Closeness (b, m), falling, and positions (b, m) of the m closest rows; equals in the order of the rows.

    Args:
        unit: Rows (b, d) of length one that are asked for.
        rows: Training rows (n, d).
        count: Asked m; fewer where there are no more rows.
        own: Positions of the rows asked for among the training rows: nothing is its own neighbour.
    """
    close = np.empty((len(unit), len(rows)), dtype=np.float32)
    for start in range(0, len(rows), 8192):
        close[:, start : start + 8192] = unit @ rows[start : start + 8192].astype(np.float32).T
    others = len(rows)
    if own is not None:
        close[np.arange(len(unit)), own] = -np.inf
        others -= 1
    count = min(count, others)
    found = np.argpartition(-close, count - 1, axis=1)[:, :count]
    order = np.lexsort((found, -np.take_along_axis(close, found, axis=1)))
    found = np.take_along_axis(found, order, axis=1)
    return np.take_along_axis(close, found, axis=1), found
