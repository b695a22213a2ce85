"""Sources that were made with labels."""

import numpy as np
import pytest
import torch
from conftest import make_table, make_texts
from pretrain.picture_sets import accuracy_of, crosses, score_of, stripes, untrained
from pretrain.resuming import same_bytes, straight_and_resumed

from graft.core.errors import DataError, UsageError
from graft.data.load import load
from graft.pretrain.supervised import Supervised
from graft.sources.base import open_model
from graft.transfer.probe import Probe

ROWS = {
    "text": make_texts,
    "image": lambda n: stripes(n, side=8),
    "table": make_table,
}


@pytest.mark.parametrize(
    ("kind", "encoder"),
    [("text", "textcnn"), ("text", "lstm"), ("text", "gru"), ("text", "cnn"), ("text", "transformer"),
     ("image", "resnet"), ("image", "vgg"), ("image", "patches"), ("table", "mlp")],
)  # fmt: skip
def test_every_encoder_learns_and_opens_again(kind, encoder, tmp_path):
    X, y = ROWS[kind](160)
    made = Supervised(encoder=encoder, size="tiny", unit="word", epochs=25 if encoder == "patches" else 10, lr=3e-3)
    made.fit(X, y)
    score = score_of(made, "accuracy")
    assert score["value"] > 0.8 > score["baselines"]["commonest class"]
    assert score["low"] <= score["value"] <= score["high"]
    opened = open_model(f"file:{made.save(tmp_path / 'source')}")
    assert opened.spec.classes == ()
    assert opened.spec.objective.startswith("supervised pretraining on")
    probe = Probe(f"file:{tmp_path / 'source'}").fit(X[:40], y[:40])
    assert np.mean(probe.predict(X[40:]) == np.asarray(y[40:])) > 0.8


def test_values_are_learned_too():
    X, y = make_table(300, kind="regression")
    made = Supervised(epochs=15, lr=3e-3).fit(X, y)
    score = score_of(made, "R²")
    assert score["value"] > 0.7
    assert score["baselines"]["mean"] < 0.1
    sample = made.record_["samples"][0]
    assert sample["kind"] == "judged"
    assert "x0=" in sample["given"]


def test_a_related_task_is_easier_from_it():
    rows, y = crosses(300)
    made = Supervised(size="tiny", epochs=10, lr=3e-3, batch_size=32).fit(rows, y)
    others, kinds = crosses(200, seed=9)
    own = accuracy_of(made.backbone_, others, kinds, labelled=20)
    assert own > accuracy_of(untrained(made.backbone_), others, kinds, labelled=20) + 0.1


def test_samples_say_what_the_network_says():
    X, y = make_texts(80)
    text = Supervised(size="tiny", unit="word", epochs=3).fit(X, y).record_["samples"]
    assert {sample["kind"] for sample in text} == {"judged"}
    assert all(sample["given"] in X for sample in text)
    pictures = Supervised(size="tiny", epochs=1).fit(*stripes(60, side=8)).record_["samples"]
    assert [sample["kind"] for sample in pictures] == ["classes"]


def test_rare_classes_count_more():
    X, y = make_texts(120)
    y = [label if i % 8 == 0 else "good" for i, label in enumerate(y)]
    made = Supervised(size="tiny", unit="word", epochs=1).fit(X, y)
    assert made.record_["scores"][0]["name"] == "macro F1"
    weights = next(iter(made._batches(0)))["weight"]
    assert len(weights.unique()) == 2


def test_without_a_number_small_data_take_enough_steps():
    made = Supervised()
    assert made._steps(4, None) == 300
    assert made._steps(100, None) == 1500


def test_rows_without_a_label_are_left_out():
    X, y = make_texts(60)
    data = load((X, [label if i < 30 else None for i, label in enumerate(y)]), partly=True)
    assert len(data) == 60
    made = Supervised(size="tiny", unit="word", epochs=1).fit(data)
    assert made.record_["data"]["train_rows"] + made.record_["data"]["held_out_rows"] == 30


@pytest.mark.parametrize("kind", ROWS)
def test_a_training_that_was_killed_ends_with_the_same_bytes(kind, tmp_path):
    X, y = ROWS[kind](80)
    data = load((X, y))
    make = lambda: Supervised(size="tiny", unit="word", epochs=6)  # noqa: E731
    assert same_bytes(*straight_and_resumed(make, data, tmp_path), tmp_path)


def test_padding_does_not_change_what_is_scored():
    X, y = make_texts(60)
    made = Supervised(encoder="transformer", size="tiny", unit="word", epochs=1).fit(X, y)
    rows = [made.unseen_[i] for i in range(4)]
    together = made.backbone_(made.reader_.collate(rows))
    alone = torch.cat([made.backbone_(made.reader_.collate([row])) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "data", "error", "words"),
    [
        (
            lambda: Supervised(encoder="mlp"),
            make_texts(20),
            UsageError,
            "does not train the encoder 'mlp'; use textcnn",
        ),
        (Supervised, (["one", "two", "three"], ["a", "b", "c"]), DataError, "label more"),
        (Supervised, (["one", "two"], ["a", "a"]), DataError, "only one class"),
        (Supervised, (["one", "two"], None), DataError, "no label"),
    ],
)
def test_what_cannot_be_learned_is_said(make, data, error, words):
    with pytest.raises(error, match=words):
        make().fit(*data)


def test_a_data_set_without_labels_is_refused():
    with pytest.raises(DataError, match="has no labels; name their column with --label"):
        Supervised().fit(load(make_texts(20)[0], labelled=False))
