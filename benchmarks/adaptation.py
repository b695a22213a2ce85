"""Domain adaptation: every method on every pair, and what ``graft adapt`` returns without a label of the target.

Labels of the target's test rows are read after all fitting; the oracle is the method that they would choose.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
CHOICE, ORACLE, BASES = "graft adapt", "oracle", ("source_only", "network")


def adaptation(experiment: Row, folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Yield the rows of a pair after every seed."""
    for pair in folders.sets or experiment["sets"]:
        found: dict[str, list[Row]] = {}
        for seed in experiment["seeds"]:
            for system, result in _measured(pair, seed, experiment, folders).items():
                if not folders.systems or system in folders.systems:
                    found.setdefault(system, []).append({"seed": seed, **result})
            yield [row_of(pair, system, results) for system, results in found.items()]


def _measured(pair: str, seed: int, experiment: Row, folders: argparse.Namespace) -> dict[str, Row]:
    """Score and seconds of every method, of the choice and of the oracle, on the test rows of one pair."""
    from graft.adaptation import domains
    from graft.auto.adapt import Adapt, AdaptConfig

    source, target, test = _sets(pair, Path(folders.data))
    config = AdaptConfig(
        budget=experiment["budget"],
        methods=tuple(experiment.get("methods", ())),
        model=experiment.get("model"),
        seed=seed,
    )
    run, start = Adapt(domains.pair(source, target), config), time.perf_counter()
    model, record = run.run()
    seconds = time.perf_counter() - start
    results: dict[str, Row] = {}
    predicted: dict[str, np.ndarray] = {}
    for tried in run.tried:
        if tried.observed is not None:
            start = time.perf_counter()
            one = model if tried.name == model.name else run.fitted(tried.name)
            took = record["refit_seconds"] if tried.name == model.name else time.perf_counter() - start
            predicted[tried.name] = one.outputs(test).argmax(axis=1)
            differ = float((predicted[tried.name] != predicted[record["base"]]).mean())
            score = float((predicted[tried.name] == test.y).mean())
            results[tried.name] = {"score": score, "seconds": took, "facts": {"differ": differ, "n": len(test)}}
            print(
                f"{pair:<24} {tried.name:<16} seed {seed}  {results[tried.name]['score']:.4f}  {took:.1f} s", flush=True
            )
    best = max(results, key=lambda name: results[name]["score"])
    results[ORACLE] = {**results[best], "seconds": None, "facts": {**results[best]["facts"], "method": best}}
    facts = {key: record[key] for key in ("returned", "sentence", "rule")} | results[model.name]["facts"]
    results[CHOICE] = {"score": results[model.name]["score"], "seconds": seconds, "facts": facts}
    print(
        f"{pair:<24} {CHOICE:<16} seed {seed}  {results[CHOICE]['score']:.4f}  {seconds:.1f} s  {model.name}",
        flush=True,
    )
    return results


def _sets(pair: str, data: Path) -> tuple[Any, Any, Any]:
    """Labelled source rows, target rows and labelled target test rows of a pair such as ``books -> dvd``."""
    from graft.data.load import load

    one, two = pair.split(" -> ")
    if one in ("mnist", "usps"):
        here, there = (np.load(data / "image" / "digits" / f"{name}.npz") for name in (one, two))
        source = load((here["x_train"], here["y_train"].astype(str)), name=one)
        target = load(there["x_train"], labelled=False, like=source, name=two)
        return source, target, load((there["x_test"], there["y_test"].astype(str)), like=source, name=two)
    folder = data / "text" / "amazon_reviews"
    source = load(folder / f"{one}_train.svmlight.gz")
    read = [load(folder / f"{two}_{part}.svmlight.gz", like=source) for part in ("train", "test")]
    return source, read[0], read[1]


def row_of(pair: str, system: str, results: list[Row], **more: Any) -> Row:
    """The row of a system on a pair, with the results of its seeds."""
    scores = [one["score"] for one in results]
    seconds = [one["seconds"] for one in results if one["seconds"] is not None]
    return {
        "set": pair,
        "system": system,
        "metric": "accuracy",
        "seeds": [one["seed"] for one in results],
        "scores": scores,
        "mean": float(np.mean(scores)),
        "low": min(scores),
        "high": max(scores),
        "seconds": float(np.mean(seconds)) if seconds else None,
        "facts": [one["facts"] for one in results],
        **more,
    }


def summary(rows: list[Row]) -> dict[str, Any]:
    """Mean over pairs, share of cases below source-only by more than noise, and share of the attainable gain, by system.

    A case is a pair and a seed.  Noise is two standard errors of the difference on the same n test rows, √(d / n) where d
    of them are predicted otherwise.
    """
    base = {(row["set"], seed): score for row in rows if row["system"] in BASES for seed, score, _ in _cases(row)}
    best = {(row["set"], seed): score for row in rows if row["system"] == ORACLE for seed, score, _ in _cases(row)}
    found = {}
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [(row["set"], *case) for row in rows if row["system"] == system for case in _cases(row)]
        gains = [score - base[name, seed] for name, seed, score, _ in own]
        noise = [2 * np.sqrt(facts["differ"] / facts["n"]) for *_, facts in own]
        possible = sum(max(0.0, best[name, seed] - base[name, seed]) for name, seed, *_ in own)
        found[system] = {
            "pairs": len({name for name, *_ in own}),
            "mean": float(np.mean([row["mean"] for row in rows if row["system"] == system])),
            "harmful": float(np.mean([gain < -limit for gain, limit in zip(gains, noise, strict=True)])),
            "kept": sum(gains) / possible if possible else None,
        }
    return found


def _cases(row: Row) -> list[tuple[int, float, Row]]:
    return list(zip(row["seeds"], row["scores"], row["facts"], strict=True))
