"""Named-entity tagging: ``graft fit`` and its ways alone, strict F1 with its interval on the test file, and the time.

Each system runs in a process and with a cache of its own.  Nothing is chosen on the test file; with the option ``judge =
"valid"`` the development file is scored in its place, which is what settings are chosen on.
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

from benchmarks import sets
from benchmarks.processes import cell_row, messages

MINILM = "sbert:all-MiniLM-L6-v2"
LIMIT = 7200.0  # seconds of one system


def tagging(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Every system of the plan on every set, seed by seed."""
    for name in folders.sets or experiment["sets"]:
        for system, plan in experiment["plans"].items():
            if folders.systems and system not in folders.systems:
                continue
            results = [_measured(name, plan, seed, folders) for seed in plan["seeds"]]
            row = cell_row(name, system, plan["seeds"], results, "entity_f1")
            facts = [result["facts"] | {"entity_f1": result["entity_f1"]} for result in results]
            yield [{**row, "plan": plan, "facts": facts}]


def _measured(name: str, plan: dict[str, Any], seed: int, folders: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:
        arguments = [name, json.dumps(plan), str(seed), folders.data, folders.models]
        found = list(messages("benchmarks.tagging", arguments, limit=lambda: LIMIT, GRAFT_CACHE=cache))
    print(
        f"{name:<12} {json.dumps(plan)} seed {seed}  {found[-1]['entity_f1']}  {found[-1]['seconds']:.1f} s", flush=True
    )
    return found[-1]


def measure(name: str, plan: dict[str, Any], seed: int, data: Path) -> dict[str, Any]:
    """Fit on the training file and score on the test file, or on that of ``judge``."""
    from graft.core.registry import TRANSFERS
    from graft.data.load import load
    from graft.evaluate.metrics import evaluate, per_class

    train, test = sets.tagged(name, data, judge=plan.get("judge", "test"))
    start, facts, settings = time.perf_counter(), {}, dict(plan.get("settings", {}))
    rows = load(train)
    if plan["way"] == "graft fit":
        model, facts = _fit(rows, seed, settings)
    else:
        cls = TRANSFERS[plan["way"]]
        source = f"vectors:{sets.glove(train)}" if plan["way"] == "word_vectors" else MINILM
        seeded = {"seed": seed} if "seed" in cls().get_params(deep=False) else {}
        model = cls(*([source] if cls.needs_source else []), **seeded, **settings).fit(rows)
    seconds = time.perf_counter() - start
    judged = load(test, like=rows)
    outputs = model.outputs(judged)
    metrics = evaluate(judged.task, judged.y, outputs, groups=judged.groups)
    facts["per_type"] = per_class(judged.task, judged.y, outputs)
    facts["metrics"] = {key: list(value) for key, value in metrics.items()}
    facts["judged_seconds"] = time.perf_counter() - start - seconds
    return {"entity_f1": list(metrics["entity_f1"]), "n": len(judged), "seconds": seconds, "facts": facts}


def _fit(rows: Any, seed: int, settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    from graft.auto import AutoFit, Config
    from graft.core.store import Store

    model, run = AutoFit(rows, Config(seed=seed, **settings), Store()).run()
    facts = {key: run.answer[key] for key in ("trial", "score", "seconds")}
    facts["trials"] = [{key: t[key] for key in ("name", "state", "score", "seconds", "reason")} for t in run.trials]
    return model, facts


def main() -> None:
    name, plan, seed, data, _ = sys.argv[1:6]
    result = measure(name, json.loads(plan), int(seed), Path(data))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    print(json.dumps(result | {"peak_bytes": peak, "threads": threads}, default=float))


if __name__ == "__main__":
    main()
