"""Sparse counts from the command line: a fit, its report, and new files of another width."""

import csv
import json

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file


def save_counts(path, rows, seed=0, features=40, zero_based=True):
    """Counts in which the first or the second ten features occur."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    X = rng.poisson(0.2, (rows, features))
    X[y == 0, :10] += rng.poisson(0.7, (len(X[y == 0]), 10))
    X[y == 1, 10:20] += rng.poisson(0.7, (len(X[y == 1]), 10))
    X[0, 0] = 1
    y[::7] = 1 - y[::7]  # wrong labels
    dump_svmlight_file(X, 2 * y - 1, str(path), zero_based=zero_based)
    return y


@pytest.mark.parametrize("method", ["classical", "scratch"])
def test_fit_and_predict(graft, here, method):
    save_counts(here / "train.svmlight", 60)
    shown = graft("fit", "train.svmlight", "--methods", method, "--folds", 1, "--budget", "1h", "--out", "run").out
    assert "60 rows, counts → 2 classes" in shown
    assert "sparse counts of 40 features, numbered from 0 (0 occurs)" in shown
    run = json.loads((here / "run" / "run.json").read_text())
    assert run["data"]["facts"]["features"] == 40
    assert run["metrics"]["hardest"][0]["input"].startswith("feature_")
    y = save_counts(here / "new.svm", 40, seed=1, features=44)
    assert graft("predict", "run", "new.svm", "--out", "p.csv").code == 0
    found = [row["prediction"] for row in csv.DictReader((here / "p.csv").read_text().splitlines())]
    assert np.mean(np.array(found) == np.where(y, "1", "-1")) > 0.65
    graft("evaluate", "run", "new.svm").works()


def test_a_wrong_line_is_named(graft, here):
    (here / "d.svm").write_text("1 1:1\n-1 3:1 2:1\n")
    graft("fit", "d.svm").fails(3, "index 2 follows 3: indices must increase [d.svm, line 2]")
