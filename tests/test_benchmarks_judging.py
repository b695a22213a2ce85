"""The experiments that judge the choosing: what is computed is right, and toy data go through the same code."""

import argparse
import csv
import json
import os
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import make_pictures, make_table, make_texts

ROOT = Path(__file__).parents[1]
CHEAP = {
    "majority": {"transfer": "majority"},
    "probe last": {"transfer": "probe", "settings": {"layers": "last"}},
    "finetune top 1": {"transfer": "finetune", "settings": {"blocks": 1, "epochs": 1}},
}


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    for folder in (ROOT / "docs", ROOT):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)  # of the processes that are started


def save_texts(path, n, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(*make_texts(n, seed=seed), strict=True)])
    return path


@pytest.fixture
def folders(tmp_path, tiny_bert):
    """A folder of data with a toy set in the place of TREC, and one of models."""
    data, models = tmp_path / "data", tmp_path / "models"
    save_texts(data / "text" / "trec" / "train.csv", 96, 0)
    save_texts(data / "text" / "trec" / "test.csv", 20, 1)
    models.mkdir()
    (models / "tiny-bert").symlink_to(tiny_bert)
    return argparse.Namespace(
        data=str(data), models=str(models), sets=None, systems=None, out=tmp_path / "out", kept={}, resume=False
    )


# -- draws -------------------------------------------------------------------------------------------------------------


def test_draws_per_class_are_seeded_and_take_all_of_a_small_class():
    from benchmarks.draws import per_class

    y = np.array(["a"] * 10 + ["b"] * 3)
    rows = per_class(y, 4, seed=1)
    assert [(y[rows] == each).sum() for each in "ab"] == [4, 3]
    assert rows.tolist() == sorted(set(rows.tolist())) == per_class(y, 4, seed=1).tolist()
    assert rows.tolist() != per_class(y, 4, seed=2).tolist()
    assert per_class(y, 0, seed=1).tolist() == list(range(13))


@pytest.mark.parametrize("total", [5, 10, 37, 80, 99])
def test_stratified_draws_keep_proportions_and_every_class(total):
    from benchmarks.draws import stratified

    y = np.repeat(["a", "b", "c", "d"], [70, 27, 2, 1])
    rows = stratified(y, total, seed=3)
    counts = np.array([(y[rows] == each).sum() for each in "abcd"])
    assert counts.sum() == len(np.unique(rows)) == total
    assert counts.min() >= 1
    assert np.abs(counts - np.array([70, 27, 2, 1]) * total / 100).max() < 2
    assert stratified(y, 0, seed=3).tolist() == stratified(y, 500, seed=3).tolist() == list(range(100))


def test_drawn_rows_are_written_in_the_form_of_their_set(tmp_path):
    from benchmarks import draws, sets
    from PIL import Image

    train = save_texts(tmp_path / "train.csv", 20, 0)
    written = draws.draw("trec", train, {"per_class": 3}, 0, tmp_path / "rows")
    texts, labels = sets.read_text(written)
    assert sorted(labels) == ["bad"] * 3 + ["good"] * 3
    assert set(texts) <= set(sets.read_text(train)[0])
    for index, (picture, label) in enumerate(zip(*make_pictures(12), strict=True)):
        (tmp_path / "pictures" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "pictures" / label / f"{index}.png")
    drawn = draws.draw("hymenoptera", tmp_path / "pictures", {"rows": 6}, 0, tmp_path / "some")
    files, labels = sets.read_images(drawn)
    assert sorted(labels) == ["left"] * 3 + ["right"] * 3
    assert all(file.resolve().parent.parent == tmp_path / "pictures" for file in files)
    with pytest.raises(ValueError, match="use per_class or rows"):
        draws.draw("trec", train, {"half": 1}, 0, tmp_path / "no")


# -- few-shot ----------------------------------------------------------------------------------------------------------


