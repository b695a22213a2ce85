"""The exhaustive table behind ``regret``: every way on every source, trial by trial, kept in ``trials.json``; and graft's choice.

What each trial predicts on the test rows is kept in ``predictions.json`` beside it, packed.

``python -m benchmarks.exhaustive table SPEC`` and ``… choice SPEC`` do the work in processes of their own and print JSON
lines, so a trial that takes too long, or breaks its process, costs no other trial.
"""

from __future__ import annotations

import base64
import inspect
import json
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import BrokenError, TooSlowError, messages

Row = dict[str, Any]
START = 300.0  # seconds in which a process must say its first word: it reads the rows and opens sources
ROOM = 3.0  # the folds may take so many times what one fit foretold
TRUTH = "truth"
FEATURES, RANK = "features", "rank"  # steps beside the ways
FOLDS, HELD_OUT = 5, 0.2


class Trials:
    """The flat table of trials on disk, written after every trial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
        self.beside = path.with_name("predictions.json")
        self.predictions: dict[str, dict[str, str]] = {}  # of a cell: packed classes by trial, and TRUTH
        if self.beside.exists():
            self.predictions = json.loads(self.beside.read_text(encoding="utf-8"))

    def of(self, cell: Row) -> list[Row]:
        """The trials of a cell (set, size, seed)."""
        return [row for row in self.rows if same_cell(row, cell)]

    def put(self, row: Row) -> None:
        """Add a trial, or put it in the place of the same one; what it predicted goes beside."""
        row = dict(row)
        for name, key in (("predicted", _name(row)), ("truth", TRUTH)):
            if row.get(name):
                self.predictions.setdefault(_name_of(row), {})[key] = row[name]
            row.pop(name, None)
        self.rows = [*(old for old in self.rows if not (same_cell(old, row) and key_of(old) == key_of(row))), row]
        self._write()

    def predicted(self, cell: Row, row: Row | None = None) -> np.ndarray | None:
        """Class of each test row as a trial of the cell predicts it, or the true one; None where that was not kept."""
        kept = self.predictions.get(_name_of(cell), {}).get(TRUTH if row is None else _name(row))
        return None if kept is None else unpacked(kept)

    def drop(self, cell: Row) -> None:
        """Forget a cell, to measure it again."""
        self.rows = [row for row in self.rows if not same_cell(row, cell)]

    def _write(self) -> None:
        from graft.core.runtime import environment

        facts = environment()
        whole = {
            "title": "Every source and every way on rows of every set: held-out and test scores",
            "date": datetime.now(UTC).date().isoformat(),
            "machine": {key: facts[key] for key in ("cpu", "cores", "memory_bytes", "os", "python")},
            "versions": facts["packages"],
            "rows": self.rows,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for path, content in ((self.path, whole), (self.beside, self.predictions)):
            half = path.with_suffix(".half")
            half.write_text(json.dumps(content, indent=0, ensure_ascii=False), encoding="utf-8")
            half.replace(path)


def same_cell(row: Row, cell: Row) -> bool:
    """Whether a trial belongs to a cell (set, size, seed)."""
    return all(row[key] == cell[key] for key in ("set", "size", "seed"))


def _name_of(cell: Row) -> str:
    return "/".join(str(cell[key]) for key in ("set", "size", "seed"))


def _name(row: Row) -> str:
    return f"{row['way']} | {row['source'] or ''}"


def packed(classes: np.ndarray) -> str:
    """Class numbers (n,) as short text.

    Example:
        >>> unpacked(packed(np.array([0, 300, 2]))).tolist()
        [0, 300, 2]
    """
    return base64.b85encode(zlib.compress(np.asarray(classes, "<u2").tobytes(), 9)).decode()


def unpacked(text: str) -> np.ndarray:
    """The inverse of ``packed``."""
    return np.frombuffer(zlib.decompress(base64.b85decode(text)), "<u2").astype(int)


def numbered(names: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Number of each name among the classes, one beyond the last for a name that is none of them.

    Example:
        >>> numbered(np.array(["b", "a", "?"]), ("a", "b")).tolist()
        [1, 0, 2]
    """
    index = {name: number for number, name in enumerate(classes)}
    return np.asarray([index.get(str(name), len(index)) for name in names])


def key_of(row: Row) -> tuple[str, str | None]:
    """Way and source, which name a trial in its cell."""
    return row["way"], row["source"]


@dataclass
class Limit:
    """How long the next line may take."""

    seconds: float = START

    def __call__(self) -> float:
        return self.seconds


