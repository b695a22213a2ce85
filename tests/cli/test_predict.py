"""``graft predict`` and ``graft evaluate``: every row stays where it was."""

import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli.conftest import QUICK, as_csv, finished, process, sentences


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def predict(graft, *arguments):
    done = graft("predict", "run", *arguments)
    assert done.code == 0, done.err
    return rows_of(done.out)


def test_rows_keep_their_order_and_none_is_lost(graft, run, put):
    texts = [("good" if i % 3 else "bad") for i in range(30)]
    put("new.csv", "text\n" + "".join(f"{word} {word} parcel n{i}\n" for i, word in enumerate(texts)))
    rows = predict(graft, "new.csv")
    assert [row["prediction"] for row in rows] == texts
    assert list(rows[0]) == ["prediction", "p_bad", "p_good"]
    assert all(abs(float(row["p_bad"]) + float(row["p_good"]) - 1) < 2e-6 for row in rows)


def test_forms_of_the_same_rows_give_the_same_predictions(graft, run, put, here):
    rows = sentences(12, seed=5)
    texts = [text for text, _ in rows]
    expected = predict(graft, put("a.csv", "text\n" + "\n".join(texts) + "\n"))
    assert predict(graft, put("b.csv", as_csv(rows))) == expected  # with labels
    assert (
        predict(graft, put("c.csv", "id,label,text\n" + "".join(f"{i},{b},{a}\n" for i, (a, b) in enumerate(rows))))
        == expected
    )
    assert predict(graft, put("d.tsv", "n\ttext\n" + "".join(f"1\t{text}\n" for text in texts))) == expected
    assert (
        predict(graft, put("e.jsonl", "".join(json.dumps({"x": 1, "text": text}) + "\n" for text in texts))) == expected
    )
    assert predict(graft, put("f.csv.gz", gzip.compress(as_csv(rows).encode()))) == expected
    pq.write_table(pa.table({"text": texts, "other": range(12)}), here / "g.parquet")
    assert predict(graft, "g.parquet") == expected
    put("h.csv", ("text\n" + "\n".join(texts) + "\n").encode("utf-16"))
    assert predict(graft, "h.csv", "--encoding", "utf-16") == expected


def test_rows_that_cannot_be_read_stay_in_place_and_are_named(graft, run, put):
    put("new.csv", "text,more\ngood one,1\n  ,2\nbad,3,4,5\ngood,5\n")
    done = graft("predict", run, "new.csv")
    assert done.code == 0
    assert [row["prediction"] for row in rows_of(done.out)] == ["good", "", "", "good"]
    said = done.err.strip().splitlines()
    assert [line.split(":")[0] for line in said] == ["row 2 of new.csv", "row 3 of new.csv"]
    assert "its prediction is empty" in said[0]


def test_many_bad_rows_are_counted(graft, run, put):
    put("new.csv", "text,n\n" + " ,1\n" * 25 + "good,2\n")
    said = graft("predict", run, "new.csv").err.strip().splitlines()
    assert len(said) == 11
    assert said[-1] == "… and 15 more rows with an empty prediction"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("txt\nhello\n", ["no input column 'text'", "new.csv"]),
        ("", ["the file is empty"]),
        ("text\nx\n".encode("utf-16"), ["is not utf-8"]),
    ],
)
def test_a_file_that_cannot_be_used_writes_nothing(graft, run, put, here, content, parts):
    put("new.csv", content)
    if "is not utf-8" not in parts[0]:
        assert graft("predict", run, "new.csv").fails(3, *parts).out == ""
    before = set(here.iterdir())
    graft("predict", run, "new.csv", "--out", "p.csv")
    assert set(here.iterdir()) - before <= {here / "p.csv"}
    assert not list(here.glob(".p.csv*"))


def test_output_that_exists_or_cannot_be(graft, run, good, here, put):
    put("p.csv", "mine")
    graft("predict", run, good, "--out", "p.csv").fails(6, "p.csv exists", "--overwrite")
    assert (here / "p.csv").read_text() == "mine"
    graft("predict", run, "none.csv", "--out", "p.csv", "--overwrite").fails(3, "no such file")
    assert (here / "p.csv").read_text() == "mine"
    graft("predict", run, good, "--out", "p.csv", "--overwrite").works()
    assert len(rows_of((here / "p.csv").read_text())) == 40
    graft("predict", run, good, "--out", here).fails(6, "is a folder")
    graft("predict", run, good, "--out", "nowhere/p.csv").fails(6, "no folder nowhere")
    graft("predict", run, good, "--out", "good.csv/p.csv").fails(6, "good.csv/p.csv")