def test_pairs_by_rounds_hold_both_kinds_for_every_row():
    from benchmarks.peers import all_pairs, pairs_by_rounds

    y = np.array(["a", "a", "b", "c"])
    pairs = pairs_by_rounds(y, 3, seed=0)
    assert len(pairs) == 2 * 3 * 4
    assert all((y[one] == y[other]) == equal for one, other, equal in pairs)
    assert np.bincount([one for one, _, _ in pairs]).tolist() == [6] * 4
    assert pairs == pairs_by_rounds(y, 3, seed=0)
    every = all_pairs(y, seed=0)
    assert len(every) == 2 * 5  # five of ten pairs are of one class, a row with itself among them
    assert sum(equal for _, _, equal in every) == 5
    assert len({tuple(sorted(pair[:2])) for pair in every}) == 10


def test_differences_are_paired_by_draw():
    from benchmarks.fewshot import paired, summary

    ours = {"set": "s", "system": "graft fit", "seeds": [0, 1, 2], "scores": [0.9, 0.8, 0.7], "all_seconds": [1, 1, 1]}
    theirs = {"set": "s", "system": "peer", "seeds": [2, 0], "scores": [0.6, 0.9], "all_seconds": [30, 10]}
    pair = paired(ours, theirs)
    assert (pair["draws"], pair["time_share"]) == (2, 2 / 40)
    assert pair["difference"] == pytest.approx(0.05)
    assert pair["sd"] == pytest.approx(np.std([0.0, 0.1], ddof=1))
    assert paired(ours, {**theirs, "seeds": [7], "scores": [1.0]}) is None
    slow = {"set": "t", "system": "peer", "seeds": [], "scores": [], "all_seconds": [], "reason": "took longer"}
    found = summary([ours, theirs, slow])["against"]["peer"]
    assert found["missing"] == ["t"]
    assert found["time_share"] == pytest.approx(0.05)


def test_fewshot_goes_on_where_it_stood(folders):
    from benchmarks.fewshot import fewshot, summary

    plan = {"sets": ["trec"], "counts": [4], "seeds": [0], "limit_seconds": 120, "systems": {"classical": {}}}
    (row,) = list(fewshot(plan, folders))[-1]
    assert (row["set"], row["seeds"], row["n_test"], row["sd"]) == ("trec, 4 per class", [0], 20, None)
    assert row["scores"][0] > 0.6
    folders.kept = {(row["set"], row["system"]): json.loads(json.dumps(row))}
    assert list(fewshot(plan, folders)) == []  # nothing is left to do
    plan |= {"seeds": [0, 1], "limit_seconds": 0.01}
    (again,) = list(fewshot(plan, folders))[-1]
    assert (again["seeds"], again["scores"], "took longer" in again["reason"]) == ([0], row["scores"], True)
    assert summary([again]) == {"ours": None, "missing": [], "against": {}}
    folders.kept = {(again["set"], again["system"]): again}
    assert list(fewshot(plan, folders)) == []  # who was too slow is not asked again
    broken = {key: value for key, value in again.items() if key != "slow"}
    folders.kept = {(again["set"], again["system"]): broken}
    plan |= {"limit_seconds": 120}
    (mended,) = list(fewshot(plan, folders))[-1]
    assert mended["seeds"] == [0, 1]
    assert "reason" not in mended


# -- regret ------------------------------------------------------------------------------------------------------------


def trial(way, source, test, seconds=1.0, **more):
    return {"set": "s", "size": 100, "seed": 0, "way": way, "source": source, "test_score": test, "seconds": seconds,
            "pass_seconds": 2.0 if source else 0.0, "metric": "accuracy", **more}  # fmt: skip


def table_of(rows):
    """A table that holds these trials, and writes nothing."""
    from benchmarks.exhaustive import Trials

    table = Trials(Path("nowhere.json"))
    table.rows = rows
    return table


