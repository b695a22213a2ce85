"""Regret: what the choice of ``graft fit`` loses against the best single (source, way) found by trying them all.

Every trial of the exhaustive table is kept in ``trials.json``, a flat table; see ``exhaustive.py``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import draws, sets
from benchmarks.exhaustive import Limit, Trials, fill, key_of, unpacked
from benchmarks.processes import BrokenError, TooSlowError, kept, messages

Row = dict[str, Any]
HALVES = 100  # splits of the test rows for the regret by halves
SCORES = {"LogME": "logme", "H-score": "h_score", "size": "parameters"}


def regret(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Fill the table of every set and size, let graft choose, and yield the rows of a cell after each step."""
    trials = Trials(folders.out / "trials.json")
    for name in folders.sets or experiment["sets"]:
        for size in experiment.get("sized", {}).get(name, experiment["sizes"]):
            yield from _cell(name, size, experiment, folders, trials)


def _cell(
    name: str, size: int, experiment: dict[str, Any], folders: argparse.Namespace, trials: Trials
) -> Iterator[list[Row]]:
    label = f"{name}, {size or 'all'} rows"
    ways, picks = experiment["ways"], [f"{by}, {way}" for by in SCORES for way in experiment["picked"]]
    plans: dict[str, Row] = {system: {"ways": ways} for system in picks}
    plans |= experiment["choices"]
    plans = {s: p for s, p in plans.items() if not folders.systems or s in folders.systems or s in picks}
    rows = {system: kept(folders, label, system, plan) for system, plan in plans.items()}
    results: dict[str, list[Row]] = {  # what failed is tried again
        system: [one for one in row.get("results", []) if "reason" not in one] for system, row in rows.items()
    }
    table = not folders.systems or "table" in folders.systems

    def built() -> list[Row]:
        facts = {"set": label, "of": name, "size": size}
        return [
            judged({**facts, "system": system, "plan": plans[system]}, found, trials, experiment["simple"])
            for system, found in results.items()
            if found
        ]

    for seed in experiment["seeds"]:
        cell = {"set": name, "size": size, "seed": seed}
        missing = [s for s in plans if seed not in {result["seed"] for result in results[s]}]
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            train, test = sets.paths(name, Path(folders.data), work)
            rows_of = draws.draw(name, train, {"rows": size}, seed, work / "rows")
            spec = {"train": str(rows_of), "test": str(test), "seed": seed}
            variables = {"GRAFT_MODELS": str(folders.models)}
            if table and set(missing) & set(picks):
                if not getattr(folders, "resume", False):
                    trials.drop(cell)
                options = {"ways": ways, "cv_seconds": experiment["cv_seconds"]}
                limit = float(experiment["trial_seconds"])
                scores = fill({**spec, **options}, cell, trials, limit, work / "cache", variables)
                for by, key in SCORES.items():
                    for way in experiment["picked"]:
                        results[f"{by}, {way}"] += picked(trials.of(cell), scores, key, way, seed)
                yield built()
            for system in [s for s in missing if s not in picks]:
                own = {**spec, "options": plans[system].get("options", {})}
                cache = work / f"cache-{len(results[system])}-{system}"
                results[system] = [*results[system], {"seed": seed, **_choose(own, cache, variables, experiment)}]
                print(f"{label:<26} {system:<24} seed {seed}  {results[system][-1]}", flush=True)
                yield built()


def _choose(spec: Row, cache: Path, variables: dict[str, str], experiment: dict[str, Any]) -> Row:
    limit = Limit(experiment.get("choice_seconds", 3600.0))
    try:
        stream = messages(
            "benchmarks.exhaustive", ["choice", json.dumps(spec)], limit=limit, GRAFT_CACHE=str(cache), **variables
        )
        return next(message["choice"] for message in stream if "choice" in message)
    except (TooSlowError, BrokenError) as error:
        return {"test_score": None, "reason": str(error)}


# -- regret ----------------------------------------------------------------------------------------------------------


def best_of(trials: list[Row], ways: Sequence[str] | None = None) -> Row | None:
    """The trial with the best score on the test rows, of the named ways or of all."""
    scored = [row for row in trials if row["test_score"] is not None and (ways is None or row["way"] in ways)]
    return max(scored, key=lambda row: row["test_score"], default=None)


def exhaustive_seconds(trials: list[Row]) -> float:
    """What trying them all cost at least: one fit of each on all rows, and one pass of every source.

    Cross-validation, without which nobody could choose among them, would come on top.
    """
    passes = {row["source"]: row["pass_seconds"] for row in trials if row["source"]}
    return sum(row["seconds"] for row in trials) + sum(passes.values())


def picked(trials: list[Row], scores: dict[str, Row], by: str, way: str, seed: int) -> list[Row]:
    """The source with the largest score, transferred in one way; nothing where no source has that score.

    Its seconds are those of the transfer and of one pass of every source, which size alone does not need.
    """
    scored = {source: row[by] for source, row in scores.items() if by in row}
    if not scored:
        return []
    source = max(scored, key=lambda name: (scored[name], name))
    trial = next((row for row in trials if key_of(row) == (way, source)), {"test_score": None, "seconds": 0.0})
    passes = {row["source"]: row["pass_seconds"] for row in trials if row["source"]}
    read = [source] if by == "parameters" else list(scored)
    seconds = trial["seconds"] + sum(passes.get(one, 0.0) for one in read)
    return [{"seed": seed, "source": source, "way": way, "test_score": trial["test_score"], "seconds": seconds}]