def fill(spec: Row, cell: Row, trials: Trials, limit: float, cache: Path, variables: dict[str, str]) -> dict[str, Row]:
    """Run the table in a process that is started again after a trial that took too long or broke it; source scores."""
    scores: dict[str, Row] = {}
    failed: set[tuple[str, str | None]] = set()
    while True:
        done = {key_of(row) for row in trials.of(cell)} | failed
        current: tuple[str, str | None] | None = None
        allowed = Limit()
        arguments = ["table", json.dumps({**spec, "done": sorted(done, key=str)})]
        stream = messages("benchmarks.exhaustive", arguments, limit=allowed, GRAFT_CACHE=str(cache), **variables)
        try:
            for message in stream:
                if "begin" in message:
                    current, allowed.seconds = tuple(message["begin"]), limit
                elif "trial" in message:
                    row = {**cell, **message["trial"]}
                    trials.put(row)
                    allowed.seconds = START + ROOM * spec["cv_seconds"]
                    print(_line(row), flush=True)
                elif "rank" in message:
                    scores = message["rank"]
        except (TooSlowError, BrokenError) as error:
            if current is None:
                raise SystemExit(f"{cell}: {error}") from error
            failed.add(current)
            if current not in {key_of(row) for row in trials.of(cell)} and current[0] != RANK:
                slow = isinstance(error, TooSlowError)
                facts = _facts(*current, spec["ways"].get(current[0], {"transfer": FEATURES}))
                state = {"state": "skipped", "seconds": limit} if slow else {"state": "failed", "seconds": 0.0}
                trials.put({**cell, **facts, **state, "reason": str(error)})
                print(_line({**cell, **facts, "reason": str(error)}), flush=True)
        else:
            return scores


def _line(row: Row) -> str:
    said = row.get("reason") or f"{row['test_score']:.4f}  {row['seconds']:.1f} s"
    return f"{row['set']}, {row['size'] or 'all'} rows  {row['way']:<16} {row['source'] or '':<32} {said}"


def _facts(way: str, source: str | None, plan: Row) -> Row:
    return {
        "source": source, "transfer": plan["transfer"], "way": way, "settings": plan.get("settings", {}), "metric": None,
        "score": None, "folds": 0, "seconds": 0.0, "pass_seconds": 0.0, "test_score": None, "test_accuracy": None,
        "state": "done", "reason": "",
    }  # fmt: skip


def table(spec: Row) -> Iterator[Row]:
    """Fit every way on every source on all rows and score it on the test rows: messages as they come.

    ``{"begin": [way, source]}`` comes before a step, ``{"trial": row}`` after the test score and once more after the folds,
    ``{"rank": {source: scores}}`` at the end.
    """
    from graft.core.registry import TRANSFERS
    from graft.core.store import Store
    from graft.data.load import load
    from graft.sources.base import list_models

    data = load(spec["train"])
    held_out, store = load(spec["test"], like=data), Store()
    done = {tuple(key) for key in spec["done"]}
    bench = _Bench(data, held_out, store, spec["seed"], spec["cv_seconds"])
    alone = {way: plan for way, plan in spec["ways"].items() if not TRANSFERS[plan["transfer"]].needs_source}
    for way, plan in alone.items():
        if (way, None) not in done:
            yield from bench.trial(way, plan, None, 0.0)
    tuned = {way: plan for way, plan in spec["ways"].items() if way not in alone}
    models = list_models(modality=data.task.modality) if tuned else []
    usable = []
    for model in models:
        if (FEATURES, model.name) in done:
            continue
        yield {"begin": [FEATURES, model.name]}
        seconds, reason = bench.features(model)
        if reason:
            row = {**_facts(FEATURES, model.name, {"transfer": FEATURES}), "state": "skipped", "reason": reason}
            yield {"trial": row}
            continue
        usable.append(model)
        for way, plan in tuned.items():
            if (way, model.name) not in done:
                yield from bench.trial(way, plan, model, seconds)
    if usable and (RANK, None) not in done:
        yield {"begin": [RANK, None]}
        yield {"rank": bench.ranked(usable)}