def test_by_halves_the_luck_of_the_best_does_not_count(tmp_path):
    from benchmarks.exhaustive import Trials, packed
    from benchmarks.regret import halved, judged

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    noisy = [np.where(rng.random(300) < 0.7, truth, 0) for _ in range(60)]  # all equally good
    best = max((guess == truth).mean() for guess in noisy)
    own = noisy[0]
    assert 100 * (best - (own == truth).mean()) > 2  # what the best owes to luck
    for metric in ("accuracy", "macro_f1"):
        assert abs(halved(truth, noisy, own, metric)) < 100 * (best - (own == truth).mean()) / 2
    cell = {"set": "s", "size": 100, "seed": 0}
    table = Trials(tmp_path / "trials.json")
    for number, guess in enumerate(noisy[:3]):
        table.put(trial(f"way {number}", None, (guess == truth).mean(), predicted=packed(guess), truth=packed(truth)))
    table = Trials(tmp_path / "trials.json")  # as it stands on disk
    assert np.array_equal(table.predicted(cell), truth)
    facts = {"set": "s, 100 rows", "of": "s", "size": 100, "system": "graft fit", "plan": {}}
    result = {"seed": 0, "test_score": (own == truth).mean(), "seconds": 1.5, "predicted": packed(own)}
    (found,) = judged(facts, [result], table, ["way 0"])["judged"]
    assert found["fair"] == halved(truth, noisy[:3], own, "accuracy")
    (found,) = judged(facts, [{**result, "way": "way 1", "source": None}], table, ["way 0"])["judged"]
    assert found["fair"] is not None


def test_regret_is_counted_against_the_best_of_the_table():
    from benchmarks.regret import best_of, exhaustive_seconds, judged, picked, summary

    trials = [
        trial("majority", None, 0.5, 0.0),
        trial("probe", "big", 0.8),
        trial("finetune", "big", None, 9.0),
        trial("probe", "small", 0.9),
        {**trial("probe", "small", 1.0), "size": 400},
    ]
    cell = trials[:4]
    assert best_of(cell)["source"] == "small"
    assert best_of(cell, ["majority"])["way"] == "majority"
    assert exhaustive_seconds(cell) == 0 + 1 + 9 + 1 + 2 + 2  # every source is passed once
    scores = {"big": {"logme": 2.0, "parameters": 9}, "small": {"logme": 1.0, "parameters": 1}}
    (chosen,) = picked(cell, scores, "logme", "probe", 0)
    assert (chosen["source"], chosen["test_score"], chosen["seconds"]) == ("big", 0.8, 1 + 2 + 2)
    (chosen,) = picked(cell, scores, "parameters", "probe", 0)
    assert (chosen["source"], chosen["seconds"]) == ("big", 1 + 2)  # the others need not be passed
    assert picked(cell, scores, "h_score", "probe", 0) == []
    facts = {"set": "s, 100 rows", "of": "s", "size": 100, "system": "graft fit", "plan": {}}
    results = [{"seed": 0, "test_score": 0.45, "seconds": 1.5}]
    row = judged(facts, results, table_of(trials), ["majority"])
    assert row["mean"] == pytest.approx(45)
    found = summary([row, {**row, "set": "other", "mean": None, "judged": []}])["graft fit"]
    assert (found["cells"], found["missing"]) == (1, ["other"])
    assert found["most_below_simple"] == pytest.approx(5)
    assert found["cost_share"] == pytest.approx(0.1)


def test_the_table_of_a_cell_scores_every_way_on_every_source(folders, monkeypatch):
    from benchmarks.exhaustive import choice, table

    monkeypatch.setenv("GRAFT_MODELS", folders.models)
    data = Path(folders.data) / "text" / "trec"
    spec = {"train": str(data / "train.csv"), "test": str(data / "test.csv"), "seed": 0}
    spec |= {"ways": CHEAP, "cv_seconds": 60, "done": [["majority", None], ["features", "all-MiniLM-L6-v2"]]}
    messages = list(table(spec))
    rows = {(m["trial"]["way"], m["trial"]["source"]): m["trial"] for m in messages if "trial" in m}
    assert set(rows) == {("probe last", "tiny-bert"), ("finetune top 1", "tiny-bert")}
    for row in rows.values():
        assert row["state"] == "done", row["reason"]
        assert 0 <= row["test_score"] <= 1
        assert row["folds"] == 5
        assert 0 <= row["score"] <= 1
        assert row["pass_seconds"] > 0
    assert messages[-1]["rank"]["tiny-bert"]["parameters"] > 0
    (made,) = choice({**spec, "options": {"budget": 60, "methods": ["classical"]}})
    assert made["choice"]["answer"]["transfer"] in ("classical", "majority")
    assert made["choice"]["test_score"] > 0.9


