"""Object detection: ``graft fit`` and its ways alone on the training pictures, mAP with its interval on the test file, and the time.

Each plan runs in a process and with a cache of its own.  Nothing is chosen on the test file; with the option ``judge = "val"``
the validation file is scored in its place.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.plans import answer, fitted, planned

LIMIT = 3600.0  # seconds of one plan, reading and scoring included


def detection(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Every plan on every set, seed by seed."""
    yield from planned(experiment, folders, module="benchmarks.detection", metric="map", limit=LIMIT)


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
        sources = tuple(f"hf:{models / each}" for each in plan.get("models", ()))
        model, facts = fitted(rows, seed, {"models": sources, **settings})
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


if __name__ == "__main__":
    answer(measure)
