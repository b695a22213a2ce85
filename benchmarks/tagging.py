"""Named-entity tagging: ``graft fit`` and its ways alone, strict F1 with its interval on the test file, and the time.

Each system runs in a process and with a cache of its own.  Nothing is chosen on the test file; with the option ``judge =
"valid"`` the development file is scored in its place, which is what settings are chosen on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import sets
from benchmarks.plans import answer, fitted, planned

MINILM = "sbert:all-MiniLM-L6-v2"
LIMIT = 7200.0  # seconds of one system


def tagging(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Every system of the plan on every set, seed by seed."""
    yield from planned(experiment, folders, module="benchmarks.tagging", metric="entity_f1", limit=LIMIT)


def measure(name: str, plan: dict[str, Any], seed: int, data: Path, models: Path) -> dict[str, Any]:  # noqa: ARG001  (one signature)
    """Fit on the training file and score on the test file, or on that of ``judge``."""
    from graft.core.registry import TRANSFERS
    from graft.data.load import load
    from graft.evaluate.metrics import evaluate, per_class

    train, test = sets.tagged(name, data, judge=plan.get("judge", "test"))
    start, facts, settings = time.perf_counter(), {}, dict(plan.get("settings", {}))
    rows = load(train)
    if plan["way"] == "graft fit":
        model, facts = fitted(rows, seed, settings)
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


if __name__ == "__main__":
    answer(measure)