@pytest.mark.slow
def test_a_table_is_filled_in_processes_and_taken_up_again(folders):
    """Without sources, as they would take longer; a trial of an earlier run is not made again."""
    from benchmarks.exhaustive import Trials
    from benchmarks.regret import regret, summary

    plan = {
        "sets": ["trec"], "sizes": [30], "seeds": [0], "trial_seconds": 100, "cv_seconds": 10, "simple": ["majority"],
        "picked": ["probe"], "ways": {"majority": CHEAP["majority"], "classical": {"transfer": "classical"}},
        "choices": {"graft fit": {"options": {"budget": 60, "methods": ["majority"]}}},
    }  # fmt: skip
    folders.models, folders.resume = "", True
    trials = Trials(folders.out / "trials.json")
    facts = {"set": "trec", "size": 30, "seed": 0, "source": None, "way": "majority"}
    trials.put({**facts, "test_score": 0.125, "seconds": 1.0, "pass_seconds": 0.0, "metric": "accuracy"})
    *_, rows = regret(plan, folders)
    kept = json.loads((folders.out / "trials.json").read_text(encoding="utf-8"))["rows"]
    assert {row["way"]: row["test_score"] for row in kept if not row["source"]}["majority"] == 0.125
    (row,) = [row for row in rows if row["system"] == "graft fit"]
    best = max(row["test_score"] for row in kept if row["test_score"] is not None)
    assert row["mean"] == pytest.approx(100 * (best - row["results"][0]["test_score"]))
    assert summary(rows)["graft fit"]["cells"] == 1


@pytest.mark.slow
def test_a_trial_that_takes_too_long_is_left_out_and_the_others_go_on(folders):
    from benchmarks.exhaustive import Trials, fill

    data = Path(folders.data) / "text" / "trec"
    spec = {"train": str(data / "train.csv"), "test": str(data / "test.csv"), "seed": 0, "cv_seconds": 10}
    spec["ways"] = {
        "scratch": {"transfer": "scratch", "settings": {"epochs": 2000}},
        "classical": {"transfer": "classical"},
    }
    cell, trials = {"set": "trec", "size": 0, "seed": 0}, Trials(folders.out / "trials.json")
    no_source = {"GRAFT_MODELS": "", "HF_HUB_CACHE": str(folders.out)}
    spec["done"] = []
    fill(spec, cell, trials, 2.0, folders.out / "cache", no_source)
    rows = {row["way"]: row for row in trials.of(cell) if row["source"] is None}
    assert (rows["scratch"]["state"], rows["scratch"]["seconds"]) == ("skipped", 2.0)
    assert rows["scratch"]["reason"] == "took longer than 2 s"
    assert (rows["classical"]["state"], rows["classical"]["folds"]) == ("done", 5)


