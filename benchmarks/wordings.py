"""Wordings of class names and calibrations of zero-shot classification, on training rows of many tasks; no test file is opened.

A task is a set, or some of its classes: halves drawn with a seed.  Sets of one family share rows or classes.  What a family would
be read with is what does best on the other families: that is what the choice is worth on a set that it has not seen.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets
from benchmarks.processes import kept

Row = dict[str, Any]
HERE = Path(__file__).parent
PLAIN = "name | none"  # the name as it is, and its score as it is


def wordings(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Measure every wording with every calibration on every task, and yield a row for each task and source that reads it."""
    from graft.core.errors import SourceError
    from graft.core.store import Store
    from graft.sources.base import open_model

    for system, plan in experiment["sources"].items():
        if folders.systems and system not in folders.systems:
            continue
        source = open_model(uri_of(plan["uri"], Path(folders.data)))
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            for name in plan["sets"]:
                if folders.sets and name not in folders.sets:
                    continue
                for label, data in tasks(name, experiment, Path(folders.data)):
                    forms = experiment["wordings"][plan["wordings"]]
                    facts = {"source": plan["uri"], "wordings": forms, "rows": experiment["rows"]}
                    if kept(folders, label, system, facts):
                        continue
                    try:
                        scores = measured(source, data, forms, experiment["calibrations"], store)
                    except SourceError as error:
                        print(f"{label:<24} {system:<10} left out: {error}", flush=True)
                        continue
                    best = max(scores, key=lambda key: scores[key])
                    print(f"{label:<24} {system:<10} plain {scores[PLAIN]:.3f}, {best} {scores[best]:.3f}", flush=True)
                    row = {"set": label, "of": name, "family": experiment["families"][name], "system": system}
                    row |= {"metric": "accuracy", "scores": scores, "mean": scores[PLAIN], "n_test": len(data)}
                    yield [{**row, "classes": data.task.outputs, "plan": facts}]


def uri_of(uri: str, data: Path) -> str:
    """A source by its address, or by the name of vectors that lie beside the sets."""
    beside = {"tencent": sets.tencent(data), "glove": sets.glove(data / "text" / "any" / "train.csv")}
    return f"vectors:{beside[uri]}" if uri in beside else uri


def read(name: str, words: dict[str, str], data: Path, part: str = "train") -> tuple[list[str], list[str]]:
    """Texts with their classes in words; a class that no words are given for is left out, unless none are given at all."""
    if name.startswith("support"):
        import csv

        path = HERE.parent / "examples" / "support" / f"messages_{name.partition('_')[2] or 'en'}.csv"
        with path.open(encoding="utf-8", newline="") as file:
            found = [(row["text"], row["intent"]) for row in csv.DictReader(file)]
    elif name == "trec_fine":
        found = list(zip(*sets.read_text(data / "text" / "trec" / f"fine_{part}.csv"), strict=True))
    else:
        place = sets.paths(name, data, data)[part != "train"]
        found = list(zip(*sets.read_text(place), strict=True))
    named = [(text, words.get(str(label), "") if words else str(label)) for text, label in found]
    return [text for text, word in named if word], [word for _, word in named if word]


def tasks(name: str, experiment: dict[str, Any], folder: Path) -> Iterator[tuple[str, Any]]:
    """All classes of a set, then as many times as the plan says two halves of them; of each so many rows at most.

    With ``per_class`` a task has no more than so many times its classes.
    """
    from graft.data.load import load

    texts, labels = read(name, experiment.get("words", {}).get(name, {}), folder)
    of, classes = np.asarray(labels), sorted(set(labels))
    parts = [(name, classes)]
    for draw in range(experiment["halves"].get(name, 0)):
        order = np.random.default_rng([draw, len(classes)]).permutation(classes).tolist()
        cut = len(order) // 2
        parts += [(f"{name}, half {draw + 1}{side}", half) for side, half in (("a", order[:cut]), ("b", order[cut:]))]
    for label, some in parts:
        most = min(experiment["rows"], experiment.get("per_class", experiment["rows"]) * len(some))
        rows = np.flatnonzero(np.isin(of, some))
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:most])
        yield label, load(([texts[row] for row in rows], of[rows].tolist()))


def measured(
    source: Any, data: Any, forms: dict[str, list[str]], calibrations: list[str], store: Any
) -> dict[str, float]:
    """Accuracy of a task by wording and calibration."""
    from graft.transfer.base import Setting
    from graft.zero_shot.classifier import ZeroShot

    found = {}
    for (name, templates), calibration in itertools.product(forms.items(), calibrations):
        model = ZeroShot(source, templates=templates, calibration=calibration).fit(data, setting=Setting(store=store))
        right = model.outputs(data, store=store).argmax(axis=1) == data.y
        found[f"{name} | {calibration}"] = float(np.mean(right))
    return found


def summary(rows: list[Row]) -> dict[str, Any]:
    """For each source: the best way over all families, every way's mean, and what leaving a family out would choose."""
    return {
        system: _choice([row for row in rows if row["system"] == system])
        for system in dict.fromkeys(row["system"] for row in rows)
    }


def _choice(rows: list[Row]) -> dict[str, Any]:
    """Families count alike, and within them sets, and within them tasks."""
    ways = list(rows[0]["scores"])
    families: dict[str, np.ndarray] = {}
    for family in dict.fromkeys(row["family"] for row in rows):
        mine = [row for row in rows if row["family"] == family]
        means = [
            np.mean([[row["scores"][way] for way in ways] for row in mine if row["of"] == one], axis=0)
            for one in dict.fromkeys(row["of"] for row in mine)
        ]
        families[family] = np.mean(means, axis=0)
    table = np.array(list(families.values()))
    left_out = {}
    for place, family in enumerate(families):
        others = np.delete(table, place, axis=0)
        if len(others):
            chosen = int(others.mean(axis=0).argmax())
            left_out[family] = {
                "chosen": ways[chosen],
                "score": float(table[place, chosen]),
                "plain": float(table[place, ways.index(PLAIN)]),
                "oracle": float(table[place].max()),
            }
    best = int(table.mean(axis=0).argmax())
    order = np.argsort(-table.mean(axis=0), kind="stable")
    return {
        "tasks": len(rows),
        "best": ways[best],
        "score": float(table[:, best].mean()),
        "plain": float(table[:, ways.index(PLAIN)].mean()),
        "left_out": left_out,
        "left_out_score": float(np.mean([one["score"] for one in left_out.values()])) if left_out else None,
        "by_family": {family: float(line[best]) for family, line in families.items()},
        "means": {ways[place]: float(table[:, place].mean()) for place in order},
    }
