import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graft.core.errors import DataError
from graft.core.types import Dataset, Features, ModelSpec, Ranking, RankRow, Run, Task
from graft.data.load import load


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


# -- data sets ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def data():
    return load((["zero", "one", "two", "three", "four", "five"], list("abcabc")))


def test_subsets_are_views_that_compose(data):
    part = data.select(np.array([5, 3, 1])).select(np.array([True, False, True]))
    assert part.take() == ["five", "one"]
    assert part.rows.tolist() == [5, 1]
    assert part.X is data.X
    assert part.labels.tolist() == ["c", "b"]
    assert part.take(slice(1, 2)) == ["one"]
    train, test = data.split(np.array([0, 1]), np.array([2]))
    assert (len(train), test.take()) == (2, ["two"])
    assert len(data.select(np.zeros(6, bool))) == 0


def test_the_fingerprint_sees_rows_labels_and_order(data):
    order = np.array([1, 0, 2, 3, 4, 5])
    again = load((["zero", "one", "two", "three", "four", "five"], list("abcabc")))
    assert data.fingerprint() == again.fingerprint()
    others = [
        data.select(order), data.select(np.arange(5)), load((["zero", "one", "two", "three", "four", "6"], list("abcabc"))),
        load((["zero", "one", "two", "three", "four", "five"], list("abcabd"))),
    ]  # fmt: skip
    prints = {item.fingerprint() for item in others}
    assert len(prints) == 4
    assert data.fingerprint() not in prints


def test_without_labels_there_are_none():
    data = load(["a", "b"], labelled=False)
    assert data.y is None
    assert data.select(np.array([0])).y is None
    assert data.fingerprint()
    with pytest.raises(DataError, match="has no labels"):
        data.labels  # noqa: B018
    assert isinstance(data, Dataset)


# -- features, rankings, runs ------------------------------------------------------------------------------------------


def test_layers_are_slices_of_columns():
    values = np.arange(24, dtype=np.float16).reshape(3, 8)
    features = Features(values, (2, 3, 3), np.array([2, 0]), ModelSpec("x:y", "y", "text"), "key")
    assert (len(features), features.layers) == (2, 3)
    assert features.layer(0).tolist() == [[16, 17], [0, 1]]
    assert features.layer(-1).tolist() == [[21, 22, 23], [5, 6, 7]]
    assert features.layer(2, 0).tolist() == [[21, 22, 23, 16, 17], [5, 6, 7, 0, 1]]
    assert features.layer(1, rows=slice(1, 2)).tolist() == [[2, 3, 4]]
    assert features.layer(0).dtype == np.float32
    assert features.select(np.array([1])).layer(0).tolist() == [[8, 9]]


def test_failures_are_not_usable():
    spec = ModelSpec("x:y", "y", "text", parameters=2_000_000)
    ranking = Ranking((RankRow(spec), RankRow(spec, failure="broken")))
    assert ranking.usable == ranking.rows[:1]
    assert str(spec) == "y (2.0 M parameters)"


def test_a_run_comes_back_from_json():
    run = Run(config={"seed": 1}, trials=[{"name": "x"}], answer={"score": [0.5, 0.4, 0.6]})
    text = json.dumps(run.to_json())
    assert Run.from_json(json.loads(text)) == run
    assert Run.from_json({**json.loads(text), "of a later version": 1}) == run
    assert Run.from_json({}) == Run()
