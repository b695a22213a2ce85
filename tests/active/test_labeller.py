"""Labeller: rows in, proposals out, for every kind of row."""

import numpy as np
import pytest
from conftest import make_pictures, make_table, make_texts, make_tones

import graft
from graft.active.labeller import Labeller
from graft.active.pool import limited, proposable
from graft.core.errors import DataError, UsageError
from graft.data.load import load


def partly(X, y, known=20):
    return load((X, [label if i < known else None for i, label in enumerate(y)]), partly=True)


@pytest.fixture
def rows():
    return partly(*make_table(120))


def test_proposals_come_with_suggestion_probability_and_reason(rows):
    labeller = Labeller(rows)
    found = labeller.propose(5)
    assert len({one.row for one in found}) == 5
    assert all(one.row >= 20 for one in found)
    assert {one.label for one in found} <= {"yes", "no"}
    assert all(0.5 <= one.probability <= 1 for one in found)
    assert labeller.chosen()[0] == "diverse_margin"
    assert found[0].reason.startswith("undecided between")
    assert Labeller(rows).propose(5) == found
    assert graft.Labeller is Labeller


def test_what_was_labelled_teaches_what_is_proposed(rows):
    X, y = make_table(120)
    first = [one.row for one in Labeller(rows).propose(10)]
    labels = [label if i < 20 or i in first else None for i, label in enumerate(y)]
    again = [one.row for one in Labeller(load((X, labels), partly=True)).propose(10)]
    assert not set(first) & set(again)


def test_without_any_label_rows_that_stand_for_others_come_first():
    data = load(make_table(60)[0], labelled=False)
    labeller = Labeller(data)
    found = labeller.propose(4)
    assert labeller.chosen()[0] == "typiclust"
    assert [one.label for one in found] == [None] * 4
    assert "too few" in labeller.outlook(10).sentence
    with pytest.raises(DataError, match="too few labels to be uncertain"):
        Labeller(data, strategy="margin").propose(4)


@pytest.mark.parametrize("kind", ["text", "image", "audio", "regression"])
def test_every_kind_of_row(kind, tiny_bert, tiny_vit):
    X, y = {
        "text": lambda: make_texts(60), "image": lambda: make_pictures(40), "audio": lambda: make_tones(40),
        "regression": lambda: make_table(60, kind="regression"),
    }[kind]()  # fmt: skip
    source = {"text": f"hf:{tiny_bert}", "image": f"hf:{tiny_vit}"}.get(kind)
    labeller = Labeller(partly(X, y, known=30), source=source)
    found = labeller.propose(3)
    assert len(found) == 3
    assert labeller.outlook(10).score is not None
    assert (found[0].probability is None) == (kind == "regression")


def test_rows_of_one_content_are_proposed_once():
    texts = ["parcel lost", "card broken", "where is it", "Where  is it", "card broken", "cancel my order"] * 4
    data = load((texts, ["a", "b"] + [None] * 22), partly=True)
    found = Labeller(data).propose(50)
    assert sorted(one.row for one in found) == [2, 5]
    with pytest.raises(DataError, match="has a label, or the same content"):
        Labeller(data.select(np.array([0, 1, 4]))).propose(1)


def test_a_large_pool_stays_the_same_while_it_is_labelled():
    data = load(np.random.default_rng(0).normal(size=(300, 2)), labelled=False)
    first = limited(data, np.empty(0, np.int64), most=100)
    assert len(first) == 100
    assert np.array_equal(limited(data, first[:7], most=100), first)
    outside = np.setdiff1d(np.arange(300), first)[:1]
    assert set(limited(data, outside, most=100)) == {*first, *outside}
    assert len(proposable(data, first[:7])) == 293


def test_a_score_on_rows_that_were_labelled_apart(rows):
    X, y = make_table(80, seed=5)
    test = load((X, y), like=rows)
    score = Labeller(rows).score(test)
    assert score[1] < score[0] <= score[2]
    assert score[0] > 0.7
    assert Labeller(load(make_table(60)[0], labelled=False)).score(test) is None


def test_sources_are_compared_once_there_are_enough_labels(tiny_bert):
    X, y = make_texts(80)
    few, many = (Labeller(partly(X, y, known), source=[f"hf:{tiny_bert}"] * 2) for known in (20, 60))
    assert few.backbone.spec.name == many.backbone.spec.name


def test_what_means_nothing_is_refused(rows):
    with pytest.raises(UsageError, match="no strategy"):
        Labeller(rows, strategy="best")
    with pytest.raises(UsageError, match="cannot be proposed"):
        Labeller(rows).propose(0)
