"""Label efficiency: score by labels per class of a source made here, beside the same network from scratch and a classical model."""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets
from benchmarks.draws import per_class

BATCH = 32
RATE = 5e-4  # of fine-tuning what was made here
STEPS = (200, 1000)  # of a training at least and at most; in between 15 passes over the rows


def labels(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """For every curve: make the source once, then score each system with each count of labels and each seed."""
    for name, curve in experiment["curves"].items():
        if folders.sets and name not in folders.sets:
            continue
        with tempfile.TemporaryDirectory() as work:
            yield _curve(name, curve, experiment, folders, Path(work))


def _curve(
    name: str, curve: dict[str, Any], experiment: dict[str, Any], folders: argparse.Namespace, work: Path
) -> list[dict[str, Any]]:
    from graft.core.store import Store
    from graft.data.load import load

    data = Path(folders.data)
    train, test = sets.paths(curve["target"], data, work)
    target = load(train)
    held_out = load(test, like=target)
    semi = curve["objective"] == "semi"  # its source is another one for every choice of labelled rows
    source, made = ("", {}) if semi else _source(curve, experiment["seconds"], data, work)
    seeds = curve.get("seeds", experiment["seeds"])
    found: dict[tuple[int, str], list[float]] = {}
    for count in curve.get("counts", experiment["counts"]):
        for seed in seeds[: None if count else 1]:
            few = per_class(target.y, count, seed)
            if semi:
                source, made = _taught(curve, target, few, seed, work / f"source-{count}-{seed}")
            for system, make in _systems(source, curve, len(few)).items():
                if folders.systems and system not in folders.systems:
                    continue
                predicted = _fitted(make(seed), target.select(few), Store(work / "cache")).predict(held_out)
                score = float((predicted == held_out.labels).mean())
                found.setdefault((count, system), []).append(score)
                print(f"{name:<28} {count or 'all':>4} per class  {system:<24} seed {seed}  {score:.4f}", flush=True)
    return [_row(name, count, system, seeds[: len(scores)], scores, len(held_out), made)
            for (count, system), scores in found.items()]  # fmt: skip


def _source(curve: dict[str, Any], seconds: float, data: Path, work: Path) -> tuple[str, dict[str, Any]]:
    """The URI of the source of a curve, and what to note about how it was made."""
    from graft.core.runtime import Clock
    from graft.data.load import load

    if curve["objective"] == "given":
        return f"vectors:{sets.tencent(data)}", {}
    rows = load(sets.paths(curve["rows"], data, work)[0], labelled=curve["objective"] == "supervised")
    return _made(curve, rows, Clock(seconds), work / "source")


def _taught(curve: dict[str, Any], target: Any, few: np.ndarray, seed: int, folder: Path) -> tuple[str, dict[str, Any]]:
    """The source that few labelled rows and all others without their labels make."""
    y = np.full(len(target), -1, target.y.dtype)
    y[few] = target.y[few]
    return _made(curve, dataclasses.replace(target, y=y), None, folder, seed=seed)


def _made(curve: dict[str, Any], rows: Any, clock: Any, folder: Path, **options: Any) -> tuple[str, dict[str, Any]]:
    from graft.core.registry import OBJECTIVES

    objective = OBJECTIVES[curve["objective"]](**curve.get("options", {}), **options)
    objective.fit(rows, clock=clock)
    record = objective.record_
    scores = [{key: one[key] for key in ("name", "value", "low", "high", "baselines")} for one in record["scores"]]
    facts = {"training": record["training"], "encoder": record["encoder"], "scores": scores}
    return f"file:{objective.save(folder)}", facts


def _systems(source: str, curve: dict[str, Any], rows: int) -> dict[str, Any]:
    """Makers of transfers by name; where pretraining went on with a source, that source stands in the place of scratch."""
    from graft.transfer.classical import Classical
    from graft.transfer.finetune import Finetune
    from graft.transfer.probe import Probe
    from graft.transfer.word_vectors import WordVectors

    before, network = curve.get("beside"), curve.get("network")
    steps = {"batch_size": BATCH, "epochs": _passes(rows)}
    systems: dict[str, Any] = {"pretrained, probe": lambda seed: Probe(source)}  # noqa: ARG005
    if network:
        systems["pretrained, fine-tuned"] = lambda seed: WordVectors(source, network=network, seed=seed)
        systems["from scratch"] = lambda seed: WordVectors(source, network=network, embeddings="random", seed=seed)
    elif before:
        systems["pretrained, fine-tuned"] = lambda seed: Finetune(source, seed=seed)
        systems["before, probe"] = lambda seed: Probe(before)  # noqa: ARG005
        systems["before, fine-tuned"] = lambda seed: Finetune(before, seed=seed)
    elif curve["objective"] != "pca":  # a closed form: nothing of it is trained on
        systems["pretrained, fine-tuned"] = lambda seed: Finetune(source, lr=RATE, seed=seed, **steps)
        systems["from scratch"] = lambda seed: _fresh(source, seed=seed, **steps)
    systems["classical"] = lambda seed: Classical(seed=seed)
    return systems


def _passes(rows: int) -> float:
    """Passes over the rows, the same for every network."""
    per_pass = math.ceil(rows / BATCH)
    return min(max(15 * per_pass, STEPS[0]), STEPS[1]) / per_pass


def _fresh(source: str, **settings: Any) -> Any:
    """Training of the architecture of a source with fresh weights, all of them."""
    from graft.sources.base import open_model
    from graft.sources.native import NativeBackbone
    from graft.transfer.scratch import Scratch

    class Fresh(Scratch):
        def _backbone(self, data: Any) -> Any:
            del data
            made = open_model(source)
            assert isinstance(made, NativeBackbone)
            return NativeBackbone(made.encoder, made.arguments, made.reader, made.spec)

    return Fresh(**settings)


def _fitted(transfer: Any, rows: Any, store: Any) -> Any:
    from graft.transfer.base import Setting

    return transfer.fit(rows, setting=Setting(store=store))


def _row(
    name: str, count: int, system: str, seeds: list[int], scores: list[float], n: int, made: dict[str, Any]
) -> dict[str, Any]:
    return {
        "set": f"{name}, {count or 'all'} per class",
        "curve": name,
        "labels": count,
        "system": system,
        "metric": "accuracy",
        "seeds": seeds,
        "scores": scores,
        "mean": float(np.mean(scores)),
        "low": min(scores),
        "high": max(scores),
        "n_test": n,
        **({"source": made} if system.startswith("pretrained, probe") else {}),
    }
