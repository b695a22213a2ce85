"""Run experiments: ``python -m benchmarks --data DIR --models DIR [NAME …]``; results are written as JSON."""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.processes import BrokenError, cell, cell_row
from graft.core.runtime import environment

HERE = Path(__file__).parent
TIMES = ("seconds", "all_seconds", "peak_bytes", "threads")
Rows = list[dict[str, Any]]


def grid(experiment: dict[str, Any], folders: argparse.Namespace) -> Iterator[Rows]:
    """Every system on every set; systems take turns, so a drift of the machine meets all of them."""
    systems = {s: o for s, o in experiment["systems"].items() if not folders.systems or s in folders.systems}
    for name in folders.sets or experiment["sets"]:
        wanted = {s: o for s, o in systems.items() if name in o.get("sets", experiment["sets"])}
        found: dict[str, list[dict[str, Any]]] = {system: [] for system in wanted}
        most = max((len(options["seeds"]) for options in wanted.values()), default=0)
        for turn, system in itertools.product(range(most), wanted):
            seeds = wanted[system]["seeds"]
            if turn < len(seeds):
                try:
                    result = cell(system, name, seeds[turn], wanted[system].get("options", {}), folders)
                except BrokenError as error:
                    raise SystemExit(f"{system} on {name}, seed {seeds[turn]}: {error}") from error
                print(
                    f"{name:<12} {system:<16} seed {seeds[turn]}  {result['accuracy']:.4f}  {result['seconds']:.1f} s",
                    flush=True,
                )
                found[system].append(result)
        yield [cell_row(name, system, wanted[system]["seeds"], results) for system, results in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        help="experiments (all): " + ", ".join(sorted(p.stem for p in (HERE / "experiments").glob("*.toml"))),
    )
    parser.add_argument("--data", required=True, help="folder of data sets")
    parser.add_argument("--models", required=True, help="folder of models")
    parser.add_argument("--sets", nargs="*", help="only these sets")
    parser.add_argument("--systems", nargs="*", help="only these systems")
    parser.add_argument(
        "--untimed", action="store_true", help="other programs run beside: keep scores, and neither seconds nor memory"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what the result of an interrupted run holds, and measure the rest"
    )
    parser.add_argument("--trials", type=Path, help="history: table of trials; trials.json of --out if not given")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    folders = parser.parse_args()
    for name in folders.names or sorted(path.stem for path in (HERE / "experiments").glob("*.toml")):
        experiment = tomllib.loads((HERE / "experiments" / f"{name}.toml").read_text(encoding="utf-8"))
        run, summary = _kind(experiment["kind"])
        path = folders.out / f"{name}.json"
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if folders.resume and path.exists() else []
        folders.kept = {(row["set"], row["system"]): row for row in rows}
        for found in run(experiment, folders):
            _write(folders, name, experiment, found, summary)  # at once: a run that is cut off has lost nothing
        if summary and path.exists():
            print(json.dumps(json.loads(path.read_text(encoding="utf-8"))["summary"], indent=1, ensure_ascii=False))


def _kind(kind: str) -> tuple[Callable[..., Iterator[Rows]], Callable[[Rows], Any] | None]:
    """The function that measures a kind of experiment, ``benchmarks/KIND.py: KIND``, and what sums its rows up."""
    if kind == "grid":
        return grid, None
    module = importlib.import_module(f"benchmarks.{kind}")
    return getattr(module, kind), getattr(module, "summary", None)


def _write(
    folders: argparse.Namespace,
    name: str,
    experiment: dict[str, Any],
    rows: Rows,
    summary: Callable[[Rows], Any] | None = None,
) -> None:
    """Put rows in the place of those of the same set and system; the others stay as they were."""
    path = folders.out / f"{name}.json"
    earlier = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    today = datetime.now(UTC).date().isoformat()
    if getattr(folders, "untimed", False):
        rows = [{key: value for key, value in row.items() if key not in TIMES} for row in rows]
    new = {(row["set"], row["system"]): {**row, "date": today} for row in rows}
    merged = [new.pop((row["set"], row["system"]), row) for row in earlier] + list(new.values())
    facts = environment()
    result = {
        "name": name,
        "title": experiment["title"],
        "date": today,
        "machine": {key: facts[key] for key in ("cpu", "cores", "memory_bytes", "os", "python")},
        "versions": facts["packages"],
        "rows": sorted(merged, key=lambda row: _place(experiment, row)),
        "notes": experiment.get("notes", []),
        **({"summary": summary(merged)} if summary else {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")  # a run that is killed here leaves the earlier result whole
    half.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    half.replace(path)


def _place(experiment: dict[str, Any], row: dict[str, Any]) -> tuple[int, int]:
    """Where a row stands in the plan."""
    sets, systems = list(experiment.get("sets", [])), list(experiment.get("systems", []))
    place = lambda names, one: names.index(one) if one in names else len(names)  # noqa: E731
    return place(sets, row.get("of", row["set"])), place(systems, row["system"])


if __name__ == "__main__":
    main()
