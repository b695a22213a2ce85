"""Labeller: proposes the rows to label next, and tells what that may bring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from graft.active.outlook import Outlook, outlook
from graft.active.pool import Pool, Reader, in_space, limited, proposable
from graft.active.strategies import STRATEGIES, choose
from graft.core.errors import BudgetError, DataError, SourceError, UsageError
from graft.core.rows import evenly_spaced
from graft.core.runtime import Clock, Progress, silent
from graft.core.store import Store
from graft.core.types import Dataset, Features, ModelSpec
from graft.evaluate.metrics import evaluate
from graft.nn.bootstrap import Interval
from graft.nn.heads import LinearHead, fit_probe
from graft.ranking.rank import rank
from graft.sources.base import Backbone, list_models, open_model

ENOUGH = 40  # labels from which sources are compared on them
COMPARED = 1_000  # labelled rows that they are compared on
SHOWN = 200  # rows that a source is asked about its vocabulary with
SENTENCES = "sbert:"  # sources that were trained to bring like texts together


@dataclass(frozen=True)
class Proposal:
    """A row to label.

    Attributes:
        position: Position in the data set.
        row: Its number in the storage, 0-based: the row of the file.
        label: What the model would say; None where there is none yet.
        probability: How sure it is; None for values, or without a model.
        reason: Why this row, in words.
    """

    position: int
    row: int
    label: str | None
    probability: float | None
    reason: str


class Labeller:
    """Rows to label next, in the order of their use.

    A frozen source, or the classical representation where none reads the rows, gives features; a closed-form probe on the
    labels so far gives suggestions and doubts.  The same data, seed and source give the same proposals.

    Args:
        data: Rows of which some, or none, have a label: ``graft.load_data(…, partly=True)``, or ``labelled=False``.
        source: URI, ``ModelSpec``, opened ``Backbone``, several of the first two, or None: what is within reach.
        strategy: ``"auto"``, or a name in ``graft.active.strategies.STRATEGIES``.
        seed: Seed of everything random.
        store: Cache of features; the default one if None.
        clock: The budget.
        progress: Told what happens.

    Attributes:
        notes: What was noticed on the way, a sentence each.

    Example:
        >>> import graft
        >>> from graft.active.labeller import Labeller
        >>> texts = ["my parcel is lost", "where is my parcel", "card declined", "my card does not work", "cancel my order"]
        >>> data = graft.load_data((texts, ["parcel", None, "card", None, None]), partly=True)
        >>> [proposal.row for proposal in Labeller(data).propose(1)]  # like none of the labelled ones
        [4]
    """

    def __init__(
        self,
        data: Dataset,
        *,
        source: Any = None,
        strategy: str = "auto",
        seed: int = 0,
        store: Store | None = None,
        clock: Clock | None = None,
        progress: Progress = silent,
    ) -> None:
        if strategy != "auto" and strategy not in STRATEGIES:
            raise UsageError(f"no strategy {strategy!r}", hint=f"use auto, {', '.join(STRATEGIES)}")
        self.source, self.strategy, self.seed, self.store = source, strategy, seed, store
        self.clock, self.progress, self.notes = clock or Clock(), progress, list[str]()
        rows = limited(data, _known(data), seed=seed)
        if len(rows) < len(data):
            self.notes.append(f"{len(rows):,} of {len(data):,} rows are looked at")
        self.positions, self.data = rows, data.select(rows)
        self.known = _known(self.data)

    # -- what is known of the rows -----------------------------------------------------------------------------------

    @cached_property
    def backbone(self) -> Backbone | None:
        """The source whose features are read; None for the classical representation."""
        asked = self.source
        if isinstance(asked, Backbone):
            return asked
        given = [asked] if isinstance(asked, str | ModelSpec) else list(asked or ())
        if len(given) == 1:
            return open_model(given[0])
        modality = self.data.task.modality
        specs = given or list_models(modality=modality)
        some = self.data.take(evenly_spaced(len(self.data), SHOWN))
        able: list[Any] = []
        for spec in specs:
            try:
                if open_model(spec).coverage(some).ok:
                    able.append(spec)
            except SourceError as error:
                self.notes.append(f"not {getattr(spec, 'name', spec)}: {error}")
        if not able:
            return None
        return open_model(self._best(able))

    def _best(self, specs: list[Any]) -> Any:
        """The source that does best on the labels so far; with few of them, one made for likeness, else the largest."""
        uri = [one.uri if isinstance(one, ModelSpec) else str(one) for one in specs]
        size = [one.parameters if isinstance(one, ModelSpec) else 0 for one in specs]
        first = max(range(len(specs)), key=lambda i: (uri[i].startswith(SENTENCES), size[i]))
        if len(specs) == 1 or len(self.known) < ENOUGH or not self._two_classes():
            return specs[first]
        labelled = self.data.select(self.known)
        ranking = rank(
            specs, labelled, scores=(), seed=self.seed, limit_rows=COMPARED, clock=self.clock, store=self.store
        )
        return ranking.usable[0].spec if ranking.usable else specs[first]

    @cached_property
    def reader(self) -> Reader:
        """What reads the rows."""
        reading = {"store": self.store, "clock": self.clock, "progress": self.progress}
        return Reader(self.backbone, self.data, seed=self.seed, **reading)

    @cached_property
    def features(self) -> Features:
        """Features of the rows."""
        return self.reader(self.data)

    @cached_property
    def probe(self) -> LinearHead | None:
        """A probe on the labels so far; None where they are too few."""
        if not self._two_classes():
            return None
        return fit_probe(self._of(self.known), self.y, self.data.task)

    @property
    def y(self) -> np.ndarray:
        """Targets of the labelled rows."""
        found: np.ndarray = np.empty(0, np.int64) if self.data.y is None else self.data.y[self.known]
        return found

    @cached_property
    def pool(self) -> Pool:
        """What a strategy sees."""
        free = proposable(self.data, self.known)
        outputs = None if self.probe is None else self.probe.outputs(self.features, self.data.task)
        return Pool(in_space(self.features), self.known, self.y, free, self.data.task, outputs)

    def _two_classes(self) -> bool:
        """Whether there is anything to learn: two classes, or two values."""
        return len(self.known) >= 2 and len(np.unique(self.y)) >= 2

    def _of(self, positions: np.ndarray) -> Features:
        return self.features.select(self.features.rows[positions])

    # -- what is asked -----------------------------------------------------------------------------------------------

    def chosen(self) -> tuple[str, str]:
        """The strategy that is taken, and why, in a sentence."""
        return choose(self.strategy, self.pool)

    def propose(self, count: int) -> list[Proposal]:
        """Rows to label next, none of equal content, the most useful first; fewer where there are no more.

        Raises:
            DataError: Every row has a label.
            UsageError: The strategy does not fit the task.
        """
        if count < 1:
            raise UsageError(f"{count} rows cannot be proposed", hint="ask for one or more")
        pool = self.pool
        if not len(pool.free):
            raise DataError(f"every row of {self.data.name} has a label, or the same content as one that has")
        if self.clock.expired:
            raise BudgetError("no time was left to choose rows", hint="give a larger budget")
        name, _ = choose(self.strategy, pool)
        rng = np.random.default_rng([self.seed, len(pool.known)])
        positions, reasons = STRATEGIES[name](pool, min(count, len(pool.free)), rng)
        return [self._proposal(place, reason) for place, reason in zip(positions, reasons, strict=True)]

    def _proposal(self, place: int, reason: str) -> Proposal:
        label, sure = None, None
        if self.pool.outputs is not None:
            one = self.pool.outputs[place : place + 1]
            label = str(self.data.task.decode(one)[0])
            if self.data.task.is_classification:
                sure = float(one.max())
            else:
                label = f"{float(self.data.task.decode(one)[0]):.6g}"
        return Proposal(int(self.positions[place]), int(self.data.rows[place]), label, sure, reason)

    def outlook(self, ahead: int, *, level: float = 0.9) -> Outlook:
        """The cross-validated score so far, the learning curve, and what ``ahead`` more labels may bring."""
        return outlook(
            self._of(self.known), self.y, self.data.task, ahead, level=level, seed=self.seed, tick=self._tick
        )

    def score(self, test: Dataset, *, level: float = 0.9) -> Interval | None:
        """The score, with its interval, on rows that were labelled apart; None where there is no probe yet.

        Args:
            test: Labelled rows of the same form, with the classes of the data.
            level: Coverage of the interval.
        """
        task = self.data.task
        if self.probe is None or test.y is None:
            return None
        outputs = self.probe.outputs(self.reader(test), task)
        return evaluate(task, test.y, outputs, metrics=(task.metric,), seed=self.seed, level=level)[task.metric]

    def _tick(self) -> None:
        if self.clock.expired:
            raise BudgetError("no time was left to draw the learning curve", hint="give a larger budget")


def _known(data: Dataset) -> np.ndarray:
    """Positions of the rows with a label."""
    if data.y is None:
        return np.empty(0, np.int64)
    return np.flatnonzero(data.y >= 0 if data.task.is_classification else ~np.isnan(data.y))
