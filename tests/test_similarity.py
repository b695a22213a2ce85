"""Search by similarity: cosines by hand, blocks, runs, pictures, files of queries, and what cannot be searched."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import graft
from graft.core.errors import DataError, OutputError, SourceError, UsageError
from graft.core.types import Features, ModelSpec
from graft.features import encode
from graft.similarity import nearest, read_queries, search, write
from graft.sources.base import open_model
from graft.transfer.classical import Classical
from graft.transfer.probe import Probe

TEXTS = ["my card is lost", "cancel the order", "where is my parcel", "refund please", "help me", "my card is lost"]


def test_the_nearest_are_those_by_cosine_whatever_the_block():
    rng = np.random.default_rng(0)
    values, queries = rng.normal(size=(50, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    values[20] = 3 * values[10]  # equal cosines stand in order
    features = Features(values, (4,), np.arange(50), ModelSpec("x:y", "y", "text"), "")
    close = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        values / np.linalg.norm(values, axis=1, keepdims=True)
    ).T
    expected = np.argsort(-close.round(6), axis=1, kind="stable")[:, :7]
    for block in (1, 6, 64):
        scores, places = nearest(features, queries, 7, block)
        assert np.array_equal(places, expected)
        assert scores == pytest.approx(np.take_along_axis(close, places, axis=1), abs=1e-5)
    assert nearest(features, queries, 99)[1].shape == (3, 50)


def test_a_corpus_is_searched_and_read_once(tiny_bert, tmp_path, monkeypatch):
    path = tmp_path / "corpus.csv"
    path.write_text("text,label\n" + "".join(f"{text},x\n" for text in TEXTS))
    found, notes = graft.search(f"hf:{tiny_bert}", path, "my card is lost", top=3)
    assert [(hit.rank, hit.row, hit.line) for hit in found[0][:2]] == [(1, 0, 2), (2, 5, 7)]
    assert found[0][0].score == pytest.approx(1, abs=1e-3)
    assert found[0][0].input == "my card is lost"
    assert any("text is read from column 'text'" in note for note in notes)
    passes = []
    monkeypatch.setattr("graft.features._Work.fill", lambda *_: passes.append(1))
    again, _ = search(f"hf:{tiny_bert}", path, ["my card is lost", "order"], top=3)
    assert not passes
    assert again[0] == found[0]
    assert len(again) == 2


def test_a_run_searches_with_its_network_and_says_where_it_has_none(tiny_bert, tmp_path):
    run = Probe(f"hf:{tiny_bert}").fit(TEXTS, ["a", "b"] * 3).save(tmp_path / "probe")
    hits, _ = search(run, TEXTS, "order", top=1, cache=False)
    backbone = open_model(f"hf:{tiny_bert}")
    u, v = (encode(backbone, texts).layer(-1) for texts in (["order"], TEXTS))
    close = (u @ v.T / np.linalg.norm(u) / np.linalg.norm(v, axis=1))[0]
    assert hits[0][0].row == int(close.argmax())
    assert hits[0][0].score == pytest.approx(close.max(), abs=2e-3)
    plain = Classical().fit(TEXTS, ["a", "b"] * 3).save(tmp_path / "classical")
    with pytest.raises(SourceError, match="has no network: it is the TF-IDF"):
        search(plain, TEXTS, "order")


def test_a_picture_finds_pictures(tiny_vit, tmp_path):
    rng = np.random.default_rng(0)
    for name in "abc":
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    hits, _ = search(f"hf:{tiny_vit}", tmp_path, str(tmp_path / "b.png"), top=1)
    assert hits[0][0].input.endswith("b.png")
    with pytest.raises(DataError, match=r"no such file 'a cat'.*path of one"):
        search(f"hf:{tiny_vit}", tmp_path, "a cat")


def test_queries_from_a_file_and_hits_to_one(tiny_bert, tmp_path):
    (tmp_path / "queries.txt").write_text("order\n\nmy parcel\n")
    queries = read_queries(tmp_path / "queries.txt")
    assert queries == ["order", "my parcel"]
    hits, _ = search(f"hf:{tiny_bert}", TEXTS, queries, top=2)
    write(hits, tmp_path / "hits.json")
    assert [row["query"] for row in json.loads((tmp_path / "hits.json").read_text())] == ["order"] * 2 + [
        "my parcel"
    ] * 2
    write(hits, tmp_path / "hits.csv")
    rows = list(csv.DictReader((tmp_path / "hits.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    with pytest.raises(OutputError, match="exists"):
        write(hits, tmp_path / "hits.csv")


def test_what_cannot_be_searched_says_so(tiny_bert, tmp_path):
    uri = f"hf:{tiny_bert}"
    for queries, what in (("  ", "a query is empty"), ([], "there is no query")):
        with pytest.raises(DataError, match=what):
            search(uri, TEXTS, queries)
    with pytest.raises(UsageError, match="top must be 1 or more"):
        search(uri, TEXTS, "order", top=0)
    with pytest.raises(DataError, match=r"2 columns of text.*--inputs"):
        search(uri, [("one", "two"), ("three", "four")], "order")
    with pytest.raises(DataError, match="no such file"):
        search(uri, tmp_path / "nothing.csv", "order")
