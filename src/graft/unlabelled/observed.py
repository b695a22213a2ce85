"""What can be seen of a model without labels of the target, and every criterion on it with an interval."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from graft.core.errors import DataError, UsageError
from graft.core.registry import CRITERIA
from graft.nn.bootstrap import Interval, interval
from graft.nn.calibration import fit_temperature

TIMES = 100  # resamples of rows
SOURCE = ("source_outputs", "source_y", "source_features", "ratio")  # fields with one entry per held-out source row
TARGET = ("target_outputs", "target_features", "consensus")  # and per target row
DIFFER = "differ"  # what ``contrast`` calls the share of target rows that two models predict otherwise
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Observed:
    """One fitted model on held-out source rows, which have labels, and on target rows, which have none.

    A criterion is a function whose parameters are named like these fields; it is asked only where all are there.

    Attributes:
        target_outputs: Class probabilities (n_t, C) of target rows.
        source_outputs: Class probabilities (n_v, C) of source rows that it was not fitted on.
        source_y: Classes (n_v,) of these.
        target_features: Features (n_t, d) of the target rows, an array or CSR matrix.
        source_features: Features (n_v, d) of the held-out source rows.
        ratio: Density ratio target / source (n_v,) of the held-out source rows (``ratio.density_ratio``).
        runs: Class probabilities (S, n_t, C) of S fits that differ in their seeds.
        consensus: Mean class probabilities (n_t, C) of all models that are compared.

    Raises:
        DataError: Shapes do not agree, or outputs are not probabilities.
    """

    target_outputs: np.ndarray
    source_outputs: np.ndarray | None = None
    source_y: np.ndarray | None = None
    target_features: Any = None
    source_features: Any = None
    ratio: np.ndarray | None = None
    runs: np.ndarray | None = None
    consensus: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.target_outputs)
        if len(shape) != 2 or shape[0] == 0:
            raise DataError(f"target outputs have shape {shape}", hint="give class probabilities (rows, classes)")
        if (self.source_outputs is None) != (self.source_y is None):
            raise DataError("held-out source outputs and their labels go together", hint="give both or none")
        held = None if self.source_y is None else len(self.source_y)
        for names, rows in ((SOURCE, held), (TARGET, shape[0])):
            for name in names:
                value = getattr(self, name)
                if value is not None and value.shape[0] != rows:
                    raise DataError(f"{name} has {value.shape[0]} rows, {rows} are expected")
        for name in ("target_outputs", "source_outputs", "runs", "consensus"):
            value = getattr(self, name)
            if value is None:
                continue
            if value.shape[-1] != shape[1] or (name == "runs" and value.shape[1:] != shape):
                raise DataError(f"{name} has shape {value.shape}, the target outputs have {shape}")
            if not np.isfinite(value).all() or value.min() < 0 or abs(value.sum(axis=-1) - 1).max() > 1e-3:
                raise DataError(f"{name} are not probabilities", hint="each row is at least 0 and sums to 1")

    def drawn(self, source: np.ndarray | None, target: np.ndarray) -> Observed:
        """With resampled rows: positions of source rows (n_v,) and of target rows (n_t,)."""
        changes = {name: getattr(self, name)[target] for name in TARGET if getattr(self, name) is not None}
        if source is not None:
            changes |= {name: getattr(self, name)[source] for name in SOURCE if getattr(self, name) is not None}
        if self.runs is not None:
            changes["runs"] = self.runs[:, target]
        return dataclasses.replace(self, **changes)

    def calibrated(self) -> Observed:
        """With one softmax temperature, fitted on the held-out source rows; predicted classes stay."""
        if self.source_outputs is None or self.source_y is None:
            return self
        temperature = fit_temperature(np.log(self.source_outputs.clip(_TINY)), self.source_y, prior=1)
        changes = {
            name: tempered(getattr(self, name), temperature)
            for name in ("source_outputs", "target_outputs", "runs")
            if getattr(self, name) is not None
        }
        return dataclasses.replace(self, **changes)


def tempered(outputs: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities (…, C) of the softmax of log p / T.

    Example:
        >>> import numpy as np
        >>> tempered(np.array([0.9, 0.1]), 2.0).round(2).tolist()
        [0.75, 0.25]
    """
    scores = np.log(np.asarray(outputs, np.float64).clip(_TINY)) / temperature
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = scores / scores.sum(axis=-1, keepdims=True)
    return probabilities


def reads(name: str) -> tuple[str, ...]:
    """Fields of ``Observed`` that a criterion reads: its parameters without a default."""
    empty = inspect.Parameter.empty
    return tuple(key for key, default in _parameters(CRITERIA[name]) if default is empty)


