"""Time series: lengths, channels, missing values; a picture of one, and its vector by random kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.core.registry import MODALITIES
from graft.core.types import Dataset
from graft.data.rocket import SeriesVectors
from graft.data.series_rows import filled

BLOCKS = "▁▂▃▄▅▆▇█"
WIDE = 60  # letters of a series in words


class _Series:
    """Facts, walk and vectors of time series."""

    vectorizer = SeriesVectors

    def describe(self, dataset: Dataset) -> dict[str, Any]:
        """Rows, steps, channels, share of missing values, range of the values, repeated rows."""
        lengths, gone, total, low, high = [], 0, 0, np.inf, -np.inf
        for start in range(0, len(dataset), 4096):
            for one in dataset.take(slice(start, start + 4096)):
                lengths.append(len(one))
                missing = int(np.isnan(one).sum())
                gone, total = gone + missing, total + one.size
                if missing < one.size:
                    low, high = min(low, float(np.nanmin(one))), max(high, float(np.nanmax(one)))
        sizes = np.array(lengths or [0])
        keys = dataset.X.keys(dataset.rows) if hasattr(dataset.X, "keys") else np.arange(len(dataset))
        return {
            "rows": len(dataset),
            "channels": len(dataset.columns),
            "length": {"median": int(np.median(sizes)), "min": int(sizes.min()), "max": int(sizes.max())},
            "missing": f"{gone / max(1, total):.2%}",
            "values": f"{low:.4g} to {high:.4g}",
            "duplicates": len(keys) - len(np.unique(keys)),
        }

    def walk(self, dataset: Dataset, row: int) -> list[tuple[str, str]]:
        """One series: as read, its shape, and what its vector is made of."""
        one = dataset.select(np.array([row]))
        vectors = SeriesVectors().fit(dataset)
        series = one.take()[0]
        first = ", ".join("?" if np.isnan(value) else f"{value:.4g}" for value in series[:8, 0])
        steps = [
            ("raw", f"{len(series)} steps, {series.shape[1]} channel(s): {first}{' …' if len(series) > 8 else ''}"),
            ("shape", sparkline(filled(series)[:, 0])),
        ]
        if dataset.y is not None:
            steps.append(("label", str(one.labels[0])))
        taps = f"{vectors.thresholds.size} shares of kernels at distances {', '.join(map(str, vectors.dilations))}"
        rest = vectors.width - vectors.thresholds.size
        return [*steps, ("vector", f"{vectors.width} numbers: {taps}; {rest} of level, spread and spectrum")]

    def vectors(self) -> SeriesVectors:
        """Random kernels and statistics."""
        return SeriesVectors()


def sparkline(values: np.ndarray) -> str:
    """Values (T,) as letters of eight heights.

    Example:
        >>> sparkline(np.array([0.0, 7.0, 3.5]))
        '▁█▄'
    """
    if len(values) > WIDE:
        values = np.array([part.mean() for part in np.array_split(values, WIDE)])
    low, high = float(values.min()), float(values.max())
    heights = (values - low) / (high - low or 1.0) * (len(BLOCKS) - 1)
    return "".join(BLOCKS[int(height)] for height in heights)


MODALITIES.register("series")(_Series())
