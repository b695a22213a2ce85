"""``compare``: two data sets of any kind in, numbers and a sentence out."""

import json

import numpy as np
import pytest
from adaptation.shifts import turned
from scipy import sparse

from graft.core.errors import DataError, SourceError
from graft.data.load import load
from graft.relatedness.compare import compare
from graft.relatedness.foreseen import foreseen
from graft.relatedness.vocabulary import in_common

PRAISE, BLAME = ["good", "fine", "great", "lovely", "superb"], ["bad", "poor", "awful", "weak", "dreadful"]


def texts(n, seed, things):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    words = [rng.choice(PRAISE if good else BLAME, 2).tolist() + rng.choice(things, 4).tolist() for good in y]
    return [" ".join(rng.permutation(one).tolist()) for one in words], ["+" if good else "-" for good in y]


BOOKS, PANS = ["plot", "author", "page", "chapter", "novel"], ["handle", "lid", "stove", "steel", "oven"]


def test_two_domains_of_texts_are_related_and_the_words_that_differ_are_named():
    found = compare(texts(160, 0, BOOKS), texts(160, 1, PANS), model="plain")
    assert found.basis == "gain"
    assert found.relation in {"close", "related"}
    assert found.a_distance[0] > 1.5
    named = {one.name for one in found.differ}
    assert named & set(BOOKS)
    assert named & set(PANS)
    assert not named & {*PRAISE, *BLAME}
    assert 0 < found.common["covered"] < found.common["own"] <= 1
    assert found.common["unit"] == "words"


def test_few_labels_gain_more():
    one, two = texts(200, 0, BOOKS), texts(200, 1, PANS)
    found = compare(one, two, model="plain", labels=6)
    assert found.relation == "close"
    assert found.gain.gain.better


def test_without_labels_of_the_target_the_accuracy_is_foreseen():
    X, y = turned(0.0, rows=300)
    near = compare((X, y), turned(0.1, rows=200, seed=1)[0], model="plain")
    assert near.basis == "foreseen"
    assert near.relation in {"close", "related"}
    assert near.foreseen.accuracy[1] > 0.6
    assert "no labels" in near.sentence()


def test_shuffled_labels_are_unrelated():
    rng = np.random.default_rng(0)
    X, y = turned(0.0, rows=300)
    Z, truth = turned(0.0, rows=200, seed=1)
    found = compare((X, rng.permutation(y)), (Z, truth), model="plain")
    assert found.relation == "unrelated"
    assert "expect nothing" in found.sentence()
    assert "可能无关" in found.sentence("zh")


def test_without_any_label_the_inputs_are_compared():
    rng = np.random.default_rng(0)
    one, two, far = rng.normal(size=(150, 4)), rng.normal(size=(150, 4)), rng.normal(size=(150, 4)) + 5
    sets = [load(X, labelled=False, name=name) for X, name in ((one, "a"), (two, "b"), (far, "c"))]
    assert compare(sets[0], sets[1]).relation == "close"
    away = compare(sets[0], sets[2])
    assert away.relation == "unrelated"
    assert away.basis == "inputs"
    assert away.gain is None


def test_tables_are_compared_by_the_columns_of_one_name(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    X = rng.normal(size=(120, 4)) + 2 * np.eye(3, 4)[y]
    for name, header, rows in (("one", "a,b,c,d,label", slice(0, 60)), ("two", "a,b,c,e,label", slice(60, 120))):
        lines = [",".join([*(f"{v:.3f}" for v in X[i]), f"class {y[i]}"]) for i in range(120)[rows]]
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *lines]))
    found = compare(tmp_path / "one.csv", tmp_path / "two.csv")
    assert found.common["share"] == pytest.approx(3 / 5)
    assert found.classes["classes"] == 3
    assert found.relation == "close"
    (tmp_path / "three.csv").write_text((tmp_path / "two.csv").read_text().replace("a,b,c,e", "u,v,w,x"))
    with pytest.raises(DataError, match="no column in common"):
        compare(tmp_path / "one.csv", tmp_path / "three.csv")


def test_counts_are_compared_without_a_dense_copy():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    rate = np.where(y[:, None] == 1, 0.05, 0.15) * np.ones((200, 60))
    X = sparse.csr_matrix(rng.poisson(rate) * (rng.random((200, 60)) < 0.7))
    X = sparse.csr_matrix(X + sparse.csr_matrix(np.eye(1, 60)[np.zeros(200, int)]))
    found = compare((X[:150], y[:150]), (X[150:], y[150:]))
    assert found.common["unit"] == "features"
    assert json.loads(json.dumps(found.to_json()))["two"]["rows"] == 50


def test_what_cannot_be_compared_is_one_clear_line():
    words = texts(40, 0, BOOKS)
    with pytest.raises(DataError, match="nothing can be compared"):
        compare(words, turned(0.0)[0])
    with pytest.raises(DataError, match="have no word in common"):
        compare(words, (["甲乙丙丁"] * 40, ["x", "y"] * 20), model="plain")
    with pytest.raises(DataError, match="20 or more"):
        compare(words, texts(8, 0, BOOKS))
    with pytest.raises(SourceError):
        compare(words, texts(40, 1, PANS), model="sbert:no-such-model")


def test_other_classes_are_found_in_the_second_file(tmp_path):
    one, two = texts(60, 0, BOOKS), texts(60, 1, BOOKS)
    for name, (rows, labels), renamed in (("one", one, str), ("two", two, {"+": "up", "-": "down"}.get)):
        lines = [f"{row},{renamed(label)}" for row, label in zip(rows, labels, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    found = compare(tmp_path / "one.csv", tmp_path / "two.csv", model="plain")
    assert set(found.two["classes"]) == {"up", "down"}
    assert list(found.gain.direct) == ["mapped"]
    assert found.gain.speaks


def test_half_of_the_vocabulary_is_shared():
    one, two = (load([f"shared {word} thing"] * 4, labelled=False) for word in ("left", "right"))
    found = in_common(one, two)
    assert (found["both"], found["either"]) == (2, 4)


def test_a_foreseen_accuracy_holds_on_a_shift_like_those_simulated():
    X, y = turned(0.0, rows=400)
    Z, truth = turned(0.3, rows=300, seed=1)
    from graft.core.task import Task
    from graft.nn.ridge import fit_ridge

    found = foreseen(X, y, Task("classification", "table", ("0", "1")), Z)
    right = float((fit_ridge(X, np.eye(2)[y]).predict(Z).argmax(axis=1) == truth).mean())
    assert found.accuracy[1] - 0.02 <= right <= found.accuracy[2] + 0.02
    assert found.shifts == 24


def test_sets_of_one_name_are_told_apart(tmp_path):
    for place in ("here", "there"):
        rows, labels = texts(40, 0, BOOKS)
        (tmp_path / place).mkdir()
        lines = [f"{row},{label}" for row, label in zip(rows, labels, strict=True)]
        (tmp_path / place / "test.csv").write_text("\n".join(["text,label", *lines]))
    found = compare(tmp_path / "here" / "test.csv", tmp_path / "there" / "test.csv", model="plain")
    assert (found.one["name"], found.two["name"]) == ("here/test", "there/test")
