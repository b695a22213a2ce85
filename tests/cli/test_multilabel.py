"""Rows with several labels from the command line: fit, predict, evaluate, rank, report, and what is refused."""

import contextlib
import csv
import io
import json
import shutil

import numpy as np
import pytest

from graft.cli import main

NAMES = ("card", "order", "parcel")
CHEAP = ("--methods", "majority", "classical", "probe", "--ensemble", "--folds", "2", "--budget", "1h", "--no-history")


def rows(n=48, seed=0):
    rng = np.random.default_rng(seed)
    lists = [[name for name in NAMES if rng.random() < 0.45] for _ in range(n)]
    return [
        " ".join(["please", *rng.permutation(row), "abcdefgh"[i % 8], f"n{i}"]) for i, row in enumerate(lists)
    ], lists


@pytest.fixture(scope="session")
def fitted(tmp_path_factory, tiny_bert):
    """A run on requests, made once, and what it printed."""
    folder = tmp_path_factory.mktemp("topics")
    cells = ["text,about", *(f"{text},{';'.join(row)}" for text, row in zip(*rows(), strict=True))]
    (folder / "requests.csv").write_text("\n".join(cells) + "\n")
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        assert main(["fit", "requests.csv", *CHEAP, "--models", f"hf:{tiny_bert}", "--out", "run"]) == 0
    return folder / "run", out.getvalue()


@pytest.fixture
def run(here, fitted):
    """That run in the working folder."""
    shutil.copytree(fitted[0], here / "run")
    return "run"


def test_fit_says_and_records_what_it_found(fitted):
    folder, out = fitted
    assert "any of 3 labels in “about”, judged by micro f1" in out
    assert "frequency of each label" in out
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert record["task"]["kind"] == "multilabel"
    assert "finds labels with an F1 of" in record["answer"]["sentence"]
    assert {row["class"] for row in record["metrics"]["per_class"]} == set(NAMES)
    assert set(record["metrics"]) >= {"micro_f1", "macro_f1", "mean_average_precision", "subset_accuracy", "log_loss"}
    assert record["guard"]["compared"]
    assert any(trial["transfer"] == "probe" and trial["state"] == "done" for trial in record["trials"])
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert len(model["task"]["thresholds"]) == 3
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(text in page for text in ("micro F1", "any of 3 labels", "– stands for none"))
    assert "any number of 3 labels" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_the_report_speaks_chinese(graft, run, here):
    graft("report", run, "--language", "zh").works()
    assert "微平均 F1" in (here / "run" / "report.html").read_text(encoding="utf-8")


def test_predictions_join_labels_as_the_file_does(graft, put, run, here):
    put("new.csv", "text\nplease card parcel a n8\n\nplease b n9\n")
    graft("predict", run, "new.csv", "--out", "out.csv").works()
    table = list(csv.DictReader((here / "out.csv").read_text(encoding="utf-8").splitlines()))
    assert list(table[0]) == ["prediction", "p_card", "p_order", "p_parcel"]
    assert table[0]["prediction"] == "card;parcel"
    assert table[-1]["prediction"] == ""
    assert all(0 <= float(table[0][f"p_{name}"]) <= 1 for name in NAMES)
    graft("predict", run, "new.csv", "--coverage", "0.9").fails(2, "no set of several labels", "leave coverage out")


def test_evaluate_counts_every_label(graft, put, run):
    texts, lists = rows(30, seed=1)
    wide = [f"{text},{','.join(str(int(n in row)) for n in NAMES)}" for text, row in zip(texts, lists, strict=True)]
    put("wide.csv", "\n".join([f"text,{','.join(NAMES)}", *wide]) + "\n")
    graft("evaluate", run, "wide.csv").works("micro f1", "hamming loss", "parcel", "rows, ")
    graft("evaluate", run, "wide.csv", "--coverage", "0.9").fails(2, "no set of several labels")
    put("other.csv", "text,about\nplease card,card;nothing\nparcel,parcel\n")
    graft("evaluate", run, "other.csv").works("does not know are passed over: nothing (1)")


def test_what_is_for_one_label_says_so(graft, put):
    texts, lists = rows(12)
    put("few.jsonl", "\n".join(json.dumps({"text": t, "labels": r}) for t, r in zip(texts, lists, strict=True)))
    graft("fit", "few.jsonl", "--methods", "contrastive", "--quiet").fails(2, "is for classification, not multilabel")
    graft("compare", "few.jsonl", "few.jsonl").fails(3, "one label each")


def test_rank_takes_columns_of_labels(graft, put, tiny_bert):
    texts, lists = rows(32)
    wide = [f"{text},{','.join(str(int(n in row)) for n in NAMES)}" for text, row in zip(texts, lists, strict=True)]
    put("wide.csv", "\n".join([f"text,{','.join(NAMES)}", *wide]) + "\n")
    graft("rank", "wide.csv", "--label", ",".join(NAMES), "--models", f"hf:{tiny_bert}").works("tiny-bert")
