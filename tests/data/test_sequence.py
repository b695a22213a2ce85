"""Columns of sequences are recognised by their letters; k-mers and places are counted as they should be."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest

from graft.core.errors import DataError, UsageError
from graft.core.registry import MODALITIES
from graft.data import kmers
from graft.data.biological import SequenceRows, Strands, both_strands
from graft.data.kmers import KmerVectors
from graft.data.letters import KNOWN, alphabet_of, cleaned, fault, reverse_complement
from graft.data.load import load
from graft.data.sequence import speaking

RNG = np.random.default_rng(0)
DNA = ["".join(RNG.choice(list("ACGT"), 30)) for _ in range(20)]
PROTEINS = ["".join(RNG.choice(list(KNOWN["protein"]), int(n))) for n in RNG.integers(25, 60, 20)]
LABELS = ["a", "b"] * 10


def csv(column, rows):
    return f"{column},label\n" + "".join(f"{row},{label}\n" for row, label in zip(rows, LABELS, strict=True))


@pytest.mark.parametrize(
    ("column", "rows", "modality"),
    [
        ("text", DNA, "sequence"),
        ("x", [row.lower() for row in DNA], "sequence"),
        ("x", [row.replace("T", "U") for row in DNA], "sequence"),
        ("seq", [row[:9] for row in PROTEINS], "sequence"),
        ("x", PROTEINS, "sequence"),
        ("peptide", [row.lower() for row in PROTEINS], "sequence"),
        ("x", [row.lower() for row in PROTEINS], "text"),
        ("x", [f"{i:032x}" for i in range(20)], "text"),
        ("text", [f"A TAG THAT ACTS AGAIN {i}" for i in range(20)], "text"),
        ("word", [row[:6] for row in DNA], "text"),
    ],
)
def test_columns_are_recognised_by_their_letters(write, column, rows, modality):
    assert load(write("d.csv", csv(column, rows))).task.modality == modality


def test_modality_can_be_said(write):
    path = write("d.csv", csv("x", [row[:6] for row in DNA]))
    assert load(path, modality="sequence").take() == [row[:6] for row in DNA]
    assert load(write("t.csv", csv("x", DNA)), modality="text").task.modality == "text"
    assert load((DNA, LABELS)).task.modality == "sequence"
    assert load((DNA, LABELS), modality="text").task.modality == "text"
    with pytest.raises(DataError, match="several columns of sequences: a, b"):
        load(write("p.csv", "a,b,label\n" + "".join(f"{x},{x},{y}\n" for x, y in zip(DNA, LABELS, strict=True))))


def test_what_stands_beside_many_numbers_stays_a_table(write):
    rows = "".join(f"{i},{i * 2},{i % 7},{x},{y}\n" for i, (x, y) in enumerate(zip(DNA, LABELS, strict=True)))
    path = write("d.csv", f"u,v,w,dna,label\n{rows}")
    assert load(path).task.modality == "table"
    assert load(path, modality="sequence").columns == ("dna",)


def test_alphabets():
    assert [alphabet_of(rows) for rows in (DNA, PROTEINS, ["".join(DNA).replace("T", "U")])] == [
        "dna",
        "protein",
        "rna",
    ]
    assert alphabet_of([DNA[0][:25] + "NNRYK"]) == "dna"
    assert alphabet_of(["N" * 30]) == ""
    assert cleaned("m k\tl*", "protein") == "MKL"
    assert fault("ACGT1", "dna").startswith("letter '1' at place 5")


def test_the_other_strand_of_the_other_strand_is_the_first():
    for row in [*DNA, "ACGTRYSWKMBDHVN-"]:
        assert reverse_complement(reverse_complement(row)) == row


def by_hand(text, letters, longest):
    runs = (text[i : i + k] for k in range(1, longest + 1) for i in range(len(text) - k + 1))
    return Counter(run for run in runs if set(run) <= set(letters))


def test_counts_are_those_made_by_hand():
    rows = [*(row[: 10 + i] for i, row in enumerate(DNA[:8])), "ACNGT-AC", "NNNNA"]
    data = load((rows, ["a", "b"] * 5), modality="sequence")
    vectors = KmerVectors().fit(data)
    counts = vectors._counts(data.take()).toarray()[:, vectors.kept]
    assert vectors.length == 0
    for row, text in zip(counts, data.take(), strict=True):
        found = {name: n for name, n in zip(vectors.names(), row, strict=True) if n}
        assert found == by_hand(text.replace("-", ""), "ACGT", 6)
    got = vectors.transform(data)
    np.testing.assert_allclose(np.asarray(got.multiply(got).sum(axis=1)).ravel(), 1)
    first = [by_hand(text.replace("-", ""), "ACGT", 6) for text in data.take()]
    idf = [1 + np.log(11 / (1 + sum(name in one for one in first))) for name in vectors.names()]
    np.testing.assert_allclose(vectors.idf, idf)


def test_places_of_aligned_sequences():
    data = load((["ACGT", "AC-T", "ARNT", "TTTT"], ["a", "b", "a", "b"]), modality="sequence")
    vectors = KmerVectors().fit(data)
    assert vectors.length == 4
    placed = vectors._placed(data.take()).toarray() * np.sqrt([[9], [5], [4.75 - 2], [9]])
    names = dict(zip(vectors.names()[len(vectors.kept) :], range(placed.shape[1]), strict=True))
    assert len(names) == 4 * 4 + 3 * 16 + 2 * 64
    assert placed[0, [names[n] for n in ("A at 1", "C at 2", "GT at 3", "ACG at 1")]].tolist() == pytest.approx([1] * 4)
    row = vectors._placed(data.take()).toarray()[2]
    assert row[names["G at 2"]] == pytest.approx(row[names["A at 1"]] / 2)
    assert row[names["C at 3"]] == pytest.approx(row[names["A at 1"]] / 4)
    longer = load(["ACGTTT"], like=data, labelled=False)
    np.testing.assert_allclose(vectors._placed(longer.take()).toarray(), vectors._placed(["ACGT"]).toarray())


def test_state_round_trip_is_exact_and_rows_independent(monkeypatch):
    data = load((PROTEINS, LABELS))
    vectors = KmerVectors().fit(data)
    facts, arrays = vectors.state()
    again = KmerVectors.from_state(json.loads(json.dumps(facts)), arrays)
    whole = vectors.transform(data).toarray()
    monkeypatch.setattr(kmers, "BLOCK", 3)
    np.testing.assert_array_equal(again.transform(data).toarray(), whole)
    assert len(vectors.names()) == vectors.width == whole.shape[1]
    assert {len(name) for name in vectors.names()} == {1, 2, 3}


def test_strands_follow_each_other():
    data = load((DNA, LABELS), strands="both")
    twice = both_strands(data.select(np.array([3, 1])))
    assert twice.take() == [DNA[3], DNA[1], reverse_complement(DNA[3]), reverse_complement(DNA[1])]
    assert twice.labels.tolist() == ["b", "b"] * 2
    assert isinstance(twice.X, Strands)
    assert both_strands(twice) is None
    keys = twice.X.keys(twice.rows)
    assert keys[:2].tolist() == keys[2:].tolist()
    assert twice.X.digest() != data.X.digest()
    assert both_strands(load((DNA, LABELS))) is None
    with pytest.raises(UsageError, match="proteins have no other strand"):
        load((PROTEINS, LABELS), strands="both")
    with pytest.raises(UsageError, match="only sequences of DNA have two strands"):
        load((["a b", "c d"], ["x", "y"]), strands="both")


def test_storage_is_one_content_whatever_the_case():
    one, two = SequenceRows.of(DNA), SequenceRows.of([f" {row.lower()} " for row in DNA])
    assert one.take(np.arange(20)) == two.take(np.arange(20))
    assert one.keys(np.arange(20)).tolist() == two.keys(np.arange(20)).tolist()
    assert one.digest() != SequenceRows.of(DNA[::-1]).digest()


def test_kmers_that_speak_for_a_class():
    rows = [
        row[:10] + ("TATAAT" if label == "a" else "GCGCGC") + row[10:20] for row, label in zip(DNA, LABELS, strict=True)
    ]
    aligned = speaking(load((rows, LABELS)))
    assert aligned["a"].startswith("TAT")
    assert aligned["b"].startswith("GCG")
    moved = [row[int(cut) :] for row, cut in zip(rows, RNG.integers(0, 9, 20), strict=True)]
    assert any("".join(run) in speaking(load((moved, LABELS)))["a"] for run in itertools.product("TA", repeat=3))


def test_facts_and_walk():
    data = load((["ACGTN-ACGTACGTACGTACGT", *DNA[1:]], LABELS))
    facts = MODALITIES["sequence"].describe(data)
    assert facts["alphabet"] == "DNA"
    assert facts["length"] == {"median": 30, "min": 22, "p95": 30, "max": 30}
    assert facts["unknown letters"] == f"{1 / (19 * 30 + 22):.2%}"
    steps = dict(MODALITIES["sequence"].walk(data, 0))
    assert steps["raw"].startswith("ACGTN-")
    assert steps["letters"].startswith("22: A 5")
    assert "runs of 1 to 6 letters" in steps["vector"]
