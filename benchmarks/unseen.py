"""Classes without a labelled row, through a table of attributes: which classes are seen is drawn with a seed.

A map from features to attributes is learned from training rows of the seen classes; test rows of all classes are scored, all
classes competing.  Whatever is chosen (method, features, strengths, how much is taken off seen classes) is chosen on training
rows of seen classes, of which some are taken for unseen.
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
from benchmarks.fewshot import spread
from benchmarks.processes import kept

Row = dict[str, Any]
HERE = Path(__file__).parent
KINDS = ("seen", "unseen", "harmonic", "only_unseen")


def unseen(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Draw the seen classes, and yield the rows of a set after every draw."""
    from graft.zero_shot.attributes import read_attributes

    for name in folders.sets or experiment["sets"]:
        with tempfile.TemporaryDirectory() as folder:
            table = read_attributes(HERE / "attributes" / experiment["table"][name])
            plans = {
                f"{method}, {place}": {"method": method, "source": uri, "stacked": True}
                for place, uri in experiment["source"][name].items()
                for method in experiment["methods"]
            }
            first = next(iter(plans))
            plans |= {f"{first}, nothing taken off": {**plans[first], "stacked": False}}
            rows = {way: kept(folders, name, way, plan) for way, plan in plans.items()}
            rows["chosen"] = kept(folders, name, "chosen", {"among": list(plans)[:-1]})
            if all(row.get("seeds") == experiment["seeds"] for row in rows.values()):
                continue
            bench = Bench(table, experiment, name, folders, Path(folder))
            for seed in experiment["seeds"]:
                if all(seed in row.get("seeds", ()) for row in rows.values()):
                    continue
                found, facts = bench.draw(plans, seed)
                for way, score in found.items():
                    plan = plans.get(way, {"among": list(plans)[:-1]})
                    rows[way] = _row({"set": name, "system": way, "plan": plan}, rows[way], score, seed)
                    rows[way]["n_test"] = len(bench.test)
                rows["chosen"].setdefault("choices", []).append(facts)
                said = "  ".join(f"{way} {score['harmonic']:.3f}" for way, score in found.items())
                print(f"{name:<8} seed {seed}  {facts['chosen']}: {said}", flush=True)
                yield list(rows.values())


