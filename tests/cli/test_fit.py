"""What ``graft fit`` does with rows without a label, and with several ways at once."""

import json

from cli.conftest import as_csv, sentences


def test_rows_without_a_label_are_said_and_used(graft, put, here, tiny_bert):
    rows = sentences(60)
    put("partly.csv", as_csv([(text, label if i % 3 else "") for i, (text, label) in enumerate(rows)]))
    options = ("--models", tiny_bert, "--methods", "probe", "propagation", "--budget", "1h")
    done = graft("fit", "partly.csv", "--out", "run", *options).works(
        "20 row(s) without a label may help: label propagation learn"
    )
    assert "no label  the 20 rows without a label" in done.out
    run = json.loads((here / "run" / "run.json").read_text())
    assert (run["data"]["rows"], run["data"]["unlabelled"]) == (40, 20)
    assert "rows without a label" in (here / "run" / "report.html").read_text()
    graft("report", "run", "--language", "zh").works()
    dropped = graft("fit", "partly.csv", "--out", "dropped", "--bad-rows", "drop", *options).works()
    assert "without a label left out" in dropped.out
    assert json.loads((here / "dropped" / "run.json").read_text())["data"]["unlabelled"] == 0


def test_rows_without_a_label_may_lie_in_another_file(graft, put, good, here, tiny_bert):
    put("more.csv", "text\n" + "".join(f"where is my parcel {i}\n" for i in range(20)))
    options = ("--models", tiny_bert, "--methods", "probe", "pseudo_labels", "--budget", "1h", "--quiet")
    graft("fit", good, "--unlabelled", "more.csv", "--out", "run", *options).works("no label  the 20 rows")
    put("wrong.csv", "title\n" + "something\n" * 5)
    graft("fit", good, "--unlabelled", "wrong.csv", "--out", "other", *options).fails(
        3, "no input column 'text'", "wrong.csv"
    )
    graft("fit", good, "--unlabelled", "absent.csv", "--out", "other", *options).fails(3, "absent.csv")
    assert not (here / "other").exists()


def test_an_ensemble_is_shown_with_its_members(graft, good, here, tiny_bert):
    options = ("--models", tiny_bert, "--methods", "classical", "probe", "--budget", "1h")
    graft("fit", good, "--ensemble", "--out", "run", *options).works("ensemble")
    rows = json.loads((here / "run" / "run.json").read_text())["trials"]
    assert rows[-1]["transfer"] == "ensemble"
