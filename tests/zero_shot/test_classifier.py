import dataclasses

import numpy as np
import pytest
from conftest import make_pictures
from sklearn.base import clone
from sources import tiny_models

from graft import ZeroShot, load_transfer
from graft.core.errors import DataError, SourceError, UsageError
from graft.core.types import ModelSpec
from graft.data.load import load
from graft.sources.base import open_model
from graft.sources.native import word_backbone
from graft.sources.words import WordReader
from graft.zero_shot.classifier import NONE

TOPICS = {"parcel": ["where is my parcel", "parcel lost"], "refund": ["refund please", "i want a refund"]}
ROWS = [f"{text} {end}" for end in "abcdefghijkl" for texts in TOPICS.values() for text in texts]
TRUTH = [name for _ in "abcdefghijkl" for name, texts in TOPICS.items() for _ in texts]


@pytest.fixture(scope="module")
def words():
    """A table of word vectors: every word a direction of its own, letters none."""
    known = [*"abcdefghijklmnopqrst", *sorted({word for row in ROWS for word in row.split() if len(word) > 1})]
    matrix = np.vstack([np.zeros(len(known)), np.eye(len(known))]).astype(np.float32)
    matrix[1:21] = 0  # letters say nothing
    return word_backbone(WordReader(known, lower=True), matrix, ModelSpec("toy:words", "toy", "text"))


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    """A random classifier of entailment."""
    folder = tmp_path_factory.mktemp("models") / "nli"
    return tiny_models.bert(folder, classes=["contradiction", "neutral", "entailment"])


def same_after_a_round_trip(model, rows, folder):
    again = load_transfer(model.save(folder))
    np.testing.assert_array_equal(again.outputs(rows), model.outputs(rows))
    assert type(again) is ZeroShot
    return again


def test_names_are_enough_and_labels_are_not_looked_at(words, tmp_path):
    model = ZeroShot(words, classes=["parcel", "refund"]).fit(ROWS)
    assert model.predict(ROWS).tolist() == TRUTH
    assert model.record_["calibration"] == "mean"
    wrong = ZeroShot(words).fit(ROWS, TRUTH[::-1])
    np.testing.assert_array_equal(wrong.outputs(ROWS), model.outputs(ROWS))
    np.testing.assert_allclose(model.outputs(ROWS)[5], model.outputs([ROWS[5]])[0], atol=1e-6)
    same_after_a_round_trip(model, ROWS, tmp_path)
    assert clone(model).classes == ["parcel", "refund"]


def test_no_rows_are_needed_and_files_are_read(words, tmp_path):
    model = ZeroShot(words, classes={"p": "parcel", "r": ["refund", "refund please"]}).fit()
    assert model.record_["calibration"] == "none"
    again = same_after_a_round_trip(model, ROWS, tmp_path / "run")
    (tmp_path / "new.csv").write_text(
        "text,label\n" + "".join(f"{row},{name[0]}\n" for row, name in zip(ROWS, TRUTH, strict=True))
    )
    data = load(tmp_path / "new.csv", like=again.recipe_)
    assert (again.outputs(data).argmax(axis=1) == data.y).mean() == 1


def test_a_sentence_model_that_knows_the_world():
    model = ZeroShot("sbert:all-MiniLM-L6-v2", classes={"sport": "sport and games", "food": "cooking and eating"}).fit()
    assert model.predict(["She won the match.", "Bake it for an hour."]).tolist() == ["sport", "food"]


@pytest.mark.parametrize("calibration", ["none", "context", "mean", "match"])
def test_entailment(nli, tmp_path, calibration):
    model = ZeroShot(f"hf:{nli}", classes=["parcel", "refund", "card"], calibration=calibration).fit(ROWS)
    assert model.record_["reading"] == "entailment"
    outputs = model.outputs(ROWS)
    np.testing.assert_allclose(outputs.sum(axis=1), 1)
    if calibration == "match":
        np.testing.assert_allclose(outputs.mean(axis=0), 1 / 3, atol=1e-4)
    if calibration == "none":
        backbone = open_model(f"hf:{nli}")
        pairs = [(ROWS[0], f"This text is about {name}.") for name in ("parcel", "refund", "card")]
        logits = backbone.classify(backbone.collate(backbone.preprocess(pairs))).softmax(1)[:, 2].detach().numpy()
        odds = np.log(logits / (1 - logits))
        np.testing.assert_allclose(outputs[0], np.exp(odds) / np.exp(odds).sum(), atol=2e-3)
    same_after_a_round_trip(model, ROWS[:3], tmp_path)