def test_messages_come_within_their_time(tmp_path, monkeypatch):
    from benchmarks.processes import BrokenError, TooSlowError, messages

    code = "import json, sys, time\nprint('chatter')\nprint(json.dumps({'a': 1}), flush=True)\n"
    for name, rest in (("slow", "time.sleep(60)\n"), ("wrong", "raise ValueError('no such thing')\n"), ("good", "")):
        (tmp_path / f"{name}.py").write_text(code + rest, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert list(messages("good", [], limit=lambda: 30.0)) == [{"a": 1}]
    with pytest.raises(BrokenError, match="no such thing"):
        list(messages("wrong", [], limit=lambda: 30.0))
    seconds = [0.2, 30.0]
    stream = messages("slow", [], limit=seconds.pop)
    assert next(stream) == {"a": 1}
    with pytest.raises(TooSlowError, match="took longer"):
        next(stream)


# -- budgets -----------------------------------------------------------------------------------------------------------


def test_overrun_is_a_quantile_over_runs():
    from benchmarks.budgets import overrun_at, summary

    assert overrun_at([]) is None
    assert overrun_at(np.linspace(0, 1, 21), 0.95) == pytest.approx(0.95)
    rows = [{"set": "s", "system": f"{i} s", "overrun": i / 100, "mean": None if i else 0.5} for i in range(3)]
    found = summary(rows)
    assert (found["runs"], found["largest_overrun"], found["without_result"]) == (3, 0.02, ["s, 1 s", "s, 2 s"])


@pytest.mark.slow
def test_a_budget_is_measured_by_the_clock_on_the_wall(folders):
    from benchmarks.budgets import budgets

    plan = {"sets": ["trec"], "budgets": [60], "options": ["--methods", "majority", "classical"]}
    ((row,),) = budgets(plan, folders)
    assert (row["set"], row["system"], row["reason"]) == ("trec", "60 s", "")
    assert row["mean"] > 0.9
    assert row["own_seconds"] <= row["seconds"] + 0.1
    assert row["overrun"] == pytest.approx(row["seconds"] / 60 - 1)
    folders.kept = {(row["set"], row["system"]): row}
    assert list(budgets(plan, folders)) == []


# -- coverage ----------------------------------------------------------------------------------------------------------


def test_coverage_counts_intervals_that_hold_the_truth():
    from benchmarks.coverage import counted, summary

    inside, below, above = ([0.8, 0.7, 0.9, true, 1.0, 0.0, 0.9, 1.5] for true in (0.75, 0.6, 0.95))
    found = counted([inside] * 8 + [below, above], 0.9)
    assert (found["mean"], found["below"], found["above"]) == (0.8, 0.1, 0.1)
    assert found["low"] == pytest.approx(0.4902, abs=1e-4)  # Wilson's interval of 8 of 10 at 95 %
    assert found["high"] == pytest.approx(0.9433, abs=1e-4)
    assert found["optimism"] == pytest.approx(0.8 - (8 * 0.75 + 0.6 + 0.95) / 10)
    assert counted([[1.0, 0.9, 1.4, 1.0, 1.0, 0.0, 0.9, 1.5]], 0.9)["width"] == pytest.approx(0.1)
    row = {**found, "resamples": [inside] * 10, "failed": {}}
    whole = summary([row, {**row, "mean": 1.0}])
    assert (whole["resamples"], whole["coverage"], whole["lowest"]) == (20, 0.9, 0.8)
    assert whole["held"] == pytest.approx(0.9)


def test_resamples_go_through_the_whole_fit_and_are_taken_up_again(folders):
    from benchmarks.coverage import coverage

    plan = {
        "sets": ["trec"], "rows": [16, 40], "resamples": 2, "population": 30, "level": 0.9, "seed": 0,
        "methods": ["majority", "classical"],
    }  # fmt: skip
    ((row,),) = coverage(plan, folders)  # five times 40 rows are not left
    assert (row["set"], row["system"], len(row["resamples"]), row["failed"]) == ("trec", "16 rows", 2, {})
    assert all(low <= reported <= high for reported, low, high, *_ in row["resamples"])
    assert os.environ["GRAFT_CACHE"].endswith("graft-cache")
    folders.kept = {(row["set"], row["system"]): {**row, "resamples": row["resamples"][:1]}}
    ((again,),) = coverage(plan, folders)
    without_time = [[*one[:4], *one[5:]] for one in row["resamples"]]
    assert [[*one[:4], *one[5:]] for one in again["resamples"]] == without_time  # equal draws, equal results


def test_a_regression_is_resampled_too(tmp_path):
    from benchmarks import sets
    from benchmarks.coverage import one

    from graft.core.store import Store
    from graft.data.load import load

    path = sets.bundled("diabetes", tmp_path)
    data = load(path)
    assert (len(data), data.task.kind, len(data.columns)) == (442, "regression", 10)
    plan = {"source": None, "methods": ["majority", "classical"], "level": 0.9, "population": 300, "options": {}}
    reported, low, high, true, _, unseen, held, width = one(data, 60, (0, 60, 0), plan, Store(tmp_path / "cache"))
    assert low <= reported <= high
    assert 0 < true < 1
    assert unseen == 0
    assert 0.75 < held <= 1
    assert 50 < width < 400  # of values that lie between 25 and 346


# -- memory ------------------------------------------------------------------------------------------------------------


def test_outcomes_of_runs_under_a_cap():
    from benchmarks.memory import outcome, summary
    from benchmarks.processes import Watched

    def ended(code, error="", seconds=1.0):
        return outcome(Watched(code, error, seconds, 0, 0), 10.0)

    said = "graft: this needs about 2 GB of memory, 1 GB is left; use a smaller model"
    assert ended(0) == "done"
    assert ended(7, said) == "refused"
    assert ended(7, said, seconds=9.0) == "late"
    assert ended(1, "graft: out of memory; use a smaller model or fewer rows") == "late"
    assert ended(3, "graft: there are no rows") == "failed"
    assert ended(1, "Traceback (most recent call last):\nMemoryError") == "broken"
    assert ended(1, "graft: internal error, please report it: MemoryError") == "broken"
    assert ended(1) == "broken"
    assert ended(-9) == ended(137) == "killed"
    rows = [{"set": "s", "system": f"{cap} MB", "megabytes": cap, "outcome": how}
            for cap, how in ((0, "done"), (9, "done"), (8, "refused"), (7, "killed"))]  # fmt: skip
    found = summary(rows)
    assert (found["runs"], found["kills"], found["bad"]) == (3, 1, ["s, 7 MB: killed"])


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_caps_hold(tmp_path, monkeypatch):
    from benchmarks.memory import cap_by, outcome
    from benchmarks.processes import watched

    command = [sys.executable, "-c", "import time; kept = bytearray(3 * 10**8); time.sleep(0.5)"]
    free = watched(command, tmp_path)
    assert outcome(free) == "done"
    assert free.anonymous > 2.5e8
    capped = watched(command, tmp_path, start=cap_by("data", 2 * 10**8))
    assert outcome(capped) == "broken"
    assert "MemoryError" in capped.error
    with pytest.raises(ValueError, match="no cap by"):
        cap_by("wish", 1)
    monkeypatch.delenv("BENCH_CGROUP", raising=False)
    with pytest.raises(SystemExit, match="BENCH_CGROUP"):
        cap_by("cgroup", 1)
    (tmp_path / "memory.max").write_text("max")
    monkeypatch.setenv("BENCH_CGROUP", str(tmp_path))
    cap_by("cgroup", 123)()  # a folder with the same files takes down what the kernel would
    assert (tmp_path / "memory.max").read_text() == "123"
    assert (tmp_path / "cgroup.procs").read_text() == str(os.getpid())


@pytest.mark.slow
def test_memory_runs_the_command_with_and_without_a_cap(tmp_path, folders, monkeypatch):
    from benchmarks import sets
    from benchmarks.memory import memory

    X, y = make_table(40)
    path = tmp_path / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [("a", "b", "c", "d", "label"), *([*row, label] for row, label in zip(X, y, strict=True))]
        )
    monkeypatch.setattr(sets, "paths", lambda *_: (path, path))
    plan = {"sets": ["splice"], "by": "data", "megabytes": [20_000], "options": ["--methods", "majority"]}
    free, capped = (rows[0] for rows in memory(plan, folders))
    assert [(row["system"], row["outcome"]) for row in (free, capped)] == [("no cap", "done"), ("20000 MB", "done")]
    assert free["peak_bytes"] > 5e7
    folders.kept = {(row["set"], row["system"]): row for row in (free, capped)}
    assert list(memory(plan, folders)) == []


