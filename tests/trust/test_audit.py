"""The audit: planted mistakes are found, clean data is left alone."""

import numpy as np
import pytest

from graft.core.task import Task
from graft.trust.audit import audit_sentences, hardest, mislabelled

THREE = Task("classification", "text", ("a", "b", "c"))
NUMBER = Task("regression", "table", metric="r2", center=10.0, scale=2.0)


def clean(n=300, sharpness=4.0, seed=0):
    """Labels drawn from calibrated probabilities."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    logits = rng.normal(size=(n, 3)) * 0.3 + sharpness * np.eye(3)[truth]
    return truth, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_planted_mistakes_are_found_with_their_truth():
    truth, p = clean()
    y = truth.copy()
    planted = np.arange(0, 300, 14)
    y[planted] = (truth[planted] + 1) % 3
    found = mislabelled(THREE, y, p, top=None)
    assert {item.row for item in found} <= set(planted)
    assert len(found) >= 0.4 * len(planted)  # those that a class is surer of than of its own rows on average
    for item in found:
        assert item.label == THREE.classes[y[item.row]]
        assert item.suggested == THREE.classes[truth[item.row]]
        assert item.probability > item.own
    margins = [item.probability - item.own for item in found]
    assert margins == sorted(margins, reverse=True)
    assert mislabelled(THREE, y, p, top=3) == found[:3]


def test_clean_labels_are_left_alone():
    assert mislabelled(THREE, *clean()) == []
    assert audit_sentences(THREE, *clean()) == ["no label is contradicted by the held-out predictions"]


def test_a_class_without_rows_is_never_suggested():
    y, p = clean()
    kept = y < 2
    assert all(item.suggested != "c" for item in mislabelled(THREE, y[kept], p[kept][:, [2, 0, 1]], top=None))


def test_renaming_classes_and_moving_rows_moves_the_answer_with_them():
    y, p = clean(sharpness=1.5)
    y = np.where(np.arange(300) % 20 == 0, (y + 1) % 3, y)
    found = [(item.row, item.label) for item in mislabelled(THREE, y, p, top=None)]
    assert found
    turn = np.array([2, 0, 1])
    renamed = Task("classification", "text", tuple(np.array(THREE.classes)[turn]))
    again = [(item.row, item.label) for item in mislabelled(renamed, np.argsort(turn)[y], p[:, turn], top=None)]
    assert again == found


def test_outliers_of_a_regression_in_its_unit():
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    f = y + 0.1 * rng.normal(size=200)
    y[17] = f[17] + 5
    (item,) = mislabelled(NUMBER, y, f)
    assert item.row == 17
    assert item.label == pytest.approx(10 + 2 * y[17])
    assert item.suggested == pytest.approx(10 + 2 * f[17])
    assert mislabelled(NUMBER, y, y) == []
    assert hardest(NUMBER, y, f)[0].row == 17
    assert len(hardest(NUMBER, y, f, top=7)) == 7
    assert "1 label looks wrong (0.5% of 200 rows)" in audit_sentences(NUMBER, y, f)[0]


def test_hardest_are_the_wrong_rows_by_loss():
    y = np.array([0, 1, 2, 0])
    p = np.array([[0.1, 0.9, 0], [0.2, 0.8, 0], [0.5, 0.2, 0.3], [0.01, 0.0, 0.99]])
    found = hardest(THREE, y, p)
    assert [(item.row, item.label, item.prediction) for item in found] == [(3, "a", "c"), (0, "a", "b"), (2, "c", "a")]
    assert found[1].loss == pytest.approx(-np.log(0.1))
    assert found[1].probability == 0.9


def test_sentences_name_what_is_confused_and_what_is_lost():
    y = np.repeat([0, 1, 2], 10)
    predicted = np.where(y == 2, 1, y)
    lines = audit_sentences(THREE, y, np.eye(3)[predicted])
    assert "b and c are confused most: 10 of 10 wrong predictions" in lines
    assert "never predicted rightly: c" in lines
