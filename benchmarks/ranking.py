"""Ranking: time per candidate against a plain forward pass, and what the choice costs against fine-tuning them all."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sets


def ranking(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    for name in folders.sets or experiment["sets"]:
        with tempfile.TemporaryDirectory() as work:
            os.environ["GRAFT_CACHE"] = work
            yield _one(name, folders, Path(work))


def _one(name: str, folders: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    from graft.auto import find_sources
    from graft.core.store import Store
    from graft.data.load import load
    from graft.ranking.rank import rank
    from graft.sources.base import list_models
    from graft.transfer.finetune import Finetune
    from graft.transfer.probe import Probe

    train, test = sets.paths(name, Path(folders.data), work)
    data = load(train)
    held_out = load(test, like=data)
    specs = list_models(modality=data.task.modality, folders=(folders.models,)) or find_sources(data.task.modality)
    plain = {spec.uri: _plain_pass(spec, data) for spec in specs}
    start = time.perf_counter()
    ranked = rank(specs, data, store=Store(), limit_rows=2000)
    seconds = time.perf_counter() - start
    tuned, probed = {}, {}
    for spec in specs:
        probed[spec.uri] = float((Probe(spec).fit(data).predict(held_out) == held_out.labels).mean())
        tuned[spec.uri] = float(
            (Finetune(spec, seed=0, **_settings(name)).fit(data).predict(held_out) == held_out.labels).mean()
        )
    best = {uri: max(tuned[uri], probed[uri]) for uri in tuned}
    by_size = max(specs, key=lambda spec: spec.parameters).uri
    rows = []
    for place, row in enumerate(ranked.rows):
        uri = row.spec.uri
        rows.append(
            {
                "set": name,
                "system": row.spec.name,
                "metric": "accuracy",
                "seeds": [0],
                "place": place + 1,
                "scores": [tuned[uri]],
                "mean": tuned[uri],
                "low": tuned[uri],
                "high": tuned[uri],
                "probe": probed[uri],
                "rank_scores": {key: list(value) for key, value in row.scores.items()},
                "failure": row.failure,
                "seconds": row.seconds + row.scoring_seconds,
                "plain_pass_seconds": plain[uri],
            }
        )
    top = max(best.values())
    picks = {"probe": ranked.rows[0].spec.uri, "size": by_size}
    for score in ("logme", "h_score"):
        scored = [row for row in ranked.rows if score in row.scores]
        picks[score] = max(scored, key=lambda row: row.scores[score][0]).spec.uri
    regret = {how: round(100 * (top - best[uri]), 2) for how, uri in picks.items()}
    regret["random pick, mean"] = round(100 * (top - float(np.mean(list(best.values())))), 2)
    for how, points in regret.items():
        rows.append({
            "set": name, "system": f"regret of {how}", "metric": "points", "seeds": [0], "scores": [points],
            "mean": points, "low": points, "high": points, "all_plain_seconds": sum(plain.values()),
            **({"seconds": seconds} if how == "probe" else {}),
        })  # fmt: skip
    for row in rows:
        print({key: row[key] for key in row if key not in ("rank_scores", "seeds")}, flush=True)
    return rows


def _settings(name: str) -> dict[str, Any]:
    return {"epochs": 5} if sets.kind(name) == "image" else {}


def _plain_pass(spec: Any, data: Any) -> float:
    """Seconds of reading all rows and one plain fp32 forward pass in batches of 32, without anything of graft's."""
    import torch
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    start = time.perf_counter()
    model = AutoModel.from_pretrained(spec.path).eval()
    text = spec.modality == "text"
    prepare = AutoTokenizer.from_pretrained(spec.path) if text else AutoImageProcessor.from_pretrained(spec.path)
    if text and prepare.pad_token is None:
        prepare.pad_token = prepare.eos_token
    with torch.inference_mode():
        for first in range(0, len(data), 32):
            rows = data.take(slice(first, first + 32))
            batch = (
                prepare(rows, padding=True, truncation=True, return_tensors="pt")
                if text
                else prepare(rows, return_tensors="pt")
            )
            model(**batch)
    return time.perf_counter() - start
