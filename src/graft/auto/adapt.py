"""``graft adapt``: every method on both domains, judged without a label of the target, and vetoed where it may harm."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graft.adaptation.base import BaseAdaptation
from graft.adaptation.domains import Domains
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.auto.domain_view import SHOWN, view
from graft.core.errors import BudgetError, DataError, GraftError, UsageError
from graft.core.registry import ADAPTATIONS, MODALITIES
from graft.core.rows import evenly_spaced
from graft.core.runtime import Clock, Progress, parse_budget, silent
from graft.core.store import Store
from graft.core.types import Dataset
from graft.data.splits import holdout
from graft.features import encode, extract
from graft.nn.heads import to_outputs
from graft.sources.base import open_model
from graft.transfer.base import Setting
from graft.unlabelled.distance import a_distance, mmd, where_shift
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
    """

    domains: Domains
    config: AdaptConfig = field(default_factory=AdaptConfig)
    store: Store | None = None
    progress: Progress = silent
    on_tried: Callable[[Tried], None] = lambda tried: None  # noqa: ARG005
    spent: float = 0.0
    clock: Clock = field(init=False)
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
        rows = self._numbers()
        train, held = holdout(self.domains.source, test=HELD_OUT, seed=self.config.seed)
        self.ratio = density_ratio(rows.source, rows.target, seed=self.config.seed)[held]
        rule = self._rule(rows, train, [name for name in methods if not ADAPTATIONS[name].trains])
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
        return model, self._record(rows, base, rule, verdict, model, time.perf_counter() - start)

    def fitted(self, name: str) -> BaseAdaptation:
        """A method fitted on all source rows; a network for which there is no time any more as it was tried."""
        took = next((one.seconds for one in self.tried if one.name == name), 0.0)
        if name in self.networks and self.clock.left() - RESERVE < AGAIN * took:
            return self.networks[name]
        return self._make(name).fit(self.domains, setting=self._setting())

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

    def _setting(self) -> Setting:
        left = self.clock.left() - RESERVE
        clock = self.clock.part(left) if self.clock.budget else Clock()
        return Setting(clock, self.progress, self.store)

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

    def _rule(self, rows: Matrices, train: np.ndarray, names: list[str]) -> Rule | None:
        """What evidence is worth, learned on pseudo-targets of the source; None where there was no time or no row for it."""
        names = names or [name for name, one in ADAPTATIONS.items() if not one.trains and one.tried and name != BASE]
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
            start = time.perf_counter()
            found += self._pseudo(f"{done}: {shift.name}", shift, X, y, rows.classes, names)
            if part.left() < 1.2 * (time.perf_counter() - start):
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
        found = {}
        for method in (BASE, *names):
            label = ADAPTATIONS[method].label  # by which the rule and the veto know it
            try:
                found[label] = self._observe_numbers(method, whole, train, held, ratio)
            except (GraftError, ValueError, np.linalg.LinAlgError):
                continue  # a method that cannot be fitted there says nothing
        base = found.pop(ADAPTATIONS[BASE].label, None)
        return trials_on(name, y[shift.target], base, found) if base is not None and found else []

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
        if self.clock.expired or self.clock.left() < RESERVE:
            tried.reason = "the time was used up"
            return tried
        self.progress(one.label, 0.0)
        try:
            if one.trains:
                tried.observed = self._observe_network(name, rows, train, held)
            else:
                tried.observed = self._observe_numbers(name, rows, train, held, self.ratio)
        except (GraftError, ValueError, np.linalg.LinAlgError) as error:
            tried.reason = " ".join(str(error).split())[:200]
        tried.seconds = time.perf_counter() - start
        return tried

    def _observe_network(self, name: str, rows: Matrices, train: np.ndarray, held: np.ndarray) -> Observed:
        waiting = sum(ADAPTATIONS[one].trains for one in self.waiting)
        setting = self._setting()
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

    # -- record ------------------------------------------------------------------------------------------------------

    def _record(
        self,
        rows: Matrices,
        base: str,
        rule: Rule | None,
        verdict: Verdict | None,
        model: BaseAdaptation,
        seconds: float,
    ) -> dict[str, Any]:
        seed, level = self.config.seed, self.config.level
        evidence = {} if verdict is None else {one.name: one for one in verdict.evidence}
        vectors = getattr(model, "vectors_", None)
        names = vectors.names() if hasattr(vectors, "names") else None
        distance = a_distance(rows.source, rows.target, level=level, seed=seed)
        gap = mmd(rows.source, rows.target, seed=seed)
        why = "no time, or too few rows, to learn what evidence is worth: source only is returned"
        return {
            "returned": model.name,
            "label": model.label,
            "decision": "source only" if verdict is None else verdict.decision,
            "sentence": why if verdict is None else verdict.sentence,
            "base": base,
            "classes": list(self.domains.source.task.classes),
            "source": _facts(self.domains.source) | {"domains": self.domains.sources},
            "target": _facts(self.domains.target),
            "config": dataclasses.asdict(self.config),
            "distance": {"a_distance": list(distance), "mmd": gap.value, "mmd_p": gap.p},
            "shift": [dataclasses.asdict(one) for one in where_shift(rows.source, rows.target, names, level=level)],
            "rule": None if rule is None else {
                "criteria": list(rule.names), "threshold": rule.threshold if np.isfinite(rule.threshold) else None,
                "rank": rule.rank, "harmful": rule.harmful, "kept": rule.kept, "error": rule.error, "shifts": rule.shifts,
            },
            "tried": [
                {
                    "name": one.name, "label": one.label, "seconds": one.seconds, "reason": one.reason,
                    "evidence": dataclasses.asdict(evidence[one.label]) if one.label in evidence else None,
                }
                for one in self.tried
            ],
            "view": self._view(rows, base, model),
            "seconds": self.clock.elapsed(),
            "refit_seconds": seconds,
        }  # fmt: skip

    def _view(self, rows: Matrices, base: str, model: BaseAdaptation) -> dict[str, Any]:
        """Both domains as source only sees them, and as the returned model does."""
        seed, before = self.config.seed, next(one.observed for one in self.tried if one.name == base)
        assert before is not None
        found = {"before": view(rows.source, rows.target, rows.y, before.target_outputs.argmax(axis=1), seed=seed)}
        if model.name == base:
            return found
        predicted = model.outputs(self.domains.target).argmax(axis=1)
        if isinstance(model, FeatureAdaptation):
            found["after"] = view(*model.seen(rows.source, rows.target), rows.y, predicted, seed=seed)
        elif model.backbone_ is not None:
            some = [evenly_spaced(len(data), SHOWN) for data in (self.domains.source, self.domains.target)]
            both = zip((self.domains.source, self.domains.target), some, strict=True)
            features = [encode(model.backbone_, data.take(one)).layer(-1) for data, one in both]
            found["after"] = view(*features, rows.y[some[0]], predicted[some[1]], seed=seed)
        return found


def _facts(data: Dataset) -> dict[str, Any]:
    return {"name": data.name, "rows": len(data), "notes": list(data.notes)}
