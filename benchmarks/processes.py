"""Run what is measured in processes of their own: a cell, a stream of results, a command under a limit of memory."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

POLL = 0.2  # seconds between looks at the memory of a process


class TooSlowError(Exception):
    """A process took longer than it may."""


class BrokenError(Exception):
    """A process ended with an error; its last line."""


def cell(
    system: str, name: str, seed: int, options: dict[str, Any], folders: argparse.Namespace, limit: float | None = None
) -> dict[str, Any]:
    """Run one cell in a process and with a cache of its own, so that no time is borrowed from an earlier run.

    Raises:
        TooSlowError: It took longer than ``limit`` seconds.
        BrokenError: It failed.
    """
    command = [sys.executable, "-m", "benchmarks.cell", system, name, str(seed), folders.data, folders.models]
    with tempfile.TemporaryDirectory() as cache:
        try:
            done = subprocess.run(
                [*command, json.dumps(options)],
                capture_output=True,
                text=True,
                check=False,
                timeout=limit,
                env={**os.environ, "GRAFT_CACHE": cache},
            )
        except subprocess.TimeoutExpired as error:
            raise TooSlowError(f"took longer than {limit:g} s") from error
    if done.returncode:
        raise BrokenError(last_line(done.stderr) or f"ended with {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def messages(
    module: str, arguments: list[str], *, limit: Callable[[], float], **variables: str
) -> Iterator[dict[str, Any]]:
    """Yield the JSON lines that ``python -m MODULE`` prints, each within ``limit()`` seconds after the one before.

    ``variables`` are added to its environment.  The process is killed when the caller stops listening.

    Raises:
        TooSlowError: A line took longer.
        BrokenError: It failed, or ended by a signal.
    """
    lines: queue.Queue[str | None] = queue.Queue()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **variables},
        )

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.put(line)
            lines.put(None)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        allowed = limit()
        deadline = time.monotonic() + allowed
        try:
            while (line := lines.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
                if line.startswith("{"):  # what else a library prints is no sign of progress
                    yield json.loads(line)
                    allowed = limit()
                    deadline = time.monotonic() + allowed
            if process.wait():
                errors.seek(0)
                raise BrokenError(last_line(errors.read()) or f"ended with {process.returncode}")
        except queue.Empty as error:
            raise TooSlowError(f"took longer than {allowed:g} s") from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            thread.join()
            assert process.stdout is not None
            process.stdout.close()


@dataclass(frozen=True)
class Watched:
    """How a command ended: exit code (negative: the signal), what it said, seconds, and bytes at the peak."""

    code: int
    error: str
    seconds: float
    anonymous: int
    peak: int


def watched(command: list[str], work: Path, *, start: Callable[[], None] | None = None, **variables: str) -> Watched:
    """Run a command in a folder; peak anonymous memory (what cannot be given back) and peak resident memory.

    ``start`` is called in the new process before the command, for its limits.
    """
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command,
            cwd=work,
            env={**os.environ, "GRAFT_CACHE": str(work / "cache"), **variables},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            preexec_fn=start,  # noqa: PLW1509  (no thread is alive here)
        )
        anonymous, peak = 0, 0
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL)
                break
            sizes = _memory(process.pid)
            anonymous, peak = max(anonymous, sizes.get("RssAnon", 0)), max(peak, sizes.get("VmHWM", 0))
        seconds = time.perf_counter() - begun
        errors.seek(0)
        return Watched(process.returncode, errors.read().strip(), seconds, anonymous, peak)


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _memory(process: int) -> dict[str, int]:
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return {}
    facts = dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("RssAnon", "VmHWM")))
    return {key: int(value.split()[0]) * 1024 for key, value in facts.items()}


def kept(folders: argparse.Namespace, name: str, system: str, plan: dict[str, Any]) -> dict[str, Any]:
    """The row of an earlier, interrupted run with the same plan, or {}."""
    row = getattr(folders, "kept", {}).get((name, system), {})
    return row if row.get("plan") == json.loads(json.dumps(plan)) else {}


def cell_row(
    name: str, system: str, seeds: list[int], results: list[dict[str, Any]], metric: str = "accuracy"
) -> dict[str, Any]:
    """The row of a system on a set: score (the first number, where it has an interval), time and memory of its seeds."""
    scores = [result[metric] if np.isscalar(result[metric]) else result[metric][0] for result in results]
    return {
        "set": name,
        "system": system,
        "metric": metric,
        "seeds": seeds,
        "scores": scores,
        "mean": sum(scores) / len(scores),
        "low": min(scores),
        "high": max(scores),
        "n_test": results[0]["n"],
        "seconds": sum(result["seconds"] for result in results) / len(results),
        "all_seconds": [result["seconds"] for result in results],
        "peak_bytes": max(result["peak_bytes"] for result in results),
        "threads": results[0]["threads"],
        "facts": [result["facts"] for result in results],
    }
