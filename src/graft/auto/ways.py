"""Which ways are tried, with which settings, and what each will take."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from graft.core.errors import GraftError
from graft.core.registry import TRANSFERS
from graft.core.types import ModelSpec, RankRow
from graft.evaluate.cost import Cost
from graft.evaluate.search import Candidate
from graft.nn.heads import MANY_CLASSES
from graft.sources.base import open_model

if TYPE_CHECKING:
    from graft.auto.state import State

RESERVE = 3.0  # seconds kept for saving and the report
SLACK = 0.9  # predictions are rough: plan to use this share of what is left
SEARCH_ROWS = 20_000  # rows on which sources and ways are compared; the winner is fitted on all
LEVELS = ("probe", "fast", "thorough")  # of effort, each with the ways of those before it
BASELINES = ("majority", "classical")
OWN = (*BASELINES, "probe", "finetune", "scratch")  # ways whose candidates are made here one by one
TRAINING = 20  # bytes per weight: float32 and bfloat16 copies, gradients, two moments
ACTIVATIONS = 200 << 20  # bytes of one step's activations, roughly
HALF_AT = 4  # blocks from which training the upper half is another way than training all


class Ways:
    """Candidates for one run, in the order of their promise, with predicted seconds and bytes."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.costs: dict[str, Cost] = {}

    def wanted(self, method: str) -> bool:
        """Whether a way is named, or, where none is, belongs to the effort."""
        named, level = self.state.config.methods, TRANSFERS[method].effort
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
            if name == "majority" or self.wanted(name):
                each = 0.0 if name == "majority" else 2e-5 * task.outputs
                label = TRANSFERS[name].called(task)
                yield Candidate(name, label=label, seconds=lambda rows, each=each: each * rows)

    def probes(self) -> Iterator[Candidate]:
        """Heads on features that are there already."""
        if not self.wanted("probe"):
            return
        task = self.state.data.task
        for row in self.shortlist(3):
            yield self.of("probe", row)
        for row in self.shortlist(1):
            if task.is_classification and task.outputs >= MANY_CLASSES and len(self.state.data) <= SEARCH_ROWS:
                yield self.of("probe", row, loss="logistic")
            if self._thorough:
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
                    if self._thorough and place == 0:
                        yield from self._partly(row)
                    yield self.of("finetune", row, **self._seed)
        if self.wanted("scratch"):
            alone = self.state.config.methods == ("scratch",)
            yield Candidate("scratch", self._seed, share=0.5 if alone else 0.3)

    def _partly(self, row: RankRow) -> Iterator[Candidate]:
        """The upper half of the blocks alone, the others run once."""
        count = len(open_model(row.spec).blocks())
        if count >= HALF_AT:
            yield self.of("finetune", row, blocks=count // 2, **self._seed)

    def others(self) -> Iterator[Candidate]:
        """Every other way, plug-ins too: those without a source, and the others on the first source that fits them."""
        state = self.state
        for name, transfer in TRANSFERS.items():
            if name in OWN or not self.wanted(name) or state.data.task.kind not in transfer.kinds:
                continue
            if name not in state.config.methods and not transfer.promising(state.search):
                continue
            if not transfer.needs_source:
                yield Candidate(name, seconds=transfer.seconds)
                continue
            fits = [(row.spec, transfer.fits(row.spec)) for row in state.ranking.usable]
            fitting = [spec for spec, reason in fits if not reason]
            if not fitting and state.config.methods == (name,):
                state.left_out += fits  # the only way that was asked for: the error says why it found nothing
            for spec in fitting[:1]:
                yield Candidate(name, spec=spec, seconds=transfer.seconds, memory=training_bytes(spec), share=0.5)

    def shortlist(self, most: int) -> list[RankRow]:
        """The first source and those it cannot be separated from, at most ``most``."""
        rows = list(self.state.ranking.usable)
        separated = [False, *self.state.ranking.separated]
        tied = [row for row, apart in zip(rows, separated, strict=False) if not apart]
        return (tied or rows)[:most]

    # -- what it takes -----------------------------------------------------------------------------------------------

    def of(self, method: str, row: RankRow, **settings: Any) -> Candidate:
        """A candidate of one source."""
        trained = method != "probe"
        return Candidate(
            method,
            settings,
            row.spec,
            seconds=self.seconds(method, row, settings),
            memory=training_bytes(row.spec) if trained else 0,
            share=0.5 if trained else 1.0,
        )

    def other(self, candidate: Candidate, settings: dict[str, Any]) -> Candidate:
        """The same way and source with other settings."""
        row = self._row(candidate)
        made = dataclasses.replace(candidate, settings=settings)
        if candidate.transfer in ("probe", "finetune") and row is not None:
            return dataclasses.replace(made, seconds=self.seconds(candidate.transfer, row, settings))
        return made

    def seconds(self, method: str, row: RankRow, settings: dict[str, Any]) -> Callable[[int], float]:
        """Predicted seconds of a fit by number of rows."""
        if method == "probe":
            # the rows of the search have their features in the cache already; others cost a pass
            known = len(self.state.search)
            each = row.spec.hidden_size * (1.5e-8 * self.state.data.task.outputs if "loss" in settings else 1e-7)
            return lambda rows: 0.5 + max(0, rows - known) * row.cost + rows * each
        cost = self.cost(row)
        transfer = TRANSFERS[method](row.spec, **settings)
        share = 0.5 if settings.get("blocks") else 1.0
        return lambda rows: cost.training(rows, transfer.steps(rows), transfer.batch_size, share=share)

    def cost(self, row: RankRow) -> Cost:
        """What training a source costs."""
        return self.costs.setdefault(row.spec.uri, Cost(row.cost, row.spec.parameters))

    def measure_step(self, row: RankRow) -> None:
        """Time a few steps of training where the prediction decides what can be afforded."""
        state = self.state
        predicted = self.seconds("finetune", row, {})(len(state.folds[0][0])) * (len(state.folds) + 1)
        left = state.clock.left() - RESERVE
        if self.cost(row).step is None and not math.isinf(left) and 0.3 * left < predicted < 3 * left:
            transfer: Any = TRANSFERS["finetune"](row.spec, **self._seed)
            with contextlib.suppress(GraftError):  # what is wrong with it will be said by the trial itself
                self.cost(row).step = transfer.step_seconds(state.search)

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


def training_bytes(spec: ModelSpec) -> int:
    """Bytes that training all weights of a source takes, roughly."""
    return TRAINING * spec.parameters + ACTIVATIONS
