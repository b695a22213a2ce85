"""Plans of an experiment: each system on each set, seed by seed, in a process and with a cache of its own."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.processes import cell_row, messages

Row = dict[str, Any]


def planned(
    experiment: Row, folders: argparse.Namespace, *, module: str, metric: str, limit: float
) -> Iterator[list[Row]]:
    """Every plan on every set: a row each.

    Args:
        experiment: With ``sets`` and ``plans``, which name their ``seeds``.
        folders: Of data and models, and what was asked for.
        module: Whose ``measure`` is run.
        metric: That the row is about, of which it gives value, low and high.
        limit: Seconds of one process.
    """
    for name in folders.sets or experiment["sets"]:
        for system, plan in experiment["plans"].items():
            if folders.systems and system not in folders.systems:
                continue
            results = [_measured(name, plan, seed, folders, module, metric, limit) for seed in plan["seeds"]]
            row = cell_row(name, system, plan["seeds"], results, metric)
            facts = [result["facts"] | {metric: result[metric]} for result in results]
            yield [{**row, "plan": plan, "facts": facts}]


def _measured(
    name: str, plan: Row, seed: int, folders: argparse.Namespace, module: str, metric: str, limit: float
) -> Row:
    with tempfile.TemporaryDirectory() as cache:
        arguments = [name, json.dumps(plan), str(seed), folders.data, folders.models]
        found = list(messages(module, arguments, limit=lambda: limit, GRAFT_CACHE=cache))
    print(f"{name:<12} {json.dumps(plan)} seed {seed}  {found[-1][metric]}  {found[-1]['seconds']:.1f} s", flush=True)
    return found[-1]


def fitted(rows: Any, seed: int, settings: Row) -> tuple[Any, Row]:
    """The model of ``graft fit``, and what it answered and tried."""
    from graft.auto import AutoFit, Config
    from graft.core.store import Store

    model, run = AutoFit(rows, Config(seed=seed, **settings), Store()).run()
    facts = {key: run.answer[key] for key in ("trial", "score", "seconds")}
    facts["trials"] = [{key: t[key] for key in ("name", "state", "score", "seconds", "reason")} for t in run.trials]
    return model, facts


def answer(measure: Callable[[str, Row, int, Path, Path], Row]) -> None:
    """Measure the plan that the arguments name, and print it with peak memory and threads."""
    name, plan, seed, data, models = sys.argv[1:6]
    result = measure(name, json.loads(plan), int(seed), Path(data), Path(models))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    print(json.dumps(result | {"peak_bytes": peak, "threads": threads}, default=float))
