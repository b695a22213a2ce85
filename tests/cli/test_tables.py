"""Tables from the command line: every command on classes with an order and on values with quantiles, and bad input."""

import csv
import json

import numpy as np
import pytest

QUICK = ("--methods", "classical", "boosting", "ordered", "--folds", 2, "--budget", "1h", "--quiet")


def rows(n=90, seed=0):
    rng = np.random.default_rng(seed)
    size, day = rng.normal(size=n).round(3), rng.integers(0, 365, n)
    town = rng.choice(["L", "P", "M"], n)
    value = (2 * size + (town == "L") + rng.normal(size=n) * (0.1 + (town == "P"))).round(3)
    when = (np.datetime64("2020-01-01") + day).astype(str)
    return size, town, when, value


def table(label, n=90, seed=0, **more):
    size, town, when, value = rows(n, seed)
    grade = np.array(["low", "medium", "high"])[np.digitize(value, [-1, 1.5])]
    target = grade if label == "grade" else value
    lines = [
        f"{number},{a},{b},{c},7,{y}"
        for number, a, b, c, y in zip(range(1, n + 1), size, town, when, target, strict=True)
    ]
    return "\n".join([f"id,size,town,when,flat,{label}", *lines, ""])


def read(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_classes_with_an_order(graft, put, here):
    put("train.csv", table("grade"))
    put("new.csv", table("grade", 60, 1).replace(",M,", ",Rome,"))
    done = graft("fit", "train.csv", "--label", "grade", "--order", "low,medium,high", *QUICK, "--out", "run")
    assert "quadratic kappa" in done.out
    run = json.loads((here / "run" / "run.json").read_text(encoding="utf-8"))
    assert run["task"]["classes"] == ["low", "medium", "high"]
    assert [trial["name"] for trial in run["trials"]][2:] == ["boosted trees", "proportional odds"]
    assert {"quadratic_kappa", "rank_error", "accuracy"} <= run["metrics"].keys()
    assert "column 'flat' is not used: the same value in every row" in run["data"]["notes"]
    assert any("id" in note and "not used" in note for note in run["data"]["notes"])
    done = graft("predict", "run", "new.csv", "--out", "p.csv", "--coverage", "0.9")
    assert "column 'town' has categories that training did not see: 'Rome'" in done.err
    found = read(here / "p.csv")
    assert list(found[0]) == ["prediction", "set", "p_low", "p_medium", "p_high"]
    graft("evaluate", "run", "new.csv").works("quadratic kappa", "rank error")
    page = (here / "run" / "report.html").read_text(encoding="utf-8")
    assert "quadratic kappa" in page
    assert ">boosting<" in page
    graft("report", "run", "--language", "zh").works()
    assert "二次加权 kappa" in (here / "run" / "report.html").read_text(encoding="utf-8")


def test_values_with_quantiles(graft, put, here):
    put("train.csv", table("value", 220))
    put("new.csv", table("value", 200, 1))
    command = ("fit", "train.csv", "--label", "value", "--quantiles", "0.05,0.5,0.95", *QUICK, "--out", "run")
    assert graft(*command).code == 0
    run = json.loads((here / "run" / "run.json").read_text(encoding="utf-8"))
    assert run["metrics"]["quantiles"]["coverage"] == pytest.approx(0.9, abs=0.06)
    assert "Quantiles" in (here / "run" / "report.html").read_text(encoding="utf-8")
    assert graft("predict", "run", "new.csv", "--out", "p.csv", "--coverage", "0.9").code == 0
    found = read(here / "p.csv")
    assert list(found[0]) == ["prediction", "low", "high", "q0.05", "q0.5", "q0.95"]
    width = np.array([float(row["high"]) - float(row["low"]) for row in found])
    town = rows(200, 1)[1]
    assert width[town == "P"].mean() > 1.3 * width[town == "M"].mean()
    truth = rows(200, 1)[3]
    inside = [float(row["low"]) <= y <= float(row["high"]) for row, y in zip(found, truth, strict=True)]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.07)
    graft("evaluate", "run", "new.csv").works("pinball loss", "coverage", "width")


def test_bad_input_is_said_in_one_line(graft, put, here):
    put("grades.csv", table("grade"))
    graft("fit", "grades.csv", "--task", "ordinal", *QUICK).fails(3, "no order of their own", "--order low,medium,high")
    graft("fit", "grades.csv", "--order", "low,high", *QUICK).fails(3, "'medium'", "not in the order")
    graft("fit", "grades.csv", "--order", "low,high", "--task", "regression", *QUICK).fails(2, "ordinal")
    graft("fit", "grades.csv", "--quantiles", "0.1,0.9", *QUICK).fails(2, "quantiles are for a regression")
    graft("fit", "grades.csv", "--quantiles", "10%", *QUICK).fails(2, "no quantiles")
    put("one.csv", "size,town,label\n1.0,L,x\n")
    graft("fit", "one.csv", *QUICK).fails(3, "only one class")
    mixed = table("grade").replace("2020-0", "13/01/2020", 1).replace("2020-1", "01/13/2020", 1)
    put("dates.csv", mixed)
    put("numbers.csv", table("value", 40))
    assert (
        graft(
            "fit", "numbers.csv", "--label", "value", "--methods", "classical", "--folds", 2, "--quiet", "--out", "run"
        ).code
        == 0
    )
    put("lacks.csv", "id,town,when\n1,L,2020-01-01\n")
    graft("predict", "run", "lacks.csv").fails(3, "no input column 'size'")
    put("other.csv", "size,town,when\nbig,L,2020-01-01\n1.0,L,soon\n1.0,L,2020-01-01\n")
    done = graft("predict", "run", "other.csv", "--out", "p.csv")
    assert "column 'size': 'big' is not a number" in done.err
    assert "column 'when': 'soon' is not a date" in done.err
    assert [bool(row["prediction"]) for row in read(here / "p.csv")] == [False, False, True]
