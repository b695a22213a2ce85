"""Which ways are tried, with which settings, and what each will take."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from graft.core.errors import GraftError, UsageError
from graft.core.memory import memory_left
from graft.core.registry import TRANSFERS
from graft.core.types import RankRow
from graft.evaluate.cost import TRAINING, Cost, opening_bytes
from graft.evaluate.search import Candidate
from graft.nn.heads import MANY_CLASSES
from graft.nn.layer_rows import WIDEST
from graft.sources.bands import of_channels
from graft.sources.base import SPECTROGRAM, open_model
from graft.transfer.base import Workload

if TYPE_CHECKING:
    from graft.auto.state import State

RESERVE = 3.0  # seconds kept for saving and the report
SPARE = 96 << 20  # bytes kept for the record and the report
SLACK = 0.9  # predictions are rough: plan to use this share of what is left
SEARCH_ROWS = 20_000  # rows on which sources and ways are compared; the winner is fitted on all
LEVELS = ("probe", "fast", "thorough")  # of effort, each with the ways of those before it
BASELINES = ("majority", "classical", "boosting")
OWN = (*BASELINES, "probe", "finetune", "scratch")  # ways whose candidates are made here one by one
WORTH = 0.1  # rows without a label, over those with one, from which it is worth trying to learn from them
SEMI_SHARE, FEWEST = 0.3, 500  # of the time left that a way with unlabelled rows may use; least such rows
LAYERS = 12  # of a source that is not open, at most, as far as what a probe takes is concerned
UPPER_AT = 4  # blocks of a source from which fine-tuning trains the upper ones alone
# Texts: the upper two thirds at twice the rate are as good as all, for two thirds of the time.  Pictures: the top two from
# the probe are better than all up to some dozens of rows a class, for a twentieth of the time.
UPPER = {"text": {"blocks": 2 / 3, "lr": 2.4e-4}, "image": {"blocks": 2, "lr": 1e-4, "head_start": "probe"}}
TAGGING = {"lr": 4e-4, "batch_size": 16}  # of fine-tuning on sentences, chosen on the development part of CoNLL-2003


class Ways:
    """Candidates for one run, in the order of their promise, with predicted seconds and bytes."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._check()
        self.costs: dict[str, Cost] = {}

    def _check(self) -> None:
        """Refuse methods of which none is for the task, before anything is tried."""
        named, task = self.state.config.methods, self.state.data.task
        if named and not any(task.served_by(TRANSFERS[name].kinds) for name in named):
            first = TRANSFERS[named[0]]
            what = f"{first.label} is for {' and '.join(first.kinds)}, not {task.kind}"
            raise UsageError(what, hint="leave --methods out, or name probe or finetune")

    def wanted(self, method: str) -> bool:
        """Whether a way is named, or, where none is, belongs to the effort and finds the rows that it learns from."""
        named, level = self.state.config.methods, TRANSFERS[method].effort
        if TRANSFERS[method].semi and sum(map(len, self.state.unlabelled)) < WORTH * len(self.state.data):
            return method in named
        return method in named or (not named and level in LEVELS[: LEVELS.index(self.state.config.effort) + 1])

    @property
    def _thorough(self) -> bool:
        return self.state.config.effort == "thorough"

    @property
    def _seed(self) -> dict[str, Any]:
        return {"seed": self.state.config.seed}

    def baselines(self) -> Iterator[Candidate]:
        """What needs no source; the majority is always among them."""
        task = self.state.data.task
        for name in BASELINES:
            transfer = TRANSFERS[name]
            if name == "boosting":
                if self.wanted(name) and task.served_by(transfer.kinds) and transfer.promising(self.state.search):
                    each = 1e-4 * (task.outputs if task.outputs > 2 else 1)
                    seconds = lambda rows, each=each: 0.3 + each * rows  # noqa: E731
                    yield Candidate(name, self._seed, seconds=seconds)
            elif name == "majority" or self.wanted(name):
                each = 0.0 if name == "majority" else 2e-3 if task.is_tagging else 2e-5 * task.outputs
                label = TRANSFERS[name].called(task)
                yield Candidate(name, label=label, seconds=lambda rows, each=each: each * rows)

    def probes(self) -> Iterator[Candidate]:
        """Heads on features that are there already."""
        if not self.wanted("probe"):
            return
        task = self.state.data.task
        for row in self.shortlist(3):
            yield self.of("probe", row)
            if task.is_ordinal:
                yield self.of("probe", row, head="ordinal")
        for row in self.shortlist(1):
            many = task.is_multilabel or (task.is_classification and task.outputs >= MANY_CLASSES)
            if many and len(self.state.data) <= SEARCH_ROWS:
                yield self.of("probe", row, loss="logistic")
            if self._thorough and not task.is_tagging:
                yield self.of("probe", row, layers="mix")
                yield self.of("probe", row, head="knn")
                if task.is_classification:
                    yield self.of("probe", row, head="lda")

    def trained(self) -> Iterator[Candidate]:
        """What is trained, the most promising first."""
        yield from self.others()
        if self.wanted("finetune"):
            for place, row in enumerate(self.shortlist(2)):
                if not TRANSFERS["finetune"].fits(row.spec):
                    upper = self.upper(row)
                    yield self.of("finetune", row, **upper, **self._seed)
                    if self._thorough and place == 0 and self.state.data.task.is_tagging:
                        yield self.of("finetune", row, **upper, **self._seed, crf=True)
                    if upper and self._thorough and place == 0:
                        yield self.of("finetune", row, **self._seed)
        if self.wanted("scratch"):
            alone = self.state.config.methods == ("scratch",)
            yield Candidate("scratch", self._seed, memory=TRAINING, share=0.5 if alone else 0.3)

    def upper(self, row: RankRow) -> dict[str, Any]:
        """Settings by which the upper blocks of a source are trained, the others run once; all of them where few."""
        count = len(self.cost(row).weights) - 1
        read = "image" if row.spec.uri.startswith(SPECTROGRAM) else row.spec.modality
        settings = dict(UPPER.get(read, {})) if count >= UPPER_AT else {}
        if settings and settings["blocks"] < 1:
            settings["blocks"] = round(settings["blocks"] * count)
        return settings | (TAGGING if self.state.data.task.is_tagging else {})

    def others(self) -> Iterator[Candidate]:
        """Every other way, plug-ins too: those without a source, and the others on the first source that fits them."""
        state = self.state
        for name, transfer in TRANSFERS.items():
            if name in OWN or not self.wanted(name) or not state.data.task.served_by(transfer.kinds):
                continue
            if name not in state.config.methods and not transfer.promising(state.search):
                continue
            if not transfer.needs_source:
                yield Candidate(name, seconds=transfer.seconds)
                continue
            fits = [(row, transfer.fits(row.spec)) for row in state.ranking.usable]
            fitting = [row for row, reason in fits if not reason]
            if not fitting and state.config.methods == (name,):  # the error says why the only way found nothing
                state.left_out += [(row.spec, reason) for row, reason in fits]
            for row in fitting[:1]:
                yield self._thinned(self.of(name, row)) if transfer.semi else self.of(name, row)

    def shortlist(self, most: int) -> list[RankRow]:
        """The first source and those it cannot be separated from, at most ``most``."""
        rows = list(self.state.ranking.usable)
        separated = [False, *self.state.ranking.separated]
        tied = [row for row, apart in zip(rows, separated, strict=False) if not apart]
        return (tied or rows)[:most]

    # -- what it takes -----------------------------------------------------------------------------------------------

    def of(self, method: str, row: RankRow, **settings: Any) -> Candidate:
        """A candidate of one source."""
        if method == "probe":
            each, memory = self._probe(row, settings)
            known = len(self.state.search)  # whose features are in the cache already; others cost a pass
            take = lambda rows: 0.5 + max(0, rows - known) * row.cost + rows * each  # noqa: E731
            return Candidate(method, settings, row.spec, seconds=take, memory=memory)
        transfer, cost, task = TRANSFERS[method](row.spec, **settings), self.cost(row), self.state.data.task

        others = self._others(transfer)
        each = others * row.cost / (len(self.state.folds) + 1)  # their pass serves all folds and the fit after them

        def seconds(rows: int) -> float:
            work = transfer.workload(rows, task)
            return each + transfer.seconds(rows + others) if work is None else cost.seconds(work)

        memory = cost.bytes(transfer.workload(len(self.state.data), task) or Workload(1, 1))
        return Candidate(method, settings, row.spec, seconds=seconds, memory=memory, share=0.5)

    def _others(self, transfer: Any) -> int:
        """Rows without a label that a transfer would learn from."""
        if not transfer.semi:
            return 0
        return min(sum(map(len, self.state.unlabelled)), getattr(transfer, "max_rows", SEARCH_ROWS))

    def _thinned(self, candidate: Candidate) -> Candidate:
        """A way that learns from rows without a label, from as many of them as there is time for."""
        state, settings = self.state, candidate.settings
        left = (state.clock.left() - RESERVE) * SLACK * SEMI_SHARE
        transfer: Any = TRANSFERS[candidate.transfer]()
        if "max_rows" not in transfer.get_params(deep=False) or transfer.workload(1, state.data.task) is not None:
            return candidate  # its time does not hang on how many they are
        most = self._others(transfer)
        while most > FEWEST:
            if (
                sum(candidate.seconds(len(train)) for train, _ in state.folds) + candidate.seconds(len(state.data))
                < left
            ):
                break
            most = max(FEWEST, most // 2)
            candidate = self.other(candidate, {**settings, "max_rows": most})
        return candidate

    def other(self, candidate: Candidate, settings: dict[str, Any]) -> Candidate:
        """The same way and source with other settings."""
        row = self._row(candidate)
        if row is None:
            return dataclasses.replace(candidate, settings=settings)
        return self.of(candidate.transfer, row, **settings)

    def _probe(self, row: RankRow, settings: dict[str, Any]) -> tuple[float, int]:
        """Seconds per row of fitting a head, and bytes with the source that is opened for it."""
        task, width = self.state.data.task, row.spec.hidden_size
        seconds = width * (1.5e-8 * task.outputs if "loss" in settings else 1e-7)
        side = min(len(self.state.search), LAYERS * width, WIDEST)
        return seconds, opening_bytes(row.spec) + 3 * 8 * side**2  # a Gram matrix, its vectors, and room for them

    def cost(self, row: RankRow) -> Cost:
        """What training a source costs; opens it where there is memory for that."""
        found, room = self.costs.get(row.spec.uri), memory_left(self.state.config.bytes)
        if found is None:
            found = Cost(row.cost, (0, row.spec.parameters))
            with contextlib.suppress(Exception):  # what is wrong with it will be said by the trial itself
                if room > opening_bytes(row.spec):
                    opened = of_channels(open_model(row.spec), self.state.search, form="mixed")
                    found = Cost.of(opened, self.state.search, forward=row.cost, room=room / 4)
            self.costs[row.spec.uri] = found
        found.forward = row.cost  # the ranking knows better than a few rows did
        return found

    def measure_step(self, row: RankRow) -> None:
        """Time a few steps of training where the prediction decides what can be afforded."""
        state, cost, tuning = self.state, self.cost(row), self.of("finetune", row, **self.upper(row), **self._seed)
        predicted = tuning.seconds(len(state.folds[0][0])) * (len(state.folds) + 1)
        left = state.clock.left() - RESERVE
        if cost.measured or math.isinf(left) or not 0.3 * left < predicted < 3 * left:
            return
        if tuning.memory > memory_left(state.config.bytes):
            return
        transfer: Any = tuning.make()
        with contextlib.suppress(GraftError):
            cost.measured = transfer.workload(len(state.search), state.search.task), transfer.step_seconds(state.search)

    def affordable(self, candidate: Candidate) -> Candidate:
        """A fine-tuning with as many passes as fit into the time left; every other candidate as it is."""
        state, row = self.state, self._row(candidate)
        left = (state.clock.left() - RESERVE) * SLACK
        if candidate.transfer != "finetune" or row is None or math.isinf(left) or "epochs" in candidate.settings:
            return candidate
        self.measure_step(row)
        full = sum(candidate.seconds(len(train)) for train, _ in state.folds) + candidate.seconds(len(state.data))
        transfer = candidate.make()
        passes = transfer.steps(len(state.data)) / math.ceil(len(state.data) / transfer.batch_size)
        fewer = passes * left / full * 0.95
        if full <= left or fewer < 1:
            return candidate
        return self.other(candidate, {**candidate.settings, "epochs": round(fewer, 2)})

    def _row(self, candidate: Candidate) -> RankRow | None:
        return next((row for row in self.state.ranking.usable if row.spec == candidate.spec), None)
