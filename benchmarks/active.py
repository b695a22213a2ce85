"""Active learning: test accuracy by number of labels, where a strategy chooses which rows get one; and with the others unlabelled.

The labels of the training file are the person who answers.  Features are extracted once, so that a round costs a choice and
a closed-form head.  With ``held``, a part of the training file judges, and the test file is not opened: that is how the
constants of ``graft.active`` are chosen.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata, t

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
            order = np.random.default_rng(0).permutation(len(pool))
            held = round(experiment.get("held", 0) * len(pool))
            judges = only(pool, order[:held]) if held else load(test, like=pool)
            if held or len(pool) > experiment["pool"]:
                pool = only(pool, order[held:][: experiment["pool"]])
            judges = load((judges.take(), judges.labels.tolist()), like=pool) if held else judges
            uri = experiment["source"][name]
            source = open_model(f"vectors:{sets.tencent(Path(folders.data))}" if uri == "tencent" else uri)
            bench = _Bench(pool, judges, source, Store(work / "cache"))
            for data in (bench.pool, bench.test):
                extract(source, data, store=bench.store)
            for system, plan in systems(experiment).items():
                if not folders.systems or system in folders.systems:
                    yield from _seeds(name, system, plan, bench, experiment, folders)


def only(data: Any, rows: np.ndarray) -> Any:
    """Some rows of a data set as a data set of their own."""
    from graft.data.load import load

    some = data.select(np.sort(rows))
    return load((some.take(), some.labels.tolist()))


def systems(experiment: dict[str, Any]) -> dict[str, Row]:
    """What is compared: every strategy with a probe, ``auto`` with other constants, and ways that learn from all rows.

    Example:
        >>> list(systems({"strategies": ["random", "auto"], "semi": {"propagation": ["random"]}}))
        ['random', 'auto', 'random + propagation']
        >>> list(systems({"strategies": [], "constants": {"few": [1, 2], "candidates": [3]}}))
        ['few 1, candidates 3', 'few 2, candidates 3']
    """
    found: dict[str, Row] = {name: {"strategy": name, "way": "probe"} for name in experiment["strategies"]}
    constants = experiment.get("constants", {})
    for values in itertools.product(*constants.values()) if constants else ():
        chosen = dict(zip(constants, values, strict=True))
        name = ", ".join(f"{constant} {value}" for constant, value in chosen.items())
        found[name] = {"strategy": "auto", "way": "probe", "constants": chosen}
    for way, strategies in experiment.get("semi", {}).items():
        found |= {f"{name} + {way}": {"strategy": name, "way": way} for name in strategies}
    return found


@contextlib.contextmanager
def _with(constants: dict[str, int]) -> Iterator[None]:
    """Measure the package with other constants than its own."""
    from graft.active import strategies, uncertainty

    before = strategies.FEW, uncertainty.CANDIDATES
    strategies.FEW = constants.get("few", strategies.FEW)
    uncertainty.CANDIDATES = constants.get("candidates", uncertainty.CANDIDATES)
    try:
        yield
    finally:
        strategies.FEW, uncertainty.CANDIDATES = before


@dataclasses.dataclass
class _Bench:
    """Rows with their true labels, the rows that judge, what reads both, and what was measured: systems share beginnings."""

    pool: Any
    test: Any
    source: Any
    store: Any
    chosen: dict[Any, list[int]] = dataclasses.field(default_factory=dict)
    scores: dict[Any, float] = dataclasses.field(default_factory=dict)

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
        from graft.active import strategies, uncertainty

        doubts = known.sum() >= strategies.FEW * max(1, len(np.unique(self.pool.y[known])))
        constants = (doubts, uncertainty.CANDIDATES if doubts else 0) if strategy == "auto" else ()
        key = strategy, constants, seed, known.tobytes()
        if key not in self.chosen:
            self.chosen[key] = self._proposed(strategy, known, missing, seed)
        return self.chosen[key]

    def _proposed(self, strategy: str, known: np.ndarray, missing: int, seed: int) -> list[int]:
        from graft.active.labeller import Labeller
        from graft.active.strategies import BLIND

        data = dataclasses.replace(self.pool, y=np.where(known, self.pool.y, -1))
        blind = strategy in BLIND or strategy == "auto" or len(np.unique(self.pool.y[known])) > 1
        how = strategy if blind else "random"  # who asks a model begins with rows drawn at random
        labeller = Labeller(data, source=self.source, strategy=how, seed=seed, store=self.store)
        return [one.position for one in labeller.propose(missing)]

    def _score(self, way: str, known: np.ndarray) -> float:
        key = way, known.tobytes()
        if key not in self.scores:
            self.scores[key] = self._measured(way, known)
        return self.scores[key]

    def _measured(self, way: str, known: np.ndarray) -> float:
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
        with _with(plan.get("constants", {})):
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
            "by_set": _by_set([row for row in rows if row["system"] == system], plain),
            "cells": {name: {key: pair[key] for key in ("draws", "difference", "sd")} for name, pair in cells.items()},
        }
    constants = _constants([row for row in rows if row["plan"].get("constants")], plain)
    return {"against": "random", "systems": found, **({"constants": constants} if constants else {})}


def _by_set(rows: list[Row], plain: dict[str, Row]) -> dict[str, list[float | None]]:
    """Mean difference to random rows over the numbers of labels, and half its 95 % interval over seeds (Student's t)."""
    found: dict[str, list[float | None]] = {}
    rows = [row for row in rows if row["set"] in plain]
    for name in dict.fromkeys(row["of"] for row in rows):
        gaps = []
        for row in (row for row in rows if row["of"] == name):
            other = dict(zip(plain[row["set"]]["seeds"], plain[row["set"]]["scores"], strict=True))
            gaps.append([x - other[seed] for seed, x in zip(row["seeds"], row["scores"], strict=True) if seed in other])
        count = min(map(len, gaps))
        mean = np.mean([gap[:count] for gap in gaps], axis=0)
        error = spread(mean.tolist())
        half = None if error is None else float(t.ppf(0.975, count - 1) * error / count**0.5)
        found[name] = [float(mean.mean()) if count else None, half]
    return found


def _constants(rows: list[Row], plain: dict[str, Row]) -> dict[str, Any]:
    """The constants with the largest mean difference to random rows, and those with the best mean rank; sets count alike.

    Only seeds that every row has are looked at.  ``left_out`` names for each set what does best on the others.
    """
    systems, names = (list(dict.fromkeys(row[key] for row in rows)) for key in ("system", "of"))
    measured = {(row["system"], row["of"]) for row in rows}
    if not systems or len(measured) < len(systems) * len(names):
        return {}
    seeds = set.intersection(*(set(row["seeds"]) & set(plain[row["set"]]["seeds"]) for row in rows))
    score = lambda row: np.mean([x for seed, x in zip(row["seeds"], row["scores"], strict=True) if seed in seeds])  # noqa: E731
    table = np.zeros((len(systems), len(names)))
    for line, column in np.ndindex(table.shape):
        mine = [row for row in rows if (row["system"], row["of"]) == (systems[line], names[column])]
        table[line, column] = np.mean([score(row) - score(plain[row["set"]]) for row in mine])
    ranks = rankdata(-table, axis=0).mean(axis=1)
    left_out = {}
    for column, name in enumerate(names if len(names) > 1 else ()):
        chosen = int(np.delete(table, column, axis=1).mean(axis=1).argmax())
        left_out[name] = {"chosen": systems[chosen], "difference": float(table[chosen, column])}
    return {
        "seeds": sorted(seeds),
        "best": systems[int(table.mean(axis=1).argmax())],
        "best_by_rank": systems[int(ranks.argmin())],
        "differences": {
            systems[line]: {
                "mean": float(table[line].mean()),
                "rank": float(ranks[line]),
                **dict(zip(names, table[line].tolist(), strict=True)),
            }
            for line in np.argsort(ranks, kind="stable")
        },
        "left_out": left_out,
    }
