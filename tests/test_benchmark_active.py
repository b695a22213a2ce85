"""The benchmark of active learning: toy rows go through the same code, and the sums are right."""

import argparse
import csv
import tomllib
from pathlib import Path

import pytest
from conftest import make_texts

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def folders(tmp_path):
    for name, n in (("train", 80), ("test", 30)):
        path = tmp_path / "data" / "text" / "trec" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = zip(*make_texts(n, seed=n), strict=True)
            csv.writer(file).writerows([("text", "label"), *rows])
    return argparse.Namespace(data=str(tmp_path / "data"), sets=None, systems=None, kept={})


@pytest.fixture
def plan(tiny_bert):
    return {
        "sets": ["trec"], "counts": [1, 4, 64], "pool": 60, "seeds": [0, 1], "source": {"trec": f"hf:{tiny_bert}"},
        "strategies": ["random", "auto", "margin"], "semi": {"propagation": ["random"]},
    }  # fmt: skip


def test_every_strategy_and_seed_makes_a_curve(folders, plan):
    from benchmarks.active import active, summary

    rows = [row for some in active(plan, folders) for row in some if len(row["seeds"]) == 2]
    assert [(row["set"], row["system"]) for row in rows[:2]] == [
        ("trec, 1 per class", "random"),
        ("trec, 4 per class", "random"),
    ]
    assert len(rows) == 3 * 4
    last = [row["scores"] for row in rows if row["labels"] == 64]
    assert last[0] == last[1] == last[2]  # all rows have a label: nothing is left to choose
    found = summary(rows)["systems"]
    assert set(found) == {"auto", "margin", "random + propagation"}
    assert found["auto"]["cells"]["trec, 64 per class"]["difference"] == 0
    folders.kept = {(row["set"], row["system"]): row for row in rows}
    assert list(active(plan, folders)) == []


def test_the_runner_finds_it():
    import benchmarks.__main__ as runner

    experiment = tomllib.loads((ROOT / "benchmarks" / "experiments" / "active.toml").read_text(encoding="utf-8"))
    run, summary = runner._kind(experiment["kind"])
    assert run.__name__ == "active"
    assert summary([])["systems"] == {}
    assert set(experiment["source"]) == set(experiment["sets"])
    from benchmarks.active import systems

    from graft.active.strategies import STRATEGIES
    from graft.core.registry import TRANSFERS

    for one in systems(experiment).values():
        assert one["strategy"] == "auto" or one["strategy"] in STRATEGIES
        assert one["way"] in TRANSFERS
