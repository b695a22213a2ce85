"""The benchmark runner: rows carry every score, and a partial run keeps the other rows."""

import argparse
import csv
import json
import tomllib
from itertools import permutations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.__main__ as runner

    return runner


def test_a_row_has_mean_and_range(runner):
    results = [
        {"accuracy": a, "n": 10, "seconds": s, "peak_bytes": 5, "threads": 2, "facts": {}}
        for a, s in [(0.5, 1.0), (0.9, 3.0)]
    ]
    row = runner.cell_row("set", "system", [0, 1], results)
    assert (row["mean"], row["low"], row["high"], row["seconds"]) == (pytest.approx(0.7), 0.5, 0.9, 2.0)


def test_a_partial_run_keeps_the_other_sets(runner, tmp_path):
    old = {"rows": [{"set": s, "system": m, "mean": 1} for s in "ba" for m in "xy"]}
    (tmp_path / "q.json").write_text(json.dumps(old), encoding="utf-8")
    plan = {"title": "t", "sets": ["a", "b", "c"], "systems": {"x": {}, "y": {}}}
    new = [{"set": s, "system": "x", "mean": 2} for s in "bc"]
    runner._write(argparse.Namespace(out=tmp_path), "q", plan, new)
    rows = json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["set"], row["system"], row["mean"], "date" in row) for row in rows] == [
        ("a", "x", 1, False),
        ("a", "y", 1, False),
        ("b", "x", 2, True),
        ("b", "y", 1, False),
        ("c", "x", 2, True),
    ]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks" / "experiments").glob("*.toml")), ids=lambda path: path.stem
)
def test_every_experiment_names_known_systems_and_sets(path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import sets
    from benchmarks.systems import SYSTEMS

    experiment = tomllib.loads(path.read_text(encoding="utf-8"))
    assert set(experiment.get("systems", {})) <= set(SYSTEMS)
    known = {
        *sets.TEXT,
        *sets.IMAGES,
        *sets.TABLES,
        *sets.DIGITS,
        *sets.SOUNDS,
        *sets.BUNDLED,
        *sets.TAGGED,
        *sets.BOXES,
    }
    known |= {f"{one} -> {two}" for group in (sets.REVIEWS, sets.DIGITS) for one, two in permutations(group, 2)}
    assert set(experiment.get("sets", [])) <= known


def test_a_sequence_becomes_a_table_of_letter_pairs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import sets

    (tmp_path / "in.csv").write_text("text,label\nACGT,x\n", encoding="utf-8")
    written = sets._pairs_of_letters(tmp_path / "in.csv", tmp_path / "out.csv")
    with written.open(encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["kmer_1", "kmer_2", "kmer_3", "label"], ["AC", "CG", "GT", "x"]]