def halved(
    truth: np.ndarray, rivals: Sequence[np.ndarray], own: np.ndarray, metric: str, *, draws: int = HALVES
) -> float:
    """Points that ``own`` loses against the rival that is best on one half of the rows, counted on the other half.

    The best of many on the rows it is judged on owes part of its score to luck; chosen on a half drawn at random and judged
    on the other it owes none.  Mean over draws, each half choosing once.

    Args:
        truth: True classes (n,).
        rivals: Classes that each trial predicts (n,).
        own: Classes that graft's choice predicts (n,).
        metric: ``"accuracy"`` or ``"macro_f1"``.
        draws: Splits.

    Example:
        >>> y = np.arange(40) % 2
        >>> halved(y, [y, 1 - y], y, "accuracy"), halved(y, [y, 1 - y], 1 - y, "accuracy")
        (0.0, 100.0)
    """
    rng, lost = np.random.default_rng(0), []
    for _ in range(draws):
        order = rng.permutation(len(truth))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        for choosing, judging in (halves, halves[::-1]):
            best = max(rivals, key=lambda each: _scored(truth[choosing], each[choosing], metric))
            lost.append(_scored(truth[judging], best[judging], metric) - _scored(truth[judging], own[judging], metric))
    return float(100 * np.mean(lost))


def _scored(truth: np.ndarray, predicted: np.ndarray, metric: str) -> float:
    if metric == "accuracy":
        return float((truth == predicted).mean())
    size = int(max(truth.max(), predicted.max())) + 1
    hits = np.bincount(truth[truth == predicted], minlength=size)
    both = np.bincount(truth, minlength=size) + np.bincount(predicted, minlength=size)
    return float((2 * hits[both > 0] / both[both > 0]).mean())


def _fair(result: Row, own: list[Row], cell: Row, trials: Trials) -> float | None:
    """The regret by halves, where all predictions were kept; ``result`` is graft's choice, or names a trial."""
    scored = [row for row in own if row["test_score"] is not None]
    rivals, truth = [trials.predicted(cell, row) for row in scored], trials.predicted(cell)
    if "predicted" in result:
        mine = unpacked(result["predicted"])
    else:
        mine = trials.predicted(cell, result) if "way" in result else None
    known = [each for each in rivals if each is not None]
    if truth is None or mine is None or len(known) < len(rivals):
        return None
    return halved(truth, known, mine, scored[0]["metric"])


def judged(facts: Row, results: list[Row], trials: Trials, simple: Sequence[str]) -> Row:
    """The row of one system of one cell: regret, distance below the simple baseline, and share of the cost, by seed.

    Points are hundredths of the metric that decides (accuracy, or macro F1 where classes are uneven).  ``fair`` is the
    regret by halves, see ``halved``.
    """
    found = []
    for result in results:
        cell = {"set": facts["of"], "size": facts["size"], "seed": result["seed"]}
        own = trials.of(cell)
        best, baseline, cost = best_of(own), best_of(own, simple), exhaustive_seconds(own)
        if best is None or result["test_score"] is None:
            continue
        found.append({
            "seed": result["seed"],
            "regret": 100 * (best["test_score"] - result["test_score"]),
            "fair": _fair(result, own, cell, trials),
            "below_simple": 100 * (baseline["test_score"] - result["test_score"]) if baseline else None,
            "cost_share": result["seconds"] / cost if result.get("seconds") is not None and cost else None,
            "exhaustive_seconds": cost,
            "trials": sum(row["test_score"] is not None for row in own),
            "best": {key: best[key] for key in ("way", "source", "test_score", "metric")},
            "simple": baseline["way"] if baseline else None,
        })  # fmt: skip
    points = [one["regret"] for one in found]
    seconds = [result["seconds"] for result in results if result.get("seconds") is not None]
    return {
        **facts,
        "metric": "points",
        "seeds": [one["seed"] for one in found],
        "scores": points,
        "mean": float(np.mean(points)) if points else None,
        "low": min(points, default=None),
        "high": max(points, default=None),
        "seconds": float(np.mean(seconds)) if seconds else None,
        "judged": found,
        "results": results,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, or None where a value is missing or there is none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def summary(rows: list[Row]) -> dict[str, Any]:
    """For every system: mean and largest regret over cells, how far it ever falls below the simple baseline, and cost.

    A cell is a set and a size; its seeds are averaged first.  ``cost_share`` is total time over total exhaustive cost.
    """
    found: dict[str, Any] = {}
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system and row["mean"] is not None]
        every = [one for row in own for one in row["judged"]]
        below = [one["below_simple"] for one in every if one["below_simple"] is not None]
        timed = [one for one in every if one["cost_share"] is not None]
        spent = sum(one["cost_share"] * one["exhaustive_seconds"] for one in timed)
        whole = sum(one["exhaustive_seconds"] for one in timed)
        found[system] = {
            "cells": len(own),
            "missing": [row["set"] for row in rows if row["system"] == system and row["mean"] is None],
            "mean_regret": float(np.mean([row["mean"] for row in own])) if own else None,
            "fair_regret": _mean([_mean([one.get("fair") for one in row["judged"]]) for row in own]),
            "largest_regret": max((row["mean"] for row in own), default=None),
            "most_below_simple": max(below, default=None),
            "cost_share": spent / whole if whole else None,
        }
    return found
