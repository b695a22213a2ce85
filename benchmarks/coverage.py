"""Coverage: does the interval that graft reports hold the score that the returned model has on rows never seen?

And do the model's conformal sets of classes, or intervals of values, hold the truth of such rows as often as asked?

Rows are drawn again and again out of a large set; those not drawn are the population.  Features of the whole set are
extracted once, so a run takes about as long as its heads.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets
from benchmarks.processes import kept

Row = dict[str, Any]
EVERY = 10  # resamples after which a row is written
LEAST = 5  # rows of the population for each drawn one: with fewer, the noise of the true score itself counts as misses
CERTAIN = 0.95  # level of the interval of the coverage itself
FIELDS = ("reported", "low", "high", "true", "seconds", "unseen", "held", "size")  # of one resample


def coverage(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Resample every set at every size, and yield the row of a set and size after some resamples."""
    from graft.core.store import Store
    from graft.data.load import load
    from graft.features import extract
    from graft.sources.base import open_model

    for name in folders.sets or experiment["sets"]:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            if name in sets.BUNDLED:
                path = sets.bundled(name, work)
            else:
                path, _ = sets.paths(name, Path(folders.data), work)
            data, store = load(path), Store(work / "cache")
            source = experiment.get("source", {}).get(name)
            if source:
                extract(open_model(source), data, store=store)
            for size in experiment["rows"]:
                fits = (1 + LEAST) * size <= len(data)
                if fits and (not folders.systems or f"{size} rows" in folders.systems):
                    yield from _resampled(name, size, data, store, experiment, folders)


def _resampled(
    name: str, size: int, data: Any, store: Any, experiment: dict[str, Any], folders: argparse.Namespace
) -> Iterator[list[Row]]:
    source = experiment.get("source", {}).get(name)
    plan = {
        **{key: experiment[key] for key in ("methods", "level", "population", "seed")},
        "source": source,
        "options": experiment.get("options", {}),
    }
    before = kept(folders, name, f"{size} rows", plan)
    found, failed = list(before.get("resamples", [])), dict(before.get("failed", {}))
    for index in range(len(found) + len(failed), experiment["resamples"]):
        try:
            found.append(one(data, size, [plan["seed"], size, index], plan, store))
        except Exception as error:  # noqa: BLE001  (a run that breaks is counted, and the others go on)
            failed[str(index)] = " ".join(str(error).split())[:200] or type(error).__name__
            print(f"{name:<12} {size:>4} rows  {index + 1:>4}  {failed[str(index)]}", flush=True)
        if found and ((index + 1) % EVERY == 0 or index + 1 == experiment["resamples"]):
            row = _row(name, size, data.task.is_classification, found, plan) | {"failed": failed}
            said = f"{row['mean']:.2f} ({row['low']:.2f}-{row['high']:.2f}), optimism {row['optimism']:+.4f}"
            print(f"{name:<12} {size:>4} rows  {index + 1:>4}  {said}  {row['seconds']:.1f} s", flush=True)
            yield [row]


def one(data: Any, size: int, seed: Sequence[int], plan: Row, store: Any) -> list[float]:
    """One resample: what ``graft fit`` reports of its rows, and the score of its model on rows not drawn.

    Classes and metric are those that the drawn rows show, as they would be to somebody who has no others.  Rows of a class
    that was not drawn are not scored; ``unseen`` is their share.
    """
    from graft.auto import AutoFit, Config
    from graft.core.task import Task
    from graft.evaluate.metrics import held, score

    order = np.random.default_rng(list(seed)).permutation(len(data))
    drawn, rest = np.sort(order[:size]), np.sort(order[size:][: plan["population"]])
    labels = data.labels
    task = Task.infer(labels[drawn], modality=data.task.modality, kind=data.task.kind)
    known = np.isin(labels[rest], task.classes) if task.is_classification else np.ones(len(rest), bool)
    sample, population = (
        dataclasses.replace(data.select(rows), task=task, y=task.encode(labels[rows])) for rows in (drawn, rest[known])
    )
    models = (plan["source"],) if plan["source"] else ()
    options = {"budget": None, "models": models, "methods": tuple(plan["methods"]), "level": plan["level"]}
    config = Config(**{**options, **plan["options"]}, seed=int(seed[-1]))
    with _forgetful():
        start = time.perf_counter()
        model, run = AutoFit(sample, config, store).run()
        seconds = time.perf_counter() - start
    assert population.y is not None
    outputs = model.outputs(population, store=store)
    true, regions = score(task, population.y, outputs), model.region(outputs, plan["level"])
    (covered, *_), (size_of, *_) = held(task, population.y, regions).values()
    return [*map(float, run.answer["score"]), true, seconds, float(1 - known.mean()), covered, size_of]


