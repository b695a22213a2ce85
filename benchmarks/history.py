"""History: trials and time until the best is near, in the default order and in the order that other sets suggest.

The table of trials is the ``trials.json`` of the benchmark ``regret``, or ``--trials FILE`` of the same form: a list of
rows, or an object with them under ``rows``.  A row is one trial:

set, size, seed                 the task: so many rows of a set (0 for all), drawn with a seed
source, transfer, settings      the way; source is null where there is none
score                           held-out score, 0 to 1; rows without one are left out
seconds                         of one fit
pass_seconds                    optional: the pass of the source over the rows, paid by the first trial that needs it

Other keys (``test_score`` among them) are not read: an order is judged by what a search sees.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import draws, sets

Row = dict[str, Any]
LEVEL = 0.9
NEAR = 1e-9  # scores this close are equal: sums of floats


@dataclass(frozen=True)
class Task:
    """Rows of a set, and all that was tried on them."""

    set: str
    size: int
    seed: int
    trials: tuple[Row, ...]

    @property
    def name(self) -> str:
        return f"{self.set}, {self.size or 'all'} rows, seed {self.seed}"

    def best_of(self, transfer: str, source: str | None = None) -> float | None:
        """The best score of a transfer, on one source or on any."""
        own = [row for row in self.trials if row["transfer"] == transfer and source in (None, row["source"])]
        return max((row["score"] for row in own), default=None)


def history(experiment: Row, folders: argparse.Namespace) -> Iterator[list[Row]]:
    """For every set: each of its tasks with the history of all other sets."""
    path = Path(getattr(folders, "trials", None) or folders.out / "trials.json")
    tasks = [task for task in read_trials(path) if task.set in experiment["sets"]]
    facts = {task.name: _statistics(task, Path(folders.data)) for task in tasks}
    for name in folders.sets or experiment["sets"]:
        own = [task for task in tasks if task.set == name]
        past = [_entry(task, facts[task.name]) for task in tasks if task.set != name]
        if own and past:
            rows = _rows(name, [(task, *_compared(task, facts[task.name], past, experiment)) for task in own])
            for row in rows:
                print(f"{name:<12} {row['system']:<18} {row['mean']:.2f} trials  {row['seconds']:.1f} s", flush=True)
            yield rows


def read_trials(path: Path) -> list[Task]:
    """The tasks of a table of trials, in its order."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        cells: dict[tuple[str, int, int], list[Row]] = {}
        for row in table["rows"] if isinstance(table, dict) else table:
            if row["score"] is not None:
                cells.setdefault((row["set"], row["size"], row["seed"]), []).append(row)
    except FileNotFoundError as error:
        raise SystemExit(f"{path} is missing: run the benchmark regret first, or give --trials FILE") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path} is no table of trials: {type(error).__name__} {error}") from error
    return [Task(*cell, tuple(trials)) for cell, trials in cells.items() if len(trials) > 1]


def _statistics(task: Task, data: Path) -> Row:
    """What is known of the rows before anything is tried on them; no features are made."""
    from graft.data.load import load
    from graft.history.statistics import statistics

    with tempfile.TemporaryDirectory() as folder:
        train, _ = sets.paths(task.set, data, Path(folder))
        return statistics(load(draws.draw(task.set, train, {"rows": task.size}, task.seed, Path(folder) / "rows")))


def _entry(task: Task, facts: Row) -> Any:
    """The task as the history would remember it."""
    from graft.history.entries import Entry, PastTrial, differing
    from graft.history.statistics import CHEAP, score_statistics

    cheap = {name: score for name in CHEAP if (score := task.best_of(name)) is not None}
    trials = [
        PastTrial(
            row["transfer"], differing(row["transfer"], row["settings"]), row["source"],
            score=(row["score"],) * 3, seconds=row["seconds"], folds=1,
        )
        for row in task.trials
    ]  # fmt: skip
    return Entry(
        task.name,
        task.name,
        task.name,
        task.size,
        "",
        "",
        "",
        None,
        0.0,
        facts | score_statistics(cheap),
        tuple(trials),
    )


