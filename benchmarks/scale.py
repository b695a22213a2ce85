"""Memory and time of ``graft fit`` and ``graft predict`` as rows grow: TREC's rows repeated with noise, probe only."""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets
from benchmarks.processes import watched


def scale(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    source = f"hf:{Path(folders.models) / experiment['source']}"
    for count in experiment["rows"]:
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            _write(Path(folders.data), work / "data.csv", count)
            fit = [
                "fit",
                "data.csv",
                "--methods",
                "probe",
                "--models",
                source,
                "--budget",
                "3h",
                "--out",
                "run",
                "--quiet",
            ]
            for step, command in (("fit", fit), ("predict", ["predict", "run", "data.csv", "--out", "p.csv"])):
                seconds, anonymous, peak = measured([sys.executable, "-m", "graft", *command], work)
                row = {
                    "set": f"{count:,} rows",
                    "system": f"graft {step}",
                    "metric": "seconds",
                    "seeds": [0],
                    "scores": [seconds],
                    "mean": seconds,
                    "low": seconds,
                    "high": seconds,
                    "seconds": seconds,
                    "peak_bytes": peak,
                    "peak_anonymous_bytes": anonymous,
                    "rows": count,
                }
                print(row, flush=True)
                yield [row]


def _write(data: Path, path: Path, count: int) -> None:
    train, _ = sets.paths("trec", data, path.parent)
    texts, labels = sets.read_text(train)
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for index in range(count):
            words = texts[index % len(texts)].split()
            swap = rng.integers(len(words), size=2)
            words[swap[0]], words[swap[1]] = words[swap[1]], words[swap[0]]
            writer.writerow([" ".join(words) + f" {rng.integers(10**6)}", labels[index % len(texts)]])


def measured(command: list[str], work: Path) -> tuple[float, int, int]:
    """Seconds, peak anonymous memory (what cannot be given back) and peak resident memory (maps of files included)."""
    done = watched(command, work)
    if done.code:
        raise SystemExit(done.error)
    return done.seconds, done.anonymous, done.peak
