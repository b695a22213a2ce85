"""What is remembered of a finished run, to and from JSON."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

from graft.core.registry import TRANSFERS
from graft.core.types import Run
from graft.history.statistics import Statistics, cheap_scores, score_statistics

FORMAT = 1
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
UNSEARCHED = {"seed", "source"}  # keywords that are no settings to be learned

Score = tuple[float, float, float]


@dataclass(frozen=True)
class PastTrial:
    """A trial of a finished run.

    Attributes:
        transfer: Name in the registry.
        settings: Constructor keywords that differ from the default.
        source: URI, or None.
        weights: SHA-256 of the source's weights, where it was known.
        state: ``"done"``, ``"stopped"``, ``"failed"`` or ``"skipped"``.
        score: (value, low, high).
        error: Standard error of the score, half the interval over its normal quantile; 0 if unknown.
        seconds: Time of all folds.
        folds: Folds done.
    """

    transfer: str
    settings: dict[str, Any] = field(default_factory=dict)
    source: str | None = None
    weights: str | None = None
    state: str = "done"
    score: Score | None = None
    error: float = 0.0
    seconds: float = 0.0
    folds: int = 0

    @property
    def value(self) -> float:
        """The score without its interval; NaN if there is none."""
        return self.score[0] if self.score else math.nan

    @property
    def each(self) -> float:
        """Seconds of one fold."""
        return self.seconds / max(1, self.folds)


@dataclass(frozen=True)
class Entry:
    """A finished run, as it is remembered.

    Attributes:
        key: Name of its file.
        fingerprint: Hash of the data.
        name: Name of the data.
        rows: Rows of the data.
        finished: When, in UTC.
        metric: What ``score`` is.
        best: The way that was chosen, in words.
        score: Its (value, low, high).
        seconds: Time of the whole run.
        statistics: The task in numbers.
        trials: What was tried, in this order.
    """

    key: str
    fingerprint: str
    name: str
    rows: int
    finished: str
    metric: str
    best: str
    score: Score | None
    seconds: float
    statistics: Statistics
    trials: tuple[PastTrial, ...]


def differing(transfer: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ from the transfer's defaults, without its seed; fractions are rounded to two digits.

    ``epochs`` counts only where it is one of the choices that the transfer's ``space`` names: elsewhere the time left
    decided it, and the same way would have another name in every run.

    Example:
        >>> differing("finetune", {"seed": 3, "epochs": 2.47, "lr": 0.00031234, "schedule": "linear"})
        {'lr': 0.00031}
    """
    given = {key: _rounded(value) for key, value in settings.items() if key not in UNSEARCHED}
    if not given or transfer not in TRANSFERS:
        return given
    defaults = inspect.signature(TRANSFERS[transfer]).parameters
    if given.get("epochs") not in TRANSFERS[transfer].space.get("epochs", ()):
        given.pop("epochs", None)
    return {
        key: value for key, value in given.items() if key not in defaults or value != _rounded(defaults[key].default)
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.2g}") if isinstance(value, float) else value


def to_json(run: Run, statistics: Statistics, weights: Mapping[str, str]) -> dict[str, Any]:
    """What is kept of a finished run.

    Args:
        run: The record.
        statistics: Of its data; what its scores say is filled in here.
        weights: SHA-256 of the weights by URI of the source.
    """
    answer, level = run.answer, run.answer.get("level", 0.9)
    from_scores = {
        name: value for name, value in score_statistics(cheap_scores(run.trials)).items() if value is not None
    }
    trials = [
        PastTrial(
            transfer=trial["transfer"],
            settings=_plain(differing(trial["transfer"], trial["settings"])),
            source=trial["source"],
            weights=weights.get(trial["source"] or "") or None,
            state=trial["state"],
            score=_score(trial["score"]),
            error=_error(_score(trial["score"]), level),
            seconds=_finite(trial["seconds"]),
            folds=int(trial["folds"]),
        )
        for trial in run.trials
    ]
    return {
        "format": FORMAT,
        "fingerprint": run.data["fingerprint"],
        "name": str(run.data.get("name", "data")),
        "rows": int(run.data.get("rows", 0)),
        "finished": datetime.now(UTC).isoformat(timespec="microseconds"),
        "metric": answer["metric"],
        "best": answer["trial"],
        "score": _score(answer["score"]),
        "seconds": _finite(answer["seconds"]),
        "statistics": statistics | from_scores,
        "trials": [asdict(trial) for trial in trials],
    }


def from_json(key: str, kept: dict[str, Any]) -> Entry:
    """The entry with this key; raises one of ``DAMAGE`` on anything that ``to_json`` does not give."""
    statistics: Statistics = {}
    for name, value in kept["statistics"].items():
        text = value is None or isinstance(value, str)
        statistics[name] = value if text else float(value) if math.isfinite(value) else None
    trials = [
        PastTrial(
            transfer=_text(trial["transfer"]),
            settings=dict(trial["settings"].items()),
            source=None if trial["source"] is None else _text(trial["source"]),
            weights=None if trial["weights"] is None else _text(trial["weights"]),
            state=_text(trial["state"]),
            score=_score(trial["score"]),
            error=_finite(trial["error"]),
            seconds=_finite(trial["seconds"]),
            folds=int(trial["folds"]),
        )
        for trial in kept["trials"]
    ]
    return Entry(
        key=key,
        fingerprint=_text(kept["fingerprint"]),
        name=_text(kept["name"]),
        rows=int(kept["rows"]),
        finished=_text(kept["finished"]),
        metric=_text(kept["metric"]),
        best=_text(kept["best"]),
        score=_score(kept["score"]),
        seconds=_finite(kept["seconds"]),
        statistics=statistics,
        trials=tuple(trials),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _finite(value: Any) -> float:
    return float(value) if math.isfinite(value) else 0.0


def _score(value: Any) -> Score | None:
    if value is None:
        return None
    middle, low, high = map(float, value)
    return (middle, low, high) if all(map(math.isfinite, (middle, low, high))) else None


def _error(score: Score | None, level: float) -> float:
    """Standard error of a score whose interval has this level."""
    return (score[2] - score[1]) / (2 * NormalDist().inv_cdf((1 + level) / 2)) if score else 0.0


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that are plain values; others could not be given again."""
    plain = str | int | float | bool | None
    return {
        key: value
        for key, value in settings.items()
        if isinstance(value, plain)
        or (isinstance(value, list | tuple) and all(isinstance(one, plain) for one in value))
    }