def _compared(task: Task, facts: Row, past: Sequence[Any], experiment: Row) -> tuple[tuple[int, float], ...]:
    """(trials, seconds) until the best is near, in the default and in the suggested order."""
    from graft.history.history import order, similar, suggest
    from graft.history.statistics import score_statistics

    first = [row for row in task.trials if row["transfer"] in experiment["always"]]
    rest = default_order([row for row in task.trials if row not in first], task, experiment["order"])
    known = {name: score for name in experiment["always"] if (score := task.best_of(name)) is not None}
    suggested = suggest(similar(past, facts | score_statistics(known)))
    ways = [(row["transfer"], row["settings"], row["source"]) for row in rest]
    by_way = {json.dumps(way, sort_keys=True): row for way, row in zip(ways, rest, strict=True)}
    better = [by_way[json.dumps(way, sort_keys=True)] for way in order(ways, suggested)]
    return tuple(until_near([*first, *some], experiment["within"]) for some in (rest, better))


def default_order(rows: Sequence[Row], task: Task, transfers: Sequence[str]) -> list[Row]:
    """By transfer, as named, then by the source's best probe, as a ranking gives it; else as in the table."""
    place = {name: index for index, name in enumerate(transfers)}

    def key(row: Row) -> tuple[int, float]:
        probe = task.best_of("probe", row["source"]) if row["source"] else None
        return place.get(row["transfer"], len(place)), -(probe or 0.0)

    return sorted(rows, key=key)


def until_near(rows: Sequence[Row], within: float) -> tuple[int, float]:
    """Trials and seconds, in this order, until a score is ``within`` of the best of all.

    Example:
        >>> rows = [{"source": "a", "score": s, "seconds": 1.0, "pass_seconds": 5.0} for s in (0.5, 0.9, 0.902)]
        >>> until_near(rows, 0.005)
        (2, 7.0)
    """
    best = max(row["score"] for row in rows)
    seconds, passed = 0.0, set()
    for count, row in enumerate(rows, start=1):
        seconds += row["seconds"]
        if row["source"] and row["source"] not in passed:
            passed.add(row["source"])
            seconds += row.get("pass_seconds") or 0.0
        if best - row["score"] <= within + NEAR:
            return count, seconds
    raise AssertionError("the best is one of them")


def _rows(name: str, found: Sequence[tuple[Task, tuple[int, float], tuple[int, float]]]) -> list[Row]:
    rows = []
    for place, system in enumerate(("default order", "suggested order"), start=1):
        counts = [one[place][0] for one in found]
        rows.append({
            "set": name, "system": system, "metric": "trials", "seeds": sorted({one[0].seed for one in found}),
            "scores": counts, "mean": float(np.mean(counts)), "low": min(counts), "high": max(counts),
            "tasks": [one[0].name for one in found], "seconds": float(np.mean([one[place][1] for one in found])),
            "all_seconds": [one[place][1] for one in found],
        })  # fmt: skip
    return rows


def summary(rows: Sequence[Row]) -> Row:
    """Share of the trials and of the seconds that the suggested order saves: mean over sets with its interval."""
    from graft.nn.bootstrap import bootstrap, interval

    pairs: dict[str, dict[str, Row]] = {}
    for row in rows:
        pairs.setdefault(row["set"], {})[row["system"]] = row
    both = {name: pair for name, pair in pairs.items() if len(pair) == 2}
    found: Row = {"sets": list(both)}
    for key, what in (("mean", "trials"), ("seconds", "seconds")):
        saved = np.array(
            [
                1 - pair["suggested order"][key] / pair["default order"][key]
                for pair in both.values()
                if key in pair["default order"]
            ]
        )
        if len(saved):
            draws_of = bootstrap([lambda weight, saved=saved: weight @ saved / weight.sum(axis=1)], len(saved), seed=0)
            mean = float(saved.mean())
            found[f"{what} saved"] = list(interval(mean, draws_of[:, 0], level=LEVEL, size=len(saved)))
    return found
