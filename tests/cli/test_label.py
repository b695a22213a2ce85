"""``graft label`` as a person types it."""

import csv
import io
import sys
from pathlib import Path

import pytest
from cli.conftest import as_csv, files, finished, process, sentences
from sources import tiny_models


@pytest.fixture
def bert(here):
    return f"hf:{tiny_models.bert(here / 'models' / 'bert')}"


@pytest.fixture
def partly(put):
    """Sixty rows of which the first thirty have a label."""
    return put("partly.csv", as_csv([(text, name if i < 30 else "") for i, (text, name) in enumerate(sentences(60))]))


def table(path):
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fill(path, name):
    """Write into every line of a sheet the class that its text names."""
    rows = table(path)
    for row in rows:
        row[name] = "good" if " good " in f" {row['text']} " else "bad"
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_a_round_from_proposals_to_labelled_rows(graft, bert, partly, here):
    done = graft("label", partly, "--models", bert, "--rows", "6", "--out", "sheet.csv")
    done.works(
        "60 rows, 30 with a label", "cross-validated", "diverse_margin", "graft label partly.csv --add sheet.csv"
    )
    rows = fill(here / "sheet.csv", "label")
    assert len({row["row"] for row in rows}) == 6
    assert all(int(row["row"]) > 30 and row["suggestion"] and row["reason"] for row in rows)
    again = graft("label", partly, "--models", bert, "--rows", "6", "--out", "again.csv").works()
    assert [row["row"] for row in table(here / "again.csv")] == [row["row"] for row in rows]
    assert again.out.replace("again", "sheet") == done.out
    graft("label", partly, "--add", "sheet.csv", "--out", "new.csv").works("6 labels", "36 of 60 rows have a label")
    old, new = table(here / partly), table(here / "new.csv")
    assert [row["text"] for row in new] == [row["text"] for row in old]
    changed = {i + 1 for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b}
    assert changed == {int(row["row"]) for row in rows}
    graft("label", "new.csv", "--add", "sheet.csv", "--out", "same.csv").works("0 labels, 6 were there already")
    assert not [name for name in files(here) if name.startswith(".")]


def test_from_no_label_at_all(graft, bert, put, here):
    texts = put("texts.txt", "".join(f"{text}\n" for text, _ in sentences(40)))
    done = graft("label", texts, "--models", bert, "--rows", "4", "--label", "topic")
    done.works("too few labels", "typiclust", "texts-to-label.csv")
    fill(here / "texts-to-label.csv", "topic")
    graft("label", texts, "--label", "topic", "--add", "texts-to-label.csv", "--out", "new.csv").works()
    assert sum(bool(row["topic"]) for row in table(here / "new.csv")) == 4
    graft("label", "new.csv", "--label", "topic", "--models", bert, "--out", "next.csv").works("4 with a label")


def test_asking_saves_every_answer_and_goes_on(graft, bert, partly, here, monkeypatch):
    ask = ("label", partly, "--models", bert, "--rows", "4", "--ask", "--out", "sheet.csv")
    monkeypatch.setattr(sys, "stdin", io.StringIO("2\nbda\n1\nu\n2\n"))
    graft(*ask).works("[1 of 4]", "did you mean 'bad'?", "2 labelled, 0 skipped; sheet.csv holds 2")
    first = table(here / "sheet.csv")
    assert [row["label"] for row in first] == ["good", "good"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("s\nbad\nq\n"))
    graft(*ask).works("32 with a label", "1 labelled, 1 skipped; sheet.csv holds 3")
    second = table(here / "sheet.csv")
    assert second[:2] == first
    assert len({row["row"] for row in second}) == 3
    graft("label", partly, "--add", "sheet.csv", "--out", "new.csv").works("3 labels")


@pytest.mark.slow
def test_answers_outlive_a_killed_sitting(bert, partly, here):
    started = process("label", partly, "--models", bert, "--ask", "--out", "sheet.csv", cwd=here, stdin=-1)
    started.stdin.write("1\n2\n")
    started.stdin.flush()
    while "[3 of" not in started.stdout.readline():
        pass
    started.kill()
    finished(started)
    assert [row["label"] for row in table(here / "sheet.csv")] == ["bad", "good"]


def test_a_test_file_gives_an_honest_score_and_is_not_proposed(graft, bert, partly, here, put):
    both = ("label", partly, "--models", bert)
    graft(*both, "--strategy", "random", "--rows", "20", "--out", "test.csv").works("random: as asked for")
    judging = {row["row"] for row in fill(here / "test.csv", "label")}
    graft(*both, "--test", "test.csv", "--rows", "10", "--out", "sheet.csv").works("test", "20 rows apart")
    assert not judging & {row["row"] for row in table(here / "sheet.csv")}
    put("cold.csv", as_csv([(text,) for text, _ in sentences(60)], "text"))
    cold = ("label", "cold.csv", "--models", bert, "--test", "test.csv", "--out")
    graft(*cold, "a.csv").works("there is no model yet", "40 rows, 0 with a label")
    put("other.csv", as_csv([("a parcel", "odd")]))
    graft(*both, "--test", "other.csv", "--out", "b.csv").works("1 rows apart")
    graft(*both, "--test", partly, "--out", "x.csv").fails(3, "30 labelled rows of partly are among the rows")


def test_tables_need_no_source(graft, put, here):
    rows = [(str(i % 7), str(i % 5), ("yes" if i % 7 > 3 else "no") if i < 25 else "") for i in range(60)]
    rows = [(a, f"{float(b) + i / 100:.2f}", c) for i, (a, b, c) in enumerate(rows)]
    graft("label", put("t.csv", as_csv(rows, "a,b,label")), "--rows", "3", "--strategy", "badge").works("classical")
    assert len(table(here / "t-to-label.csv")) == 3


def test_what_cannot_be_done_is_one_line(graft, bert, partly, put, good, here):
    graft("label", partly, "--add", "sheet.csv").fails(2, "name the file with --out")
    graft("label", partly, "--add", "none.csv", "--out", "new.csv").fails(3, "no such file")
    graft("label", "none.csv").fails(3, "no such file")
    graft("label", good, "--models", bert).fails(3, "has a label")
    graft("label", partly, "--models", bert, "--strategy", "greedy_values").fails(2, "is for values")
    graft("label", partly, "--models", bert, "--out", "sheet.csv", "--rows", "2").works()
    graft("label", partly, "--models", bert, "--out", "sheet.csv").fails(6, "exists")
    graft("label", partly, "--add", "sheet.csv", "--out", "new.csv").fails(3, "no row of sheet.csv has a label")
    text = (here / "sheet.csv").read_text().splitlines()
    put("wrong.csv", "\n".join([text[0], text[1] + "goood"]) + "\n")
    graft("label", partly, "--add", "wrong.csv", "--out", "new.csv").fails(3, "did you mean 'good'?", "line 2")
    assert "new.csv" not in files(here)
