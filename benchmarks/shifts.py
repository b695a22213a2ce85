"""How often what ``graft adapt`` returns is worse than source only, over many shifts: its choice, and every method without the veto.

A case is a pair of real domains, or a set with a simulated shift (``drifts.py``).  Labels of target and test rows are read
after all fitting.  Shallow methods, few rows: a case takes seconds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.adaptation import CHOICE, ORACLE, _cases, row_of
from benchmarks.adaptation import summary as of_systems
from benchmarks.drifts import ODDS, Rows, drifted
from benchmarks.processes import kept
from benchmarks.regret import halved

Row = dict[str, Any]
BASE = "source_only"
SIDE = 16  # pixels of a picture's side


def shifts(experiment: Row, folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Yield the rows of every case; what an interrupted run holds is kept."""
    cases = [
        *experiment["pairs"],
        *(f"{name}, {kind}" for name, kinds in experiment["simulated"].items() for kind in kinds),
    ]
    for case in cases:
        if folders.sets and case not in folders.sets:
            continue
        plan = {key: experiment[key] for key in ("seeds", "rows", "budget")}
        if kept(folders, case, CHOICE, plan):
            continue
        found: dict[str, list[Row]] = {}
        for seed in experiment["seeds"]:
            for system, result in _measured(case, seed, experiment, Path(folders.data)).items():
                found.setdefault(system, []).append({"seed": seed, **result})
        wanted = [one for one in found.items() if not folders.systems or one[0] in folders.systems]
        yield [row_of(case, system, results, plan=plan) for system, results in wanted]


def _measured(case: str, seed: int, experiment: Row, data: Path) -> dict[str, Row]:
    """Score of every method, of the choice and of the oracle, on the test rows of one case."""
    from graft.adaptation import domains
    from graft.auto.adapt import Adapt, AdaptConfig

    source, target, test = _datasets(case, seed, experiment["rows"], data)
    config = AdaptConfig(budget=experiment["budget"], methods=tuple(experiment.get("methods", ())), seed=seed)
    run, start = Adapt(domains.pair(source, target), config), time.perf_counter()
    model, record = run.run()
    seconds = time.perf_counter() - start
    results: dict[str, Row] = {}
    predicted: dict[str, np.ndarray] = {}
    for tried in run.tried:
        if tried.observed is not None:
            one = model if tried.name == model.name else run.fitted(tried.name)
            predicted[tried.name] = one.outputs(test).argmax(axis=1)
            differ = float((predicted[tried.name] != predicted[BASE]).mean())
            score = float((predicted[tried.name] == test.y).mean())
            results[tried.name] = {
                "score": score,
                "seconds": tried.seconds,
                "facts": {"differ": differ, "n": len(test)},
            }
    best = max(results, key=lambda name: results[name]["score"])
    results[ORACLE] = {**results[best], "seconds": None, "facts": {**results[best]["facts"], "method": best}}
    results[ORACLE]["facts"]["halved"] = halved(test.y, list(predicted.values()), predicted[BASE], "accuracy") / 100
    facts = {key: record[key] for key in ("returned", "sentence")} | results[model.name]["facts"]
    results[CHOICE] = {"score": results[model.name]["score"], "seconds": seconds, "facts": facts}
    gain = results[CHOICE]["score"] - results[BASE]["score"]
    print(
        f"{case:<28} seed {seed}  {results[BASE]['score']:.3f} {gain:+.3f} {model.name:<14} "
        f"oracle {results[best]['score'] - results[BASE]['score']:+.3f} {best:<14} {seconds:.1f} s",
        flush=True,
    )
    return results


def summary(rows: list[Row]) -> dict[str, Any]:
    """Per system: cases, harmful ones, share of the attainable gain; for the choice also by kind of shift.

    The oracle chooses by test labels, so part of what it gains is luck: ``kept by halves`` is the share of what it gains where
    it chooses on one half of the test rows and is judged on the other.

    Harmful is a score below source-only by more than two standard errors of the difference on the same test rows.  Of a
    choice it is counted over all cases, and over those in which an adaptation was recommended.
    """
    found: dict[str, Any] = {}
    for system, facts in of_systems(rows).items():
        found[system] = {"cases": sum(len(row["seeds"]) for row in rows if row["system"] == system), **facts}
        del found[system]["pairs"]
    base = {(row["set"], seed): score for row in rows if row["system"] == BASE for seed, score, _ in _cases(row)}
    chosen = [(row["set"], *case) for row in rows if row["system"] == CHOICE for case in _cases(row)]
    harm = [
        score - base[name, seed] < -2 * np.sqrt(facts["differ"] / facts["n"]) for name, seed, score, facts in chosen
    ]
    made = [facts["returned"] != BASE for *_, facts in chosen]
    if chosen:
        found[CHOICE] |= {
            "recommended": float(np.mean(made)),
            "harmful of recommended": sum(harm) / max(1, sum(made)),
            "kept by halves": _halved(rows, base, chosen),
            "harmed": [f"{name} (seed {seed})" for (name, seed, *_), bad in zip(chosen, harm, strict=True) if bad],
        }
    kinds = sorted({_kind(row["set"]) for row in rows})
    parts = {kind: of_systems([row for row in rows if _kind(row["set"]) == kind]) for kind in kinds}
    by_kind = {
        kind: {key: part[CHOICE][key] for key in ("pairs", "harmful", "kept")}
        for kind, part in parts.items()
        if CHOICE in part
    }
    return {"systems": found, "by kind": by_kind}