@contextlib.contextmanager
def _forgetful() -> Iterator[None]:
    """A cache of one's own for everything but the features: no run may know of the ones before."""
    before = os.environ.get("GRAFT_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRAFT_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("GRAFT_CACHE") if before is None else os.environ.update(GRAFT_CACHE=before)


def counted(resamples: Sequence[Sequence[float]], level: float, *, bounded: bool = True) -> Row:
    """Share of the intervals that hold the true score, with its Wilson interval, and how wide and how hopeful they are.

    Args:
        resamples: Lists as ``FIELDS`` names them.
        level: Of the intervals that were reported.
        bounded: Whether scores cannot leave 0 to 1: widths are then counted within.

    Example:
        >>> found = counted([[0.8, 0.7, 0.9, 0.75, 1, 0, 0.9, 1], [0.8, 0.7, 0.9, 0.65, 1, 0, 0.9, 2]], 0.9)
        >>> found["mean"], round(found["optimism"], 3), round(found["width"], 3)
        (0.5, 0.1, 0.2)
    """
    from graft.evaluate.metrics import wilson

    reported, low, high, true, seconds, unseen, covered, size = np.asarray(resamples, dtype=float).T
    if bounded:
        low, high = low.clip(0, 1), high.clip(0, 1)
    inside = (low <= true) & (true <= high)
    share, least, most = wilson(float(inside.mean()), len(inside), level=CERTAIN)
    gaps = reported - true
    return {
        "mean": share,
        "low": least,
        "high": most,
        "level": level,
        "below": float((true < low).mean()),
        "above": float((true > high).mean()),
        "width": float((high - low).mean()),
        "optimism": float(gaps.mean()),
        "optimism_error": float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else None,
        "seconds": float(seconds.mean()),
        "unseen": float(unseen.mean()),
        "held": float(covered.mean()),
        "size": float(size.mean()),
    }


def _row(name: str, size: int, classes: bool, found: list[list[float]], plan: Row) -> Row:
    facts = counted(found, plan["level"], bounded=classes)
    return {
        "set": name,
        "system": f"{size} rows",
        "metric": "coverage",
        "seeds": [plan["seed"]],
        "scores": [facts["mean"]],
        **facts,
        "rows": size,
        "fields": list(FIELDS),
        "resamples": found,
        "plan": plan,
    }


def summary(rows: list[Row]) -> dict[str, Any]:
    """Coverage over all resamples of all sets and sizes, lowest and highest by cell, and the largest optimism."""
    from graft.evaluate.metrics import wilson

    count = sum(len(row["resamples"]) for row in rows)
    if not count:
        return {}
    hits = sum(row["mean"] * len(row["resamples"]) for row in rows)
    share, low, high = wilson(hits / count, count, level=CERTAIN)
    return {
        "resamples": count,
        "coverage": share,
        "low": low,
        "high": high,
        "lowest": min(row["mean"] for row in rows),
        "highest": max(row["mean"] for row in rows),
        "mean_optimism": sum(row["optimism"] * len(row["resamples"]) for row in rows) / count,
        "largest_optimism": max(row["optimism"] for row in rows),
        "held": sum(row["held"] * len(row["resamples"]) for row in rows) / count,
        "least_held": min(row["held"] for row in rows),
        "most_held": max(row["held"] for row in rows),
        "failed": sum(len(row["failed"]) for row in rows),
    }
