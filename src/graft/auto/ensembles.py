"""An ensemble of what was tried: proposed on held-out rows, within the limits, and fitted member by member."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.auto.ways import RESERVE, SLACK
from graft.core.errors import BudgetError
from graft.core.registry import TRANSFERS
from graft.data.splits import units
from graft.evaluate.blend import blended
from graft.evaluate.search import Candidate, Trial
from graft.trust.guard import Verdict, points

if TYPE_CHECKING:
    from graft.auto.state import State
    from graft.auto.trials import Runner
    from graft.transfer.base import BaseTransfer

MOST = 10  # trials among which members are looked for: the best ones
MEMBERS = 5  # members at most
PARTS = 5  # of the held-out rows where they are no folds: the weights for one come from the others


def mixed(
    state: State, runner: Runner, allowed: Sequence[Trial], single: Trial, verdict: Verdict
) -> tuple[Trial, Verdict]:
    """The mean of several trials where it is better than the best of them, and than what is simple, beyond noise.

    Args:
        state: The run; the trial of the mean joins its trials.
        runner: Its trials.
        allowed: Trials that may be returned, alone or as members.
        single: The one that is returned otherwise.
        verdict: What the guard said of it.
    """
    mean = propose(state, runner, allowed)
    state.trials.append(mean)
    if mean.usable and (reason := runner.refused(mean)):
        mean.state, mean.reason = "skipped", reason
    state.listener.on_trial(mean, runner.interval(mean))
    if not mean.usable:
        return single, verdict
    best = max(allowed, key=lambda one: runner.value(one) or -math.inf)
    plain = [one for one in state.trials if one.usable and _simplicity(one) <= 1]
    rivals = list({id(one): one for one in (*plain, single, best)}.values())
    rows = np.flatnonzero(np.logical_and.reduce([one.rows for one in (mean, *rivals)]))
    found = runner.compared(mean, rivals, rows)
    if found.decision == "transfer":
        return mean, found
    near = next(one for one in reversed(found.compared) if not one.better)
    size = points(near.difference, state.search.task.metric)
    what = f"the {mean.candidate.name} is not better than {near.name} beyond noise ({size}) and is not returned"
    return single, replace(verdict, sentence=f"{verdict.sentence}; {what}")


def propose(state: State, runner: Runner, trials: Sequence[Trial]) -> Trial:
    """A trial of the weighted mean of some trials, scored on rows that did not choose its weights (``evaluate.blend``).

    Together the members stay within ``max_latency`` and ``max_size`` and can be fitted on all rows in the time left.

    Args:
        state: The run.
        runner: Its trials.
        trials: Those that may be members, all done.
    """
    found = Trial(Candidate("ensemble"), state="skipped")
    if not state.data.task.served_by(TRANSFERS["ensemble"].kinds):
        found.reason = f"there is no mean of the outputs of a {state.data.task.kind}"
        return found
    most = np.array([MEMBERS, *_allowed(state)])
    costs = {id(one): np.array([1.0, *_cost(state, runner, one)]) for one in trials}
    able = [one for one in trials if _simplicity(one)]
    if len(able) < 2:
        found.reason = "fewer than two ways came to their end"
        return found
    able = [one for one in able if bool((costs[id(one)] <= most).all())]
    able = sorted(able, key=lambda one: -(runner.value(one) or -math.inf))[:MOST]
    if len(able) < 2:
        found.reason = "there are no two ways that could be fitted in the time left"
        return found
    rows = np.flatnonzero(np.logical_and.reduce([one.rows for one in able]))
    mean, weights = _mean(state, able, rows, np.stack([costs[id(one)] for one in able]), most)
    members = [(one, float(weight)) for one, weight in zip(able, weights, strict=True) if weight]
    if len(members) < 2:
        found.reason = f"no mean of several is better than {members[0][0].candidate.name} alone"
        return found
    return _trial(state, runner, members, rows, mean)


def fit_members(
    state: State, runner: Runner, chosen: Trial, fit: Callable[[Candidate], BaseTransfer]
) -> tuple[BaseTransfer | None, Trial]:
    """Fit the members on all rows, the weightiest first; one without time is left out and the weights are chosen again.

    Args:
        state: The run.
        runner: Its trials.
        chosen: The trial of the ensemble.
        fit: Fits a candidate on all rows within the time left.

    Returns:
        The ensemble, None where fewer than two members could be fitted; and the trial of what is left of it, of the single
        member, or of the weightiest one.
    """
    weights, done = chosen.candidate.settings["weights"], []
    trials = [next(one for one in state.trials if one.candidate is member) for member in chosen.candidate.members]
    order = sorted(range(len(trials)), key=lambda place: -weights[place])
    for place in order:
        if runner.predicted(trials[place].candidate, len(state.data)) > (state.clock.left() - RESERVE) * SLACK:
            continue
        try:
            done.append((trials[place], weights[place], fit(trials[place].candidate)))
        except BudgetError:
            continue
    if len(done) < 2:
        return (done[0][2], done[0][0]) if done else (None, trials[order[0]])
    kept = [one for one, _, _ in done]
    if len(done) < len(trials):
        rows = np.flatnonzero(chosen.rows)
        mean, again = _mean(state, kept, rows, np.ones((len(kept), 1)), np.array([MEMBERS]))
        done = [(one, float(weight), model) for (one, _, model), weight in zip(done, again, strict=True) if weight]
        if len(done) < 2:
            return done[0][2], done[0][0]
        chosen = _trial(state, runner, [(one, weight) for one, weight, _ in done], rows, mean)
    made: Any = TRANSFERS["ensemble"]
    settings = {id(one): described for one, described in zip(chosen.candidate.members, _settings(chosen), strict=True)}
    members = [settings[id(one.candidate)] for one, _, _ in done]
    return made.joined(members, [weight for _, weight, _ in done], [model for _, _, model in done]), chosen


def _mean(
    state: State, trials: Sequence[Trial], rows: np.ndarray, costs: np.ndarray, most: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of the mean on rows that did not choose its weights, and the weights that all rows choose."""
    outputs = [one.outputs[rows] for one in trials if one.outputs is not None]
    if len(state.folds) > 1:
        parts = [np.flatnonzero(np.isin(rows, test)) for _, test in state.folds]
    else:
        unit = units(state.search.select(rows))
        mixed = np.random.default_rng(state.config.seed).permutation(unit.max() + 1)[unit]
        parts = [np.flatnonzero(mixed % PARTS == part) for part in range(PARTS)]
    y = state.search.y
    assert y is not None
    parts = [part for part in parts if len(part)]
    return blended(state.search.task, y[rows], outputs, parts, costs=costs, most=most)