# -- the runner and the tables -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fewshot", "regret", "budgets", "coverage", "memory"])
def test_the_runner_finds_the_kind_and_its_summary(name):
    import benchmarks.__main__ as runner

    experiment = tomllib.loads((ROOT / "benchmarks" / "experiments" / f"{name}.toml").read_text(encoding="utf-8"))
    run, summary = runner._kind(experiment["kind"])
    assert run.__name__ == name
    summary([])


def test_ways_of_the_regret_experiment_can_be_made():
    from graft.core.registry import TRANSFERS

    experiment = tomllib.loads((ROOT / "benchmarks" / "experiments" / "regret.toml").read_text(encoding="utf-8"))
    for plan in experiment["ways"].values():
        TRANSFERS[plan["transfer"]](**plan.get("settings", {}))
    assert {*experiment["picked"], *experiment["simple"]} <= set(experiment["ways"])
    assert sum(len(experiment["sized"].get(name, experiment["sizes"])) for name in experiment["sets"]) >= 24


def test_the_result_carries_a_summary(tmp_path):
    import benchmarks.__main__ as runner

    plan = {"title": "t", "sets": ["b", "a"]}
    rows = [{"set": "a, 4 rows", "of": "a", "system": "x", "mean": 1}, {"set": "b, 4 rows", "of": "b", "system": "x"}]
    runner._write(argparse.Namespace(out=tmp_path / "new"), "q", plan, rows, len)
    found = json.loads((tmp_path / "new" / "q.json").read_text(encoding="utf-8"))
    assert found["summary"] == 2
    assert [row["of"] for row in found["rows"]] == ["b", "a"]


