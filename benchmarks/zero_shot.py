"""Zero-shot classification by the words of the classes, on test files: what the package does by itself beside plain names.

Nothing is chosen here: wordings and calibration were, on training rows (``wordings``).  The rows to classify are the unlabelled
rows that a calibration looks at, as in ``graft zero-shot``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import kept
from benchmarks.wordings import read, uri_of

Row = dict[str, Any]
PLAIN = "plain names"  # what the others are compared with


def zero_shot(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Classify the test file of every set in every way, and yield the rows of a set."""
    from graft.core.store import Store
    from graft.data.load import load
    from graft.sources.base import open_model
    from graft.transfer.base import Setting
    from graft.zero_shot.classifier import ZeroShot

    for name in folders.sets or experiment["sets"]:
        uri, words = experiment["source"][name], experiment.get("words", {}).get(name, {})
        plans = {way: {"source": uri, "options": options} for way, options in experiment["ways"].items()}
        if all(kept(folders, name, way, plan) for way, plan in plans.items()):
            continue
        data = load(read(name, words, Path(folders.data), part="test"))
        source = open_model(uri_of(uri, Path(folders.data)))
        outputs, records = {}, {}
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            for way, options in experiment["ways"].items():
                model = ZeroShot(source, **options).fit(data, setting=Setting(store=store))
                outputs[way], records[way] = model.outputs(data, store=store), model.record_
        yield [
            {
                "set": name, "system": way, "metric": "accuracy", "n_test": len(data), "classes": data.task.outputs,
                "calibration": records[way]["calibration"], "said": records[way]["sentences"][data.task.classes[0]],
                **scores(data.task, data.y, outputs[way], outputs[PLAIN], level=experiment["level"]), "plan": plan,
            }
            for way, plan in plans.items()
        ]  # fmt: skip
        found = "  ".join(f"{way} {np.mean(p.argmax(axis=1) == data.y):.4f}" for way, p in outputs.items())
        print(f"{name:<10} {found}", flush=True)


def scores(task: Any, y: np.ndarray, outputs: np.ndarray, plain: np.ndarray, *, level: float) -> Row:
    """Accuracy and macro-F1 with intervals, and the difference in accuracy to plain names on the same rows."""
    from graft.evaluate.metrics import evaluate
    from graft.nn.bootstrap import bootstrap, interval

    found = evaluate(task, y, outputs, metrics=("accuracy", "macro_f1"), level=level)
    gap = (outputs.argmax(axis=1) == y).astype(np.float64) - (plain.argmax(axis=1) == y)
    draws = bootstrap([lambda weight: weight @ gap / weight.sum(axis=1)], len(y), seed=0)[:, 0]
    return {
        "mean": found["accuracy"][0],
        "interval": list(found["accuracy"][1:]),
        "macro_f1": list(found["macro_f1"]),
        "difference": list(interval(float(gap.mean()), draws, level=level, size=len(y))),
        "level": level,
    }


def summary(rows: list[Row]) -> dict[str, Any]:
    """For each way the mean accuracy over sets, and the mean and the worst difference to plain names."""
    found = {}
    for way in dict.fromkeys(row["system"] for row in rows):
        mine = [row for row in rows if row["system"] == way]
        gaps = [row["difference"][0] for row in mine]
        found[way] = {
            "mean": float(np.mean([row["mean"] for row in mine])),
            "difference": float(np.mean(gaps)),
            "worst": min(gaps),
            "below": [row["set"] for row in mine if row["difference"][2] < 0],
        }
    return found