def _trial(
    state: State, runner: Runner, members: Sequence[tuple[Trial, float]], rows: np.ndarray, mean: np.ndarray
) -> Trial:
    """The trial of some members with their weights, from its outputs on rows that all of them predicted."""
    trials = [one for one, _ in members]
    candidates = tuple(one.candidate for one in trials)
    parameters = sum(one.spec.parameters for one in candidates if one.spec)
    candidate = Candidate(
        "ensemble",
        {"weights": [weight for _, weight in members]},
        seconds=lambda count: sum(runner.predicted(one, count) for one in candidates),
        memory=max(one.memory for one in candidates) + 4 * parameters,  # one is fitted while the others are held
        label=f"ensemble of {len(members)}",
        members=candidates,
    )
    whole = np.full((len(state.search), *mean.shape[1:]), np.nan)
    whole[rows] = mean
    made = Trial(candidate, outputs=whole, folds=len(state.folds))
    candidate.settings["members"] = _settings(made)
    made.predicted_seconds = made.fit_seconds = sum(one.fit_seconds for one in trials)
    made.ms_per_example = sum(one.ms_per_example for one in trials)
    return made


def _settings(ensemble: Trial) -> list[dict[str, Any]]:
    """The members as the transfer takes them, in JSON."""
    found = []
    for one in ensemble.candidate.members:
        source = {"source": one.spec.uri} if one.spec and TRANSFERS[one.transfer].needs_source else {}
        found.append({"transfer": one.transfer, "settings": {**one.settings, **source}})
    return found


def _simplicity(trial: Trial) -> int:
    return TRANSFERS[trial.candidate.transfer].simplicity


def _allowed(state: State) -> list[float]:
    """Milliseconds per row, bytes and seconds that all members together may take."""
    config, free = state.config, math.inf
    return [
        free if config.max_latency is None else config.max_latency,
        free if config.max_size is None else 1e6 * config.max_size,
        (state.clock.left() - RESERVE) * SLACK,
    ]


def _cost(state: State, runner: Runner, trial: Trial) -> list[float]:
    """What a member takes of each."""
    return [trial.use.ms, trial.use.bytes, runner.predicted(trial.candidate, len(state.data))]
