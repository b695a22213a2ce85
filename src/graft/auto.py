"""Rank, shortlist, transfer under a budget, guard, refit: from a labelled data set to a model and its record."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from graft.core.errors import BudgetError, GraftError, SourceError
from graft.core.registry import SOURCES, TRANSFERS
from graft.core.rows import evenly_spaced
from graft.core.runtime import Clock, parse_budget
from graft.core.store import Store
from graft.core.types import Dataset, Features, ModelSpec, Ranking, RankRow, Run
from graft.data.splits import folds as make_folds
from graft.data.splits import holdout, units
from graft.evaluate.cost import Cost
from graft.evaluate.metrics import score
from graft.evaluate.search import Candidate, Folds, Trial, TrialStore, try_candidate
from graft.features import extract, predict_seconds
from graft.nn.heads import MANY_CLASSES
from graft.ranking.rank import rank
from graft.record import make_run
from graft.sources.base import Backbone, describe_model, list_models, open_model
from graft.transfer.base import BaseTransfer, Setting
from graft.trust.guard import Verdict, guard

SMALL = 2_000  # rows up to which every row is held out once (5 folds); above it one part is held out
SEARCH_ROWS = 20_000  # rows on which sources and ways are compared; the winner is fitted on all
HELD_OUT = 0.2  # share held out above SMALL rows
RESERVE = 3.0  # seconds kept for saving and the report
RANK_SHARE = 0.4  # share of the time left that ranking may use
STEPS = ("majority", "classical", "probe", "finetune", "scratch")  # have a step of their own
SLACK = 0.9  # predictions are rough: plan to use this share of what is left

Remarks = Sequence[tuple[ModelSpec, str]]


@dataclass(frozen=True)
class Config:
    """Options of one run; the keywords of ``AutoTransferClassifier`` and the options of ``graft fit``.

    Attributes:
        budget: Seconds, or text such as ``"90s"``, ``"2m"``, ``"1h"``; None for no limit.
        models: URIs or folders of sources to consider; empty for every reachable source that can read the data.
        methods: Names of transfers to consider; empty for all.
        folds: Number of folds; 0 chooses by the number of rows, 1 holds one part out.
        level: Confidence level of intervals and of the guard.
        seed: Seed of splits, training and resampling.
    """

    budget: str | float | None = "2m"
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    folds: int = 0
    level: float = 0.9
    seed: int = 0


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


@dataclass
class AutoFit:
    """One run over one data set.  ``run`` does all steps; each step reads and adds to the fields."""

    data: Dataset
    config: Config
    store: Store | None = None
    listener: Listener = field(default_factory=Listener)
    work: Path | None = None
    spent: float = 0.0
    clock: Clock = field(init=False)
    search: Dataset = field(init=False)
    folds: Folds = field(init=False)
    trials: list[Trial] = field(default_factory=list, init=False)
    ranking: Ranking = field(default_factory=lambda: Ranking(()), init=False)
    left_out: list[tuple[ModelSpec, str]] = field(default_factory=list, init=False)
    _costs: dict[str, Cost] = field(default_factory=dict, init=False)
    _passes_fit: bool = field(default=False, init=False)

    def run(self) -> tuple[BaseTransfer, Run]:
        """Do everything; the fitted winner and the record."""
        if self.store is not None:
            return self._run()
        with tempfile.TemporaryDirectory() as folder:  # no cache on disk: one for this run alone
            self.store = Store(folder)
            try:
                return self._run()
            finally:
                self.store = None

    def _run(self) -> tuple[BaseTransfer, Run]:
        unknown = [name for name in self.config.methods if name not in TRANSFERS]
        if unknown:
            TRANSFERS[unknown[0]]  # raises, naming the nearest
        self.clock = Clock(parse_budget(self.config.budget), spent=self.spent)
        specs = self._sources()
        self._split()
        self._baselines()
        specs = self._readable(specs) if specs else []
        if specs:
            self._rank(specs)
            self._probes()
            self._finetune()
        self._scratch()
        self._others()
        chosen, verdict = self._choose()
        model, fitted_rows = self._refit(chosen)
        run = make_run(self, chosen, verdict, model, fitted_rows)
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
            # few distinct rows allow fewer folds; those asked for by number are an error where they do not fit
            count = wanted if self.config.folds else max(2, min(wanted, len(np.unique(units(self.search)))))
            self.folds = make_folds(self.search, k=count, seed=self.config.seed)
        self.trial_store = TrialStore(self.work, f"{self.search.fingerprint()}-{self.config.seed}-{wanted}")
        self.listener.on_data(self.data, data_facts(self.data))

    @property
    def scored(self) -> np.ndarray:
        """Positions of ``search`` that are held out in some fold."""
        return np.sort(np.concatenate([test for _, test in self.folds]))

    @property
    def _outputs(self) -> int:
        return self.data.task.outputs

    def _wanted(self, method: str) -> bool:
        return method in self.config.methods or not (self.config.methods or TRANSFERS[method].on_request)

    def _setting(self, clock: Clock | None = None) -> Setting:
        return Setting(clock=clock or self.clock, progress=self.listener.progress, store=self.store)

    def _try(self, candidate: Candidate, *, share: float = 1.0, refit: bool = False) -> Trial:
        """Try a candidate, or skip it if its predicted time does not fit."""
        needed = sum(candidate.seconds(len(train)) for train, _ in self.folds[: candidate.folds])
        needed += candidate.seconds(len(self.data)) if refit else 0.0
        left = (self.clock.left() - RESERVE) * SLACK
        if needed > left or self.clock.left() <= RESERVE:
            reason = f"needs about {needed:.0f} s, {max(0.0, left):.0f} s are left"
            trial = Trial(candidate, state="skipped", predicted_seconds=needed, reason=reason)
        else:
            trial = try_candidate(
                candidate,
                self.search,
                self.folds,
                setting=self._setting(),
                store=self.trial_store,
                share=share,
                hopeless=self._hopeless,
            )
        self.trials.append(trial)
        self.listener.on_trial(trial, self._interval(trial))
        return trial

    def _interval(self, trial: Trial) -> tuple[float, float, float] | None:
        from graft.record import trial_score

        return trial_score(trial, self.search, self.config)

    def _hopeless(self, outputs: np.ndarray) -> str:
        """Why a candidate cannot win any more, judged on the rows it has predicted so far; "" if it can."""
        rows = np.flatnonzero(~np.isnan(outputs.reshape(len(outputs), -1)[:, 0]))
        rivals = [trial for trial in self.trials if trial.usable and trial.rows[rows].all()]
        if not rivals or len(rows) < 50:  # fewer rows cannot tell
            return ""
        task, y = self.search.task, self.search.y[rows]
        best = max(rivals, key=lambda trial: score(task, y, trial.outputs[rows]))
        verdict = guard(
            task, y, outputs[rows], [(best.candidate.name, best.outputs[rows])], level=0.98, seed=self.config.seed
        )
        return f"clearly worse than {best.candidate.name} so far" if verdict.compared[0].difference[2] < 0 else ""

    # -- steps -------------------------------------------------------------------------------------------------------

    def _baselines(self) -> None:
        for name in ("majority", "classical"):
            if name == "majority" or self._wanted(name):
                label, each = (
                    TRANSFERS[name].called(self.data.task),
                    0.0 if name == "majority" else 2e-5 * self._outputs,
                )
                self._try(Candidate(name, label=label, seconds=lambda rows, each=each: each * rows))

    def _sources(self) -> list[ModelSpec]:
        """Sources to consider: those asked for, or all reachable ones that can read the data."""
        modality = self.data.task.modality
        needed = any(self._wanted(name) for name, transfer in TRANSFERS.items() if transfer.needs_source)
        if not needed:
            return []
        return find_sources(modality, self.config.models)

    def _readable(self, specs: list[ModelSpec]) -> list[ModelSpec]:
        """Leave out sources whose vocabulary does not cover the data, unless they were asked for by name."""
        some = self.search.take(evenly_spaced(len(self.search), 500))
        usable, passes, noticed = [], [], []
        for spec in specs:
            try:
                backbone = open_model(spec)
                noticed += [(spec, note) for note in backbone.notes]
                coverage = backbone.coverage(some)
                if coverage.ok or self.config.models:
                    passes.append(predict_seconds(backbone, self.search, 16))
                    usable.append(spec)
            except SourceError as error:
                if len(specs) == 1 and self.config.models:
                    raise  # the only source that was asked for
                self.left_out.append((spec, str(error)))
                continue
            if not coverage.ok:
                self.left_out.append((spec, coverage.reason))
        self.listener.on_sources(usable, self.left_out, noticed)
        self.listener.on_plan(*self._plan(usable, passes))
        self._passes_fit = sum(passes) < RANK_SHARE * (self.clock.left() - RESERVE) / 2
        return usable

    def _plan(self, specs: list[ModelSpec], passes: list[float]) -> tuple[list[tuple[str, float]], int]:
        """Steps with predicted seconds, and predicted bytes of memory."""
        steps = [(f"features of {spec.name}", seconds) for spec, seconds in zip(specs, passes, strict=True)]
        memory = psutil.Process().memory_info().rss
        tuned = [pair for pair in zip(specs, passes, strict=True) if not TRANSFERS["finetune"].fits(pair[0])]
        if tuned:
            # any of them may win the ranking: the plan names the middle one
            spec, seconds = sorted(tuned, key=lambda item: item[1])[len(tuned) // 2]
            row = RankRow(spec, cost=seconds / len(self.search))
            train = len(self.folds[0][0])
            if self._wanted("finetune"):
                self._measure_step(row)
                one = self._seconds("finetune", row, {})
                steps.append((f"fine-tuning {spec.name} on {len(self.folds)} fold(s)", one(train) * len(self.folds)))
                steps.append((f"fine-tuning {spec.name} on all rows, if it wins", one(len(self.data))))
                self._costs = {uri: cost for uri, cost in self._costs.items() if cost.step is not None}
            memory += 4 * 4 * max(spec.parameters for spec, _ in tuned)  # weights, gradients and two moments in float32
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

    def _whole_pass(self, clock: Clock) -> Callable[[Backbone, Dataset], Features]:
        """Features of some rows by one pass over all rows of the search, which later steps find in the cache."""

        def extract_all(backbone: Backbone, rows: Dataset) -> Features:
            found = extract(backbone, self.search, store=self.store, clock=clock, progress=self.listener.progress)
            return found.select(rows.rows)

        return extract_all

    def _candidates(self, method: str, row: RankRow, **settings: Any) -> Candidate:
        """A candidate of one source with its predicted time."""
        return Candidate(method, settings, row.spec, seconds=self._seconds(method, row, settings))

    def _seconds(self, method: str, row: RankRow, settings: dict[str, Any]) -> Callable[[int], float]:
        if method == "probe":
            # the rows of the search have their features in the cache already; others cost a pass
            known = len(self.search)
            each = row.spec.hidden_size * (1.5e-8 * self._outputs if "loss" in settings else 1e-7)
            return lambda rows: 0.5 + max(0, rows - known) * row.cost + rows * each
        cost = self._cost(row)
        transfer = TRANSFERS[method](row.spec, **settings)
        return lambda rows: cost.training(rows, transfer.steps(rows), transfer.batch_size)

    def _cost(self, row: RankRow) -> Cost:
        return self._costs.setdefault(row.spec.uri, Cost(row.cost, row.spec.parameters))

    def _shortlist(self, most: int) -> list[RankRow]:
        """The first source and those it cannot be separated from, at most ``most``."""
        rows = list(self.ranking.usable)
        separated = [False, *self.ranking.separated]
        tied = [row for row, apart in zip(rows, separated, strict=False) if not apart]
        return (tied or rows)[:most]

    def _probes(self) -> None:
        if self._wanted("probe"):
            for row in self._shortlist(3):
                self._try(self._candidates("probe", row), refit=True)
            many = self.data.task.is_classification and self._outputs >= MANY_CLASSES
            for row in self._shortlist(1) if many and len(self.data) <= SEARCH_ROWS else []:
                self._try(self._candidates("probe", row, loss="logistic"), refit=True)

    def _finetune(self) -> None:
        """Fine-tune the best sources: all blocks, or as many passes as the time allows."""
        if not self._wanted("finetune"):
            return
        for row in self._shortlist(2):
            if TRANSFERS["finetune"].fits(row.spec):
                continue
            self._measure_step(row)
            settings = self._affordable(row)
            candidate = self._candidates("finetune", row, **settings)
            trial = self._try(candidate, refit=True, share=0.5)
            if trial.folds:
                one = candidate.seconds(len(self.folds[0][0]))
                self._cost(row).learn(one, trial.fit_seconds)

    def _measure_step(self, row: RankRow) -> None:
        """Time a few steps of training where the prediction decides what can be afforded."""
        predicted = self._seconds("finetune", row, {})(len(self.folds[0][0])) * (len(self.folds) + 1)
        left = self.clock.left() - RESERVE
        if self._cost(row).step is None and not math.isinf(left) and 0.3 * left < predicted < 3 * left:
            transfer: Any = TRANSFERS["finetune"](row.spec, seed=self.config.seed)
            with contextlib.suppress(GraftError):  # what is wrong with it will be said by the trial itself
                self._cost(row).step = transfer.step_seconds(self.search)

    def _affordable(self, row: RankRow) -> dict[str, Any]:
        """Settings of a fine-tuning that fits into the time left: fewer passes first, then it is left as it is."""
        left = (self.clock.left() - RESERVE) * SLACK
        if math.isinf(left):
            return {"seed": self.config.seed}
        seconds = self._seconds("finetune", row, {})
        full = sum(seconds(len(train)) for train, _ in self.folds) + seconds(len(self.data))
        transfer = TRANSFERS["finetune"](row.spec)
        passes = transfer.steps(len(self.data)) * transfer.batch_size / len(self.data)
        if full <= left:
            return {"seed": self.config.seed}
        fewer = passes * left / full * 0.95
        return {"seed": self.config.seed, **({"epochs": round(fewer, 2)} if fewer >= 1 else {})}

    def _scratch(self) -> None:
        if self._wanted("scratch"):
            alone = bool(self.config.methods) and len(self.config.methods) == 1
            self._try(Candidate("scratch", {"seed": self.config.seed}), share=0.5 if alone else 0.3)

    def _others(self) -> None:
        """Transfers that plug-ins add: those without a source, and the others on the first source that fits them."""
        for name, transfer in TRANSFERS.items():
            if name in STEPS or not self._wanted(name) or self.data.task.kind not in transfer.kinds:
                continue
            if not transfer.needs_source:
                self._try(Candidate(name, seconds=transfer.seconds))
            fits = [(row.spec, transfer.fits(row.spec)) for row in self.ranking.usable]
            fitting = [spec for spec, reason in fits if not reason]
            if not fitting and self.config.methods == (name,):
                self.left_out += fits  # the only way that was asked for: the error says why it found nothing
            for spec in fitting[:1] if transfer.needs_source else []:
                self._try(Candidate(name, spec=spec, seconds=transfer.seconds), refit=True)

    # -- choice ------------------------------------------------------------------------------------------------------

    def _choose(self) -> tuple[Trial, Verdict]:
        """The best trial on the rows that all of its rivals predicted, unless the guard finds it no better."""
        usable = [trial for trial in self.trials if trial.usable]
        allowed = [trial for trial in usable if self._wanted(trial.candidate.transfer)]
        if not allowed:
            failed = [trial for trial in self.trials if trial.reason]
            reasons = [f"{trial.candidate.name}: {trial.reason}" for trial in failed]
            reasons += [f"{spec.name}: {reason}" for spec, reason in self.left_out]
            hint = "give a larger --budget" if any(t.state in ("skipped", "stopped") for t in failed) else None
            raise BudgetError(
                f"nothing could be fitted: {'; '.join(reasons[:3]) or 'no source reads the data'}", hint=hint
            )
        rows = np.flatnonzero(np.logical_and.reduce([trial.rows for trial in usable]))
        task, y = self.search.task, self.search.y[rows]
        best = max(allowed, key=lambda trial: score(task, y, trial.outputs[rows]))
        simpler = [trial for trial in usable if _simpler(trial, best)]
        simpler.sort(key=lambda trial: TRANSFERS[trial.candidate.transfer].simplicity)
        verdict = guard(
            task,
            y,
            best.outputs[rows],
            [(trial.candidate.name, trial.outputs[rows]) for trial in simpler],
            chosen_name=best.candidate.name,
            groups=None if self.search.groups is None else self.search.groups[rows],
            tried=len(allowed),
            level=self.config.level,
            seed=self.config.seed,
        )
        returned = {trial.candidate.name: trial for trial in allowed}.get(verdict.returned)
        if returned is None:  # the simpler one was run for comparison only
            asked = f"{verdict.sentence}; {best.candidate.name} is returned all the same, as --methods asks for it"
            return best, dataclasses.replace(verdict, returned=best.candidate.name, sentence=asked)
        return returned, verdict

    def _refit(self, chosen: Trial) -> tuple[BaseTransfer, int]:
        """Fit the chosen way on all rows, or on as many as the time left allows."""
        data = self.data
        left = (self.clock.left() - RESERVE) * SLACK
        if not math.isinf(left):
            rows = len(data)
            while rows > len(self.folds[0][0]) and chosen.candidate.seconds(rows) > max(left, 1.0):
                rows = int(rows * 0.8)
            if rows < len(data):
                keep = np.random.default_rng(self.config.seed).choice(len(data), rows, replace=False)
                data = data.select(np.sort(keep))
        clock = Clock() if math.isinf(left) else self.clock.part(max(1.0, self.clock.left() - RESERVE / 2))
        facts = repr((chosen.candidate.name, chosen.candidate.settings, len(data)))
        digest = hashlib.sha256(facts.encode()).hexdigest()[:12]  # another plan must not take up this training
        checkpoint = self.work / f"refit-{digest}.safetensors" if self.work else None
        setting = dataclasses.replace(self._setting(clock), checkpoint=checkpoint)
        model = chosen.candidate.make().fit(data, setting=setting)
        model.calibrate(chosen.outputs[chosen.rows], self.search.y[chosen.rows])
        return model, len(data)


def find_sources(modality: str, models: Sequence[str] = ()) -> list[ModelSpec]:
    """The sources named by URI or folder, or all within reach, that read this kind of input.

    Raises:
        SourceError: A named model reads something else, or a folder holds none.
    """
    if not models:
        return list_models(modality=modality)
    found: dict[str, ModelSpec] = {}
    for model in models:
        folder = Path(model).expanduser()
        inside = []
        if folder.is_dir() and not any(source.recognises(folder) for _, source in SOURCES.items()):
            inside = [
                spec for spec in list_models(folders=(model,)) if Path(spec.path).resolve().parent == folder.resolve()
            ]
        specs = [spec for spec in inside if spec.modality == modality] or [describe_model(model)]
        for spec in specs:
            if spec.modality != modality:
                raise SourceError(f"{model} reads {spec.modality}, the data are {modality}", hint="name another source")
            found[spec.uri] = spec
    return list(found.values())


def _simpler(trial: Trial, best: Trial) -> bool:
    return (
        trial is not best
        and TRANSFERS[trial.candidate.transfer].simplicity < TRANSFERS[best.candidate.transfer].simplicity
    )
