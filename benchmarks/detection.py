"""Object detection: ``graft fit`` and its ways alone on the training pictures, mAP with its interval on the test file, and the time.

Each plan runs in a process and with a cache of its own.  Nothing is chosen on the test file; with the option ``judge = "val"``
the validation file is scored in its place.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.processes import cell_row, messages

LIMIT = 3600.0  # seconds of one plan, reading and scoring included


def detection(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Every plan on every set, seed by seed."""
    for name in folders.sets or experiment["sets"]:
        for system, plan in experiment["plans"].items():
            if folders.systems and system not in folders.systems:
                continue
            results = [_measured(name, plan, seed, folders) for seed in plan["seeds"]]
            row = cell_row(name, system, plan["seeds"], results, "map")
            facts = [result["facts"] | {"map": result["map"]} for result in results]
            yield [{**row, "plan": plan, "facts": facts}]


def _measured(name: str, plan: dict[str, Any], seed: int, folders: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        arguments = [name, json.dumps(plan), str(seed), folders.data, folders.models]
        found = list(messages("benchmarks.detection", arguments, limit=lambda: LIMIT, GRAFT_CACHE=cache))
    print(f"{name:<12} {json.dumps(plan)} seed {seed}  {found[-1]['map']}  {found[-1]['seconds']:.1f} s", flush=True)
    return found[-1]


def measure(name: str, plan: dict[str, Any], seed: int, data: Path, models: Path) -> dict[str, Any]:
    """Fit on the training file and score on the test file, or on that of ``judge``."""
    from graft.core.registry import TRANSFERS
    from graft.core.runtime import Clock
    from graft.core.store import Store
    from graft.data.load import load
    from graft.evaluate.metrics import evaluate, per_class
    from graft.transfer.base import Setting

    folder = data / "image" / name
    start, facts, settings = time.perf_counter(), {}, dict(plan.get("settings", {}))
    rows = load(folder / "instances_train.json")
    if plan["way"] == "graft fit":
        from graft.auto import AutoFit, Config

        sources = tuple(f"hf:{models / each}" for each in plan.get("models", ()))
        model, run = AutoFit(rows, Config(seed=seed, models=sources, **settings), Store()).run()
        facts = {key: run.answer[key] for key in ("trial", "score", "seconds")}
        facts["trials"] = [{key: t[key] for key in ("name", "state", "score", "seconds", "reason")} for t in run.trials]
    else:
        cls = TRANSFERS[plan["way"]]
        seeded = {"seed": seed} if "seed" in cls().get_params(deep=False) else {}
        source = [str(models / plan["model"])] if cls.needs_source else []
        setting = Setting(clock=Clock(plan.get("seconds")), store=Store())
        model = cls(*source, **seeded, **settings).fit(rows, setting=setting)
        facts = {"stopped": getattr(model, "stopped_", "")}
    seconds = time.perf_counter() - start
    judged = load(folder / f"instances_{plan.get('judge', 'test')}.json", like=rows)
    outputs = model.outputs(judged)
    metrics = evaluate(judged.task, judged.y, outputs)
    facts["per_class"] = per_class(judged.task, judged.y, outputs)
    facts["metrics"] = {key: list(value) for key, value in metrics.items()}
    return {"map": list(metrics["map"]), "n": len(judged), "seconds": seconds, "facts": facts}


def main() -> None:
    name, plan, seed, data, models = sys.argv[1:6]
    result = measure(name, json.loads(plan), int(seed), Path(data), Path(models))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    print(json.dumps(result | {"peak_bytes": peak, "threads": threads}, default=float))


if __name__ == "__main__":
    main()
