"""Time series as vectors: random convolution kernels (MiniRocket), and what the kernels do not see: level, spread, spectrum."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from graft.core.rows import evenly_spaced
from graft.core.types import Dataset
from graft.data.series_rows import averaged, filled, stretched

TAPS = 9  # weights of a kernel: six of -1 and three of 2
KERNELS = np.array(list(itertools.combinations(range(TAPS), 3)))  # places of the three: 84 kernels
FEATURES = 2_520  # shares of positive values that are asked for
SHORTEST, LONGEST = 16, 1_000  # steps that series are stretched to at least and at most …
MOST = 8  # … and times as many that kernels see of a series at most
DILATIONS, MIXTURES = 6, 8  # different distances of taps, and sums of channels
SEEN = 64  # series from which the thresholds are read off
PARTS, BANDS = 8, 16  # of a series in time, and of its spectrum
BLOCK = 64  # series transformed at a time, so that they stay in the cache of the processor
TINY = 1e-6


class SeriesVectors:
    """Shares of positive values of convolutions, and statistics of every channel.

    A kernel has nine weights, -1 six times and 2 three times, at distances ``dilation``; with thresholds b the features are
    mean_t [(w * z)_t > b], of z the series minus its mean over its deviation (of several channels: of a sum of some).
    Thresholds are quantiles of the convolution of training rows.  Level is told by mean, deviation, extremes, slope and
    the means and deviations of eight parts of every channel, rhythm by the power of 16 bands of its spectrum.  Of series of
    several lengths the kernels see all steps as they are; for parts and bands they are stretched to the median length,
    and the length is a feature of its own.  Where the median is above 1,000 steps, several are averaged into one.

    References:
        Dempster, Petitjean & Webb (2020), ROCKET; Dempster, Schmidt & Webb (2021), MiniRocket.
    """

    def __init__(self) -> None:
        self.length, self.step, self.channels = SHORTEST, 1, 1
        self.dilations: list[int] = []
        self.mixed = np.ones((1, 1), np.float32)
        self.chosen = np.zeros((0, 0), np.int64)
        self.thresholds = np.zeros((0, 0, 0), np.float32)

    def fit(self, dataset: Dataset) -> SeriesVectors:
        """Find length and thresholds."""
        some = dataset.take(evenly_spaced(len(dataset), 2_000))
        self.channels = some[0].shape[1]
        median = float(np.median([len(one) for one in some]))
        self.step = max(1, math.ceil(median / LONGEST))
        self.length = int(np.clip(median / self.step, SHORTEST, LONGEST))
        most = (self.length - 1) / (TAPS - 1)
        self.dilations = sorted({int(2**power) for power in np.linspace(0, np.log2(max(1, most)), DILATIONS)})
        rng = np.random.default_rng(0)
        self.mixed = _mixtures(self.channels, rng)
        self.chosen = rng.integers(len(self.mixed), size=(len(self.dilations), len(KERNELS)))
        each = max(1, FEATURES // self.chosen.size)
        levels = (np.arange(1, each + 1) * (np.sqrt(5) + 1) / 2) % 1  # spread evenly, however many there are
        shapes, ends = self._shapes(dataset.take(evenly_spaced(len(dataset), SEEN)))
        self.thresholds = np.zeros((*self.chosen.shape, each), np.float32)
        for place, kernel, values, counted in self._convolved(shapes, ends):
            self.thresholds[place, kernel] = np.quantile(values if counted is None else values[counted], levels)
        return self

    def _shapes(self, series: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Mixtures of standardised channels (n, M, T), zero beyond the ends, and where these are (n,)."""
        parts = []
        for one in series:
            whole = averaged(filled(one), self.step)
            spread = whole.std(axis=0)
            parts.append((whole - whole.mean(axis=0)) / np.where(spread > TINY, spread, 1.0))
        ends = np.array([min(len(part), MOST * LONGEST) for part in parts])
        shapes = np.zeros((len(parts), len(self.mixed), max(SHORTEST, ends.max())), np.float32)
        for row, (part, end) in enumerate(zip(parts, ends, strict=True)):
            shapes[row, :, :end] = self.mixed @ part[:end].T
        return shapes, ends

    def _convolved(
        self, shapes: np.ndarray, ends: np.ndarray
    ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray | None]]:
        """Every dilation and kernel with its convolution (n, t) and which of it counts (n, t), None for all.

        Beyond the ends of a series there are zeros; every other time only what does not touch them counts.
        """
        steps = shapes.shape[2]
        whole = bool((ends == steps).all())
        places = np.arange(steps)
        for place, dilation in enumerate(self.dilations):
            reach = dilation * (TAPS // 2)
            wide = np.pad(shapes, ((0, 0), (0, 0), (reach, reach)))
            shifted = [wide[:, :, tap * dilation : tap * dilation + steps] for tap in range(TAPS)]
            minus = -np.sum(shifted, axis=0)
            inner = np.where(ends > 2 * reach, reach, 0)[:, None]
            masks = [places < ends[:, None], (places >= inner) & (places < ends[:, None] - inner)]
            for kernel, (a, b, c) in enumerate(KERNELS):
                mixture, within = self.chosen[place, kernel], (place + kernel) % 2
                span = slice(int(inner[0, 0]), steps - int(inner[0, 0])) if whole and within else slice(None)
                values = shifted[a][:, mixture, span] + shifted[b][:, mixture, span]
                values += shifted[c][:, mixture, span]
                values *= 3
                values += minus[:, mixture, span]
                yield place, kernel, values, None if whole else masks[within]

    def _shares(self, series: list[np.ndarray]) -> np.ndarray:
        """Shares of positive values (n, F)."""
        shapes, ends = self._shapes(series)
        found = np.empty((len(shapes), *self.thresholds.shape), np.float32)
        for place, kernel, values, counted in self._convolved(shapes, ends):
            total = values.shape[1] if counted is None else counted.sum(axis=1)
            for number, threshold in enumerate(self.thresholds[place, kernel]):
                above = values > threshold if counted is None else (values > threshold) & counted
                found[:, place, kernel, number] = np.count_nonzero(above, axis=1) / total
        return found.reshape(len(shapes), -1)

    def transform(self, dataset: Dataset) -> np.ndarray:
        """Array (N, D) of float32."""
        parts = [np.zeros((0, self.width), np.float32)]
        for start in range(0, len(dataset), BLOCK):
            series = dataset.take(slice(start, start + BLOCK))
            numbers = np.stack([self._statistics(one) for one in series])
            parts.append(np.hstack([self._shares(series), numbers]).astype(np.float32))
        return np.concatenate(parts)

    @property
    def width(self) -> int:
        """Number of columns D."""
        return self.thresholds.size + self.channels * (11 + 2 * PARTS + BANDS) + 1

    def names(self) -> list[str]:
        """What each of the D numbers is."""
        found = [
            f"kernel {''.join('+' if tap in kernel else '-' for tap in range(TAPS))} at distance {dilation} above {threshold:.3g}"
            for place, dilation in enumerate(self.dilations)
            for number, kernel in enumerate(KERNELS)
            for threshold in self.thresholds[place, number]
        ]
        plain = [
            "mean",
            "deviation",
            "least",
            "largest",
            "median",
            "first",
            "last",
            "slope",
            "step",
            "crossings",
            "missing",
        ]
        plain += [f"{what} of part {part + 1}" for what in ("mean", "deviation") for part in range(PARTS)]
        plain += [f"power of band {band + 1}" for band in range(BANDS)]
        each = [f"{what} of channel {number + 1}" for what in plain for number in range(self.channels)]
        return [*found, *(each if self.channels > 1 else plain), "logarithm of the length"]

    def _statistics(self, series: np.ndarray) -> np.ndarray:
        """Statistics of every channel, and the logarithm of the length."""
        gone = np.isnan(series).mean(axis=0)
        whole = filled(series).astype(np.float64)
        evened = stretched(whole.astype(np.float32), self.length).astype(np.float64)
        mean, spread = whole.mean(axis=0), whole.std(axis=0)
        time = np.linspace(-1, 1, len(evened))[:, None]
        steps = np.abs(np.diff(evened, axis=0)).mean(axis=0)
        above = evened > evened.mean(axis=0)
        crossings = (above[1:] != above[:-1]).mean(axis=0)
        parts = np.array_split(evened, PARTS)
        standard = (evened - evened.mean(axis=0)) / np.where(evened.std(axis=0) > TINY, evened.std(axis=0), 1.0)
        power = np.abs(np.fft.rfft(standard, axis=0))[1:] ** 2 / len(evened)
        edges = np.unique(np.geomspace(1, len(power), BANDS + 1).astype(np.int64)) - 1
        bands = np.zeros((BANDS, power.shape[1]))
        bands[: len(edges)] = np.log1p(np.add.reduceat(power, edges, axis=0))[:BANDS]
        found = [
            mean, spread, whole.min(axis=0), whole.max(axis=0), np.median(whole, axis=0), whole[0], whole[-1],
            (time * evened).mean(axis=0), steps, crossings, gone, *[part.mean(axis=0) for part in parts],
            *[part.std(axis=0) for part in parts], *bands,
        ]  # fmt: skip
        return np.append(np.stack(found).ravel(), np.log(len(series)))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Length, channels and dilations as JSON; mixtures and thresholds as arrays."""
        facts = {"length": self.length, "step": self.step, "channels": self.channels, "dilations": self.dilations}
        return facts, {"mixed": self.mixed, "chosen": self.chosen, "thresholds": self.thresholds}

    @classmethod
    def from_state(cls, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> SeriesVectors:
        """The inverse of ``state``."""
        vectors = cls()
        vectors.length, vectors.step = facts["length"], facts["step"]
        vectors.channels, vectors.dilations = facts["channels"], facts["dilations"]
        vectors.mixed, vectors.chosen, vectors.thresholds = (arrays[name] for name in ("mixed", "chosen", "thresholds"))
        return vectors


def _mixtures(channels: int, rng: np.random.Generator) -> np.ndarray:
    """Weights (M, C) of sums of channels: single channels, and random ones of several, each of about unit variance."""
    single = np.eye(channels, dtype=np.float32)[rng.permutation(channels)[:MIXTURES]]
    if channels == 1:
        return single
    several = rng.random((MIXTURES, channels)) < 0.5
    several[np.arange(MIXTURES), rng.integers(channels, size=MIXTURES)] = True
    return np.vstack([single, several / np.sqrt(several.sum(axis=1, keepdims=True))]).astype(np.float32)
