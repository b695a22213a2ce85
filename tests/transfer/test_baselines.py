"""Majority, classical and scratch."""

import numpy as np
import pytest
from conftest import make_pictures, make_table, make_texts
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from graft.data.load import load
from graft.testing import toy_data
from graft.transfer.base import load_transfer
from graft.transfer.classical import Classical
from graft.transfer.majority import Majority
from graft.transfer.scratch import Scratch


def test_majority_gives_the_shares_of_the_classes_or_the_mean():
    data = toy_data("imbalanced")
    shares = np.bincount(data.y) / len(data)
    assert np.allclose(Majority().fit(data).outputs(data), shares)
    X, y = make_table(60, kind="regression")
    assert np.allclose(Majority().fit(X, y).predict(X), y.mean())


@pytest.mark.parametrize("kind", ["text", "imbalanced"])
def test_classical_text_agrees_with_scikit_learn(kind):
    data = toy_data(kind, rows=90)
    texts = data.take()
    balanced = "balanced" if kind == "imbalanced" else None
    peer = LinearSVC(C=0.5, class_weight=balanced)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    peer.fit(vectors.fit_transform(texts), data.y)
    mine = Classical().fit(data)
    assert np.mean(mine.outputs(data).argmax(1) == peer.predict(vectors.transform(texts))) > 0.97


def test_classical_table_is_a_logistic_regression():
    X, y = make_table(120)
    mine = Classical().fit(X, y)
    scaler = StandardScaler().fit(X)
    peer = LogisticRegression(C=1.0).fit(scaler.transform(X), y)
    assert list(peer.classes_) == list(mine.classes_)
    scores = mine.vectors_.transform(load((X, y))) @ mine.coef_ + mine.intercept_
    np.testing.assert_allclose(scores[:, 1], peer.decision_function(scaler.transform(X)), atol=1e-2)


def test_classical_regression_is_a_ridge_in_the_unit_of_the_target():
    X, y = make_table(100, kind="regression")
    y = 1000 + 50 * y
    scaler = StandardScaler().fit(X)
    peer = Ridge(alpha=1.0).fit(scaler.transform(X), y)
    np.testing.assert_allclose(Classical().fit(X, y).predict(X), peer.predict(scaler.transform(X)), rtol=1e-3)


def test_classical_learns_pictures():
    pictures, y = make_pictures(60)
    model = Classical().fit(pictures, y)
    test = make_pictures(20, seed=5)
    assert np.mean(model.predict(test[0]) == np.asarray(test[1])) > 0.9


def test_classical_probabilities_are_held_out_ones():
    """Labels that are noise in half of the rows: a confident model would be wrong."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 40))
    y = np.where(rng.random(300) < 0.5, X[:, 0] > 0, rng.random(300) < 0.5)
    model = Classical(C=100.0).fit(X[:200], np.where(y[:200], "a", "b").tolist())
    p = model.predict_proba(X[200:])
    truth = np.where(y[200:], 0, 1)
    loss = -np.log(p[np.arange(100), truth]).mean()
    assert loss < 0.75  # a coin has 0.693; without a held-out temperature this is above 1


def test_classical_takes_a_seeded_sample_of_many_rows():
    texts, y = make_texts(200)
    data = load((texts, y))
    small = Classical(max_rows=50).fit(data)
    assert small.vectors_.transform(data).shape[1] < Classical().fit(data).vectors_.transform(data).shape[1]
    assert np.array_equal(Classical(max_rows=50).fit(data).outputs(data), small.outputs(data))
    assert not np.array_equal(Classical(max_rows=50, seed=1).fit(data).outputs(data), small.outputs(data))


@pytest.mark.parametrize("kind", ["imbalanced", "table"])
def test_a_class_without_training_rows_keeps_its_column(kind):
    """Two of three classes: scikit-learn then has one column of coefficients for both."""
    if kind == "table":
        rng = np.random.default_rng(0)
        y = np.arange(90) % 3
        data = load((rng.normal(size=(90, 3)) + 3 * np.eye(3)[y], np.array(["a", "b", "c"])[y].tolist()))
    else:
        data = toy_data("imbalanced")
    for absent in range(3):
        kept = data.select(data.y != absent)
        outputs = Classical().fit(kept).outputs(kept)
        assert outputs.shape == (len(kept), 3)
        assert np.mean(outputs.argmax(1) == kept.y) > 0.9
        assert outputs[:, absent].max() < 0.05


@pytest.mark.parametrize("kind", ["text", "image", "audio", "table", "regression"])
def test_scratch_learns_and_becomes_a_source(kind, tmp_path):
    data = toy_data(kind)
    scratch = Scratch(epochs=10, batch_size=8, lr=3e-3).fit(data)
    if data.task.is_classification:
        assert np.mean(scratch.predict(data) == data.labels) > 0.9
    else:
        assert np.corrcoef(scratch.predict(data), data.labels)[0, 1] > 0.9
    scratch.save(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{}")
    from graft.sources.base import open_model

    backbone = open_model(str(tmp_path / "run"))
    assert backbone.spec.modality == data.task.modality
    opened = load_transfer(tmp_path / "run")
    assert opened.backbone_.fingerprint() == backbone.fingerprint()


def test_scratch_of_pairs():
    texts, y = make_texts(40)
    pairs = [(text, "card") for text in texts]
    scratch = Scratch(epochs=15, batch_size=8, lr=3e-3).fit(pairs, y)
    assert np.mean(scratch.predict(pairs) == np.asarray(y)) > 0.9


def test_scratch_steps():
    assert Scratch(batch_size=32).steps(32) == 200
    assert Scratch(batch_size=32).steps(32 * 1000) == 15_000
    assert Scratch(epochs=2, batch_size=10).steps(100) == 20
