"""Memory: ``graft fit`` under a cap. Is it done, refused beforehand in one clear line, or does it break?

Caps are limits of the process (``resource``): ``"data"`` counts private writable memory, ``"address"`` all that is mapped,
weights that are read from a file too.  With ``"cgroup"`` the kernel kills what goes beyond; it needs a folder of one's own
below /sys/fs/cgroup, named by the environment variable BENCH_CGROUP.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import sets
from benchmarks.processes import Watched, kept, last_line, watched

Row = dict[str, Any]
LIMITS = {"data": resource.RLIMIT_DATA, "address": resource.RLIMIT_AS}
FILES = (("memory.max", "memory.swap.max"), ("memory.limit_in_bytes", "memory.swappiness"))  # of versions 2 and 1
EARLY = 0.5  # a refusal comes before this share of the time that the same run takes without a cap
FAILED = "graft: out of memory"  # what graft says when an allocation has failed
GOOD = ("done", "refused")


def memory(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Run every set without a cap and under each, and yield a row after each run."""
    how = experiment["by"]
    for name in folders.sets or experiment["sets"]:
        free: Row = {}
        for cap in [0, *experiment["megabytes"]]:
            system = f"{cap} MB" if cap else "no cap"
            plan = {"megabytes": cap, "by": how if cap else "", "options": experiment["options"]}
            row = kept(folders, name, system, plan)
            if not row and (not cap or not folders.systems or system in folders.systems):
                with tempfile.TemporaryDirectory() as work:
                    row = {"set": name, "system": system, **_run(name, plan, folders, Path(work), free), "plan": plan}
                print(
                    f"{name:<12} {system:>8}  {row['outcome']:<8} {row['peak_bytes'] / 1e6:.0f} MB  {row['reason']}",
                    flush=True,
                )
                yield [row]
            free = free or row


def _run(name: str, plan: Row, folders: argparse.Namespace, work: Path, free: Row) -> Row:
    train, _ = sets.paths(name, Path(folders.data), work)
    command = [
        sys.executable, "-m", "graft", "fit", str(train.resolve()), "--out", "run", "--quiet", *plan["options"],
    ]  # fmt: skip
    start = cap_by(plan["by"], plan["megabytes"] * 10**6) if plan["megabytes"] else None
    done = watched(command, work, start=start, GRAFT_MODELS=str(Path(folders.models).resolve()))
    found = outcome(done, free.get("seconds"))
    trials = []
    if found == "done":
        run = json.loads((work / "run" / "run.json").read_text(encoding="utf-8"))
        trials = [{key: trial[key] for key in ("name", "state", "reason")} for trial in run["trials"]]
    value = float(found in GOOD)
    return {
        "metric": "outcome", "seeds": [0], "scores": [value], "mean": value, "low": value, "high": value,
        "megabytes": plan["megabytes"], "outcome": found, "reason": "" if found == "done" else last_line(done.error),
        "seconds": done.seconds, "peak_bytes": done.peak, "peak_anonymous_bytes": done.anonymous, "trials": trials,
    }  # fmt: skip


def cap_by(how: str, size: int) -> Callable[[], None]:
    """A function that puts the process that calls it under a cap of so many bytes.

    Raises:
        ValueError: There is no such cap.
        SystemExit: A cgroup is asked for and none is named.
    """
    if how in LIMITS:
        return lambda: resource.setrlimit(LIMITS[how], (size, size))
    if how != "cgroup":
        raise ValueError(f"no cap by {how!r}: use {', '.join(LIMITS)} or cgroup")
    named = os.environ.get("BENCH_CGROUP")
    if not named:
        raise SystemExit("name a folder of your own below /sys/fs/cgroup with BENCH_CGROUP")
    group = Path(named)
    for limit, other in FILES:
        if (group / limit).exists():
            (group / limit).write_text(str(size), encoding="utf-8")
            if (group / other).exists():
                (group / other).write_text("0", encoding="utf-8")  # what does not fit must not go to disk instead
            return lambda: _join(group)
    raise SystemExit(f"{group} has no limit of memory")


def _join(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="utf-8")


def outcome(done: Watched, seconds: float | None = None) -> str:
    """How a run under a cap ended.

    ``"done"``; ``"refused"``: one line of graft's that speaks of memory, early in comparison with the ``seconds`` of a run
    without a cap; ``"late"``: the same, after work that is lost, or once an allocation has failed; ``"failed"``: another
    line of graft's; ``"broken"``: a traceback or none of graft's lines; ``"killed"``: by a signal.
    """
    if done.code == 0:
        return "done"
    if done.code < 0 or done.code == 128 + signal.SIGKILL:
        return "killed"
    line = last_line(done.error)
    if "Traceback" in done.error or not line.startswith("graft:") or "internal error" in line:
        return "broken"
    if "memory" not in line:
        return "failed"
    early = seconds is None or done.seconds <= EARLY * seconds
    return "refused" if early and not line.startswith(FAILED) else "late"


def summary(rows: list[Row]) -> dict[str, Any]:
    """How many runs under a cap ended in which way, and all that neither succeeded nor were refused beforehand."""
    capped = [row for row in rows if row["megabytes"]]
    kinds = dict.fromkeys(row["outcome"] for row in capped)
    return {
        "runs": len(capped),
        "outcomes": {kind: sum(row["outcome"] == kind for row in capped) for kind in kinds},
        "kills": sum(row["outcome"] in ("killed", "broken") for row in capped),
        "bad": [
            f"{row['set']}, {row['system']}: {row['outcome']}" for row in capped if row["outcome"] not in GOOD
        ],
    }  # fmt: skip
