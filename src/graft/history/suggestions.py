"""What to try first on a task, judged by what won on tasks like it.

The expected regret of a way w (transfer, settings, source) on a task with statistics x is

    r(w | x) = (Σ_t k_t r_tw + PRIOR · r̄) / (Σ_t k_t + PRIOR),    k_t = exp(-d(x, x_t) / BANDWIDTH),

over the past tasks t that tried w.  r_tw is how far w stayed behind the best way that t tried, in score points (0 to 1),
and r̄ = Σ_t k_t m_t / Σ_t k_t the regret of a middling way: the kernel-weighted mean of the median m_t over all ways of t.
So a way that rests on one distant task counts as middling, and one that keeps winning on near ones comes first.

References:
    Feurer, Springenberg & Hutter (2015), Initializing Bayesian hyperparameter optimization via meta-learning, AAAI
    (begin with what won on the nearest tasks);  Wistuba, Schilling & Schmidt-Thieme (2015), Learning hyperparameter
    optimization initializations, DSAA (regret over past tasks is what an order is judged by).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from graft.history.entries import Entry, PastTrial, differing

if TYPE_CHECKING:
    from graft.evaluate.search import Candidate

T = TypeVar("T")

Way = tuple[str, dict[str, Any], str | None]
"""Transfer, settings and URI of the source, or None where there is none."""

BANDWIDTH = 0.5  # distance at which a task counts 1 / e as much as one that is equal
PRIOR = 1.0  # weight of the middling regret, in tasks that are equal to this one
HALF_POINT = 0.005  # ways whose expected regrets lie in the same half point are ordered by cost
FAR = 1e-12  # weight of the most distant task: weights must not all vanish
NAMED = 4  # tasks named in a reason


@dataclass(frozen=True)
class Suggestion:
    """A way with what is expected of it on a new task.

    Attributes:
        transfer: Name in the registry.
        settings: Constructor keywords that differ from the default.
        source: URI, or None.
        regret: Expected score points behind the best way.
        errors: The same in standard errors of the best way's score; None where no run kept one.
        seconds: Expected time over that of the cheapest probe; None where no run had one.
        tasks: Past tasks that it rests on.
        reason: Why, in one sentence.
    """

    transfer: str
    settings: dict[str, Any] = field(default_factory=dict)
    source: str | None = None
    regret: float = 0.0
    errors: float | None = None
    seconds: float | None = None
    tasks: int = 0
    reason: str = ""


# -- ways --------------------------------------------------------------------------------------------------------------


def _key(way: Way) -> str:
    transfer, settings, source = way
    return json.dumps([transfer, differing(transfer, settings), source], sort_keys=True, default=str)


def order(
    candidates: Iterable[T],
    suggestions: Sequence[Suggestion],
    way: Callable[[T], Way] = lambda one: one,  # type: ignore[assignment,return-value]
) -> list[T]:
    """Order candidates by suggestion; one whose way no suggestion names keeps its place.

    Args:
        candidates: Ways, or anything that has one.
        suggestions: What ``suggest`` gives.
        way: The way of a candidate.

    Example:
        >>> ways = [("classical", {}, None), ("probe", {}, "hf:a"), ("scratch", {}, None)]
        >>> [way[0] for way in order(ways, [Suggestion("scratch"), Suggestion("classical")])]
        ['scratch', 'probe', 'classical']
    """
    items = list(candidates)
    place: dict[str, int] = {}
    for index, one in enumerate(suggestions):
        place.setdefault(_key((one.transfer, one.settings, one.source)), index)
    keys = [_key(way(item)) for item in items]
    known = [index for index, key in enumerate(keys) if key in place]
    ordered = list(items)
    for slot, index in zip(known, sorted(known, key=lambda index: place[keys[index]]), strict=True):
        ordered[slot] = items[index]
    return ordered


def way_of(candidate: Candidate) -> Way:
    """The way of a candidate of the search."""
    return candidate.transfer, candidate.settings, candidate.spec.uri if candidate.spec else None


def starts(suggestions: Sequence[Suggestion], transfer: str, most: int = 3) -> list[dict[str, Any]]:
    """Settings of a transfer that a search of its settings should begin with, best first, on whatever source they won.

    Example:
        >>> starts([Suggestion("probe"), Suggestion("finetune", {"lr": 3e-4})], "finetune")
        [{'lr': 0.0003}]
    """
    found: list[dict[str, Any]] = []
    for one in suggestions:
        if one.transfer == transfer and one.settings not in found:
            found.append(one.settings)
    return found[:most]


# -- suggestions -------------------------------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """What became of a way on one past task."""

    regret: float
    seconds: float | None  # over those of the task's cheapest probe
    won: bool


class _Past(NamedTuple):
    """One past task: all runs on the same data together."""

    name: str
    weight: float
    error: float  # standard error of the best score; 0 if unknown
    middling: float
    ways: dict[str, _Seen]


def suggest(near: Sequence[tuple[float, Entry]]) -> list[Suggestion]:
    """Say what to expect of every way that similar tasks have tried, best first.

    Ways whose expected regrets fall into the same half point come in the order of their cost.  Tasks on which fewer than
    two ways beside the majority were scored tell nothing of what is better and are left out.

    Args:
        near: Past runs with their distance, as ``similar`` gives them.
    """
    ways: dict[str, Way] = {}
    tasks = _tasks(near, ways)
    if not tasks:
        return []
    weights = [task.weight for task in tasks]
    middling = _mean([task.middling for task in tasks], weights)
    judged = [task for task in tasks if task.error]
    errors = _mean([task.middling / task.error for task in judged], [task.weight for task in judged])
    found = []
    for key, (transfer, settings, source) in ways.items():
        tried = [task for task in tasks if key in task.ways]
        if not tried:
            continue
        regret = _shrunk([(task.weight, task.ways[key].regret) for task in tried], middling)
        scaled = [(task.weight, task.ways[key].regret / task.error) for task in tried if task.error]
        times = [(task.weight, math.log(task.ways[key].seconds or 0)) for task in tried if task.ways[key].seconds]
        found.append(
            Suggestion(
                transfer, settings, source, regret,
                errors=_shrunk(scaled, errors) if scaled else None,
                seconds=math.exp(_mean([t for _, t in times], [w for w, _ in times])) if times else None,
                tasks=len(tried), reason=_reason(key, tried),
            )
        )  # fmt: skip
    keyed = {id(one): _key((one.transfer, one.settings, one.source)) for one in found}
    return sorted(
        found,
        key=lambda one: (int(one.regret / HALF_POINT), 1.0 if one.seconds is None else one.seconds, keyed[id(one)]),
    )


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights) if values else 0.0


def _shrunk(seen: Sequence[tuple[float, float]], middling: float) -> float:
    return (sum(w * r for w, r in seen) + PRIOR * middling) / (sum(w for w, _ in seen) + PRIOR)


def _tasks(near: Sequence[tuple[float, Entry]], ways: dict[str, Way]) -> list[_Past]:
    """Past tasks, nearest first; ``ways`` is filled with the ways that were scored."""
    name_of = _sources([entry for _, entry in near])
    groups: dict[str, list[tuple[float, Entry]]] = {}
    for distance, entry in near:
        groups.setdefault(entry.fingerprint, []).append((distance, entry))
    found = []
    for runs in groups.values():
        distance, nearest = runs[0]
        scored: dict[str, PastTrial] = {}
        for _, entry in sorted(runs, key=lambda run: run[1].finished, reverse=True):  # the newest trial of a way counts
            for trial in entry.trials:
                if trial.score is not None and trial.state != "failed":  # some folds tell something, too
                    way = (trial.transfer, trial.settings, name_of(trial))
                    scored.setdefault(_key(way), trial)
                    ways.setdefault(_key(way), way)
        done = [trial for trial in scored.values() if trial.state == "done"]
        if not done or sum(trial.transfer != "majority" for trial in scored.values()) < 2:
            continue
        best = max(done, key=lambda trial: trial.value)
        probes = [trial.each for trial in done if trial.transfer == "probe" and trial.each]
        cheapest = min(probes) if probes else None
        seen = {
            key: _Seen(
                regret=max(0.0, best.value - trial.value),
                seconds=trial.each / cheapest if cheapest and trial.each else None,
                won=trial.state == "done" and trial.value == best.value,
            )
            for key, trial in scored.items()
        }
        middling = median(way.regret for way in seen.values())
        found.append(_Past(nearest.name, max(math.exp(-distance / BANDWIDTH), FAR), best.error, middling, seen))
    return found


def _sources(entries: Sequence[Entry]) -> Callable[[PastTrial], str | None]:
    """What a trial's source is called now: weights that moved have the newest URI, a URI with new weights another name."""
    weights: dict[str, str] = {}
    names: dict[str, str] = {}
    for entry in sorted(entries, key=lambda entry: entry.finished, reverse=True):
        for trial in entry.trials:
            if trial.source and trial.weights:
                weights.setdefault(trial.source, trial.weights)
                names.setdefault(trial.weights, trial.source)

    def name_of(trial: PastTrial) -> str | None:
        known = trial.weights or weights.get(trial.source or "")
        if not trial.source or not known:
            return trial.source
        name = names[known]
        return name if weights[name] == known else f"{name} ({known[:8]})"

    return name_of


def _reason(key: str, tried: Sequence[_Past]) -> str:
    """One sentence; ``tried`` is nearest first."""
    some = tried[:NAMED]
    won = [task.name for task in some if task.ways[key].won]
    which = (
        "the most similar task that tried it" if len(some) == 1 else f"the {len(some)} most similar tasks that tried it"
    )
    if not won:
        behind = 100 * sum(task.ways[key].regret for task in some) / len(some)
        mean = "" if len(some) == 1 else " on average"
        return f"{behind:.1f} points behind{mean} on {which}: {_list([task.name for task in some])}"
    count = "" if len(some) == 1 else f"{len(won)} of "
    return f"won on {count}{which}: {_list(won)}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))
