import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graft.core.errors import DataError
from graft.core.task import Task


@pytest.mark.parametrize(
    ("y", "kind", "classes", "metric"),
    [
        (["b", "a", "b"], "classification", ("a", "b"), "accuracy"),
        ([1, 0, 1, 1], "classification", ("0", "1"), "accuracy"),
        ([1.0, 2.0, 1.0], "classification", ("1", "2"), "accuracy"),
        ([True, False], "classification", ("False", "True"), "accuracy"),
        (["x"] * 7 + ["y"] * 2, "classification", ("x", "y"), "macro_f1"),
        (["x"] * 6 + ["y"] * 2, "classification", ("x", "y"), "accuracy"),
        ([0.5, 1.0, 2.0], "regression", (), "r2"),
        (list(range(21)), "regression", (), "r2"),
        (list(range(20)), "classification", tuple(sorted(map(str, range(20)))), "accuracy"),
        (["0.5", "1.5"], "regression", (), "r2"),
    ],
)
def test_tasks_are_read_off_the_labels(y, kind, classes, metric):
    task = Task.infer(np.asarray(y), modality="text")
    assert (task.kind, task.classes, task.metric, task.modality) == (kind, classes, metric, "text")
    assert task.outputs == (len(classes) or 1)
    assert task.is_classification == (kind == "classification")


@pytest.mark.parametrize(
    ("y", "kind", "line"),
    [
        (["a", "a"], None, r"only one class in 'label' \('a'\)"),
        ([1.5, 1.5], None, "all values of 'label' are equal"),
        ([1.5, float("nan")], None, "regression needs finite numbers"),
        (["a", "b"], "regression", "regression needs finite numbers"),
        (["a", "b"], "ranking", "unknown task 'ranking'"),
    ],
)
def test_what_is_no_task(y, kind, line):
    with pytest.raises(DataError, match=line):
        Task.infer(np.asarray(y), modality="text", kind=kind)


def test_the_kind_can_be_asked_for():
    assert Task.infer(np.arange(30), modality="table", kind="classification").outputs == 30
    assert Task.infer(np.array([0, 1, 1]), modality="table", kind="regression").kind == "regression"


@given(arrays.arrays(np.float64, st.integers(2, 30), elements=st.floats(-1e6, 1e6)))
def test_regression_targets_are_standardised_and_come_back(y):
    if y.std() <= 1e-6 * max(1.0, np.abs(y).max()):
        return
    task = Task.infer(y, modality="table", kind="regression")
    coded = task.encode(y)
    assert coded.mean() == pytest.approx(0, abs=1e-6)
    assert coded.std() == pytest.approx(1)
    np.testing.assert_allclose(task.decode(coded), y, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(task.decode(coded[:, None]), y, rtol=1e-9, atol=1e-6)


PRINTED = st.characters(codec="utf-8", exclude_characters="\0")  # numpy drops trailing zeros of a text


@given(
    st.lists(st.text(PRINTED, min_size=1, max_size=5), min_size=2, max_size=20).filter(
        lambda names: len(set(names)) > 1
    )
)
def test_classes_come_back(names):
    y = np.asarray(names, dtype=object)
    task = Task.infer(y, modality="text")
    coded = task.encode(y)
    assert coded.dtype == np.int64
    assert task.decode(np.eye(task.outputs)[coded]).tolist() == [str(name) for name in names]


def test_an_unknown_label_is_named_with_its_row():
    task = Task.infer(np.array(["a", "b"]), modality="text")
    with pytest.raises(DataError, match=r"label 'c' is not a class of the model \[labelled row 2\]; classes: a, b"):
        task.encode(["a", "c", "b"])


def test_class_weights_are_the_root_of_balanced_ones():
    y = np.array([0] * 90 + [1] * 10)
    task = Task("classification", "text", ("a", "b"), "macro_f1")
    np.testing.assert_allclose(task.class_weights(y), np.sqrt([100 / 180, 100 / 20]))
    np.testing.assert_allclose(task.sample_weights(y), task.class_weights(y)[y])
    assert Task("classification", "text", ("a", "b")).class_weights(y) is None
    assert Task("regression", "text").sample_weights(y) is None
    assert np.isfinite(task.class_weights(np.zeros(5, np.int64))).all()  # a class without rows


def test_the_loss_is_cross_entropy_per_row():
    task = Task("classification", "text", ("a", "b"))
    logits, y = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 0])
    loss = task.loss(logits, y)
    torch.testing.assert_close(loss, torch.tensor([np.log(2), np.log(1 + np.exp(-2))], dtype=torch.float32))
    torch.testing.assert_close(task.loss(logits, y, weight=torch.tensor([3.0, 1.0])), 3 * loss)


# -- classes with an order ---------------------------------------------------------------------------------------------


def test_an_order_is_named_or_that_of_numbers():
    named = Task.infer(np.array(["high", "low"]), modality="text", classes=("low", "medium", "high"))
    assert (named.kind, named.classes, named.metric) == ("ordinal", ("low", "medium", "high"), "quadratic_kappa")
    assert Task.infer(np.array([10, 9, 2]), modality="text", kind="ordinal").classes == ("2", "9", "10")
    assert named.encode(["low", "high"]).tolist() == [0, 2]
    for values, kind, classes, text in (
        (["low", "high"], "ordinal", (), "no order of their own"),
        (["low", "high"], None, ("low", "middle"), "'high' of 'label' is not in the order"),
        (["low", "low"], None, ("low", "low"), "is no order"),
    ):
        with pytest.raises(DataError, match=text):
            Task.infer(np.array(values), modality="text", kind=kind, classes=classes)


def test_ordered_classes_are_answered_by_the_median_and_served_by_what_serves_classes():
    task = Task("ordinal", "table", ("a", "b", "c"), "quadratic_kappa")
    chances = np.array([[0.4, 0.2, 0.4], [0.6, 0.0, 0.4], [0.1, 0.2, 0.7]])
    assert task.decode(chances).tolist() == ["b", "a", "c"]
    assert task.is_classification
    assert task.served_by(("classification",))
    assert not Task("classification", "table", ("a", "b")).served_by(("ordinal",))
