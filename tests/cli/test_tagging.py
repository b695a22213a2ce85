"""Sentences with names from the command line: fit, predict in every form, evaluate, report."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest

from graft.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "tagging"
CHEAP = ("--methods", "majority", "classical", "--folds", "2", "--budget", "60s", "--out", "run")


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """A run on the English sentences, made once, and what it printed."""
    folder = tmp_path_factory.mktemp("names")
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        assert main(["fit", str(EXAMPLE / "news_en.conll"), *CHEAP]) == 0
    return folder / "run", out.getvalue()


@pytest.fixture
def run(here, fitted):
    """That run in the working folder."""
    shutil.copytree(fitted[0], here / "run")
    return "run"


def test_fit_says_and_records_what_it_found(fitted):
    folder, out = fitted
    assert "spans of 3 type(s)" in out
    assert "hand-made features + CRF" in out
    assert "[Marta Linden PER] moved from" in out
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert record["task"]["kind"] == "tagging"
    assert record["answer"]["metric"] == "entity_f1"
    assert "spans with an F1 of" in record["answer"]["sentence"]
    assert {row["class"] for row in record["metrics"]["per_class"]} == {"LOC", "ORG", "PER"}
    assert record["data"]["per_class"]["LOC"] > 40
    assert record["guard"]["compared"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(text in page for text in ("F1 of spans", "3 types of spans", "Spans per type", "most wrong spans"))
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert 'pipeline_tag: "token-classification"' in card


def test_the_report_speaks_chinese(graft, run, here):
    graft("report", run, "--language", "zh").works()
    page = (here / "run" / "report.html").read_text(encoding="utf-8")
    assert "实体 F1" in page
    assert "3 类实体" in page


def test_predictions_in_every_form(graft, put, run, here):
    raw = put("raw.txt", "Ellen Shaw visits Bergen.\n\nNothing <b>else</b>.\n")
    done = graft("predict", run, raw)
    assert done.code == 0
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["text"] for row in rows] == ["Ellen Shaw visits Bergen.", "", "Nothing <b>else</b>."]
    found = {(span["text"], span["label"]) for span in rows[0]["spans"]}
    assert ("Bergen", "LOC") in found
    assert all(0 < span["probability"] <= 1 for span in rows[0]["spans"])
    assert "row 2 of raw.txt: empty text" in done.err
    graft("predict", run, raw, "--out", "p.conll")
    lines = (here / "p.conll").read_text(encoding="utf-8").splitlines()
    assert "Bergen\tB-LOC" in lines
    assert lines.count("") == 3
    graft("predict", run, raw, "--format", "html", "--out", "p.txt")
    page = (here / "p.txt").read_text(encoding="utf-8")
    assert "Bergen<small>LOC</small></mark>" in page
    assert "<b>else" not in page
    assert "&lt;b&gt;else" in page
    graft("predict", run, raw, "--format", "csv").fails(2, "not written as csv", "jsonl, conll, html")
    graft("predict", run, raw, "--coverage", "0.9").fails(2, "no sets of classes")


def test_what_is_predicted_can_be_read_again(graft, run):
    sentences = EXAMPLE / "news_en.conll"
    graft("predict", run, sentences, "--out", "p.conll")
    graft("evaluate", run, "p.conll").works("entity f1", "1.000", "LOC")


def test_evaluate_lists_every_type(graft, run):
    done = graft("evaluate", run, EXAMPLE / "news_en.conll").works(
        "78 rows", "entity recall", "LOC", "spans", "predicted)"
    )
    assert done.out.count("precision 0.") + done.out.count("precision 1.") == 3
    facts = json.loads(graft("evaluate", run, EXAMPLE / "news_en.conll", "--json").out)
    assert len(facts["per_class"]) == 3


def test_spans_of_characters_in_chinese(graft, here):
    graft("fit", EXAMPLE / "news_zh.jsonl", *CHEAP).works("spans of 3 type(s)")
    (here / "new.txt").write_text("周子安住在昆明。\n", encoding="utf-8")
    row = json.loads(graft("predict", "run", "new.txt").works().out)
    assert row["text"] == "周子安住在昆明。"
    assert {"start": 5, "end": 7, "label": "LOC", "text": "昆明"}.items() <= row["spans"][-1].items()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (
            "a O\nb B-X\n\n" * 30 + "c O x\n",
            ("3 columns, the other lines have 2", "bad.conll, line 91", "--bad-rows drop"),
        ),
        ("a O\nb O\n", ("no span in 'tags'", "every tag is O")),
        ("a\nb\n", ("one column",)),
    ],
)
def test_bad_files_are_one_line(graft, put, content, parts):
    graft("fit", put("bad.conll", content), "--out", "x").fails(3, *parts)


def test_a_type_that_was_not_learned(graft, put, run):
    graft("evaluate", run, put("new.conll", "by O\nDune B-BOOK\n")).fails(
        3, "'BOOK' is no type", "new.conll, line 2", "LOC"
    )


def test_rows_are_drawn_and_ranked_with_a_source(graft, here, tiny_bert):
    done = graft(
        "fit", EXAMPLE / "news_en.conll", "--models", f"hf:{tiny_bert}", "--methods", "majority", "probe", "finetune",
        "--folds", "2", "--budget", "1h", "--no-history",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "probe of" in done.out
    assert "fine-tuning of" in done.out
    record = json.loads(next((here / "runs").glob("*/run.json")).read_text(encoding="utf-8"))
    assert {trial["state"] for trial in record["trials"]} <= {"done", "stopped", "skipped"}
    assert next(row for row in record["ranking"] if not row["failure"])["scores"]["probe"]


@pytest.mark.parametrize(
    "command",
    [
        ("adapt", "news.jsonl", "news.jsonl"),
        ("compare", "news.jsonl", "news.jsonl"),
        ("zero-shot", "news.jsonl"),
    ],
    ids=lambda command: command[0],
)
def test_commands_for_one_label_per_row_say_so(graft, here, command):
    shutil.copy(EXAMPLE / "news_zh.jsonl", here / "news.jsonl")
    graft(*command).fails(3, "is for rows with one label each, not for tagged words")


def test_ranking_alone_takes_sentences(graft, tiny_bert):
    graft("rank", EXAMPLE / "news_en.conll", "--models", f"hf:{tiny_bert}", "--json").works("probe")
