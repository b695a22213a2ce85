"""Budgets: wall clock of the command ``graft fit --budget`` against what was allowed, and what the time brought."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets
from benchmarks.exhaustive import measured
from benchmarks.processes import kept, last_line, watched

Row = dict[str, Any]
QUANTILE = 0.95


def budgets(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Run every budget on every set, and yield a row after each run."""
    for budget in experiment["budgets"]:  # sets take turns, so a drift of the machine meets all of them
        for name in folders.sets or experiment["sets"]:
            system = f"{budget:g} s"
            plan = {"budget": budget, "options": experiment.get("options", []), "seed": experiment.get("seed", 0)}
            asked = not folders.systems or system in folders.systems
            if not asked or kept(folders, name, system, plan):
                continue
            with tempfile.TemporaryDirectory() as work:
                row = {"set": name, "system": system, **_run(name, plan, folders, Path(work)), "plan": plan}
            print(f"{name:<12} {system:>6}  {row['mean']}  {row['seconds']:.1f} s  {row['reason']}", flush=True)
            yield [row]


def _run(name: str, plan: Row, folders: argparse.Namespace, work: Path) -> Row:
    train, test = sets.paths(name, Path(folders.data), work)
    command = [
        sys.executable, "-m", "graft", "fit", str(train.resolve()), "--budget", f"{plan['budget']:g}s", "--seed",
        str(plan["seed"]), "--out", "run", "--quiet", *plan["options"],
    ]  # fmt: skip
    done = watched(command, work, GRAFT_MODELS=str(Path(folders.models).resolve()))
    score, answer = (None, {}) if done.code else _scored(work / "run", train, test)
    return {
        "metric": "accuracy",
        "seeds": [plan["seed"]],
        "scores": [] if score is None else [score],
        "mean": score,
        "low": score,
        "high": score,
        "budget": plan["budget"],
        "seconds": done.seconds,
        "own_seconds": answer.get("seconds"),
        "overrun": done.seconds / plan["budget"] - 1,
        "peak_bytes": done.peak,
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        "facts": answer,
        "reason": last_line(done.error) if done.code else "",
    }


def _scored(run: Path, train: Path, test: Path) -> tuple[float, Row]:
    from graft.data.load import load
    from graft.transfer.base import load_transfer

    held_out = load(test, like=load(train))
    answer = json.loads((run / "run.json").read_text(encoding="utf-8"))["answer"]
    facts = {key: answer[key] for key in ("transfer", "source_name", "score", "metric", "seconds")}
    return measured(held_out.labels, load_transfer(run).predict(held_out))["accuracy"], facts


def overrun_at(overruns: Sequence[float], quantile: float = QUANTILE) -> float | None:
    """The quantile of the overruns, time over budget less 1; a run that ends early has a negative one.

    Values between two runs are interpolated, as numpy does.

    Example:
        >>> round(overrun_at([-0.5, 0.0, 0.02], 0.5), 3)
        0.0
    """
    return float(np.quantile(overruns, quantile)) if len(overruns) else None


def summary(rows: list[Row]) -> dict[str, Any]:
    """The 95th percentile and the largest of the overruns of the command, and how many runs found nothing in time."""
    overruns = [row["overrun"] for row in rows]
    return {
        "runs": len(rows),
        "overrun_95": overrun_at(overruns),
        "largest_overrun": max(overruns, default=None),
        "without_result": [f"{row['set']}, {row['system']}" for row in rows if row["mean"] is None],
    }
