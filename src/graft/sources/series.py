"""Time series as what graft's own encoders read: standardised steps with a mask."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from graft.core.errors import SourceError
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset
from graft.data.series_rows import averaged, filled
from graft.sources.base import Batch, Coverage
from graft.sources.readers import Reader
from graft.sources.sounds import padded

MOST_STEPS = 512  # steps that encoders read of a series; of longer ones several are averaged into one
SEEN = 1_000  # series that means, deviations and lengths are read off
TINY = 1e-6


class SeriesReader(Reader):
    """Steps of 2 C numbers: every channel standardised by the training series, and by the series itself.

    The first tells the level, the second the shape.  Missing values lie on a line between their neighbours.

    Args:
        mean: Of every channel (C,) among the series it was built on.
        spread: Deviation of every channel (C,).
        step: Steps whose mean makes one.

    Example:
        >>> reader = SeriesReader(np.zeros(1), np.ones(1))
        >>> rows = reader.encode([np.array([[1.0], [3.0]], np.float32)])
        >>> rows[0].tolist()
        [[1.0, -1.0], [3.0, 1.0]]
    """

    def __init__(self, mean: np.ndarray, spread: np.ndarray, *, step: int = 1) -> None:
        self.count, self.step = len(mean), step
        same = np.zeros(self.count), np.ones(self.count)  # what the series itself scales stays as it is
        self.mean, self.spread = (
            np.concatenate(pair).astype(np.float32) for pair in ((mean, same[0]), (spread, same[1]))
        )

    @classmethod
    def of(cls, data: Dataset) -> SeriesReader:
        """The reader that suits a data set: 95 % of the series fit into ``MOST_STEPS``."""
        series = [filled(one) for one in data.take(evenly_spaced(len(data), SEEN))]
        whole = np.concatenate(series)
        spread = whole.std(axis=0)
        long = float(np.quantile([len(one) for one in series], 0.95))
        step = max(1, math.ceil(long / MOST_STEPS))
        return cls(whole.mean(axis=0), np.where(spread > TINY, spread, 1.0), step=step)

    @property
    def bands(self) -> int:
        """Numbers of a step."""
        return 2 * self.count

    def encode(self, examples: Any) -> list[Any]:
        """Steps (T, 2 C) float32 of series (T, C).

        Raises:
            SourceError: The series have another number of channels.
        """
        other = next((series.shape[1] for series in examples if series.shape[1] != self.count), None)
        if other is not None:
            what = f"the source reads series of {self.count} channel(s), these have {other}"
            raise SourceError(what, hint="make one of series like these")
        rows = []
        for series in examples:
            values = averaged(filled(series), self.step)[: 2 * MOST_STEPS]
            own = values.std(axis=0)
            alone = (values - values.mean(axis=0)) / np.where(own > TINY, own, 1.0)
            rows.append(((np.hstack([values, alone]) - self.mean) / self.spread).astype(np.float32))
        return rows

    def coverage(self, examples: Any) -> Coverage:
        if all(series.shape[1] == self.count for series in examples):
            return Coverage()
        return Coverage(0.0, f"it reads series of {self.count} channel(s)")

    def length(self, encoded: Any) -> int:
        return len(encoded)

    def collate(self, encoded: list[Any]) -> Batch:
        frames, real = padded(encoded)
        return {"frames": torch.from_numpy(frames), "attention_mask": torch.from_numpy(real)}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {"mean": self.mean[: self.count], "spread": self.spread[: self.count]}
        return {"modality": "series", "kind": "series", "step": self.step}, arrays

    @classmethod
    def from_state(cls, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> SeriesReader:
        """The inverse of ``state``."""
        return cls(arrays["mean"], arrays["spread"], step=state["step"])
