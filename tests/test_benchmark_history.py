"""The benchmark of the history, on a made-up table of trials and small files of real rows."""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SHORT, LONG = ("trec", "sst2"), ("thucnews", "banking77")
PLAN = {"sets": [*SHORT, *LONG], "within": 0.005, "always": ["majority"], "order": ["probe", "finetune", "scratch"]}


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import history

    return history


def trial(name, transfer, score, source=None, seconds=1.0, **settings):
    return {
        "set": name, "size": 30, "seed": 0, "source": source, "transfer": transfer, "settings": settings,
        "score": score, "seconds": seconds, "pass_seconds": 2.0 if source else 0.0, "test_score": None,
    }  # fmt: skip


def trials(name, *, scratch, tuned):
    return [
        trial(name, "majority", 0.5),
        trial(name, "scratch", scratch, seconds=20.0),
        trial(name, "probe", 0.7, "small"),
        trial(name, "probe", 0.71, "large"),
        trial(name, "finetune", 0.6, "small", seconds=60.0),
        trial(name, "finetune", tuned, "large", seconds=90.0),
        trial(name, "finetune", None, "large", blocks=1),  # took too long to be cross-validated
    ]


@pytest.fixture
def folders(tmp_path):
    """Short texts, where training from scratch wins, and long Chinese ones, where fine-tuning does."""
    rng = np.random.default_rng(0)
    for name in PLAN["sets"]:
        path = tmp_path / "data" / "text" / name / "train.csv"
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for i in range(60):
                words = rng.choice(list("abc"), 4) if name in SHORT else rng.choice(list("天地玄黄宇宙"), 300)
                writer.writerow([f"{' '.join(words)} {i}", "xy"[i % 2]])
    rows = [row for name in SHORT for row in trials(name, scratch=0.9, tuned=0.65)]
    rows += [row for name in LONG for row in trials(name, scratch=0.55, tuned=0.95)]
    (tmp_path / "trials.json").write_text(json.dumps({"rows": rows}))
    return argparse.Namespace(data=str(tmp_path / "data"), out=tmp_path, sets=None, trials=None)


def test_the_other_sets_suggest_the_order(bench, folders):
    rows = [row for part in bench.history(PLAN, folders) for row in part]
    found = {(row["set"], row["system"]): (row["mean"], row["seconds"]) for row in rows}
    assert list(dict.fromkeys(name for name, _ in found)) == PLAN["sets"]
    for name in SHORT:
        assert found[name, "default order"] == (6, 1 + (1 + 2) * 2 + 90 + 60 + 20)
        assert found[name, "suggested order"] == (2, 1 + 20)
    for name in LONG:
        assert found[name, "default order"] == (4, 1 + (1 + 2) * 2 + 90)
        assert found[name, "suggested order"] == (2, 1 + 90 + 2)
    summary = bench.summary(rows)
    assert summary["sets"] == PLAN["sets"]
    mean, low, high = summary["trials saved"]
    assert mean == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert 0.4 < low < mean < high < 0.8
    assert summary["seconds saved"][0] > 0
    assert json.loads(json.dumps([rows, summary], allow_nan=False))


def test_a_set_teaches_itself_nothing(bench, folders):
    """Whatever a set's own trials say, the order suggested for it is that of the others."""
    folders.sets = ["trec"]
    ((_, before),) = bench.history(PLAN, folders)
    path = folders.out / "trials.json"
    rows = json.loads(path.read_text())["rows"]
    for row in rows:
        if row["set"] == "trec" and row["transfer"] == "probe":
            row["score"] = 0.89
    path.write_text(json.dumps(rows))  # a plain list will do
    ((_, after),) = bench.history(PLAN, folders)
    assert after["mean"] == before["mean"] == 2


def test_rows_of_the_benchmark_are_written_with_their_summary(bench, folders, monkeypatch):
    import benchmarks.__main__ as runner

    monkeypatch.setattr("sys.argv", [
        "benchmarks", "history", "--data", folders.data, "--models", "none", "--sets", *PLAN["sets"],
        "--trials", str(folders.out / "trials.json"), "--out", str(folders.out / "results"),
    ])  # fmt: skip
    runner.main()
    result = json.loads((folders.out / "results" / "history.json").read_text())
    assert [(row["set"], row["system"]) for row in result["rows"][:2]] == [
        ("trec", "default order"),
        ("trec", "suggested order"),
    ]
    assert result["summary"]["trials saved"][0] > 0.4


@pytest.mark.parametrize(("text", "what"), [(None, "is missing"), ("{", "no table"), ('[{"set": "a"}]', "no table")])
def test_a_wrong_table_is_one_line(bench, folders, text, what):
    path = folders.out / "trials.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit, match=what):
        next(bench.history(PLAN, folders))
