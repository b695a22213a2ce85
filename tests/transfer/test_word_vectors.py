"""Networks on word vectors: which words they know, what is trained, and that the vectors bring something."""

import numpy as np
import pytest
import torch

from graft.auto import AutoFit, Config
from graft.core.errors import BudgetError, SourceError, UsageError
from graft.core.registry import TRANSFERS
from graft.core.types import ModelSpec
from graft.data.load import load
from graft.sources.base import open_model
from graft.testing import check_transfer, toy_data, toy_sources
from graft.transfer.base import load_transfer
from graft.transfer.word_vectors import NETWORKS, WordVectors

QUICK = {"epochs": 6, "batch_size": 8, "lr": 3e-3}
GOOD, BAD = [f"good{i}" for i in range(20)], [f"bad{i}" for i in range(20)]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Vectors that tell good words from bad ones by their first column."""
    rng = np.random.default_rng(0)
    lines = []
    for word in [*GOOD, *BAD, "film", "the", "a", "was"]:
        values = rng.normal(scale=0.3, size=10)
        values[0] += 1.5 if word in GOOD else -1.5 if word in BAD else 0.0
        lines.append(f"{word} " + " ".join(f"{value:.4f}" for value in values))
    path = tmp_path_factory.mktemp("vectors") / "tastes.txt"
    path.write_text("\n".join(lines) + "\n")
    return f"vectors:{path}"


def reviews(good, bad, n=40, seed=0):
    rng = np.random.default_rng(seed)
    texts = [f"the film number{i % 3} was {rng.choice(good if i % 2 else bad)} once{i}" for i in range(n)]
    return load((texts, ["good" if i % 2 else "bad" for i in range(n)]))


TRAIN, TEST = reviews(GOOD[:6], BAD[:6]), reviews(GOOD[10:], BAD[10:], seed=1)


def accuracy(model, data):
    return float(np.mean(model.predict(data) == data.labels))


@pytest.mark.parametrize("network", NETWORKS)
def test_the_contract(network):
    check_transfer("word_vectors", toy_data("text"), network=network, **QUICK)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("embeddings", ["trained", "frozen"])
def test_words_never_seen_in_training_are_understood_by_their_vectors(vectors, network, embeddings):
    """Training and test rows share no telling word; only the vectors say that they are of one kind."""
    settings = {"network": network, "epochs": 15, "batch_size": 8, "lr": 3e-3}
    fitted = WordVectors(vectors, embeddings=embeddings, **settings).fit(TRAIN)
    assert accuracy(fitted, TRAIN) > 0.9
    assert accuracy(fitted, TEST) > 0.8
    noise = WordVectors(vectors, embeddings="random", **settings).fit(TRAIN)
    assert accuracy(noise, TEST) < 0.7


def test_words_are_counted_by_kind(vectors):
    fitted = WordVectors(vectors, **QUICK).fit(TRAIN)
    seen = {word for text in TRAIN.take() for word in text.split()}
    known = len(seen & {*GOOD, *BAD, "film", "the", "was"})
    assert fitted.words_ == {"known": known, "unknown": 3, "without": 40, "more": 44 - known}
    assert len(fitted.backbone_.reader.words) == 44 + 3
    few = WordVectors(vectors, vocabulary=4, **QUICK).fit(TRAIN)
    assert few.backbone_.reader.words[:3] == ["film", "the", "was"]
    assert len(few.backbone_.reader.words) == 4
    assert WordVectors(vectors, embeddings="random", **QUICK).fit(TRAIN).words_["more"] == 0


@pytest.mark.parametrize("network", NETWORKS)
def test_what_is_trained(vectors, network):
    source = open_model(vectors)
    table, index = source.body.embedding.weight, source.reader.index
    for embeddings, moved in (("frozen", False), ("trained", True)):
        fitted = WordVectors(source, network=network, embeddings=embeddings, **QUICK).fit(TRAIN)
        reader, own = fitted.backbone_.reader, fitted.backbone_.body.embedding.weight
        same = torch.equal(own[reader.index["film"]], table[index["film"]])
        assert same != moved
        assert not own[0].any()
        spread = float(own[reader.index["number1"]].std())
        assert 0.3 < spread / float(table[1:].std()) < 2.0
    assert torch.equal(table, open_model(vectors).body.embedding.weight)


def test_a_fitted_network_keeps_its_counts_and_its_words(vectors, tmp_path):
    fitted = WordVectors(vectors, network="lstm", **QUICK).fit(TRAIN)
    again = load_transfer(fitted.save(tmp_path / "run"))
    assert again.words_ == fitted.words_
    assert np.array_equal(again.outputs(TEST), fitted.outputs(TEST))
    assert again.backbone_.spec.architecture == "lstm"
    assert "word vectors, then classification" in again.backbone_.spec.objective


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"network": "gru"}, UsageError, "knows no 'gru'; use textcnn, lstm, mean"),
        ({"embeddings": "warm"}, UsageError, "knows no 'warm'; use trained, frozen, random"),
    ],
)
def test_bad_settings_are_said(vectors, settings, error, words):
    with pytest.raises(error, match=words):
        WordVectors(vectors, **settings).fit(TRAIN)


def test_another_source_is_refused(tiny_bert):
    with pytest.raises(SourceError, match="is no table of word vectors"):
        WordVectors(f"hf:{tiny_bert}").fit(TRAIN)
    with pytest.raises(SourceError, match="needs a pretrained source"):
        WordVectors().fit(TRAIN)


def test_who_fits_whom():
    words = toy_sources(toy_data("text"))[1].spec
    network = ModelSpec("hf:any", "any", "text")
    wanted = {"probe": (True, True), "finetune": (False, True), "word_vectors": (True, False)}
    for name, fits in wanted.items():
        assert (not TRANSFERS[name].fits(words), not TRANSFERS[name].fits(network)) == fits


@pytest.mark.usefixtures("short_trainings")
def test_fit_tries_it_on_word_vectors_alone(vectors, tiny_bert):
    auto = AutoFit(
        TRAIN, Config("1h", (vectors, f"hf:{tiny_bert}"), folds=2, methods=("probe", "finetune", "word_vectors"))
    )
    auto.run()
    tried = {(t.candidate.transfer, t.candidate.spec.uri.partition(":")[0]) for t in auto.trials if t.candidate.spec}
    assert ("word_vectors", "vectors") in tried
    assert ("probe", "vectors") in tried
    assert not {("word_vectors", "hf"), ("finetune", "vectors")} & tried
    assert all(t.state == "done" for t in auto.trials if t.candidate.transfer == "word_vectors")
    with pytest.raises(BudgetError, match="is no table of word vectors; name one with --models vectors:FILE"):
        AutoFit(TRAIN, Config("1h", (f"hf:{tiny_bert}",), methods=("word_vectors",))).run()
