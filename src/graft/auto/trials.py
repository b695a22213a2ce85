"""Trials of one run: begun, taken from fold to fold, refused where time or memory does not suffice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graft.auto.limits import beyond
from graft.auto.race import CLEARLY, behind
from graft.auto.state import State
from graft.auto.ways import RESERVE, SLACK, SPARE
from graft.core.memory import memory_left
from graft.core.registry import TRANSFERS
from graft.core.types import Dataset
from graft.evaluate.metrics import score
from graft.evaluate.passes import Passes, stacked
from graft.evaluate.search import Candidate, Trial, Use, advance, again
from graft.transfer.base import BaseTransfer
from graft.trust.guard import Verdict, guard

NAMED = 3  # ways whose budgets are named
REPEATING = 0.1  # of the time left that predicting the rows again may use


class Runner:
    """Begins the trials of a run and takes them from fold to fold."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._pace: dict[tuple[str, str], float] = {}  # measured over predicted time of a way with a source

    def attempt(self, candidate: Candidate) -> Trial:
        """Try a candidate on all folds."""
        trial = self.begin(candidate)
        self.advance_to(trial, len(self.state.folds))
        return trial

    def begin(self, candidate: Candidate) -> Trial:
        """A trial without a fold, at the end of the list."""
        trial = Trial(candidate, predicted_seconds=sum(candidate.seconds(len(train)) for train, _ in self.state.folds))
        trial.state = "waiting"
        self.state.trials.append(trial)
        return trial

    def advance_to(self, trial: Trial, upto: int) -> None:
        """Go on with a trial, unless it needs more time or memory than is left."""
        reason = self.refused(trial)
        if reason:
            trial.state, trial.reason = "stopped" if trial.folds else "skipped", reason
        else:
            first, ahead = trial.folds, len(self.state.folds) - trial.folds
            advance(
                trial,
                self.state.search,
                self.state.folds,
                setting=self.state.setting(),
                store=self.state.trial_store,
                upto=upto,
                seconds=self.state.clock.left() * trial.candidate.share * (upto - first) / ahead,
                hopeless=self._hopeless,
                beyond=self._beyond if self._limited else None,
            )
            self._learn(trial)
            self._repeat(trial)
        if trial.state != "waiting":
            self.state.listener.on_trial(trial, self.interval(trial))

    def _repeat(self, trial: Trial) -> None:
        """Predict the few rows again with other folds, where nothing is trained: what is chosen hangs less on the cut."""
        if not trial.usable or TRANSFERS[trial.candidate.transfer].effort != "probe":
            return
        once = trial.quickest * trial.folds  # the first fold may have opened what the others find open
        for number, folds in enumerate(self.state.again, 1):
            if once > REPEATING * (self.state.clock.left() - RESERVE) / len(self.state.again):
                return
            setting, store = self.state.setting(), self.state.trial_store
            again(trial, self.state.search, folds, setting=setting, store=store, number=number)

    def refused(self, trial: Trial) -> str:
        """Why the rest of a trial, and a fit on all rows after it, cannot be afforded; empty if it can."""
        candidate = trial.candidate
        needed = self.rest(trial) + self.predicted(candidate, len(self.state.data))
        left = (self.state.clock.left() - RESERVE) * SLACK
        if needed > left or self.state.clock.left() <= RESERVE:
            trial.budget = self.state.clock.elapsed() + needed / SLACK + RESERVE
            return f"needs about {needed:.0f} s, {max(0.0, left):.0f} s are left"
        if candidate.memory:
            room, taken = memory_left(self.state.config.bytes), candidate.memory + SPARE
            if taken > room:
                return f"needs about {taken >> 20:,} MiB of memory, {room >> 20:,} MiB are left"
        return ""

    def advice(self) -> str:
        """The least budgets that would have left time for ways that had none, a few of them; empty if all had."""
        least: dict[str, float] = {}
        done = {_way(trial.candidate) for trial in self.state.trials if trial.usable}  # with other settings
        for trial in self.state.trials:
            if trial.budget and _way(trial.candidate) not in done:
                least.setdefault(trial.candidate.name, trial.budget)
        some = sorted(least.items(), key=lambda item: item[1])[:NAMED]
        return "; ".join(f"--budget {_duration(seconds)} leaves time for {name}" for name, seconds in some)

    def rest(self, trial: Trial) -> float:
        """Predicted seconds of the folds that are not done."""
        return sum(self.predicted(trial.candidate, len(train)) for train, _ in self.state.folds[trial.folds :])

    def predicted(self, candidate: Candidate, rows: int) -> float:
        """Predicted seconds of a fit, corrected by fits of the same way and source so far."""
        return candidate.seconds(rows) * self._pace.get(_way(candidate), 1.0)

    def _learn(self, trial: Trial) -> None:
        predicted = trial.candidate.seconds(len(self.state.folds[0][0]))
        if trial.folds and predicted > 0 and trial.fit_seconds > 0:
            self._pace[_way(trial.candidate)] = min(10.0, max(0.1, trial.fit_seconds / predicted))

    def interval(self, trial: Trial) -> tuple[float, float, float] | None:
        """Score with its interval."""
        from graft.record import trial_score

        return trial_score(trial, self.state.search, self.state.config)

    def _hopeless(self, trial: Trial) -> str:
        """Why a trial cannot win any more, judged on the rows it has predicted so far; empty if it can."""
        finished = [one for one in self.state.trials if one.usable]
        rival = behind(
            trial, finished, self.state.search.task, self.state.search.y, level=CLEARLY, seed=self.state.config.seed
        )
        return f"clearly worse than {rival} so far" if rival else ""

    @property
    def _limited(self) -> bool:
        return self.state.config.max_latency is not None or self.state.config.max_size is not None

    def _beyond(self, model: BaseTransfer, rows: Dataset) -> Use:
        return beyond(model, rows, self.state.config)

    def value(self, trial: Trial) -> float | None:
        """Score of a finished trial on all rows that are held out."""
        if not trial.usable:
            return None
        found = self.side_by_side([trial], np.flatnonzero(trial.rows))
        return score(self.state.search.task, found.y, found.outputs[0])

    def side_by_side(self, trials: Sequence[Trial], rows: np.ndarray) -> Passes:
        """Held-out outputs of trials on rows that all of them predicted."""
        data = self.state.search
        assert data.y is not None
        groups = None if data.groups is None else data.groups[rows]
        return stacked(data.y[rows], [trial.passes(rows) for trial in trials], groups)

    def compared(self, chosen: Trial, simpler: Sequence[Trial], rows: np.ndarray, *, tried: int = 1) -> Verdict:
        """What the guard says of a trial beside others, the simplest first, on rows that all of them predicted."""
        found = self.side_by_side([chosen, *simpler], rows)
        names = [trial.candidate.name for trial in simpler]
        return guard(
            self.state.search.task,
            found.y,
            found.outputs[0],
            list(zip(names, found.outputs[1:], strict=True)),
            chosen_name=chosen.candidate.name,
            groups=found.groups,
            repeats=found.count,
            tried=tried,
            level=self.state.config.level,
            seed=self.state.config.seed,
        )


def _duration(seconds: float) -> str:
    """A duration as options take it, rounded up."""
    return f"{10 * math.ceil(seconds / 10)}s" if seconds <= 120 else f"{math.ceil(seconds / 60)}m"


def _way(candidate: Candidate) -> tuple[str, str]:
    return candidate.transfer, candidate.spec.uri if candidate.spec else ""
