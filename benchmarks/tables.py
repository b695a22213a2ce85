"""Tables: plain ``graft fit`` beside gradient boosting alone, on the same splits, and whether it is ever worse beyond noise.

The sets are those that scikit-learn carries; ``friedman1`` is simulated.  Each seed is a split of its own; nothing is chosen
on the rows held out.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import cell_row

HELD_OUT = 0.3
GRADES = ("lowest", "low", "high", "highest")


def tables(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Both systems on every set, split by split."""
    for name in folders.sets or experiment["tables"]:
        found: dict[str, list[dict[str, Any]]] = {"graft fit": [], "gradient boosting": []}
        seeds = experiment.get("seeds_of", {}).get(name, experiment["seeds"])
        for seed in seeds:
            both, metric = measure(name, seed, experiment.get("settings", {}))
            for system, result in both.items():
                found[system].append(result)
                print(
                    f"{name:<20} {system:<18} seed {seed}  {result[metric]:.4f}  {result['seconds']:.1f} s", flush=True
                )
        yield [cell_row(name, system, seeds, results, metric) for system, results in found.items()]


def measure(name: str, seed: int, settings: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], str]:
    """Scores of both systems on the held-out rows of one split, and the metric."""
    from graft.auto import AutoFit, Config
    from graft.core.store import Store
    from graft.evaluate.metrics import score
    from graft.trust.guard import guard

    data = rows_of(name)
    train, test = _split(data, seed)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        model, run = AutoFit(train, Config(seed=seed, **settings), Store(Path(cache))).run()
    seconds = [time.perf_counter() - start]
    outputs = [model.outputs(test), alone(train, test, seed)]
    seconds.append(time.perf_counter() - start - seconds[0])
    verdict = guard(data.task, test.y, outputs[0], [("gradient boosting", outputs[1])], chosen_name="graft fit")
    compared = verdict.compared[0]
    facts = [{"difference": list(compared.difference), "better": compared.better, "worse": compared.worse}, {}]
    facts[0] |= {"trial": run.answer["trial"], "trials": [[t["name"], t["state"], t["score"]] for t in run.trials]}
    here = {"n": len(test), "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    here["threads"] = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    systems = ("graft fit", "gradient boosting")
    return {
        system: here | {data.task.metric: score(data.task, test.y, out), "seconds": spent, "facts": fact}
        for system, out, spent, fact in zip(systems, outputs, seconds, facts, strict=True)
    }, data.task.metric


def rows_of(name: str) -> Any:
    """A set as ``graft`` reads it."""
    from sklearn import datasets

    from graft.data.load import load

    if name == "friedman1 (simulated)":
        return load(datasets.make_friedman1(500, noise=1.0, random_state=0), task="regression", name=name)
    found = getattr(datasets, f"load_{name.partition(' ')[0]}")()
    if name == "diabetes in quartiles":
        place = np.digitize(found.target, np.quantile(found.target, [0.25, 0.5, 0.75]))
        return load((found.data, np.array(GRADES)[place]), order=GRADES, name=name)
    if name == "diabetes":
        return load((found.data, found.target), task="regression", name=name)
    return load((found.data, found.target_names[found.target].astype(str)), name=name)


def alone(train: Any, test: Any, seed: int) -> np.ndarray:
    """Outputs of scikit-learn's histogram gradient boosting as it comes."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    from graft.data.table_codes import TableCodes

    codes = TableCodes().fit(train)
    X, new = codes.transform(train), codes.transform(test)
    if not train.task.is_classification:
        return HistGradientBoostingRegressor(random_state=seed).fit(X, train.y).predict(new)
    return HistGradientBoostingClassifier(random_state=seed).fit(X, train.y).predict_proba(new)


def _split(data: Any, seed: int) -> tuple[Any, Any]:
    from graft.data.splits import holdout

    return data.split(*holdout(data, test=HELD_OUT, seed=seed))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Splits on which ``graft fit`` was worse, or better, than boosting beyond noise, and mean differences by set."""
    ours = [row for row in rows if row["system"] == "graft fit"]
    facts = [fact for row in ours for fact in row["facts"]]
    return {
        "splits": len(facts),
        "worse beyond noise": sum(fact["worse"] for fact in facts),
        "better beyond noise": sum(fact["better"] for fact in facts),
        "mean difference": {
            row["set"]: round(float(np.mean([f["difference"][0] for f in row["facts"]])), 4) for row in ours
        },
    }