def test_pictures_with_captions(tmp_path):
    folder = tiny_models.clip(tmp_path / "clip")
    pictures = make_pictures(24)[0]
    model = ZeroShot(f"clip:{folder}", classes=["good card", "lost parcel"], calibration="match").fit(pictures)
    np.testing.assert_allclose(model.outputs(pictures).mean(axis=0), 0.5, atol=1e-4)
    same_after_a_round_trip(model, pictures, tmp_path / "run")
    assert ZeroShot(f"clip:{folder}", classes=["card", "parcel"], calibration="context").fit().offsets_.any()


def test_a_prior_is_matched(words):
    model = ZeroShot(words, classes=["parcel", "refund"], prior={"parcel": 3, "refund": 1}).fit(ROWS)
    np.testing.assert_allclose(model.outputs(ROWS).mean(axis=0), [0.75, 0.25], atol=1e-4)


def test_none_of_these_by_a_background(words, tmp_path):
    strange = [f"where is my lost a {end}" for end in "abcdefghijklmnopqrst"]
    model = ZeroShot(words, classes=["parcel", "refund"], none=0.1).fit(ROWS, background=strange)
    assert model.task_.classes == ("parcel", "refund", NONE)
    assert model.predict(ROWS).tolist() == TRUTH
    assert np.mean(model.predict(strange) != NONE) <= 0.1
    assert model.record_["none"]["how"] == "background"
    same_after_a_round_trip(model, ROWS + strange, tmp_path)


def test_none_of_these_by_a_mixture_or_not_at_all(words):
    strange = [f"where is my {end}" for end in "abcdefghijklmnopqrst"]
    model = ZeroShot(words, classes=["parcel", "refund"], none=0.05).fit(ROWS + strange)
    assert model.record_["none"]["how"] == "mixture"
    assert set(model.predict(strange).tolist()) == {NONE}
    alike = ZeroShot(words, classes=["parcel", "refund"], none=0.05).fit(["refund please"] * 40)
    assert alike.record_["none"] is None
    assert NONE not in alike.predict(["where"]).tolist()


@pytest.mark.parametrize(
    ("options", "error", "line"),
    [
        ({"classes": ["parcel"]}, UsageError, "only the class 'parcel'"),
        ({}, UsageError, "no classes are given"),
        ({"classes": ["a", "b"], "calibration": "best"}, UsageError, "no calibration 'best'"),
        ({"classes": ["a", "b"], "calibration": "mean"}, UsageError, "needs unlabelled rows"),
        ({"classes": ["a", "b"], "temperature": 0}, UsageError, "above 0"),
        ({"classes": ["a", "b"], "none": 0.1}, UsageError, "needs unlabelled rows or a background"),
        ({"classes": ["a", NONE], "none": 0.1}, UsageError, "a class is called"),
        ({"classes": ["a", "b"], "prior": {"a": 1}, "calibration": "mean"}, UsageError, "a prior is for"),
    ],
)
def test_options_that_are_wrong(words, options, error, line):
    with pytest.raises(error, match=line):
        ZeroShot(words, **options).fit()


def test_sources_that_cannot(words, tmp_path):
    with pytest.raises(SourceError, match="compares nothing with sentences"):
        ZeroShot(f"hf:{tiny_models.bert(tmp_path / 'bert')}", classes=["a", "b"]).fit()
    minilm = open_model("sbert:all-MiniLM-L6-v2")
    with pytest.raises(SourceError, match=r"cannot read the classes.*Han script"):
        ZeroShot(minilm, classes=["体育新闻", "财经新闻"]).fit()
    with pytest.raises(SourceError, match=r"cannot read the rows.*Han script"):
        ZeroShot(minilm, classes=["sport", "finance"]).fit(["股市今天上涨了很多"] * 4)
    with pytest.raises(DataError, match="reads text, data is image"):
        ZeroShot(words, classes=["a", "b"]).fit(make_pictures(4)[0])
    with pytest.raises(UsageError, match="differ in 'c'"):
        ZeroShot(words, classes=["a", "b"], prior={"a": 1, "b": 1, "c": 1}).fit(["where"])


def test_equal_calls_give_equal_bytes(words, tmp_path):
    for place in ("one", "two"):
        ZeroShot(words, classes=["parcel", "refund"], calibration="match", none=0.1).fit(ROWS).save(tmp_path / place)
    for name in ("model.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_many_rows_are_sampled(words, monkeypatch):
    monkeypatch.setattr("graft.zero_shot.classifier.SEEN", 30)
    data = dataclasses.replace(load(ROWS, labelled=False))
    assert ZeroShot(words, classes=["parcel", "refund"]).fit(data).record_["rows"] == 30
