"""Time series from the command line: wide, long, folders; classes and values; new files of another length."""

import csv
import json

import numpy as np
import pytest


def waves(rows=48, steps=40, seed=0):
    rng = np.random.default_rng(seed)
    pitch = np.where(np.arange(rows) % 2, 0.25, 0.5) * rng.uniform(0.9, 1.1, rows)
    values = np.sin(pitch[:, None] * np.arange(steps) + rng.uniform(0, 6, (rows, 1))) + rng.normal(
        scale=0.2, size=(rows, steps)
    )
    return values.round(4), np.where(np.arange(rows) % 2, "slow", "fast")


def wide(values, labels):
    names = ",".join(f"t{i}" for i in range(values.shape[1]))
    return f"{names},label\n" + "".join(
        ",".join(map(str, row)) + f",{label}\n" for row, label in zip(values, labels, strict=True)
    )


def long(values, labels):
    rows = (
        f"r{i},{t},{x},{label}\n"
        for i, (row, label) in enumerate(zip(values, labels, strict=True))
        for t, x in enumerate(row)
    )
    return "id,time,value,label\n" + "".join(rows)


@pytest.mark.parametrize(("form", "method"), [(wide, "classical"), (long, "classical")])
def test_fit_predict_and_evaluate(graft, put, here, form, method):
    values, labels = waves()
    labels[::9] = labels[1:10:9].item()  # wrong ones
    put("train.csv", form(values, labels))
    out = graft("fit", "train.csv", "--methods", method, "--folds", 2, "--budget", "1h", "--out", "run").out
    assert "48 rows, series → 2 classes" in out
    run = json.loads((here / "run" / "run.json").read_text())
    assert run["data"]["facts"]["length"]["max"] == 40
    assert run["metrics"]["hardest"][0]["thumbnail"].startswith("data:image/jpeg")
    values, labels = waves(20, steps=32, seed=1)
    put("new.csv", form(values, labels).replace(",label", ",other"))
    assert graft("predict", "run", "new.csv", "--out", "p.csv").code == 0
    got = [row["prediction"] for row in csv.DictReader((here / "p.csv").read_text().splitlines())]
    assert np.mean(np.array(got) == labels) > 0.8
    put("test.csv", form(values, labels))
    graft("evaluate", "run", "test.csv").works()


def test_values(graft, put, here):
    values, _ = waves(60)
    put("train.csv", wide(values, (values[:, -5:].mean(axis=1) + 3).round(3)))
    done = graft("fit", "train.csv", "--methods", "classical", "--folds", 3, "--budget", "1h", "--out", "run")
    assert "series → a number" in done.out
    run = json.loads((here / "run" / "run.json").read_text())
    assert run["metrics"]["r2"][0] > 0.5


def test_a_folder_of_files(graft, put, here):
    for i, (row, label) in enumerate(zip(*waves(24), strict=True)):
        put(f"set/{label}/{i}.csv", "\n".join(f"{x},{-x}" for x in row))
    out = graft("fit", "set", "--methods", "classical", "--folds", 2, "--budget", "1h", "--out", "run").out
    assert "each file is a series, its folder the class" in out
    assert graft("predict", "run", "set", "--out", "p.csv").code == 0


def test_numbered_columns_are_series_when_asked_for(graft, put, here):
    put("d.csv", wide(*waves(20)).replace("t", "x", 40))
    quick = ("--methods", "classical", "--folds", 2, "--budget", "1h", "--label", "label")
    assert "table → 2 classes" in graft("fit", "d.csv", *quick, "--out", "one").out
    assert "series → 2 classes" in graft("fit", "d.csv", *quick, "--modality", "series", "--out", "two").out
    put("n.csv", "a,label\nq,x\nr,y\n")
    graft("fit", "n.csv", "--modality", "series").fails(3, "no time series found", "one row per series (t0, t1, …)")


def test_a_source_of_ones_own(graft, put, here):
    put("many.csv", wide(*waves(60, seed=4)))
    made = ("--encoder", "cnn", "--size", "tiny", "--epochs", 1, "--quiet")
    assert graft("pretrain", "many.csv", "--objective", "masked", *made, "--out", "source").code == 0
    put("train.csv", wide(*waves(40)))
    quick = ("--methods", "probe", "--folds", 2, "--budget", "1h", "--models", "source", "--quiet")
    assert graft("fit", "train.csv", *quick, "--out", "run").code == 0
    run = json.loads((here / "run" / "run.json").read_text())
    assert run["answer"]["source"] == "file:source"
    assert graft("predict", "run", "train.csv", "--out", "p.csv").code == 0
    put(
        "two.csv",
        "id,time,a,b,label\n"
        + "".join(f"s{i},{t},{t * i % 5},{t},{'xy'[i % 2]}\n" for i in range(8) for t in range(9)),
    )
    done = graft("fit", "two.csv", "--methods", "probe", "--models", "source", "--budget", "1h", "--out", "no")
    assert "1 channel(s)" in done.out + done.err
    assert "internal error" not in done.err
