"""Sequences from the command line: fit, predict, evaluate, both strands, a source of one's own, and resuming."""

import csv
import json

import numpy as np

LETTERS = list("ACGT")


def genes(rows=60, seed=0, strands=False):
    """Promoters hold TATAAT somewhere (or, on the other strand, ATTATA); the others do not."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(rows):
        letters, place = rng.choice(LETTERS, 50), int(rng.integers(5, 38))
        if i % 2:
            letters[place : place + 9] = list("GTATAATGC") if not strands or i % 4 == 1 else list("GCATTATAC")
        found.append(("".join(letters), ("other", "promoter")[i % 2]))
    return found


def fasta(rows):
    return "".join(f">g{i}|{label}\n{row[:30]}\n{row[30:]}\n" for i, (row, label) in enumerate(rows))


def test_fit_predict_and_evaluate(graft, put, here):
    put("genes.fasta", fasta(genes()))
    shown = graft("fit", "genes.fasta", "--methods", "classical", "--folds", 3, "--budget", "1h", "--out", "run").out
    assert "60 rows, sequence → 2 classes" in shown
    assert "the class is what follows the last '|' of the header (>g0|other)" in shown
    run = json.loads((here / "run" / "run.json").read_text())
    assert run["data"]["facts"]["alphabet"] == "DNA"
    assert "ATAAT" in run["data"]["facts"]["promoter: k-mers"]
    page = (here / "run" / "report.html").read_text()
    assert "promoter: k-mers" in page
    put("new.csv", "sequence\n" + "".join(f"{row.lower()}\n" for row, _ in genes(seed=1)) + "ACG7\n")
    done = graft("predict", "run", "new.csv", "--out", "p.csv")
    assert done.code == 0
    assert "letter '7' at place 4 is none of DNA" in done.err + done.out
    got = [row["prediction"] for row in csv.DictReader((here / "p.csv").read_text().splitlines())]
    assert got.pop() == ""
    assert np.mean(np.array(got) == [label for _, label in genes(seed=1)]) > 0.7
    put("new.fa", fasta(genes(seed=1)))
    graft("evaluate", "run", "new.fa").works()


def test_both_strands(graft, put, here):
    put("genes.fasta", fasta(genes(strands=True)))
    quick = ("--methods", "classical", "--folds", 2, "--budget", "1h", "--quiet")
    assert graft("fit", "genes.fasta", "--strands", "both", "--out", "run", *quick).code == 0
    assert json.loads((here / "run" / "model.json").read_text())["recipe"]["kinds"] == {
        "alphabet": "dna",
        "strands": "both",
    }
    run = json.loads((here / "run" / "run.json").read_text())
    assert any("the other strand" in note for note in run["data"]["notes"])
    rows = [row for row, _ in genes(seed=1, strands=True)]
    other = str.maketrans("ACGT", "TGCA")
    put("one.csv", "sequence\n" + "\n".join(rows) + "\n")
    put("two.csv", "sequence\n" + "\n".join(row.translate(other)[::-1] for row in rows) + "\n")
    for name in ("one", "two"):
        assert graft("predict", "run", f"{name}.csv", "--out", f"{name}-p.csv").code == 0
    one, two = (list(csv.DictReader((here / f"{name}-p.csv").read_text().splitlines())) for name in ("one", "two"))
    np.testing.assert_allclose([float(r["p_promoter"]) for r in one], [float(r["p_promoter"]) for r in two], atol=2e-6)
    put("p.csv", "protein,label\n" + "".join(f"MKTAYIAKQRQISFVKSHFSRQLEERL{c},{'ab'[c == 'K']}\n" for c in "KRKR"))
    graft("fit", "p.csv", "--strands", "both").fails(2, "proteins have no other strand")


def test_a_source_of_ones_own(graft, put, here):
    put("many.fa", "".join(f">{i}\n{row}\n" for i, (row, _) in enumerate(genes(200, seed=3))))
    made = ("--encoder", "cnn", "--size", "tiny", "--length", 32, "--epochs", 1, "--quiet")
    for objective in ("masked", "next"):
        assert graft("pretrain", "many.fa", "--objective", objective, *made, "--out", objective).code == 0
        facts = json.loads((here / objective / "graft.json").read_text())
        assert facts["spec"]["modality"] == "sequence"
        assert facts["arguments"]["vocabulary"] == 9
    put("genes.fasta", fasta(genes(40)))
    quick = ("--methods", "probe", "--folds", 2, "--budget", "1h", "--models", "masked", "next")
    assert graft("fit", "genes.fasta", *quick, "--out", "run").code == 0
    assert "masked" in graft("rank", "genes.fasta", "--models", "masked", "next").out
    run = json.loads((here / "run" / "run.json").read_text())
    assert {row["uri"] for row in run["ranking"] if not row["failure"]} == {"file:masked", "file:next"}
    again = graft("fit", "genes.fasta", *quick, "--out", "run")
    assert again.code == 6
    assert graft("models", "--modality", "sequence", "--models", here).code == 0


def test_bad_files_give_one_line(graft, put):
    put("a.fasta", ">x\nACGT\n>y\nACGA\n")
    graft("fit", "a.fasta").fails(3, "the headers of the FASTA file name no class", "write >id|class")
    put("b.fasta", "ACGT\n")
    graft("fit", "b.fasta").fails(3, "no FASTA: the first line does not begin with '>'", "line 1")
    put("c.fasta", ">a|x\n>b|y\n>c|x\nACGT\n")
    graft("fit", "c.fasta").fails(3, "2 of 3 rows cannot be used", "line 1", "empty sequence")