def test_tables_and_chart_are_made_of_results():
    import generate
    import judging
    from benchmarks import budgets, coverage, fewshot, memory, regret

    drawn = {"set": "trec, 8 per class", "of": "trec", "labels": 8, "seeds": [0], "sd": None, "all_seconds": [2.0]}
    rows = {
        "fewshot": [
            {**drawn, "system": "graft fit", "scores": [0.9], "mean": 0.9, "seconds": 2.0},
            {**drawn, "system": "SetFit", "scores": [], "seeds": [], "mean": None, "reason": "took longer"},
        ],
        "regret": [regret.judged(
            {"set": "s, 100 rows", "of": "s", "size": 100, "system": "graft fit"},
            [{"seed": 0, "test_score": 0.75, "seconds": 1.0}], table_of([trial("probe", "big", 0.8)]), ["majority"],
        )],
        "budgets": [
            {"set": name, "system": f"{b} s", "budget": b, "mean": b / 100, "seconds": b, "overrun": 0.0, "seeds": [0]}
            for b in (20, 60) for name in ("trec", "splice")
        ],
        "coverage": [coverage._row("sst2", 50, True, [[0.8, 0.7, 0.9, 0.75, 1.0, 0.0, 0.9, 1.5]] * 3, {"level": 0.9, "seed": 0})
                     | {"failed": {}}],
        "memory": [{"set": "trec", "system": "500 MB", "megabytes": 500, "outcome": "refused", "peak_bytes": 1e8,
                    "seeds": [0]}],
    }  # fmt: skip
    wanted = {
        "fewshot": "| trec | 8 | 0.900, 2 s | — |", "regret": "| graft fit | 1 | 5.00 |  | 5.00 |", "budgets": "20.0 s",
        "coverage": "| sst2 | 50 | 100.0 % (43.9–100.0) | 20.0 | +5.00 | 90.0 % |", "memory": "| trec | refused, 100 MB |",
    }  # fmt: skip
    for module in (fewshot, regret, budgets, coverage, memory):
        name = module.__name__.rpartition(".")[2]
        result = {"title": name, "date": "2026-01-01", "rows": rows[name], "summary": module.summary(rows[name])}
        for language in ("en", "zh"):
            parts = judging.TABLES[name](result, language)
            text = "\n".join(generate._judged(result, parts, generate.WORDS[language]))
            assert wanted[name] in text, text
    svg = judging.chart(rows["budgets"])
    assert svg.count("<polyline") == 2
    assert ">splice<" in svg