def _halved(rows: list[Row], base: Row, chosen: list[tuple[str, int, float, Row]]) -> float | None:
    """Share of the gain of an oracle that is judged on other rows than it chooses on; None where that was not measured."""
    facts = [facts for row in rows if row["system"] == ORACLE for *_, facts in _cases(row)]
    attainable = sum(max(0.0, one.get("halved", 0.0)) for one in facts)
    return sum(score - base[name, seed] for name, seed, score, _ in chosen) / attainable if attainable else None


def _kind(case: str) -> str:
    kind = case.partition(", ")[2]
    if " -> " in case:
        return "real pair"
    return kind if kind in ODDS or kind == "none" else "corruption"


# -- data ------------------------------------------------------------------------------------------------------------------


def _datasets(case: str, seed: int, count: int, data: Path) -> tuple[Any, Any, Any]:
    """Labelled source rows, target rows without labels, and labelled test rows."""
    from graft.data.load import load

    if " -> " in case:
        one, two = case.split(" -> ")
        if (data / "text" / "amazon_reviews" / f"{one}_train.svmlight.gz").exists():
            return _reviews(one, two, seed, count, data)
        rng = np.random.default_rng(seed)
        whole = [_set(name, part, data) for name, part in ((one, "train"), (two, "train"), (two, "test"))]
        sides = [
            Rows(rows.X[some], rows.y[some], rows.Z[some])
            for rows, size in zip(whole, (count, count, 2_000), strict=True)
            for some in [np.sort(rng.permutation(len(rows.y))[:size])]
        ]
    else:
        name, kind = case.split(", ")
        sides = list(drifted(_set(name, "train", data), kind, count=count, seed=seed))
    source = load((_plain(sides[0].X), sides[0].y), name="source", task="classification")
    target = load(_plain(sides[1].X), labelled=False, like=source, name="target")
    return source, target, load((_plain(sides[2].X), sides[2].y), like=source, name="test")


def _plain(X: np.ndarray) -> Any:
    """What ``load`` reads: a table of numbers, a frame of letters, or texts."""
    if X.ndim == 1:
        return X.tolist()
    if X.dtype.kind in "fiu":
        return X
    import pandas as pd

    return pd.DataFrame(X.astype(str), columns=[f"place {j + 1}" for j in range(X.shape[1])])


def _reviews(one: str, two: str, seed: int, count: int, data: Path) -> tuple[Any, Any, Any]:
    from graft.data.load import load

    folder, rng = data / "text" / "amazon_reviews", np.random.default_rng(seed)
    source = load(folder / f"{one}_train.svmlight.gz")
    target = load(folder / f"{two}_train.svmlight.gz", labelled=False, like=source)
    test = load(folder / f"{two}_test.svmlight.gz", like=source)
    some = [np.sort(rng.permutation(len(rows))[:count]) for rows in (source, target)]
    return source.select(some[0]), target.select(some[1]), test


def _set(name: str, part: str, data: Path) -> Rows:
    """All rows of a set."""
    from sklearn import datasets

    if name in ("mnist", "usps"):
        arrays = np.load(data / "image" / "digits" / f"{name}.npz")
        some = np.random.default_rng(0).permutation(len(arrays[f"y_{part}"]))[:4_000]
        X = _small(arrays[f"x_{part}"][some])
        return Rows(X, arrays[f"y_{part}"][some].astype(str), X, SIDE)
    if hasattr(datasets, f"load_{name}"):
        found = getattr(datasets, f"load_{name}")()
        X = np.asarray(found.data, np.float64)
        return Rows(X, found.target.astype(str), X, 8 if name == "digits" else 0)
    path = data / "text" / name / f"{part}.csv"
    texts, y = _texts(path if path.exists() else path.with_name(path.name + ".gz"))
    if name == "splice":
        letters = np.array([list(text) for text in texts])
        return Rows(letters, y, (letters[:, :, None] == np.array(list("ACGT"))).reshape(len(letters), -1).astype(float))
    some = np.random.default_rng(0).permutation(len(y))[:4_000]
    return Rows(texts[some], y[some], _directions(texts[some]))


def _small(pictures: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w) as rows of ``SIDE``² numbers in [0, 1]."""
    from PIL import Image

    small = [np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BOX)) for one in pictures]
    return np.stack(small).reshape(len(small), -1) / 255.0


def _texts(path: Path) -> tuple[np.ndarray, np.ndarray]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([row["text"] for row in rows], dtype=object), np.array([row["label"] for row in rows])


def _directions(texts: np.ndarray) -> np.ndarray:
    """Leading directions of the words of texts."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(min_df=3, token_pattern=r"(?u)\w+").fit_transform(texts)
    return TruncatedSVD(8, random_state=0).fit_transform(words)
