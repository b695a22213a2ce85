"""Active learning: test accuracy by number of labels, where a strategy chooses which rows get one; and with the others unlabelled.

The labels of the training file are the person who answers.  Features are extracted once, so that a round costs a choice and
a closed-form head.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets
from benchmarks.fewshot import paired, spread
from benchmarks.processes import kept

Row = dict[str, Any]


def active(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Label every set by every strategy and seed, and yield the rows of a set and strategy after every seed."""
    from graft.core.store import Store
    from graft.data.load import load
    from graft.features import extract
    from graft.sources.base import open_model

    for name in folders.sets or experiment["sets"]:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            train, test = sets.paths(name, Path(folders.data), work)
            pool = load(train)
            if len(pool) > experiment["pool"]:
                rows = np.random.default_rng(0).permutation(len(pool))[: experiment["pool"]]
                pool = load((pool.select(np.sort(rows)).take(), pool.labels[np.sort(rows)].tolist()))
            uri = experiment["source"][name]
            source = open_model(f"vectors:{sets.tencent(Path(folders.data))}" if uri == "tencent" else uri)
            bench = _Bench(pool, load(test, like=pool), source, Store(work / "cache"))
            for data in (bench.pool, bench.test):
                extract(source, data, store=bench.store)
            for system, plan in systems(experiment).items():
                if not folders.systems or system in folders.systems:
                    yield from _seeds(name, system, plan, bench, experiment, folders)


def systems(experiment: dict[str, Any]) -> dict[str, Row]:
    """What is compared: every strategy with a probe, and some with ways that learn from rows without a label.

    Example:
        >>> list(systems({"strategies": ["random", "auto"], "semi": {"propagation": ["random"]}}))
        ['random', 'auto', 'random + propagation']
    """
    found = {name: {"strategy": name, "way": "probe"} for name in experiment["strategies"]}
    for way, strategies in experiment.get("semi", {}).items():
        found |= {f"{name} + {way}": {"strategy": name, "way": way} for name in strategies}
    return found


@dataclasses.dataclass
class _Bench:
    """Rows with their true labels, the rows that judge, and what reads both."""

    pool: Any
    test: Any
    source: Any
    store: Any

    def curve(self, strategy: str, way: str, counts: list[int], seed: int) -> list[tuple[float, float]]:
        """Test accuracy, and seconds of choosing, with so many labels per class on average."""
        known, found = np.zeros(len(self.pool), bool), []
        for count in counts:
            start = time.perf_counter()
            missing = count * self.pool.task.outputs - int(known.sum())
            if missing > 0 and not known.all():
                known[self._chosen(strategy, known, missing, seed)] = True
            seconds = time.perf_counter() - start
            found.append((self._score(way, known), seconds))
        return found

    def _chosen(self, strategy: str, known: np.ndarray, missing: int, seed: int) -> list[int]:
        from graft.active.labeller import Labeller
        from graft.active.strategies import BLIND

        data = dataclasses.replace(self.pool, y=np.where(known, self.pool.y, -1))
        blind = strategy in BLIND or strategy == "auto" or len(np.unique(self.pool.y[known])) > 1
        how = strategy if blind else "random"  # who asks a model begins with rows drawn at random
        labeller = Labeller(data, source=self.source, strategy=how, seed=seed, store=self.store)
        return [one.position for one in labeller.propose(missing)]

    def _score(self, way: str, known: np.ndarray) -> float:
        from graft.core.registry import TRANSFERS
        from graft.transfer.base import Setting

        seen = np.unique(self.pool.y[known])
        if len(seen) < 2:  # nothing to learn: everything is of the one class that was seen
            return float(np.mean(self.test.y == seen[0]))
        others = dataclasses.replace(self.pool.select(~known), y=None)
        setting = Setting(store=self.store, unlabelled=(others,) if len(others) else ())
        model = TRANSFERS[way](self.source).fit(self.pool.select(known), setting=setting)
        return float(np.mean(model.outputs(self.test, store=self.store).argmax(axis=1) == self.test.y))


def _seeds(
    name: str, system: str, plan: Row, bench: _Bench, experiment: dict[str, Any], folders: argparse.Namespace
) -> Iterator[list[Row]]:
    counts = experiment["counts"]
    if "most" in experiment:
        counts = [count for count in counts if count * bench.pool.task.outputs <= experiment["most"]]
    plan = {**plan, "source": experiment["source"][name], "pool": experiment["pool"], "counts": counts}
    labels = [f"{name}, {count} per class" for count in counts]
    rows = [kept(folders, label, system, plan) for label in labels]
    for seed in experiment["seeds"]:
        if all(seed in row.get("seeds", ()) for row in rows):
            continue
        found = bench.curve(plan["strategy"], plan["way"], counts, seed)
        said = "  ".join(f"{count}: {score:.3f}" for count, (score, _) in zip(counts, found, strict=True))
        print(f"{name:<10} {system:<24} seed {seed}  {said}", flush=True)
        rows = [
            _row({"set": label, "of": name, "labels": count, "system": system, "plan": plan}, row, one, seed)
            for label, count, row, one in zip(labels, counts, rows, found, strict=True)
        ]
        yield [{**row, "n_test": len(bench.test)} for row in rows]


def _row(facts: Row, before: Row, result: tuple[float, float], seed: int) -> Row:
    """The row with one more seed."""
    scores, seconds = [*before.get("scores", []), result[0]], [*before.get("all_seconds", []), result[1]]
    return {
        **facts,
        "metric": "accuracy",
        "seeds": [*before.get("seeds", []), seed],
        "scores": scores,
        "mean": float(np.mean(scores)),
        "sd": spread(scores),
        "low": min(scores),
        "high": max(scores),
        "seconds": float(np.mean(seconds)),
        "all_seconds": seconds,
    }


def summary(rows: list[Row]) -> dict[str, Any]:
    """Score of every system less that of ``random`` with the same seeds, in each cell and on average over cells."""
    plain = {row["set"]: row for row in rows if row["system"] == "random"}
    found: dict[str, Any] = {}
    for system in dict.fromkeys(row["system"] for row in rows):
        if system == "random":
            continue
        cells = {
            row["set"]: pair
            for row in rows
            if row["system"] == system and row["set"] in plain and (pair := paired(row, plain[row["set"]]))
        }
        gaps = [pair["difference"] for pair in cells.values()]
        found[system] = {
            "difference": float(np.mean(gaps)) if gaps else None,
            "largest_loss": min([0.0, *gaps]),
            "cells": {name: {key: pair[key] for key in ("draws", "difference", "sd")} for name, pair in cells.items()},
        }
    return {"against": "random", "systems": found}
