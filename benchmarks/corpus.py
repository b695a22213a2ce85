"""Memory and time of ``graft pretrain`` as the corpus grows: MR's sentences with swapped words, a text file of the stated size."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets
from benchmarks.scale import measured


def corpus(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    for size in experiment["megabytes"]:
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            rows = _write(Path(folders.data), work / "corpus.txt", size * 1_000_000)
            per_epoch = size * 1_000_000 / experiment["letters_per_token"] / (128 * 32)
            command = [
                sys.executable, "-m", "graft", "pretrain", "corpus.txt", "--objective", "masked", "--size", "tiny",
                "--epochs", f"{experiment['steps'] / per_epoch:.6f}", "--budget", "3h", "--out", "source", "--quiet",
            ]  # fmt: skip
            seconds, anonymous, peak = measured(command, work)
            training = json.loads((work / "source" / "pretrain.json").read_text(encoding="utf-8"))["training"]
        row = {
            "set": f"{size:,} MB of text", "system": "graft pretrain", "metric": "seconds", "seeds": [0],
            "scores": [seconds], "mean": seconds, "low": seconds, "high": seconds, "seconds": seconds,
            "training_seconds": training["seconds"], "peak_bytes": peak, "peak_anonymous_bytes": anonymous, "rows": rows,
        }  # fmt: skip
        print(row, flush=True)
        yield [row]


def _write(data: Path, path: Path, size: int) -> int:
    """Write at least ``size`` bytes of sentences, a row per line; how many rows."""
    texts, _ = sets.read_text(sets.paths("mr", data, path.parent)[0])
    split = [text.split() for text in texts]
    rng = np.random.default_rng(0)
    written = count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        while written < size:
            words = list(split[count % len(split)])
            one, other = rng.integers(len(words), size=2)
            words[one], words[other] = words[other], words[one]
            line = " ".join(words) + "\n"
            file.write(line)
            written += len(line.encode())
            count += 1
    return count
