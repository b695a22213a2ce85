"""Label efficiency: score by labels per class of a source made here, beside the same network from scratch and a classical model."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets

ALL = 0  # as a count: every label


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
    from graft.core.runtime import Clock
    from graft.core.store import Store
    from graft.data.load import load

    data = Path(folders.data)
    unlabelled = load(sets.paths(curve["rows"], data, work)[0], labelled=False)
    source, made = _made(curve, unlabelled, Clock(experiment["seconds"]), work)
    train, test = sets.paths(curve["target"], data, work)
    target = load(train)
    held_out = load(test, like=target)
    systems = _systems(source, curve)
    seeds = curve.get("seeds", experiment["seeds"])
    found: dict[tuple[int, str], list[float]] = {}
    for count in curve.get("counts", experiment["counts"]):
        for seed in seeds:
            rows = target.select(_few(target.y, count, seed))
            for system, make in systems.items():
                if folders.systems and system not in folders.systems:
                    continue
                predicted = _fitted(make(seed), rows, Store(work / "cache")).predict(held_out)
                score = float((predicted == held_out.labels).mean())
                found.setdefault((count, system), []).append(score)
                print(f"{name:<28} {count or 'all':>4} per class  {system:<24} seed {seed}  {score:.4f}", flush=True)
    return [_row(name, count, system, seeds, scores, len(held_out), made)
            for (count, system), scores in found.items()]  # fmt: skip


def _made(curve: dict[str, Any], unlabelled: Any, clock: Any, work: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of the source, and what to note about how it was made."""
    from graft.core.registry import OBJECTIVES

    objective = OBJECTIVES[curve["objective"]](**curve.get("options", {}))
    objective.fit(unlabelled, clock=clock)
    record = objective.record_
    scores = [{key: one[key] for key in ("name", "value", "low", "high", "baselines")} for one in record["scores"]]
    facts = {"training": record["training"], "encoder": record["encoder"], "scores": scores}
    return objective.save(work / "source"), facts


def _systems(source: Path, curve: dict[str, Any]) -> dict[str, Any]:
    """Makers of transfers by name; where pretraining went on with a source, that source stands in the place of scratch."""
    from graft.sources.base import open_model
    from graft.sources.native import NativeBackbone
    from graft.transfer.classical import Classical
    from graft.transfer.finetune import Finetune
    from graft.transfer.probe import Probe
    from graft.transfer.scratch import Scratch

    class Fresh(Scratch):
        """The architecture of the source with fresh weights, all of them trained."""

        def _backbone(self, data: Any) -> Any:
            del data
            made = open_model(f"file:{source}")
            assert isinstance(made, NativeBackbone)
            fresh = NativeBackbone(made.encoder, made.arguments, made.reader, made.spec)
            fresh.stem = list  # type: ignore[method-assign]  # nothing stays as it was drawn
            return fresh

    rate, before = curve.get("lr", 5e-4), curve.get("beside")
    return {
        "pretrained, probe": lambda seed: Probe(f"file:{source}"),  # noqa: ARG005
        "pretrained, fine-tuned": lambda seed: Finetune(f"file:{source}", lr=rate, seed=seed),
        **(
            {
                "before, probe": lambda seed: Probe(before),  # noqa: ARG005
                "before, fine-tuned": lambda seed: Finetune(before, lr=rate, seed=seed),
            }
            if before
            else {"from scratch": lambda seed: Fresh(seed=seed)}
        ),
        "classical": lambda seed: Classical(seed=seed),
    }


def _fitted(transfer: Any, rows: Any, store: Any) -> Any:
    from graft.transfer.base import Setting

    return transfer.fit(rows, setting=Setting(store=store))


def _few(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions of ``count`` rows of each class, or of all rows."""
    if count == ALL:
        return np.arange(len(y))
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(y == each))[:count] for each in np.unique(y)]
    return np.sort(np.concatenate(chosen))


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
