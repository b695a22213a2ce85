"""Next-element and masked prediction on languages whose rules are known."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from graft.core.errors import DataError, UsageError
from graft.core.registry import OBJECTIVES
from graft.core.runtime import Clock
from graft.engine import callbacks
from graft.pretrain.masked import HIDDEN, Masked
from graft.pretrain.next_element import NextElement
from graft.sources.base import open_model
from graft.sources.readers import MASK
from graft.transfer.probe import Probe

COLOURS, THINGS = ["red", "blue", "green", "white"], ["parcel", "letter", "card", "box"]


def sentences(n=400, seed=0):
    """Rows in which the second half is told by the first: "a red parcel means parcel red"."""
    rng = np.random.default_rng(seed)
    pairs = [(rng.choice(COLOURS), rng.choice(THINGS)) for _ in range(n)]
    return [f"a {colour} {thing} means {thing} {colour}" for colour, thing in pairs]


SMALL = {"size": "tiny", "unit": "word", "length": 16, "batch_size": 16, "lr": 3e-3}


@pytest.fixture(scope="module")
def texts():
    return sentences()


@pytest.fixture(scope="module")
def written(texts):
    return NextElement(**SMALL, epochs=15).fit(texts)


@pytest.fixture(scope="module")
def filled():
    """Rows of one pair of words three times over: what is two places away tells what is hidden."""
    rng = np.random.default_rng(0)
    return Masked(**{**SMALL, "lr": 1e-3}, epochs=25).fit(
        [" ".join([rng.choice(COLOURS), rng.choice(THINGS)] * 3) for _ in range(400)]
    )


def scores(made):
    return {score["name"]: score for score in made.record_["scores"]}


def test_next_element_learns_what_a_bigram_cannot(written):
    """The last two words follow from the second and third: about two bits per row are left."""
    perplexity = scores(written)["perplexity"]
    assert perplexity["value"] < 0.8 * perplexity["baselines"]["bigram"] < perplexity["baselines"]["unigram"]
    assert perplexity["low"] <= perplexity["value"] <= perplexity["high"]
    bits = scores(written)["bits per character"]
    assert 0 < bits["value"] < bits["baselines"]["bigram"]


def test_what_is_written_keeps_the_rule(written):
    texts = [sample["text"] for sample in written.record_["samples"] if sample["kind"] == "written"]
    assert len(texts) == 4
    words = [text.split() for text in texts]
    assert sum(len(w) == 6 and w[2] == w[4] for w in words) >= 3, texts


def test_what_is_continued_keeps_the_rule(written):
    begun = [sample for sample in written.record_["samples"] if sample["kind"] == "continued"]
    right = [(s["given"] + " " + s["text"]).split() for s in begun]
    assert sum(w[2] == w[4] for w in right if len(w) == 6) >= 2, begun


def test_blanks_are_filled_from_both_sides(filled):
    right = scores(filled)["blanks filled rightly"]
    assert right["value"] > 0.6 > right["baselines"]["commonest token"]
    perplexity = scores(filled)["perplexity of blanks"]
    assert perplexity["value"] < perplexity["baselines"]["bigram"]
    sample = filled.record_["samples"][0]
    assert "___" in sample["given"]
    assert all(len(blank["guesses"]) == 3 for blank in sample["blanks"])


def test_what_is_hidden(texts):
    made = Masked(**SMALL, epochs=0.1).fit(texts)
    ids = made.corpus_.take(made.corpus_.blocks(16, 0, 0)[:8], 16)
    batch = made._batch(ids.copy(), np.random.default_rng(0))
    hidden = round(HIDDEN * 16)
    assert batch["places"].shape == (8, hidden)
    changed = batch["ids"].numpy() != ids
    for row in range(8):
        places = batch["places"][row].tolist()
        assert len(set(places)) == hidden
        assert set(np.flatnonzero(changed[row])) <= set(places)
        assert batch["wanted"][row].tolist() == ids[row, places].tolist()
    many = made._batch(np.tile(ids, (200, 1)), np.random.default_rng(1))
    shown = np.take_along_axis(many["ids"].numpy(), many["places"].numpy(), 1)
    share = float((shown == made.reader_.number(MASK)).mean())
    assert 0.75 < share < 0.85


@pytest.mark.parametrize("encoder", ["transformer", "lstm", "gru", "cnn"])
@pytest.mark.parametrize("kind", [NextElement, Masked])
def test_every_encoder_makes_a_source_that_others_open(kind, encoder, texts, tmp_path):
    made = kind(**SMALL, encoder=encoder, epochs=1).fit(texts[:80])
    folder = made.save(tmp_path / "source")
    record = json.loads((folder / "pretrain.json").read_text())
    assert record["objective"] == kind.name
    assert record["training"]["tokens_per_second"] > 0
    opened = open_model(f"file:{folder}")
    assert opened.spec.objective.startswith(kind.label)
    assert opened.spec.name.endswith(f"-{kind.name}")  # several sources in one ranking must not share a name
    probe = Probe(f"file:{folder}").fit(texts[:60], ["red" if "red" in text else "other" for text in texts[:60]])
    assert len(probe.predict(texts[60:70])) == 10


def test_equal_seeds_give_equal_bytes(texts, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        Masked(**SMALL, epochs=1, seed=seed).fit(texts[:60]).save(tmp_path / name)
    one, two, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other


def test_a_killed_training_ends_with_the_same_bytes(texts, tmp_path, monkeypatch):
    straight = NextElement(**SMALL, epochs=6).fit(texts[:80], work=tmp_path / "a")

    class KilledError(Exception):
        pass

    step = callbacks.Checkpoint.on_step

    def die(self, state):
        if state.step == 7:
            self.save(state)
        if state.step == 9:
            raise KilledError
        return step(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoint, "on_step", die)
        with pytest.raises(KilledError):
            NextElement(**SMALL, epochs=6).fit(texts[:80], work=tmp_path / "b")
    assert (tmp_path / "b" / "training.safetensors").exists()
    resumed = NextElement(**SMALL, epochs=6).fit(texts[:80], work=tmp_path / "b")
    for made, name in ((straight, "one"), (resumed, "two")):
        made.save(tmp_path / name)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_without_epochs_it_goes_on_until_the_time_is_up(texts):
    clock = Clock(0.6)
    made = NextElement(**SMALL).fit(texts[:80], clock=clock)
    assert clock.elapsed() < 2.6
    assert made.record_["training"]["steps"] > 1
    assert made.record_["training"]["stopped"] == ""
    assert made.record_["curve"][-1]["lr"] < 0.3 * max(point["lr"] for point in made.record_["curve"])


@pytest.mark.parametrize(
    ("make", "data", "error", "words"),
    [
        (lambda: NextElement(encoder="resnet"), sentences(30), UsageError, "does not train the encoder 'resnet'"),
        (lambda: NextElement(size="huge"), sentences(30), UsageError, "no size 'huge'"),
        (lambda: NextElement(unit="phrase"), sentences(30), UsageError, "no unit 'phrase'"),
        (lambda: Masked(length=5000), sentences(30), DataError, "fewer than one block of 5000"),
        (Masked, np.random.default_rng(0).normal(size=(30, 3)), UsageError, "does not read table"),
        (lambda: Masked(length=4), ["only one"], DataError, "has 1 row"),
    ],
)
def test_what_cannot_be_learned_is_said(make, data, error, words):
    with pytest.raises(error, match=words):
        make().fit(data)


def test_rows_that_are_all_the_same_are_learned_by_heart():
    made = NextElement(**SMALL, epochs=10).fit(["to be or not to be"] * 60)
    assert scores(made)["perplexity"]["value"] < 1.5


def test_every_objective_says_what_it_is():
    assert OBJECTIVES
    for name, kind in OBJECTIVES.items():
        assert kind.name == name
        assert kind.label
        assert kind.encoders
        assert kind.__doc__
