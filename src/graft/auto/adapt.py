"""``graft adapt``: every method on both domains, judged without a label of the target, and vetoed where it may harm."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from graft.adaptation.base import BaseAdaptation
from graft.adaptation.domains import Domains, pair
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.auto.adapt_record import apart, decided, planes
from graft.auto.adapt_work import AdaptWork
from graft.core.errors import BudgetError, DataError, GraftError, UsageError
from graft.core.registry import ADAPTATIONS, MODALITIES
from graft.core.runtime import Clock, Progress, parse_budget, silent
from graft.core.store import Store
from graft.data.load import load
from graft.data.splits import holdout
from graft.features import extract
from graft.nn.heads import to_outputs
from graft.sources.base import open_model
from graft.transfer.base import Setting
from graft.unlabelled.learning import Rule, Trial, learn, trials_on
from graft.unlabelled.observed import Observed
from graft.unlabelled.ratio import density_ratio
from graft.unlabelled.simulate import Shift, across, simulated
from graft.unlabelled.veto import Verdict, veto

BASE, NETWORK = "source_only", "network"  # what an adaptation of numbers, and of a network, has to beat
HELD_OUT = 0.2  # share of the source rows that judge and are not learned from
SHIFTS = 12  # pseudo-targets that the rule is learned on …
LEAST = 4  # … at least
RULE_SHARE = 0.4  # of the time that learning the rule may take
EPOCHS = 8  # of the small networks that stand for others on pseudo-targets
RULE_ROWS = 2_000  # rows of a pseudo-target's source and target together
AGAIN = 1.3  # of the time that a network took: all source rows are a quarter more than those it was tried on
RESERVE = 3.0  # seconds kept for saving and the report
BUDGET = "5m"


@dataclass(frozen=True)
class AdaptConfig:
    """Options of one adaptation; those of ``graft adapt``.

    Attributes:
        budget: Seconds, or text such as ``"5m"``; None for no limit.
        methods: Names of adaptations to try; empty for all that need no network to be trained, or, for pictures and sounds
            without ``model``, some that train one.
        model: URI of a source whose features are adapted; None for the rows themselves (counts, columns, pixels).
        level: Confidence level of intervals and of the veto.
        seed: Seed of everything random.
    """

    budget: str | float | None = BUDGET
    methods: tuple[str, ...] = ()
    model: str | None = None
    level: float = 0.9
    seed: int = 0


@dataclass
class Tried:
    """What came of one method.

    Attributes:
        name: Of the method.
        label: In a sentence.
        seconds: Of the fit on both domains.
        observed: What can be seen of it without labels of the target; None where it failed or was left out.
        reason: Why.
    """

    name: str
    label: str
    seconds: float = 0.0
    observed: Observed | None = None
    reason: str = ""


@dataclass
class Adapt:
    """One adaptation of one pair of domains; ``run`` does all steps.

    Attributes:
        domains: Both sides.  Labels of the target are none of it.
        config: What is asked for.
        store: Where features are cached; None for no cache.
        progress: Told what happens.
        on_tried: Told of each method when it ended.
        spent: Seconds of the budget that were used before.
        work: Folder of what a killed run takes up again; None for none.
        words: Words in the order of the features of counts, for the report; None for their numbers.
    """

    domains: Domains
    config: AdaptConfig = field(default_factory=AdaptConfig)
    store: Store | None = None
    progress: Progress = silent
    on_tried: Callable[[Tried], None] = lambda tried: None  # noqa: ARG005
    spent: float = 0.0
    work: Path | None = None
    words: Sequence[str] | None = None
    clock: Clock = field(init=False)
    done: AdaptWork = field(init=False)
    tried: list[Tried] = field(default_factory=list, init=False)
    waiting: list[str] = field(default_factory=list, init=False)
    networks: dict[str, BaseAdaptation] = field(default_factory=dict, init=False)

    def run(self) -> tuple[BaseAdaptation, dict[str, Any]]:
        """The model to use, fitted on all source rows, and the record.

        Raises:
            BudgetError: The time does not suffice for source-only.
            DataError: The domains have nothing in common.
        """
        self.clock = Clock(parse_budget(self.config.budget), spent=self.spent)
        methods = self._methods()
        self.done = AdaptWork(self.work, self._key())
        rows = self._numbers()
        train, held = holdout(self.domains.source, test=HELD_OUT, seed=self.config.seed)
        self.ratio = density_ratio(rows.source, rows.target, seed=self.config.seed)[held]
        rule = self._rule(rows, train, methods)
        base = NETWORK if any(ADAPTATIONS[name].trains for name in methods) else BASE
        self.waiting = list(dict.fromkeys((base, *methods)))
        while self.waiting:
            name = self.waiting.pop(0)
            self.tried.append(self._try(name, rows, train, held))
            self.on_tried(self.tried[-1])
        found = {one.name: one for one in self.tried if one.observed is not None}
        if base not in found:
            failed = next(one.reason for one in self.tried if one.name == base)
            raise BudgetError(f"not even source only could be fitted: {failed}", hint="give a larger --budget")
        verdict = self._judged(found, base, rule)
        start = time.perf_counter()
        kept = base if verdict is None else next(one.name for one in self.tried if one.label == verdict.returned)
        model = self.fitted(kept)
        seconds, config, before = time.perf_counter() - start, self.config, found[base].observed
        assert before is not None
        record = {"returned": model.name, "label": model.label}
        record |= decided(self.domains, config, self.tried, base=base, rule=rule, verdict=verdict)
        record |= apart(self.domains, rows, self.words, level=config.level, seed=config.seed)
        record["view"] = planes(self.domains, rows, before, model, base=base, seed=config.seed)
        return model, record | {"seconds": self.clock.elapsed(), "refit_seconds": seconds}

    def fitted(self, name: str) -> BaseAdaptation:
        """A method fitted on all source rows; a network for which there is no time any more as it was tried."""
        took = next((one.seconds for one in self.tried if one.name == name), 0.0)
        if name in self.networks and self.clock.left() - RESERVE < AGAIN * took:
            return self.networks[name]
        return self._make(name).fit(self.domains, setting=self._setting(f"{name}, all rows" * ADAPTATIONS[name].trains))

    def _key(self) -> list[Any]:
        """What finished parts depend on; not the budget, which a later part of a run may not share."""
        sides = [side.fingerprint() for side in (self.domains.source, self.domains.target, self.domains.few) if side]
        config = dataclasses.asdict(self.config)
        return [*sides, self.domains.origin.tolist(), *(config[key] for key in ("model", "level", "seed")), SHIFTS]

    # -- what is tried -----------------------------------------------------------------------------------------------

    def _methods(self) -> list[str]:
        """Names in the order in which they are tried; what takes seconds comes first."""
        for name in self.config.methods:
            ADAPTATIONS[name]  # raises, naming the nearest
        pixels = self.domains.source.task.modality in ("image", "audio") and self.config.model is None
        chosen = self.config.methods or [
            name
            for name, one in ADAPTATIONS.items()
            if one.tried and one.trains == pixels and name not in (BASE, NETWORK)
        ]
        if not chosen:
            raise UsageError("no adaptation to try", hint=f"known: {', '.join(ADAPTATIONS)}")
        return sorted(chosen, key=lambda name: ADAPTATIONS[name].trains)

    def _make(self, name: str) -> BaseAdaptation:
        made = ADAPTATIONS[name]()
        known = made.get_params(deep=False)
        asked = {"seed": self.config.seed, "source": self.config.model}
        made.set_params(**{key: value for key, value in asked.items() if key in known})
        return made  # type: ignore[no-any-return]

    def _setting(self, training: str = "") -> Setting:
        left = self.clock.left() - RESERVE
        clock = self.clock.part(left) if self.clock.budget else Clock()
        checkpoint = self.done.checkpoint(training) if training else None
        return Setting(clock, self.progress, self.store, checkpoint)

    def _numbers(self) -> Matrices:
        """All rows of both domains as numbers."""
        source, target = self.domains.source, self.domains.target
        if self.config.model is None:
            vectors = MODALITIES[source.task.modality].vectors().fit(source)
            Xs, Xt = vectors.transform(source), vectors.transform(target)
        else:
            backbone = open_model(self.config.model)
            Xs, Xt = (
                extract(backbone, rows, store=self.store, clock=self._setting().clock, progress=self.progress).layer(-1)
                for rows in (source, target)
            )
        if not np.any(abs(Xt).sum(axis=0)):
            raise DataError(f"{target.name} shares nothing with {source.name}", hint="are they of one kind?")
        return Matrices(Xs, source.y, Xt, self.domains.origin, source.task.outputs)

    # -- the rule ----------------------------------------------------------------------------------------------------

    def _rule(self, rows: Matrices, train: np.ndarray, methods: list[str]) -> Rule | None:
        """What evidence is worth, learned on pseudo-targets of the source; None where there was no time or no row for it.

        Networks are not trained again and again: where their source is named, a small network over its cached features
        stands for each; otherwise methods of numbers stand for them.
        """
        usual = [name for name, one in ADAPTATIONS.items() if not one.trains and one.tried and name != BASE]
        names = [name for name in methods if not ADAPTATIONS[name].trains] or usual
        if self.config.model is not None:
            names = [*names, *(name for name in methods if ADAPTATIONS[name].trains)]
        if len(train) < 4 * LEAST * 10:
            return None
        rng = np.random.default_rng(self.config.seed)
        some = np.sort(rng.choice(train, min(len(train), RULE_ROWS), replace=False))
        X, y, origin = rows.source[some], rows.y[some], rows.origin[some]
        shifts = [*across(origin), *simulated(X, y, count=SHIFTS, seed=self.config.seed)]
        part = self.clock.part(self.clock.left() * RULE_SHARE) if self.clock.budget else Clock()
        found: list[Trial] = []
        done = 0
        for done, shift in enumerate(shifts, 1):
            self.progress("pseudo-targets", (done - 1) / len(shifts), shift.name)
            start, name = time.perf_counter(), f"{done}: {shift.name}"
            known = self.done.trials(f"{name} {names}")
            if known is None:
                trials = self._pseudo(name, shift, X, y, rows.classes, names)
                known = trials, time.perf_counter() - start
                self.done.keep_trials(f"{name} {names}", *known)
            found += known[0]
            if part.left() < 1.2 * known[1]:
                break
        try:
            return learn(found) if done >= LEAST else None
        except DataError:
            return None

    def _pseudo(self, name: str, shift: Shift, X: Any, y: np.ndarray, classes: int, names: list[str]) -> list[Trial]:
        """Every method on one pseudo-target."""
        source, target = shift.of(X)
        y_source, rng = y[shift.source], np.random.default_rng(self.config.seed)
        order = rng.permutation(source.shape[0])
        held, train = np.sort(order[: len(order) // 5]), np.sort(order[len(order) // 5 :])
        whole = Matrices(source, y_source, target, np.zeros(source.shape[0], np.int64), classes)
        ratio = density_ratio(source, target, seed=self.config.seed)[held]
        networks = [method for method in names if ADAPTATIONS[method].trains]
        rest = [method for method in names if method not in networks]
        trials: list[Trial] = []
        for first, others, see in ((BASE, rest, self._observe_numbers), (NETWORK, networks, self._observe_small)):
            found = {}
            for method in (first, *others) if others else ():
                label = ADAPTATIONS[method].label  # by which the rule and the veto know it
                try:
                    found[label] = see(method, whole, train, held, ratio)
                except (GraftError, ValueError, np.linalg.LinAlgError):
                    continue  # a method that cannot be fitted there says nothing
            base = found.pop(ADAPTATIONS[first].label, None)
            trials += trials_on(name, y[shift.target], base, found) if base is not None and found else []
        return trials

    def _observe_small(
        self, name: str, rows: Matrices, train: np.ndarray, held: np.ndarray, ratio: np.ndarray
    ) -> Observed:
        """As for numbers, of a network's method on a small network over them."""
        task = dataclasses.replace(self.domains.source.task, modality="table")
        labels = np.asarray(task.classes, dtype=object)[rows.y[train]]
        source = load((rows.source[train], labels), task=task, name="pseudo-source")
        target = load(rows.target, labelled=False, like=source, name="pseudo-target")
        left = load(rows.source[held], labelled=False, like=source)
        model = ADAPTATIONS[name]()
        known = model.get_params(deep=False)
        asked = {"seed": self.config.seed, "epochs": EPOCHS}
        model.set_params(**{key: value for key, value in asked.items() if key in known})
        model.fit(pair(source, target))
        return Observed(model.outputs(target), model.outputs(left), rows.y[held], rows.target, rows.source[held], ratio)

    def _observe_numbers(
        self, name: str, rows: Matrices, train: np.ndarray, held: np.ndarray, ratio: np.ndarray
    ) -> Observed:
        """Fit on part of the source rows, and see what can be seen."""
        model = self._make(name)
        assert isinstance(model, FeatureAdaptation)
        part = dataclasses.replace(rows, source=rows.source[train], y=rows.y[train], origin=rows.origin[train])
        model.fit_numbers(part)
        task = self.domains.source.task
        return Observed(
            to_outputs(model.scores(rows.target), task),
            source_outputs=to_outputs(model.source_scores(rows.source[held]), task),
            source_y=rows.y[held],
            target_features=rows.target,
            source_features=rows.source[held],
            ratio=ratio,
        )

    # -- candidates --------------------------------------------------------------------------------------------------

    def _try(self, name: str, rows: Matrices, train: np.ndarray, held: np.ndarray) -> Tried:
        one = ADAPTATIONS[name]
        start = time.perf_counter()
        tried = Tried(name, one.label)
        found = self.done.observed(name, self._like(rows, held))
        if found is not None and (not one.trains or self._taken_up(name, failed=bool(found[1]["reason"]))):
            tried.observed, tried.seconds, tried.reason = found[0], found[1]["seconds"], found[1]["reason"]
            return tried
        if self.clock.expired or self.clock.left() < RESERVE:
            tried.reason = "the time was used up"
            return tried
        self.progress(one.label, 0.0)
        try:
            if one.trains:
                tried.observed = self._observe_network(name, rows, train, held)
            else:
                tried.observed = self._observe_numbers(name, rows, train, held, self.ratio)
        except BudgetError as error:  # with more time it may do: not kept
            tried.reason, tried.seconds = " ".join(str(error).split())[:200], time.perf_counter() - start
            return tried
        except (GraftError, ValueError, np.linalg.LinAlgError) as error:
            tried.reason = " ".join(str(error).split())[:200]
        tried.seconds = time.perf_counter() - start
        if name in self.networks:
            self.done.keep_network(name, self.networks[name])
        self.done.keep_observed(name, tried.observed, tried.seconds, tried.reason)
        return tried

    def _like(self, rows: Matrices, held: np.ndarray) -> Observed:
        """What is the same of every model: the rows, and a guess for outputs."""
        sizes = rows.target.shape[0], len(held)
        target, source = (np.full((size, rows.classes), 1.0 / rows.classes) for size in sizes)
        return Observed(target, source, rows.y[held], rows.target, rows.source[held], self.ratio)

    def _taken_up(self, name: str, *, failed: bool) -> bool:
        """Whether a network that was trained before is there again, or was seen to fail."""
        model = None if failed else self.done.network(name)
        if model is not None:
            self.networks[name] = model
        return failed or model is not None

    def _observe_network(self, name: str, rows: Matrices, train: np.ndarray, held: np.ndarray) -> Observed:
        waiting = sum(ADAPTATIONS[one].trains for one in self.waiting)
        setting = self._setting(name)
        if self.clock.budget:  # as much for every network, and for one of them again on all rows
            setting = dataclasses.replace(setting, clock=self.clock.part((self.clock.left() - RESERVE) / (waiting + 2)))
        model = self._make(name).fit(self.domains.select(train), setting=setting)
        self.networks[name] = model
        return Observed(
            model.outputs(self.domains.target),
            source_outputs=model.outputs(self.domains.source.select(held)),
            source_y=rows.y[held],
            target_features=rows.target,
            source_features=rows.source[held],
            ratio=self.ratio,
        )

    def _judged(self, found: dict[str, Tried], base: str, rule: Rule | None) -> Verdict | None:
        seen = {one.label: one.observed for name, one in found.items() if name != base and one.observed is not None}
        own = found[base].observed
        if rule is None or not seen or own is None:
            return None
        return veto(own, seen, rule, base_name=found[base].label, level=self.config.level, seed=self.config.seed)
