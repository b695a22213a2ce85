"""Rows without a label beside the labelled ones: set apart, and what they brought, said with an interval."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from graft.core.registry import TRANSFERS
from graft.core.types import Dataset
from graft.data.splits import content_keys
from graft.trust.guard import points

if TYPE_CHECKING:
    from graft.auto.run import AutoFit
    from graft.auto.ways import Ways
    from graft.evaluate.search import Trial


def apart(data: Dataset, others: tuple[Dataset, ...] = ()) -> tuple[Dataset, tuple[Dataset, ...]]:
    """The labelled rows, and those without a label: rows of the data whose target is missing, then the others.

    Rows without a label that say the same as a labelled one, or belong to its group, are left out: a held-out row must not
    be among those that a fit sees, not even without its label.

    Args:
        data: Rows of which some may have no label (``load(…, partly=True)``).
        others: Rows without a label from elsewhere.
    """
    if data.y is None:
        return data, others
    known = data.task.known(data.y)
    labelled = data.select(known)
    parts = [*([] if known.all() else [data.select(~known)]), *others]
    if not parts:
        return data, ()
    keys = content_keys(labelled) if hasattr(labelled.X, "keys") else None
    kept = []
    for part in parts:
        new = np.ones(len(part), bool)
        if keys is not None and hasattr(part.X, "keys"):
            new &= ~np.isin(content_keys(part), keys)
        if part.X is data.X and part.groups is not None:
            new &= ~np.isin(part.groups, labelled.groups)
        if new.any():
            kept.append(dataclasses.replace(part.select(new), y=None))
    return labelled, tuple(kept)


def noted(ways: Ways, unlabelled: tuple[Dataset, ...]) -> tuple[str, ...]:
    """The notes on the data, with what becomes of the rows without a label."""
    data, rows = ways.state.data, sum(map(len, unlabelled))
    able = [way for name, way in TRANSFERS.items() if way.semi and data.task.served_by(way.kinds) and ways.wanted(name)]
    inside = any(part.X is data.X for part in unlabelled)
    if able:
        drop = "; --bad-rows drop leaves those of the data out" if inside else ""
        labels = ", ".join(way.label for way in able)
        return (*data.notes, f"{rows:,} row(s) without a label may help: {labels} learn from them too{drop}")
    if inside:
        said = " row(s) without a label ("
        return tuple(one.replace(said, " row(s) without a label left out (") for one in data.notes)
    return (*data.notes, f"{rows:,} row(s) without a label are left aside: no way that is tried learns from such rows")


def rival(trial: Trial, trials: list[Trial], value: Any) -> Trial | None:
    """The best way that learns from labelled rows alone, on the same source."""
    same = [
        one
        for one in trials
        if one.usable and one.candidate.spec == trial.candidate.spec and not TRANSFERS[one.candidate.transfer].semi
    ]
    return max(same, key=value, default=None)


def gain(auto: AutoFit, chosen: Trial) -> dict[str, Any] | None:
    """What the rows without a label brought: the best way that learned from them against the best one without.

    Both on the same source and the same held-out rows; None where there were no such rows, or no way that learns from them.
    """
    tried = [one for one in auto.trials if TRANSFERS[one.candidate.transfer].semi]
    if not auto.unlabelled or not tried:
        return None
    facts: dict[str, Any] = {
        "rows": sum(map(len, auto.unlabelled)),
        "used": any(TRANSFERS[one.transfer].semi for one in (chosen.candidate, *chosen.candidate.members)),
    }
    best = max((one for one in tried if one.usable), key=lambda one: auto.runner.value(one) or -np.inf, default=None)
    other = None if best is None else rival(best, auto.trials, auto.runner.value)
    if best is None or other is None:
        reasons = [f"{one.candidate.name} {one.state} ({one.reason})" for one in tried if one.reason]
        why = f": {reasons[0]}" if reasons else ""
        return {**facts, "sentence": f"the {facts['rows']:,} rows without a label were used by nothing{why}"}
    rows = np.flatnonzero(best.rows & other.rows)
    found = auto.runner.compared(best, [other], rows, tried=sum(one.usable for one in tried)).compared[0]
    names = {"with": best.candidate.name, "without": other.candidate.name}
    said = "better" if found.better else "worse" if found.worse else "not beyond noise"
    words = {
        "better": "the {rows:,} rows without a label helped: {with} is better than {without}",
        "worse": "the {rows:,} rows without a label did harm: {with} is worse than {without}",
        "not beyond noise": "the {rows:,} rows without a label made no difference beyond noise: {with} minus {without}",
    }
    size = points(found.difference, auto.search.task.metric, sign=-1 if found.worse else 1)
    joint = " is " if said == "not beyond noise" else " by "
    sentence = words[said].format(**facts, **names) + joint + size
    return {**facts, **names, "difference": list(found.difference), "effect": said, "sentence": sentence}
