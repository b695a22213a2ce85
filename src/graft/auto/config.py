"""What is asked of a run, and who is told what happens in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graft.core.errors import UsageError
from graft.core.runtime import parse_budget, parse_size

if TYPE_CHECKING:
    from graft.core.types import Dataset, ModelSpec, Ranking, Run
    from graft.evaluate.search import Trial

    Remarks = Sequence[tuple[ModelSpec, str]]

EFFORTS = {"probe": "30s", "fast": "2m", "thorough": "15m"}  # time for everything where no budget is given
OF_EFFORT = "auto"  # as a budget: the time of the effort


@dataclass(frozen=True)
class Config:
    """Options of one run; the keywords of ``AutoTransferClassifier`` and the options of ``graft fit``.

    Attributes:
        budget: Seconds, or text such as ``"90s"``, ``"2m"``, ``"1h"``; None for no limit; ``"auto"`` for that of the effort.
        models: URIs or folders of sources to consider; empty for every reachable source that can read the data.
        methods: Names of transfers to consider; empty for all.
        folds: Number of folds; 0 chooses by the number of rows, 1 holds one part out.
        level: Confidence level of intervals and of the guard.
        seed: Seed of splits, training and resampling.
        effort: ``"probe"``: what needs no training, half a minute; ``"fast"``: also the ways that win most often, two
            minutes; ``"thorough"``: all ways, and the settings of the best of them are searched, a quarter of an hour.
        max_latency: Milliseconds per row that the model may take on this machine, many rows at a time.
        max_size: Megabytes (10⁶ bytes) that it may take on disk.
        memory: Bytes that the run may take, or text such as ``"2GiB"``; None for what the machine, or the group of
            processes it runs in, has left.
        ensemble: Whether a mean of several ways may be returned, which asks every one of them for every row.
        quantiles: Of a regression: quantiles that are predicted beside the value; empty for none.
    """

    budget: str | float | None = OF_EFFORT
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    folds: int = 0
    level: float = 0.9
    seed: int = 0
    effort: str = "fast"
    max_latency: float | None = None
    max_size: float | None = None
    memory: str | int | None = None
    ensemble: bool = False
    quantiles: tuple[float, ...] = ()

    @property
    def bytes(self) -> int | None:
        """Memory that the run may take; None for what there is."""
        return None if self.memory is None else parse_size(self.memory)

    @property
    def seconds(self) -> float | None:
        """Time for everything; None for no limit.

        Raises:
            UsageError: There is no such effort, or the budget is no duration.
        """
        if self.effort not in EFFORTS:
            raise UsageError(f"no effort {self.effort!r}", hint=f"use {', '.join(EFFORTS)}")
        return parse_budget(EFFORTS[self.effort] if self.budget == OF_EFFORT else self.budget)


class Listener:
    """Told what happens; the command line prints it.  Every method may be left out."""

    def on_data(self, data: Dataset, facts: dict[str, Any]) -> None:
        """What was understood of the data."""

    def on_sources(self, specs: Sequence[ModelSpec], left_out: Remarks, noticed: Remarks) -> None:
        """Which sources are considered, which are not and why, and what was noticed about them."""

    def on_plan(self, steps: Sequence[tuple[str, float]], memory: int) -> None:
        """What will be done, with predicted seconds and bytes."""

    def on_ranking(self, ranking: Ranking) -> None:
        """The ranking of the sources."""

    def on_trial(self, trial: Trial, score: tuple[float, float, float] | None) -> None:
        """A trial ended."""

    def on_answer(self, run: Run) -> None:
        """The result."""

    def progress(self, step: str, done: float, note: str = "") -> None:
        """A step is done to a share."""
