"""Few-shot: score and time with k rows of each class, beside peers on the same draws; differences are paired by draw."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.processes import BrokenError, TooSlowError, cell, kept

Row = dict[str, Any]


def fewshot(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[list[Row]]:
    """Draw for every set, count and seed, and yield the rows of a set and count after every cell."""
    systems = {s: o for s, o in experiment["systems"].items() if not folders.systems or s in folders.systems}
    for name in folders.sets or experiment["sets"]:
        for count in experiment["counts"]:
            wanted = {
                system: {"sets": experiment["sets"], "counts": experiment["counts"], **plan}
                for system, plan in systems.items()
            }
            wanted = {s: o for s, o in wanted.items() if name in o["sets"] and count in o["counts"]}
            yield from _draws(name, count, wanted, experiment, folders)


def _draws(
    name: str, count: int, wanted: dict[str, Any], experiment: dict[str, Any], folders: argparse.Namespace
) -> Iterator[list[Row]]:
    label = f"{name}, {count} per class"
    plans = {system: {"options": plan.get("options", {}), "per_class": count} for system, plan in wanted.items()}
    rows = {system: kept(folders, label, system, plan) for system, plan in plans.items()}
    for row in rows.values():
        if not row.get("slow"):
            row.pop("reason", None)  # what broke may have been mended
    for seed in experiment["seeds"]:  # systems take turns, so a drift of the machine meets all of them
        for system, plan in plans.items():
            before = rows[system]
            if seed in before.get("seeds", ()) or before.get("reason"):
                continue
            facts = {"set": label, "of": name, "labels": count, "system": system, "plan": plan}
            try:
                options = {**plan["options"], "draw": {"per_class": count}}
                result = cell(system, name, seed, options, folders, experiment.get("limit_seconds"))
            except (BrokenError, TooSlowError) as error:  # the draws it did stay; it is not asked for more
                rows[system] = {**_row(facts, before, None, seed), "reason": str(error)}
                rows[system] |= {"slow": True} if isinstance(error, TooSlowError) else {}
                print(f"{label:<26} {system:<28} seed {seed}  {error}", flush=True)
            else:
                rows[system] = _row(facts, before, result, seed)
                done = f"{result['accuracy']:.4f}  {result['seconds']:.1f} s"
                print(f"{label:<26} {system:<28} seed {seed}  {done}", flush=True)
            yield [row for row in rows.values() if row]


def _row(facts: Row, before: Row, result: Row | None, seed: int) -> Row:
    """The row with one more draw, or none."""
    more = [] if result is None else [result]
    scores = [*before.get("scores", []), *(one["accuracy"] for one in more)]
    seconds = [*before.get("all_seconds", []), *(one["seconds"] for one in more)]
    some = bool(scores)
    return {
        **facts,
        "metric": "accuracy",
        "seeds": [*before.get("seeds", []), *([seed] if more else [])],
        "scores": scores,
        "mean": float(np.mean(scores)) if some else None,
        "sd": spread(scores),
        "low": min(scores, default=None),
        "high": max(scores, default=None),
        "seconds": float(np.mean(seconds)) if seconds else None,
        "all_seconds": seconds,
        "peak_bytes": max([before.get("peak_bytes", 0), *(one["peak_bytes"] for one in more)]),
        **{key: more[0][key] if more else before.get(key) for key in ("threads",)},
        "n_test": more[0]["n"] if more else before.get("n_test"),
        "facts": [*before.get("facts", []), *(one["facts"] for one in more)],
    }


def spread(values: list[float]) -> float | None:
    """Sample standard deviation over draws, or None for fewer than two.

    Example:
        >>> round(spread([0.7, 0.8, 0.9]), 3)
        0.1
    """
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def paired(ours: Row, theirs: Row) -> Row | None:
    """Mean, and spread over draws, of our score less theirs on the same draws; and our time as a share of theirs."""
    mine, other = (dict(zip(row["seeds"], row["scores"], strict=True)) for row in (ours, theirs))
    both = [seed for seed in mine if seed in other]
    if not both:
        return None
    gaps = [mine[seed] - other[seed] for seed in both]
    times = [dict(zip(row["seeds"], row.get("all_seconds", ()), strict=False)) for row in (ours, theirs)]
    timed = [seed for seed in both if all(seed in one for one in times)]
    spent = [sum(one[seed] for seed in timed) for one in times]
    return {
        "draws": len(both),
        "difference": float(np.mean(gaps)),
        "sd": spread(gaps),
        "time_share": spent[0] / spent[1] if timed and spent[1] else None,
    }


def summary(rows: list[Row]) -> dict[str, Any]:
    """Our score less that of every peer, in each cell and on average over cells, and the share of its time.

    A cell is a set and a number of rows per class; every cell counts alike.  Ours is the first system that is called
    graft; cells where somebody did not end, or not within the limit, are
    named in ``missing``.
    """
    systems = list(dict.fromkeys(row["system"] for row in rows))
    ours = next((system for system in systems if system.startswith("graft")), None)
    found: dict[str, Any] = {}
    for other in systems:
        if ours is None or other == ours:
            continue
        mine = {row["set"]: row for row in rows if row["system"] == ours}
        theirs = {row["set"]: row for row in rows if row["system"] == other}
        both = {name: paired(mine[name], theirs[name]) for name in mine if name in theirs}
        cells = {name: pair for name, pair in both.items() if pair}
        shares = [pair["time_share"] for pair in cells.values() if pair["time_share"] is not None]
        gaps = [pair["difference"] for pair in cells.values()]
        found[other] = {
            "cells": cells,
            "missing": [name for name, row in theirs.items() if row.get("reason")],
            "difference": float(np.mean(gaps)) if gaps else None,
            "sd": spread(gaps),
            "time_share": float(np.exp(np.mean(np.log(shares)))) if shares else None,
            "largest_time_share": max(shares, default=None),
        }
    missing = [row["set"] for row in rows if row["system"] == ours and row.get("reason")]
    return {"ours": ours, "missing": missing, "against": found}