def test_a_folder_that_is_no_run(graft, good, run, here):
    graft("predict", "nothing", good).fails(4, "nothing is not a graft run", "graft fit")
    (here / "run" / "model.safetensors").write_bytes(b"x" * 40)
    graft("predict", "run", good).fails(4, "the run run is damaged")
    (here / "run" / "model.json").write_text("{")
    graft("predict", "run", good).fails(4, "the run run is damaged")


def test_evaluate_a_run(graft, run, put, good):
    put("test.csv", as_csv(sentences(30, seed=7)))
    graft("evaluate", run, "test.csv").works("run on test: 30 rows", "accuracy", "log loss")
    facts = json.loads(graft("evaluate", run, "test.csv", "--json").works().out)
    assert facts["rows"] == 30
    put("strange.csv", as_csv([*sentences(10), ("what", "ugly")]))
    graft("evaluate", run, "strange.csv").fails(3, "label 'ugly' is not a class of the model", "bad, good")
    put("bare.csv", "text\nhello\n")
    graft("evaluate", run, "bare.csv").fails(3, "label", "bare.csv")
    graft("evaluate", "nothing", "test.csv").fails(2, "'nothing'")


def test_regression_gives_numbers(graft, put):
    put("n.csv", "a,b,y\n" + "".join(f"{2 * i},{i % 7},{4 * i + 0.5}\n" for i in range(60)))
    graft("fit", "n.csv", "--out", "run", *QUICK).works("R²")
    rows = predict(graft, put("m.csv", "b,a\n1,10\n,20\n"))
    assert list(rows[0]) == ["prediction"]
    assert abs(float(rows[0]["prediction"]) - 20.5) < 8


def test_a_reader_that_goes_away_is_no_error(run, put, here):
    put("long.csv", "text\n" + "good parcel\n" * 5_000)  # more than a pipe holds
    started = process("predict", run, "long.csv", cwd=here)
    assert started.stdout.readline().startswith("prediction,")
    started.stdout.close()
    assert started.wait(60) == 0
    assert started.stderr.read() == ""
    started.stderr.close()


def test_names_of_any_script_in_a_terminal_of_ascii(graft, put, here):
    put("消息.csv", as_csv(sentences(classes=("退款", "物流")), header="文本,意图"))
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    fit = ("fit", "消息.csv", "--methods", "classical", "--out", "结果")
    both = f"import sys; from graft.cli import main; n = {len(fit)}; main(sys.argv[1:n+1]); main(sys.argv[n+1:])"
    commands = (*fit, "predict", "结果", "消息.csv")
    done = finished(process(*commands, cwd=here, env=ascii_only, program=("-c", both), encoding="utf-8"))
    done.works("Answer", "+ majority class")
    shown, found, rows = done.out.partition("prediction,")
    assert shown.isascii()
    assert {row["prediction"] for row in rows_of(found + rows)} == {"退款", "物流"}


def test_sets_of_classes_at_a_coverage(graft, run, put):
    new = put("new.csv", as_csv(sentences(30, seed=5)))
    rows = predict(graft, new, "--coverage", "0.9")
    assert list(rows[0]) == ["prediction", "set", "p_bad", "p_good"]
    assert all(row["prediction"] == row["set"].split("|")[0] for row in rows)
    wide = predict(graft, new, "--coverage", "0.999")  # more than so few rows can promise: all classes
    assert {row["set"] for row in wide} == {"bad|good", "good|bad"}
    found = json.loads(graft("evaluate", run, new, "--coverage", "0.9", "--json").out)["metrics"]
    assert found["coverage"][0] == sum(row["prediction"] in row["set"].split("|") for row in rows) / 30
    assert found["set_size"][0] == sum(row["set"].count("|") + 1 for row in rows) / 30


def test_a_coverage_that_cannot_be(graft, run, put, here):
    new = put("new.csv", as_csv(sentences(6, seed=5)))
    graft("predict", run, new, "--coverage", "1.5", "--out", "x.csv").fails(2, "coverage")
    graft("evaluate", "sbert:all-MiniLM-L6-v2", new, "--coverage", "0.9").fails(2, "only a run has sets")
    assert not (here / "x.csv").exists()
