"""What a run holds while it goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from graft.auto.config import Config, Listener
from graft.core.runtime import Clock
from graft.core.store import Store
from graft.core.types import Dataset, ModelSpec, Ranking
from graft.evaluate.search import Folds, Trial, TrialStore
from graft.history.history import History, Suggestion
from graft.history.statistics import Statistics
from graft.transfer.base import Setting


@dataclass
class State:
    """The fields that the steps of a run read and add to.

    Attributes:
        data: All rows.
        config: What is asked for.
        store: The cache; None for one of the run's own.
        listener: Told what happens.
        work: Folder of what a killed run takes up again; None for none.
        spent: Seconds that an earlier, interrupted part used.
        history: Finished runs, which this one begins with and joins; None for neither.
        unlabelled: Rows without a label, for the ways that learn from them too.
        clock: The budget.
        search: The rows on which sources and ways are compared.
        folds: Positions (train, test) in them.
        again: Other folds, for what needs no training where rows are few.
        trials: What was tried, in this order.
        ranking: Of the sources.
        left_out: Sources that were not considered, with the reason.
        noticed: What is known of sources that is worth saying: which columns they share with the data.
        facts: Of the task, by which it is compared with earlier ones.
        suggestions: What won on tasks like this one.
        latency: Milliseconds per row of the model, measured.
    """

    data: Dataset
    config: Config
    store: Store | None = None
    listener: Listener = field(default_factory=Listener)
    work: Path | None = None
    spent: float = 0.0
    history: History | None = None
    unlabelled: tuple[Dataset, ...] = ()
    clock: Clock = field(init=False)
    search: Dataset = field(init=False)
    folds: Folds = field(init=False)
    again: list[Folds] = field(default_factory=list, init=False)
    trials: list[Trial] = field(default_factory=list, init=False)
    trial_store: TrialStore = field(init=False)
    ranking: Ranking = field(default_factory=lambda: Ranking(()), init=False)
    left_out: list[tuple[ModelSpec, str]] = field(default_factory=list, init=False)
    noticed: list[tuple[ModelSpec, str]] = field(default_factory=list, init=False)
    facts: Statistics = field(default_factory=dict, init=False)
    suggestions: list[Suggestion] = field(default_factory=list, init=False)
    latency: float = field(default=0.0, init=False)

    def setting(self, clock: Clock | None = None) -> Setting:
        """The surroundings of a fit."""
        return Setting(
            clock=clock or self.clock, progress=self.listener.progress, store=self.store, unlabelled=self.unlabelled
        )
