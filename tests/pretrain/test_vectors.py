"""Word vectors made here: they find words of one kind, equal seeds give equal bytes, and they are a source."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from graft.core.errors import DataError, MissingExtraError, UsageError
from graft.core.runtime import Clock
from graft.data.load import load
from graft.pretrain import vectors as vectors_file
from graft.pretrain.pairs import Pairs, above, counted
from graft.pretrain.vectors import Vectors
from graft.pretrain.words import Sentences, write_words
from graft.report import write_pretraining
from graft.sources.base import open_model
from graft.sources.words import WordReader
from graft.transfer.probe import Probe

pytest.importorskip("gensim")
COLOURS, THINGS = ["red", "blue", "green", "white"], ["parcel", "letter", "card", "package"]
SMALL = {"dimension": 16, "window": 2, "epochs": 12, "lr": 0.05}


def sentences(n=600, seed=0):
    """Rows about colours or about errands: words of one kind stand among the same words."""
    rng = np.random.default_rng(seed)
    return [
        f"the {rng.choice(COLOURS)} paint is on the {rng.choice(['wall', 'door'])}"
        if i % 2
        else f"please send my {rng.choice(THINGS)} to our {rng.choice(['office', 'shop'])}"
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def made():
    return Vectors(**SMALL).fit(sentences())


def cosine(made, a, b):
    table, index = made.backbone_.body.embedding.weight, made.backbone_.reader.index
    return float(torch.cosine_similarity(table[index[a]], table[index[b]], dim=0))


@pytest.mark.parametrize("encoder", ["skipgram", "cbow"])
def test_words_of_one_kind_are_close(encoder, made):
    made = made if encoder == "skipgram" else Vectors(**SMALL, encoder=encoder).fit(sentences())
    inside = np.mean([cosine(made, a, b) for a, b in (("red", "blue"), ("parcel", "card"), ("wall", "door"))])
    across = np.mean([cosine(made, a, b) for a, b in (("red", "card"), ("parcel", "green"), ("wall", "shop"))])
    assert inside > across + 0.2
    score = made.record_["scores"][0]
    assert score["low"] <= score["value"] <= score["high"]
    assert score["value"] > score["baselines"]["frequency"] + 0.1
    assert 0.3 < score["baselines"]["frequency"] < 0.7
    assert score["baselines"]["counted pairs"] > 0.6


def test_the_record(made):
    record = made.record_
    assert record["data"]["vocabulary"] == len(made.backbone_.reader.words) == 21
    assert record["data"]["unit"] == "word"
    assert record["data"]["train_tokens"] + record["data"]["held_out_tokens"] == 600 // 2 * (7 + 7)
    assert record["training"]["words_per_second"] > 0
    assert record["training"]["epochs"] == 12
    assert record["training"]["stopped"] == ""
    losses = [point["loss"] for point in record["curve"]]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    rates = [point["lr"] for point in record["curve"]]
    assert rates == sorted(rates, reverse=True)
    assert all(sample["kind"] == "neighbours" and ": " in sample["text"] for sample in record["samples"])
    assert record["encoder"]["architecture"] == "word vectors"


def test_the_page_is_drawn(made, tmp_path):
    for lang, word in (("en", "nearest words"), ("zh", "最近的词")):
        page = write_pretraining(made.record_ | {"command": "graft pretrain x"}, tmp_path, lang=lang).read_text()
        assert word in page
        assert made.record_["samples"][0]["text"] in page


def test_what_it_writes_opens_in_both_forms(made, tmp_path):
    folder = made.save(tmp_path / "made")
    assert {path.name for path in folder.iterdir()} == {
        "graft.json",
        "model.safetensors",
        "pretrain.json",
        "vectors.txt",
    }
    opened, text = open_model(f"file:{folder}"), open_model(f"vectors:{folder / 'vectors.txt'}")
    assert opened.fingerprint() == made.backbone_.fingerprint()
    assert text.reader.words == opened.reader.words == made.backbone_.reader.words
    assert torch.allclose(text.body.embedding.weight, opened.body.embedding.weight, rtol=1e-5, atol=1e-6)
    assert opened.spec.objective == "word vectors on data (600 rows)"
    assert opened.spec.architecture == "word vectors"
    assert json.loads((folder / "pretrain.json").read_text())["objective"] == "vectors"
    rows, labels = sentences(60), ["paint", "errand"] * 30
    assert np.mean(Probe(f"file:{folder}").fit(rows, labels[::-1]).predict(rows) == labels[::-1]) > 0.95


def test_equal_seeds_give_equal_bytes_in_every_process(tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from pretrain.test_vectors import sentences, Vectors\n"
        "Vectors(dimension=8, epochs=2, seed=3).fit(sentences(80)).save(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "one")]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "7"}, cwd=Path(__file__).parents[2])
    for name, seed in (("two", 3), ("other", 4)):
        Vectors(dimension=8, epochs=2, seed=seed).fit(sentences(80)).save(tmp_path / name)
    for file in ("vectors.txt", "model.safetensors"):
        one, two, other = ((tmp_path / name / file).read_bytes() for name in ("one", "two", "other"))
        assert one == two != other


def test_a_killed_training_ends_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors_file, "SAVED", 0.0)
    rows = sentences(80)
    straight = Vectors(**SMALL).fit(rows, work=tmp_path / "a").save(tmp_path / "one")

    class KilledError(Exception):
        pass

    point, calls = Vectors._point, []

    def die(self, *arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KilledError
        return point(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Vectors, "_point", die)
        with pytest.raises(KilledError):
            Vectors(**SMALL).fit(rows, work=tmp_path / "b")
    assert (tmp_path / "b" / "vectors.safetensors").exists()
    again = Vectors(**SMALL).fit(rows, work=tmp_path / "b")
    assert again.record_["training"]["epochs"] == 12
    resumed = again.save(tmp_path / "two")
    assert not (tmp_path / "b" / "vectors.safetensors").exists()
    for file in ("vectors.txt", "model.safetensors"):
        assert (straight / file).read_bytes() == (resumed / file).read_bytes()


def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path, monkeypatch):
    rows = sentences(80)
    clean = Vectors(**SMALL, seed=1).fit(rows).save(tmp_path / "clean")
    (tmp_path / "w").mkdir()
    for content in (b"nothing", b""):
        (tmp_path / "w" / "vectors.safetensors").write_bytes(content)
        made = Vectors(**SMALL, seed=1).fit(rows, work=tmp_path / "w").save(tmp_path / "made")
        assert (made / "vectors.txt").read_bytes() == (clean / "vectors.txt").read_bytes()


def test_the_budget_ends_it_and_what_was_learned_stays():
    clock = Clock(1.0)
    made = Vectors(dimension=16, epochs=1e6).fit(sentences(200), clock=clock)
    assert clock.elapsed() < 3
    assert made.record_["training"]["stopped"]
    assert made.backbone_.body.embedding.weight[1:].abs().sum() > 0
    open_ended = Vectors(dimension=16).fit(sentences(200), clock=Clock(1.0)).record_
    assert open_ended["training"]["stopped"] == ""
    assert 0 < open_ended["training"]["epochs"] <= vectors_file.MOST_EPOCHS
    assert open_ended["curve"][-1]["lr"] < 0.01


def test_chinese_is_read_by_characters_or_by_words():
    rows = ["我的包裹丢了", "请退款到银行卡", "包裹在哪里", "银行卡丢了"] * 10
    made = Vectors(dimension=8, epochs=1).fit(rows)
    assert made.backbone_.reader.unit == "character"
    assert {"包", "裹", "我"} <= set(made.backbone_.reader.words)
    pytest.importorskip("jieba")
    made = Vectors(dimension=8, epochs=1, unit="word").fit(rows)
    assert made.backbone_.reader.unit == "segmented"
    assert {"包裹", "银行卡"} <= set(made.backbone_.reader.words)


@pytest.mark.parametrize(
    ("make", "rows", "error", "words"),
    [
        (lambda: Vectors(encoder="lstm"), sentences(30), UsageError, "does not train the encoder 'lstm'"),
        (lambda: Vectors(unit="subword"), sentences(30), UsageError, "have no unit 'subword'"),
        (Vectors, ["only one row"], DataError, "has 1 row"),
        (Vectors, [f"all{i} words{i} differ{i}" for i in range(20)], DataError, "no two words that occur 2 times"),
        (Vectors, ["one", "two"] * 20, DataError, "no held-out row of data holds two known words"),
        (Vectors, np.random.default_rng(0).normal(size=(30, 3)), UsageError, "does not read table"),
    ],
)
def test_what_cannot_be_learned_is_said(make, rows, error, words):
    with pytest.raises(error, match=words):
        make().fit(rows)


def test_without_gensim_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(MissingExtraError, match=r"graft-learn\[vectors\]"):
        Vectors().fit(sentences(30))


# -- the corpus --------------------------------------------------------------------------------------------------------


def test_words_are_written_once(tmp_path):
    data = load(["a b a", "b c", "a", ""] * 10, labelled=False)
    settings = {"seed": 0, "min_count": 2, "vocabulary": 2, "progress": lambda *_: None}
    found = write_words(WordReader([]), data, tmp_path, **settings)
    assert list(found.counts) == ["a", "b"]
    rows = list(Sentences(found.train)) + list(Sentences(found.held_out))
    assert found.facts["train_rows"] == len(list(Sentences(found.train)))
    assert sum(map(len, rows)) == found.facts["train_words"] + found.facts["held_out_words"] == 60
    found.train.write_text("changed\n")
    assert list(Sentences(write_words(WordReader([]), data, tmp_path, **settings).train)) == [["changed"]]


def test_a_row_longer_than_gensim_reads_is_cut(tmp_path):
    data = load([" ".join(["to", "be"] * 6_000), "to be"], labelled=False)
    found = write_words(WordReader([]), data, tmp_path, seed=0, min_count=1, vocabulary=9, progress=lambda *_: None)
    lengths = [len(row) for path in (found.train, found.held_out) for row in Sentences(path)]
    assert sorted(lengths) == [2, 2_000, 10_000]


def test_a_broken_corpus_ends_the_rows_and_keeps_the_reason(tmp_path):
    (tmp_path / "rows").write_bytes(b"a b\n\xff\n")
    rows = Sentences(tmp_path / "rows")
    assert len(list(rows)) <= 1
    assert isinstance(rows.failed, UnicodeDecodeError)


def test_pairs_stand_near_each_other():
    index, often = {word: i for i, word in enumerate("abcd")}, np.full(4, 0.25)
    rows = [["a", "x", "b", "c"], ["d"], ["a", "d"]]
    pairs = Pairs.draw(rows, index, often, 1, np.random.default_rng(0))
    assert pairs.near.shape == (2, 8)
    met = set(zip(pairs.centre.ravel().tolist(), pairs.near.ravel().tolist(), strict=True))
    assert met <= {(0, 1), (1, 0), (1, 2), (2, 1), (0, 3), (3, 0)}


def test_counted_pairs_are_counts_over_frequency():
    index, often = {"a": 0, "b": 1, "c": 2}, np.array([0.5, 0.25, 0.25])
    pairs = Pairs(np.array([[0, 1]]), np.array([[1, 2]]), np.array([[2, 0]]))
    near, noise = counted([["a", "b"], ["a", "b", "c"], ["c"]], index, often, 1, pairs)
    assert near.tolist() == [[2 / 0.25, 1 / 0.25]]
    assert noise.tolist() == [[0.0, 2 / 0.5]]
    assert above(near, noise).tolist() == [0.75]
