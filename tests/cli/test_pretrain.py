"""``graft pretrain`` as a person types it."""

import gzip
import json

import pytest
from cli.conftest import sentences

TEXT = "".join(f"{text}\n" for text, _ in sentences(120))
QUICK = ("--size", "tiny", "--unit", "word", "--length", "8", "--epochs", "2", "--batch-size", "16")


@pytest.fixture
def corpus(put):
    return put("notes.txt", TEXT)


@pytest.mark.parametrize("objective", ["masked", "next"])
def test_from_a_text_file_to_a_source_that_fit_uses(graft, put, corpus, here, objective):
    graft("pretrain", corpus, "--objective", objective, *QUICK, "--out", "made").works(
        "held out", "bigram" if objective == "next" else "unigram", "graft fit LABELLED_DATA --models made"
    )
    assert sorted(p.name for p in (here / "made").iterdir()) == [
        "graft.json", "model.safetensors", "pretrain.json", "report.html",
    ]  # fmt: skip
    record = json.loads((here / "made" / "pretrain.json").read_text())
    assert record["command"].startswith("graft pretrain notes.txt")
    assert str(here) not in record["command"]
    page = (here / "made" / "report.html").read_text()
    assert record["scores"][0]["name"] in page
    assert "http" not in page.replace("http-equiv", "")
    data = put("data.csv", "text,label\n" + "".join(f"{t},{c}\n" for t, c in sentences(40)))
    fit = ("--methods", "probe", "--budget", "1h", "--quiet", "--out", "run")
    graft("fit", data, "--models", "made", *fit).works("Answer")
    assert not list(here.glob(".*partial"))


def test_every_form_of_rows(graft, put, here):
    rows = [text for text, _ in sentences(60)]
    put("a.csv", "note,label\n" + "".join(f"{text},x\n" for text in rows))
    put("b.jsonl", "".join(json.dumps({"note": text}) + "\n" for text in rows))
    (here / "c.txt.gz").write_bytes(gzip.compress("\n\n".join(rows).encode()))
    for name in ("a.csv", "b.jsonl", "c.txt.gz"):
        more = ("--inputs", "note") if name != "c.txt.gz" else ()
        graft("pretrain", name, *QUICK, *more, "--out", name[0]).works("60 rows")


def test_the_folder_gets_a_name(graft, corpus, here):
    graft("pretrain", corpus, *QUICK).works("sources/notes-masked")
    assert (here / "sources" / "notes-masked" / "graft.json").is_file()
    graft("pretrain", corpus, *QUICK, "--out", "sources/notes-masked").fails(6, "exists", "--overwrite")
    graft("pretrain", corpus, *QUICK, "--out", "sources/notes-masked", "--overwrite").works()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("missing.txt",), 3, ("no such file",)),
        (("notes.txt", "--objective", "maskd"), 2, ("no objective 'maskd'", "did you mean 'masked'?")),
        (("notes.txt", "--encoder", "resnet"), 2, ("does not train the encoder 'resnet'", "transformer")),
        (("notes.txt", "--length", "100000"), 3, ("fewer than one block of 100000",)),
        (("notes.txt", "--size", "huge"), 2, ("huge",)),
        (("empty.txt",), 3, ("empty",)),
        (("one.txt",), 3, ("1 row",)),
        (("blank.txt",), 3, ("there are no rows",)),
        (("latin.txt",), 3, ("line 1", "--encoding")),
        (("table.csv", "--objective", "next"), 2, ("does not read table",)),
        (("notes.txt", "--epochs", "0"), 2, ("epochs",)),
        (("notes.txt", "--budget", "soon"), 2, ("soon",)),
    ],
)
def test_bad_input_is_one_line(graft, put, corpus, here, arguments, code, words):
    put("empty.txt", "")
    put("one.txt", "a single row\n")
    put("blank.txt", "\n \n\n")
    (here / "latin.txt").write_bytes("é à ü\n".encode("latin-1") * 30)
    put("table.csv", "a,b\n" + "".join(f"{i}.5,{i * 2}.25\n" for i in range(30)))
    graft("pretrain", *arguments).fails(code, *words)
    assert not (here / "sources").exists()
