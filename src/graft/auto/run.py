"""Rank, shortlist, transfer under a budget, guard, refit: from a labelled data set to a model and its record."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import psutil

from graft.auto.box_ways import BoxWays
from graft.auto.ensembles import fit_members, mixed
from graft.auto.limits import too_costly
from graft.auto.quantiles import add_quantiles, refuse
from graft.auto.race import BEHIND, CLEARLY, promoted, rungs
from graft.auto.sources import find_sources, matched
from graft.auto.state import State
from graft.auto.trials import Runner
from graft.auto.unlabelled import apart, gain, noted, rival
from graft.auto.ways import RESERVE, SEARCH_ROWS, SLACK, SPARE, Ways
from graft.core.errors import BudgetError, DataError, GraftError, SourceError
from graft.core.memory import is_shortage, memory_left
from graft.core.registry import TRANSFERS
from graft.core.rows import evenly_spaced
from graft.core.runtime import Clock
from graft.core.store import Store
from graft.core.types import Dataset, Features, ModelSpec, RankRow, Run
from graft.data.splits import fold_count, holdout
from graft.data.splits import folds as make_folds
from graft.evaluate.cost import LIBRARIES, opening_bytes
from graft.evaluate.metrics import score
from graft.evaluate.search import Candidate, Trial, TrialStore
from graft.features import extract, predict_seconds
from graft.history.history import order, settled, starts, way_of
from graft.history.statistics import statistics
from graft.ranking.rank import rank
from graft.record import make_run
from graft.sources.bands import of_channels
from graft.sources.base import Backbone, open_model
from graft.transfer.base import BaseTransfer
from graft.transfer.cost import milliseconds, sample_of
from graft.trust.guard import Verdict

SMALL = 2_000  # rows up to which every row is held out once (5 folds); above it one part is held out
HELD_OUT = 0.2  # share held out above SMALL rows
TINY, REPEATS = 200, 5  # rows up to which the folds are cut so often, for what needs no training
RANK_SHARE = 0.4  # share of the time left that ranking may use
LEAST = 160 << 20  # bytes without which nothing is begun
PASS = 64 << 20  # bytes of a pass over rows; its batches become smaller where there are fewer
MORE_MEMORY = "raise --memory, or end other programs"
TUNING_SHARE = 0.6  # of the time left after the race that the search of settings may use


@dataclass
class AutoFit(State):
    """One run over one data set: ``run`` does all steps, each of which reads and adds to the fields."""

    ways: Ways = field(init=False)
    runner: Runner = field(init=False)
    _passes_fit: bool = field(default=False, init=False)

    def run(self) -> tuple[BaseTransfer, Run]:
        """Do everything; the fitted winner and the record."""
        try:
            if self.store is not None:
                return self._run()
            with tempfile.TemporaryDirectory() as folder:  # no cache on disk: one for this run alone
                self.store = Store(folder)
                try:
                    return self._run()
                finally:
                    self.store = None
        except Exception as error:
            if isinstance(error, BudgetError) or not is_shortage(error):
                raise
            raise BudgetError("out of memory", hint=MORE_MEMORY) from error  # predictions can be wrong

    def _run(self) -> tuple[BaseTransfer, Run]:
        unknown = [name for name in self.config.methods if name not in TRANSFERS]
        if unknown:
            TRANSFERS[unknown[0]]  # raises, naming the nearest
        refuse(self.config, self.data)
        self.data, self.unlabelled = apart(self.data, self.unlabelled)
        self.ways = BoxWays(self) if self.data.task.is_detection else Ways(self)
        self.runner = Runner(self)
        self.clock = Clock(self.config.seconds, spent=self.spent)
        if self.unlabelled:
            self.data = dataclasses.replace(self.data, notes=noted(self.ways, self.unlabelled))
        self._check_memory()
        specs = self._sources()
        self._split()
        for candidate in self.ways.baselines():
            self.runner.attempt(candidate)
        specs = self._readable(specs) if specs else []
        if specs:
            self._rank(specs)
        self._recall()
        for candidate in order(self.ways.probes(), self.suggestions, way_of):
            self.runner.attempt(candidate)
        self._race()
        self._tune()
        chosen, verdict = self._choose()
        if self.config.ensemble:
            chosen, verdict = mixed(self, self.runner, self._allowed(), chosen, verdict)
        model, fitted_rows, chosen, verdict = self._refit(chosen, verdict)
        run = make_run(self, chosen, verdict, model, fitted_rows)
        run.answer |= {"advice": self.runner.advice(), "unlabelled": gain(self, chosen)}
        if self.history is not None:
            self.history.add(run, self.facts, weights={r.spec.uri: r.spec.weights_sha256 for r in self.ranking.rows})
        self.listener.on_answer(run)
        return model, run

    # -- rows --------------------------------------------------------------------------------------------------------

    def _split(self) -> None:
        from graft.record import data_facts

        self.search = self.data
        if len(self.data) > SEARCH_ROWS:
            rows = np.random.default_rng(self.config.seed).choice(len(self.data), SEARCH_ROWS, replace=False)
            self.search = self.data.select(np.sort(rows))
        wanted = self.config.folds or (5 if len(self.search) <= SMALL else 1)
        if wanted == 1:
            self.folds = [holdout(self.search, test=HELD_OUT, seed=self.config.seed)]
        else:
            # few rows of a class allow fewer folds; those asked for by number are an error where they do not fit
            count = wanted if self.config.folds else fold_count(self.search, wanted)
            self.folds = make_folds(self.search, k=count, seed=self.config.seed)
            if not self.config.folds and len(self.search) <= TINY:
                with contextlib.suppress(DataError):  # another cut may not exist
                    every = make_folds(self.search, k=count, seed=self.config.seed, repeats=REPEATS)
                    self.again = [every[start : start + count] for start in range(count, len(every), count)]
        seen = "-".join([self.search.fingerprint(), *(part.fingerprint() for part in self.unlabelled)])
        self.trial_store = TrialStore(self.work, f"{seen}-{self.config.seed}-{wanted}")
        self.listener.on_data(self.data, data_facts(self.data))

    @property
    def scored(self) -> np.ndarray:
        """Positions of ``search`` that are held out in some fold."""
        return np.sort(np.concatenate([test for _, test in self.folds]))

    # -- steps -------------------------------------------------------------------------------------------------------

    def _race(self) -> None:
        """Everything that is trained, fold by fold together; what falls behind is left out."""
        stops, running = rungs(len(self.folds)), []
        for candidate in order(self.ways.trained(), self.suggestions, way_of):
            running.append(self.runner.begin(self.ways.affordable(candidate)))
            self.runner.advance_to(running[-1], stops[0])
        for done, upto in itertools.pairwise(stops):
            waiting = [trial for trial in running if trial.state == "waiting"]
            going = promoted(
                waiting,
                [trial for trial in self.trials if trial.usable],
                self.search.task,
                self.search.y,
                of=f"{done} of {len(self.folds)} folds",
                seconds=self.runner.rest,
                left=(self.clock.left() - RESERVE) * SLACK,
                seed=self.config.seed,
                level=CLEARLY if self.config.ensemble else BEHIND,  # what is a little behind may be a good member
            )
            for trial in waiting:
                if trial in going:
                    self.runner.advance_to(trial, upto)
                else:
                    self.listener.on_trial(trial, self.runner.interval(trial))

    def _tune(self) -> None:
        """Search the settings of the best way, for a part of the time left."""
        able = [trial for trial in self.trials if trial.usable and TRANSFERS[trial.candidate.transfer].space]
        if self.config.effort != "thorough" or not able:
            return
        from graft.auto.tune import tune

        best = max(able, key=lambda trial: self.runner.value(trial) or -math.inf)
        clock = self.clock.part(self.clock.left() * TUNING_SHARE) if self.clock.budget else Clock()

        def attempt(candidate: Candidate) -> Trial:
            if clock.left() < self.runner.predicted(candidate, len(self.folds[0][0])) * len(self.folds):
                return Trial(candidate, state="skipped")
            return self.runner.attempt(candidate)

        tune(
            best,
            attempt,
            lambda settings: self.ways.other(best.candidate, settings),
            self.runner.value,
            starts=starts(self.suggestions, best.candidate.transfer),
            seed=self.config.seed,
        )

    def _check_memory(self) -> None:
        room = memory_left(self.config.bytes)
        if room < LEAST:
            what = f"graft fit needs about {LEAST >> 20} MiB of memory beside what it holds, {room >> 20} MiB are left"
            raise BudgetError(what, hint=MORE_MEMORY)

    def _sources(self) -> list[ModelSpec]:
        """Sources to consider: those asked for, or all reachable ones that can read the data."""
        modality = self.data.task.modality
        needed = any(self.ways.wanted(name) for name, transfer in TRANSFERS.items() if transfer.needs_source)
        if not needed:
            return []
        return find_sources(modality, self.config.models)

    def _readable(self, specs: list[ModelSpec]) -> list[ModelSpec]:
        """Leave out sources whose vocabulary does not cover the data, unless they were asked for by name."""
        some = self.search.take(evenly_spaced(len(self.search), 500))
        usable, passes, noticed = [], [], self.noticed
        for spec in specs:
            first = 0 if usable else LIBRARIES
            room, needed = memory_left(self.config.bytes), opening_bytes(spec) + first + PASS + SPARE
            if needed > room:
                what = f"needs about {needed >> 20:,} MiB of memory to be read, {room >> 20:,} MiB are left"
                self.left_out.append((spec, what))
                continue
            try:
                backbone = of_channels(open_model(spec), self.search)
                coverage = backbone.coverage(some)
                noticed += [(spec, note) for note in (*backbone.notes, *matched(spec, coverage))]
                seconds = predict_seconds(backbone, self.search, 16) if coverage.ok or self.config.models else 0.0
            except (SourceError, MemoryError, RuntimeError) as error:
                if is_shortage(error):
                    self.left_out.append((spec, "there is not enough memory to read it"))
                    continue
                if not isinstance(error, SourceError):
                    raise
                if len(specs) == 1 and self.config.models:
                    raise  # the only source that was asked for
                self.left_out.append((spec, str(error)))
                continue
            del backbone  # the next one needs its memory
            reason = too_costly(RankRow(spec, cost=seconds / len(self.search)), self.config)
            asked = self.config.models and (coverage.share > 0 or spec.modality != "table")
            reason = reason or ("" if coverage.ok or asked else coverage.reason)
            if reason:
                self.left_out.append((spec, reason))
            else:
                passes.append(seconds)
                usable.append(spec)
        self.listener.on_sources(usable, self.left_out, noticed)
        self.listener.on_plan(*self._plan(usable, passes))
        # a tagging ranks features of words, which it does not share with what is fitted on all sentences
        self._passes_fit = not self.data.task.is_ragged and sum(passes) < RANK_SHARE * (self.clock.left() - RESERVE) / 2
        return usable

    def _plan(self, specs: list[ModelSpec], passes: list[float]) -> tuple[list[tuple[str, float]], int]:
        """Steps with predicted seconds, and predicted bytes of memory."""
        steps = [(f"features of {spec.name}", seconds) for spec, seconds in zip(specs, passes, strict=True)]
        memory = psutil.Process().memory_info().rss
        tuned = [pair for pair in zip(specs, passes, strict=True) if not TRANSFERS["finetune"].fits(pair[0])]
        if tuned and not self.data.task.is_detection:
            # any of them may win the ranking: the plan names the middle one
            spec, seconds = sorted(tuned, key=lambda item: item[1])[len(tuned) // 2]
            row = RankRow(spec, cost=seconds / len(self.search))
            train = len(self.folds[0][0])
            if self.ways.wanted("finetune"):
                self.ways.measure_step(row)
                tuning = self.ways.of("finetune", row, **self.ways.upper(row))
                one, memory = tuning.seconds, memory + tuning.memory
                steps.append((f"fine-tuning {spec.name} on {len(self.folds)} fold(s)", one(train) * len(self.folds)))
                steps.append((f"fine-tuning {spec.name} on all rows, if it wins", one(len(self.data))))
        return steps, memory

    def _rank(self, specs: list[ModelSpec]) -> None:
        clock = self.clock.part((self.clock.left() - RESERVE) * RANK_SHARE) if self.clock.budget else self.clock
        self.ranking = rank(
            specs,
            self.search,
            seed=self.config.seed,
            level=self.config.level,
            limit_rows=SMALL,
            clock=clock,
            any_script=bool(self.config.models),
            extract=self._whole_pass(clock) if self._passes_fit else None,
            store=self.store,
            progress=self.listener.progress,
        )
        self.listener.on_ranking(self.ranking)

    def _recall(self) -> None:
        """What won on tasks like this one comes first."""
        if self.history is None:
            return
        usable, features = self.ranking.usable, None
        if usable and self._passes_fit:
            with contextlib.suppress(GraftError):  # in the cache, unless it was trimmed: no time for another pass
                opened = of_channels(open_model(usable[0].spec), self.search)
                features = extract(opened, self.search, store=self.store, clock=Clock(0.0))
        found = {one.candidate.transfer: value for one in self.trials if (value := self.runner.value(one)) is not None}
        self.facts = statistics(self.data, features, found)
        kept, past, own = self.work / "suggestions.json" if self.work else None, self.history, self.data.fingerprint()
        self.suggestions = settled(kept, lambda: past.suggest(self.facts, exclude=own))

    def _whole_pass(self, clock: Clock) -> Callable[[Backbone, Dataset], Features]:
        """Features of some rows by one pass over all rows of the search, which later steps find in the cache."""

        def extract_all(backbone: Backbone, rows: Dataset) -> Features:
            found = extract(backbone, self.search, store=self.store, clock=clock, progress=self.listener.progress)
            return found.select(rows.rows)

        return extract_all

    # -- choice ------------------------------------------------------------------------------------------------------

    def _allowed(self) -> list[Trial]:
        """What may be returned: the trials with a score, less what was run for comparison only."""
        return [trial for trial in self.trials if trial.usable and self.ways.wanted(trial.candidate.transfer)]

    def _choose(self) -> tuple[Trial, Verdict]:
        """The best trial on the rows that all of its rivals predicted, unless the guard finds it no better."""
        usable = [trial for trial in self.trials if trial.usable]
        allowed = self._allowed()
        if not allowed:
            failed = [trial for trial in self.trials if trial.reason]
            reasons = [f"{trial.candidate.name}: {trial.reason}" for trial in failed]
            reasons += [f"{spec.name}: {reason}" for spec, reason in self.left_out]
            hint = "give a larger --budget" if any(t.state in ("skipped", "stopped") for t in failed) else None
            if any("of memory" in reason for reason in reasons):
                hint = MORE_MEMORY
            raise BudgetError(
                f"nothing could be fitted: {'; '.join(reasons[:3]) or 'no source reads the data'}", hint=hint
            )
        rows = np.flatnonzero(np.logical_and.reduce([trial.rows for trial in usable]))
        found = self.runner.side_by_side(allowed, rows)
        best = allowed[int(np.argmax([score(self.search.task, found.y, one) for one in found.outputs]))]
        without = rival(best, usable, self.runner.value) if TRANSFERS[best.candidate.transfer].semi else None
        simpler = [trial for trial in usable if _simpler(trial, best) or trial is without]
        simpler.sort(key=lambda one: (TRANSFERS[one.candidate.transfer].simplicity, -(self.runner.value(one) or 0.0)))
        verdict = self.runner.compared(best, simpler, rows, tried=len(allowed))
        returned = {trial.candidate.name: trial for trial in allowed}.get(verdict.returned)
        if returned is None:  # the simpler one was run for comparison only
            asked = f"{verdict.sentence}; {best.candidate.name} is returned all the same, as --methods asks for it"
            return best, dataclasses.replace(verdict, returned=best.candidate.name, sentence=asked)
        return returned, verdict

    def _refit(self, chosen: Trial, verdict: Verdict) -> tuple[BaseTransfer, int, Trial, Verdict]:
        """Fit the chosen way on all rows, or on as many as the time left allows; of an ensemble, what there is time for."""
        if not chosen.candidate.members:
            model, rows = self._fit_on(chosen.candidate, self._affordable(chosen.candidate))
        else:
            place, whole = next(i for i, one in enumerate(self.trials) if one is chosen), chosen.candidate

            def fit(member: Candidate) -> BaseTransfer:
                return self._fit_on(member, self.data)[0]

            found, chosen = fit_members(self, self.runner, chosen, fit)
            if found is None:
                model, rows = self._fit_on(chosen.candidate, self._affordable(chosen.candidate))
            else:
                model, rows = found, len(self.data)
            if chosen.candidate is not whole:
                if chosen.candidate.members:
                    self.trials[place] = chosen
                name = chosen.candidate.name
                why = f"{verdict.sentence}; there was no time to fit all members on all rows: {name} is returned"
                verdict = dataclasses.replace(verdict, returned=name, sentence=why)
        model.calibrate(chosen.outputs[chosen.rows], self.search.y[chosen.rows])  # one pass: rows count once there
        add_quantiles(model, self.search, chosen, self.config)
        sample = sample_of(self.data)
        self.latency = milliseconds(lambda: model.outputs(sample), len(sample))
        return model, rows, chosen, verdict

    def _affordable(self, candidate: Candidate) -> Dataset:
        """All rows, or a sample for which there is time."""
        data = self.data
        left = (self.clock.left() - RESERVE) * SLACK
        if not math.isinf(left):
            rows = len(data)
            while rows > len(self.folds[0][0]) and self.runner.predicted(candidate, rows) > max(left, 1.0):
                rows = int(rows * 0.8)
            if rows < len(data):
                keep = np.random.default_rng(self.config.seed).choice(len(data), rows, replace=False)
                data = data.select(np.sort(keep))
        return data

    def _fit_on(self, candidate: Candidate, data: Dataset) -> tuple[BaseTransfer, int]:
        """A candidate fitted on rows in the time left, and how many they are."""
        left = self.clock.left()
        clock = Clock() if math.isinf(left) else self.clock.part(max(1.0, self.clock.left() - RESERVE / 2))
        facts = repr((candidate.name, candidate.settings, len(data)))
        digest = hashlib.sha256(facts.encode()).hexdigest()[:12]  # another plan must not take up this training
        checkpoint = self.work / f"refit-{digest}.safetensors" if self.work else None
        setting = dataclasses.replace(self.setting(clock), checkpoint=checkpoint)
        return candidate.make().fit(data, setting=setting), len(data)


def _simpler(trial: Trial, best: Trial) -> bool:
    return (
        trial is not best
        and TRANSFERS[trial.candidate.transfer].simplicity < TRANSFERS[best.candidate.transfer].simplicity
    )