def cheap(name: str) -> bool:
    """Whether a criterion can be resampled: it reads no features, and does not limit its rows (parameter ``most``)."""
    given = [key for key, _ in _parameters(CRITERIA[name])]
    return "most" not in given and not any(key.endswith("features") for key in given)


@cache
def _parameters(criterion: Callable[..., float]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, one.default) for key, one in inspect.signature(criterion).parameters.items())


def criteria(observed: Observed, names: Sequence[str] | None = None) -> dict[str, float]:
    """Compute every criterion whose arrays are there, by name; larger is better.

    Args:
        observed: What can be seen of a model.
        names: Criteria to compute; None: all.

    Raises:
        UsageError: A criterion that was named reads what is not there.

    Example:
        >>> import numpy as np
        >>> from graft.unlabelled.observed import Observed, criteria
        >>> criteria(Observed(np.eye(2)), ["entropy", "bnm"])
        {'entropy': 0.0, 'bnm': 1.0}
    """
    found = {}
    for name in CRITERIA if names is None else names:
        arrays = {key: getattr(observed, key) for key in reads(name)}
        missing = [key for key, value in arrays.items() if value is None]
        if missing and names is not None:
            raise UsageError(f"the criterion {name} reads {' and '.join(missing)}", hint="give them to Observed")
        if not missing:
            found[name] = float(CRITERIA[name](**arrays))
    return found


def measure(
    observed: Observed, names: Sequence[str] | None = None, *, level: float = 0.9, seed: int = 0, times: int = TIMES
) -> dict[str, Interval]:
    """Compute every criterion with a bootstrap interval over source and target rows; (value, nan, nan) where costly.

    Args:
        observed: What can be seen of a model.
        names: Criteria to compute; None: all whose arrays are there.
        level: Coverage of the intervals.
        seed: Seed of the resamples.
        times: Number of resamples.
    """
    found = criteria(observed, names)
    quick = [name for name in found if cheap(name)]
    draws = np.array([list(criteria(one, quick).values()) for one in resampled(observed, seed=seed, times=times)])
    intervals = {name: (value, float("nan"), float("nan")) for name, value in found.items()}
    size = len(observed.target_outputs)
    for place, name in enumerate(quick):
        intervals[name] = interval(found[name], draws[:, place], level=level, size=size)
    return intervals


def resampled(observed: Observed, *, seed: int, times: int = TIMES) -> Iterator[Observed]:
    """Yield bootstrap resamples; equal seeds draw equal rows of every model with as many rows."""
    rng = np.random.default_rng(seed)
    bare = dataclasses.replace(observed, source_features=None, target_features=None)
    target, source = len(observed.target_outputs), observed.source_y
    for _ in range(times):
        held = None if source is None else rng.integers(0, len(source), len(source))
        yield bare.drawn(held, rng.integers(0, target, target))


def contrast(base: Observed, adapted: Mapping[str, Observed]) -> dict[str, dict[str, float]]:
    """Every criterion of each adaptation less that of source-only, where both have it: what ``Trial`` and ``Rule`` read.

    The share of target rows on which their classes differ stands beside them.  Probabilities are
    first calibrated on the held-out source rows, each model's alone, so that a model gains nothing by being surer on source
    and target alike.  All models together make the consensus.

    Args:
        base: Source-only.
        adapted: The adaptations, by name, on the same rows.

    Raises:
        UsageError: An adaptation was seen on other rows.
    """
    first, *others = comparable(base, adapted)
    plain, predicted = criteria(first), first.target_outputs.argmax(axis=1)
    return {
        name: less(criteria(one), plain) | {DIFFER: float((one.target_outputs.argmax(axis=1) != predicted).mean())}
        for name, one in zip(adapted, others, strict=True)
    }


def comparable(base: Observed, adapted: Mapping[str, Observed]) -> list[Observed]:
    """Source-only and the adaptations in turn, each calibrated, with the mean of all as consensus."""
    for name, one in adapted.items():
        same = one.target_outputs.shape == base.target_outputs.shape
        if not same or not np.array_equal(np.asarray(one.source_y), np.asarray(base.source_y)):
            raise UsageError(f"{name} was seen on other rows than source-only", hint="give both the same rows")
    every = [one.calibrated() for one in (base, *adapted.values())]
    mean = np.mean([one.target_outputs for one in every], axis=0)
    return [dataclasses.replace(one, consensus=mean) for one in every]


def less(one: Mapping[str, float], base: Mapping[str, float]) -> dict[str, float]:
    """Criteria of one model less those of another, where both have them."""
    return {name: value - base[name] for name, value in one.items() if name in base}