@dataclass
class _Bench:
    """The rows of a cell, and what is done with each source and way."""

    data: Any
    held_out: Any
    store: Any
    seed: int
    cv_seconds: float

    def features(self, model: Any) -> tuple[float, str]:
        """Seconds of the pass over the training rows, after which all rows are in the cache; or why there is none."""
        from graft.core.errors import GraftError
        from graft.core.rows import evenly_spaced
        from graft.features import extract
        from graft.sources.base import open_model

        try:
            backbone = open_model(model)
            coverage = backbone.coverage(self.data.take(evenly_spaced(len(self.data), 500)))
            if not coverage.ok:
                return 0.0, coverage.reason
            seconds = extract(backbone, self.data, store=self.store).seconds
            extract(backbone, self.held_out, store=self.store)
        except GraftError as error:
            return 0.0, str(error)
        return seconds, ""

    def trial(self, way: str, plan: Row, model: Any, pass_seconds: float) -> Iterator[Row]:
        """One way on one source."""
        from graft.core.registry import TRANSFERS
        from graft.evaluate.search import Candidate
        from graft.transfer.base import Setting

        source = model.name if model else None
        yield {"begin": [way, source]}
        transfer, task = TRANSFERS[plan["transfer"]], self.data.task
        seeded = {"seed": self.seed} if "seed" in inspect.signature(transfer).parameters else {}
        candidate = Candidate(plan["transfer"], {**plan.get("settings", {}), **seeded}, model)
        row = {**_facts(way, source, plan), "metric": task.metric, "pass_seconds": pass_seconds}
        row |= {"modality": task.modality, "classes": task.outputs, "rows": len(self.data)}
        reason = transfer.fits(model) if model else ""
        if reason or task.kind not in transfer.kinds:
            yield {"trial": {**row, "state": "skipped", "reason": reason or f"not for {task.kind}"}}
            return
        start = time.perf_counter()
        try:
            fitted = candidate.make().fit(self.data, setting=Setting(store=self.store))
            row["seconds"] = time.perf_counter() - start
            predicted = task.decode(fitted.outputs(self.held_out, store=self.store))
        except Exception as error:  # noqa: BLE001  (a way that fails is a row)
            text = " ".join(str(error).split())[:300] or type(error).__name__
            yield {"trial": {**row, "seconds": time.perf_counter() - start, "state": "failed", "reason": text}}
            return
        scores = measured(self.held_out.labels, predicted)
        row |= {"test_score": scores[task.metric], "test_accuracy": scores["accuracy"]}
        truth, found = (packed(numbered(names, task.classes)) for names in (self.held_out.labels, predicted))
        yield {"trial": {**row, "truth": truth, "predicted": found}}
        held_out = self._validated(candidate, row["seconds"])
        if held_out["folds"]:
            yield {"trial": {**row, **held_out}}

    def _validated(self, candidate: Any, seconds: float) -> Row:
        """The cross-validated score where its folds, or at least one part held out, stay within the limit."""
        from graft.core.errors import GraftError
        from graft.data.splits import folds, holdout
        from graft.evaluate.metrics import score
        from graft.evaluate.search import TrialStore, try_candidate
        from graft.transfer.base import Setting

        if seconds > self.cv_seconds:
            return {"folds": 0}
        try:
            if FOLDS * seconds <= self.cv_seconds:
                parts = folds(self.data, k=FOLDS, seed=self.seed)
            else:
                parts = [holdout(self.data, test=HELD_OUT, seed=self.seed)]
        except GraftError:  # too few rows of too many classes
            return {"folds": 0}
        setting = Setting(store=self.store)
        tried = try_candidate(candidate, self.data, parts, setting=setting, store=TrialStore(None, ""))
        if not tried.usable or not tried.rows.any():
            return {"folds": 0}
        assert tried.outputs is not None
        value = score(self.data.task, self.data.y[tried.rows], tried.outputs[tried.rows])
        return {"score": value, "folds": tried.folds}

    def ranked(self, models: Sequence[Any]) -> dict[str, Row]:
        """The transferability scores of every source, and its size."""
        from graft.ranking.rank import rank

        rows = rank(models, self.data, store=self.store, seed=self.seed, any_script=True).rows
        return {
            row.spec.name: {
                **{name: value[0] for name, value in row.scores.items()},
                "parameters": row.spec.parameters,
                "seconds": row.seconds + row.scoring_seconds,
            }
            for row in rows
        }


def measured(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Accuracy, and the mean of F1 over the classes that occur in either.

    Example:
        >>> measured(np.array(["a", "a", "b"]), np.array(["a", "b", "b"]))["accuracy"]
        0.6666666666666666
    """
    from sklearn.metrics import f1_score

    truth, predicted = np.asarray(truth).astype(str), np.asarray(predicted).astype(str)
    f1 = f1_score(truth, predicted, average="macro", zero_division=0)
    return {"accuracy": float((truth == predicted).mean()), "macro_f1": float(f1)}


# -- graft's own choice ----------------------------------------------------------------------------------------------


def choice(spec: Row) -> Iterator[Row]:
    """What ``graft fit`` returns with these options, by its public face, with everything that it does in its seconds."""
    start = time.perf_counter()
    from graft.auto import AutoFit, Config
    from graft.core.store import Store
    from graft.data.load import load

    options = {key: tuple(value) if isinstance(value, list) else value for key, value in spec["options"].items()}
    data = load(spec["train"])
    model, run = AutoFit(data, Config(**options, seed=spec["seed"]), Store()).run()
    seconds = time.perf_counter() - start
    held_out = load(spec["test"], like=data)
    predicted = model.predict(held_out)
    scores = measured(held_out.labels, predicted)
    answer = {key: run.answer[key] for key in ("transfer", "source_name", "trial", "score", "metric")}
    yield {"choice": {
        "test_score": scores[data.task.metric], "test_accuracy": scores["accuracy"], "seconds": seconds, "answer": answer,
        "predicted": packed(numbered(predicted, data.task.classes)),
    }}  # fmt: skip


def main() -> None:
    mode, spec = sys.argv[1:3]
    for message in {"table": table, "choice": choice}[mode](json.loads(spec)):
        print(json.dumps(message, default=float), flush=True)


if __name__ == "__main__":
    main()