class Bench:
    """Rows of a set, so many of each class, and their features by source."""

    def __init__(
        self, table: dict[str, Any], experiment: dict[str, Any], name: str, folders: argparse.Namespace, work: Path
    ) -> None:
        from graft.core.store import Store
        from graft.data.load import load
        from graft.features import extract
        from graft.sources.base import open_model

        self.table, self.seen, self.store = table, experiment["seen"], Store(work / "cache")
        both = (load(path) for path in sets.paths(name, Path(folders.data), work))
        self.train, self.test = (_some(data, experiment["rows"]) for data in both)
        self.sources: dict[str, Any] = {"none": None}
        for uri in experiment["source"][name].values():
            if uri != "none":
                self.sources[uri] = open_model(f"hf:{Path(folders.models) / uri}")
                for data in (self.train, self.test):  # whole, so that every part finds its rows
                    extract(self.sources[uri], data, store=self.store)

    def draw(self, plans: dict[str, Row], seed: int) -> tuple[dict[str, Row], Row]:
        """Scores of every way on the test rows, and of the one that seen classes alone would choose, which is named."""
        order = np.random.default_rng([seed, len(self.table)]).permutation(sorted(self.table)).tolist()
        seen = sorted(order[: self.seen])
        found = {way: self.score(self.train, self.test, seen, list(self.table), plan) for way, plan in plans.items()}
        inner: dict[str, float] = {}
        for way, plan in plans.items():
            if plan["stacked"]:
                inner[way] = float(np.mean([self.inner(seen, order, fold, plan) for fold in range(2)]))
        chosen = max(inner, key=lambda way: inner[way])
        facts = {"seen": seen, "chosen": chosen, "inner": inner}
        return {**found, "chosen": found[chosen]}, facts

    def inner(self, seen: list[str], order: list[str], fold: int, plan: Row) -> float:
        """Harmonic mean where some of the seen classes are taken for unseen, and every fourth row of the others is held out."""
        out = order[: self.seen][fold :: self.seen // 2][:2]
        kept_classes = [name for name in seen if name not in out]
        names = np.asarray(self.train.task.classes)[self.train.y]
        number = np.zeros(len(names), np.int64)
        for name in seen:
            mine = np.flatnonzero(names == name)
            number[mine] = np.arange(len(mine))
        held = number % 4 == 3
        judged = (np.isin(names, kept_classes) & held) | np.isin(names, out)
        test = self.train.select(np.flatnonzero(judged))
        learned = self.train.select(np.flatnonzero(np.isin(names, kept_classes) & ~held))
        return self.score(learned, test, kept_classes, seen, plan)["harmonic"]

    def score(self, train: Any, test: Any, seen: list[str], classes: list[str], plan: Row) -> Row:
        """Mean accuracy per class of seen and unseen classes, their harmonic mean, and of unseen ones among themselves."""
        from graft.transfer.base import Setting
        from graft.zero_shot.attributes import AttributeZeroShot
        from graft.zero_shot.generalised import harmonic

        rows = train.select(np.flatnonzero(np.isin(np.asarray(train.task.classes)[train.y], seen)))
        model = AttributeZeroShot(
            self.sources[plan["source"]], attributes={name: self.table[name] for name in classes},
            method=plan["method"], stacking=None if plan["stacked"] else 0.0,
        ).fit(rows, setting=Setting(store=self.store))  # fmt: skip
        place = {name: number for number, name in enumerate(model.task_.classes)}
        y = np.array([place.get(name, -1) for name in test.task.classes])[test.y]
        outputs = model.outputs(test.select(np.flatnonzero(y >= 0)), store=self.store)
        y = y[y >= 0]
        found = {kind: value[0] for kind, value in harmonic(model.task_, y, outputs, seen).items()}
        others = np.array([number for name, number in place.items() if name not in seen])
        strange = np.isin(y, others)
        right = others[outputs[strange][:, others].argmax(axis=1)] == y[strange]
        found["only_unseen"] = float(np.mean([right[y[strange] == one].mean() for one in np.unique(y[strange])]))
        return found


def _some(data: Any, count: int) -> Any:
    """The first so many rows of each class, in a seeded order, as a data set of their own."""
    from benchmarks.active import only

    order = np.random.default_rng(0).permutation(len(data))
    return only(data, np.concatenate([order[data.y[order] == one][:count] for one in range(data.task.outputs)]))


def _row(facts: Row, before: Row, score: Row, seed: int) -> Row:
    """The row with one more draw."""
    lists = {kind: [*before.get(kind, []), score[kind]] for kind in KINDS}
    scores = lists["harmonic"]
    means = {kind: float(np.mean(values)) for kind, values in lists.items()}
    return {
        **before, **facts, "metric": "harmonic", "seeds": [*before.get("seeds", []), seed], **lists, "scores": scores,
        "mean": means["harmonic"], "means": means, "sd": spread(scores), "low": min(scores), "high": max(scores),
    }  # fmt: skip


def summary(rows: list[Row]) -> dict[str, Any]:
    """By set and way the means with 95 % intervals over draws (Student's t)."""
    from scipy.stats import t

    found: dict[str, Any] = {}
    for row, kind in itertools.product(rows, KINDS):
        values = np.asarray(row[kind])
        error = spread(row[kind])
        half = None if error is None else float(t.ppf(0.975, len(values) - 1) * error / len(values) ** 0.5)
        entry = found.setdefault(row["set"], {}).setdefault(row["system"], {})
        entry[kind] = [float(values.mean()), half]
    return found
