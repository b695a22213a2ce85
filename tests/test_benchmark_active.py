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


def test_constants_are_chosen_on_held_out_training_rows(folders, plan, tmp_path):
    from benchmarks.active import active, summary

    from graft.active import strategies

    (tmp_path / "data" / "text" / "trec" / "test.csv").unlink()  # is not opened
    before = strategies.FEW
    plan |= {"held": 0.25, "strategies": ["random"], "semi": {}, "constants": {"few": [1, 2], "candidates": [1]}}
    rows = [row for some in active(plan, folders) for row in some if len(row["seeds"]) == 2]
    assert {row["n_test"] for row in rows} == {20}
    assert before == strategies.FEW
    found = summary(rows)["constants"]
    assert set(found["differences"]) == {"few 1, candidates 1", "few 2, candidates 1"}
    assert found["best"] in found["differences"]
    assert found["left_out"] == {}  # there is one set only


def test_what_is_left_out_has_no_say():
    from benchmarks.active import summary

    scores = {"random": (0.5, 0.5), "few 1": (0.9, 0.5), "few 2": (0.6, 0.6)}
    rows = [
        {
            "set": f"{name}, 1 per class", "of": name, "system": system, "seeds": [0], "scores": [values[place]],
            "plan": {"constants": {"few": 1}} if system != "random" else {},
        }
        for system, values in scores.items() for place, name in enumerate("ab")
    ]  # fmt: skip
    found = summary(rows)["constants"]
    assert found["best"] == "few 1"
    assert found["left_out"]["a"] == {"chosen": "few 2", "difference": pytest.approx(0.1)}
    assert found["left_out"]["b"] == {"chosen": "few 1", "difference": pytest.approx(0.0)}
    again = [{**row, "seeds": [0, 1], "scores": [row["scores"][0]] * 2} for row in rows]
    assert summary(again)["systems"]["few 1"]["by_set"] == {"a": [pytest.approx(0.4), 0.0], "b": [0.0, 0.0]}


@pytest.mark.parametrize("name", ["active", "active_constants"])
def test_the_runner_finds_it(name):
    import benchmarks.__main__ as runner

    experiment = tomllib.loads((ROOT / "benchmarks" / "experiments" / f"{name}.toml").read_text(encoding="utf-8"))
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
