"""Principal components (主成分分析): the linear map that keeps most of the variance of pictures or tables.

Idea: most of what varies lies in few directions; coordinates in these are a source that costs one matrix product.
Helps when: columns or pixels hang together linearly and rows are many; as the least that a trained source must beat.
Hurts when: what matters is rare, or only non-linear in the inputs.
References: Pearson (1901); Hotelling (1933); Halko, Martinsson & Tropp (2011) for wide rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.linalg import eigh

from graft.core.errors import DataError, UsageError
from graft.core.registry import OBJECTIVES
from graft.core.rows import evenly_spaced
from graft.core.runtime import Clock, Progress
from graft.core.types import Dataset, ModelSpec
from graft.engine.loop import LOG_POINTS, History
from graft.pretrain.base import BasePretrain, Learned, choose_encoder, held_out_rows
from graft.pretrain.pictures import as_pictures, as_pixels, picture_reader, sheet, write_pictures
from graft.pretrain.tables import write_vectors
from graft.sources.native import NativeBackbone
from graft.sources.readers import Reader

BLOCK = 1_024  # rows in memory at a time
EXACT = 4_096  # numbers of a row up to which the whole covariance is held
PASSES, SPARE = 6, 10  # passes and spare directions for wider rows
MOST, ENOUGH = 64, 0.95  # components, and the share of the variance at which fewer do, if no number is asked for
MEASURED_ROWS = 5_000  # held-out rows that are scored at most
SHOWN, LOADINGS = 10, 5  # pictures and components, and columns of a component, among the samples


@OBJECTIVES.register("pca")
class Components(BasePretrain):
    """Project centred rows on the directions of largest variance: f(x) = W (x - μ) with W Wᵀ = I.

    Read in blocks, so memory holds a covariance (D, D), or above 4,096 numbers a row only a basis (D, k).  Scored by
    the share of the variance of held-out rows that the projection keeps, beside random directions and the mean alone.
    The curve is the share that is lost over the number of components.

    Args:
        components: How many; None: those that explain 95 %, at most 64.
        encoder: ``"linear"``.
        side: Height and width that pictures are brought to; read off the pictures (at most 64) if None.
        seed: Seed of what is held out.

    Example:
        >>> import numpy as np
        >>> from graft.pretrain.components import Components
        >>> line = np.linspace(-1, 1, 200)[:, None] * [[1.0, 2.0, 3.0]]
        >>> made = Components(components=1).fit(line)
        >>> round(made.record_["scores"][0]["value"], 6)
        1.0
    """

    name = "pca"
    label = "principal components"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"image": ("linear",), "table": ("linear",)}

    def __init__(
        self,
        *,
        components: int | None = None,
        encoder: str | None = None,
        side: int | None = None,
        seed: int = 0,
    ) -> None:
        self.components = components
        self.encoder = encoder
        self.side = side
        self.seed = seed

    def _learn(self, data: Dataset, clock: Clock, progress: Progress, folder: Path) -> Learned:
        modality = data.task.modality
        name = choose_encoder(self.encoder, self.encoders[modality], self.label)
        if self.components is not None and self.components < 1:
            raise UsageError(f"{self.components} components cannot be kept", hint="use one or more")
        reader = self._open(data, folder, progress)
        start = time.monotonic()
        found = _Sums(self.train_, clock, progress)
        wanted = min(self.components or MOST, found.width, max(1, found.rows - 1))
        if found.total <= 1e-12 * found.rows:
            raise DataError(f"all rows of {data.name} are equal", hint="there is nothing to learn")
        variances, axes = found.leading(wanted)
        kept = np.cumsum(variances) / found.total
        if self.components is None:
            kept = kept[: int((kept < ENOUGH).sum()) + 1]
        self.mean_, self.axes_ = found.mean, axes[: len(kept)]
        self.ratios_ = np.diff(kept, prepend=0.0)
        spec = ModelSpec("new:linear", "linear", modality, architecture=f"{name}-{len(kept)}")
        backbone = NativeBackbone(name, {"inputs": found.width, "width": len(kept)}, reader, spec)
        with torch.no_grad():
            backbone.body.projection.weight.copy_(torch.from_numpy(self.axes_))
            backbone.body.projection.bias.copy_(torch.from_numpy(-self.axes_ @ self.mean_))
        marked = np.unique(np.linspace(1, len(kept), min(len(kept), LOG_POINTS)).astype(np.int64))
        points = [{"step": float(m), "epoch": 0.0, "loss": float(1 - kept[m - 1])} for m in marked]
        history = History(points, found.blocks, found.planned, time.monotonic() - start, found.stopped)
        self.read_ = found.rows
        return Learned(backbone, history, found.planned)

    def _open(self, data: Dataset, folder: Path, progress: Progress) -> Reader:
        """Put training and held-out rows on disk."""
        if len(data) < 2:
            raise DataError(f"{data.name} has {len(data)} row(s)", hint="one is trained on, another is held out")
        self.pictures_ = data.task.modality == "image"
        if self.pictures_:
            reader = picture_reader(data, self.side)
            parts = write_pictures(reader, data, folder, seed=self.seed, progress=progress)
            self.train_, self.held_out_ = parts.train, parts.held_out
            return reader
        held_out = held_out_rows(len(data), self.seed)
        found = write_vectors(data, folder, held_out=held_out, progress=progress)
        self.train_, self.held_out_, self.names_ = found.train, found.held_out, found.names()
        return found.reader

    def _measure(self, objective: Any) -> list[dict[str, Any]]:
        del objective
        rows = _vectors(self._some(MEASURED_ROWS)) - self.mean_
        total = np.square(rows).sum(axis=1)
        directions = np.random.default_rng((self.seed, 5)).standard_normal((len(self.mean_), len(self.axes_)))
        chance = np.linalg.qr(directions)[0].T

        def share(axes: np.ndarray) -> Any:
            kept = np.square(rows @ axes.T).sum(axis=1)
            return lambda weight: (weight @ kept) / np.maximum(weight @ total, 1e-300)

        ones = np.ones((1, len(rows)))
        beside = {"random projection": float(share(chance)(ones)[0]), "mean": 0.0}
        return [self._scored("variance explained", share(self.axes_), len(rows), beside, "share")]

    def _some(self, most: int) -> np.ndarray:
        """Evenly spaced held-out rows."""
        every = self.held_out_
        return np.asarray(every[evenly_spaced(len(every), most)])

    def _samples(self, objective: Any) -> list[dict[str, Any]]:
        del objective
        if not self.pictures_:
            return [{"kind": "components", "text": self._said(index)} for index in range(min(SHOWN, len(self.axes_)))]
        some = self._some(SHOWN)
        shape = (some.shape[3], *some.shape[1:3])
        largest = np.abs(self.axes_[: 2 * SHOWN]).max(axis=1, keepdims=True)
        shown = self._drawn(self.axes_[: 2 * SHOWN] / largest, shape)
        rows = [some]
        for count in dict.fromkeys([len(self.axes_), max(1, len(self.axes_) // 8)]):
            axes = self.axes_[:count]
            rows.append(self._drawn((_vectors(some) - self.mean_) @ axes.T @ axes + self.mean_, shape))
        halves = [shown[:SHOWN], *([shown[SHOWN:]] if len(shown) > SHOWN else [])]
        return [{"kind": "components", "picture": sheet(halves)}, {"kind": "rebuilt", "picture": sheet(rows)}]

    def _drawn(self, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return as_pictures(torch.from_numpy(values.reshape(len(values), *shape)))

    def _said(self, index: int) -> str:
        """One component in words: its share and the columns that weigh most."""
        axis = self.axes_[index]
        heaviest = np.argsort(-np.abs(axis), kind="stable")[:LOADINGS]
        parts = ", ".join(f"{axis[place]:+.2f} {self.names_[place]}" for place in heaviest)
        return f"{index + 1}, {self.ratios_[index]:.1%}: {parts}"

    def _facts(self) -> dict[str, Any]:
        return {"train_rows": len(self.train_), "held_out_rows": len(self.held_out_), "numbers": len(self.mean_)}

    def _throughput(self, history: History) -> dict[str, float]:
        unit = "pictures" if self.pictures_ else "rows"
        return {f"{unit}_per_second": round(self.read_ / history.seconds) if history.seconds else 0.0}


def _vectors(block: np.ndarray) -> np.ndarray:
    """Rows (B, D) float64 as the encoder sees them: pictures in [-1, 1], channel by channel."""
    return (as_pixels(np.array(block)).flatten(1).numpy() if block.ndim == 4 else block).astype(np.float64)


class _Sums:
    """Mean, total variance and leading directions of rows that are read in blocks.

    When the clock runs out the blocks read so far count.
    """

    def __init__(self, rows: np.ndarray, clock: Clock, progress: Progress) -> None:
        self.stored, self.planned = rows, -(-len(rows) // BLOCK)
        self.rows = self.blocks = 0
        self.stopped = ""
        first = _vectors(rows[:BLOCK])
        self.width = first.shape[1]
        offset = first.mean(axis=0)  # sums of squares about a mean nearby lose no digits
        self.exact = self.width <= EXACT
        linear, square = np.zeros(self.width), 0.0
        gram = np.zeros((self.width, self.width)) if self.exact else None
        for start in range(0, len(rows), BLOCK):
            if start and clock.expired:
                self.stopped = "the time for this training was used up"
                break
            block = _vectors(rows[start : start + BLOCK]) - offset
            linear += block.sum(axis=0)
            square += float(np.square(block).sum())
            if gram is not None:
                gram += block.T @ block
            self.rows, self.blocks = self.rows + len(block), self.blocks + 1
            progress("principal components", self.rows / len(rows), f"{self.rows:,} rows")
        shift = linear / self.rows
        self.mean = offset + shift
        self.total = square / self.rows - float(shift @ shift)
        self.covariance = None if gram is None else gram / self.rows - np.outer(shift, shift)

    def leading(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Variances (k,), largest first, and directions (k, D); the largest weight of each is positive."""
        if self.covariance is not None:
            values, vectors = eigh(self.covariance, subset_by_index=[self.width - count, self.width - 1])
        else:
            values, vectors = self._iterated(count)
        axes = vectors[:, ::-1].T
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
        return values[::-1].clip(0), np.ascontiguousarray(axes * signs[:, None])

    def _iterated(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Subspace iteration: Q ← orthonormal basis of Cov · Q, a pass over the rows each; ascending like ``eigh``."""
        size = min(count + SPARE, self.width, self.rows)
        basis = np.linalg.qr(np.random.default_rng(0).standard_normal((self.width, size)))[0]
        for _ in range(PASSES):
            basis = np.linalg.qr(self._product(basis))[0]
        values, inner = np.linalg.eigh(basis.T @ self._product(basis))
        return values[-count:], basis @ inner[:, -count:]

    def _product(self, basis: np.ndarray) -> np.ndarray:
        """Covariance times a basis (D, q)."""
        total = np.zeros_like(basis)
        for block in self._read():
            total += block.T @ (block @ basis)
        return total / self.rows

    def _read(self) -> Iterator[np.ndarray]:
        for start in range(0, self.rows, BLOCK):
            yield _vectors(self.stored[start : min(start + BLOCK, self.rows)]) - self.mean
