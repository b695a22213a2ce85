"""Metrics against scikit-learn; intervals against simulation."""

import time

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as reference

from graft.core.errors import DataError, UsageError
from graft.core.task import Task
from graft.evaluate.metrics import METRICS, confusion, evaluate, per_class, reliability, score, wilson
from graft.nn.bootstrap import resample

THREE = Task("classification", "text", ("a", "b", "c"))
NUMBER = Task("regression", "table", metric="r2", center=10.0, scale=4.0)


def classes(n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    logits = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[y]
    return y, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def values(n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n).round(1)
    return y, (y + rng.normal(size=n) * 0.5).round(1)


CLASSIFICATION = {
    "accuracy": lambda y, p, w: reference.accuracy_score(y, p.argmax(1), sample_weight=w),
    "balanced_accuracy": lambda y, p, w: reference.balanced_accuracy_score(y, p.argmax(1), sample_weight=w),
    "macro_f1": lambda y, p, w: reference.f1_score(y, p.argmax(1), average="macro", sample_weight=w),
    "log_loss": lambda y, p, w: reference.log_loss(y, p, sample_weight=w),
}
REGRESSION = {
    "r2": reference.r2_score,
    "mae": lambda y, f: 4 * reference.mean_absolute_error(y, f),
    "rmse": lambda y, f: 4 * reference.root_mean_squared_error(y, f),
    "spearman": lambda y, f: spearmanr(y, f).statistic,
}


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification_equals_scikit_learn_also_on_resamples(name):
    y, p = classes()
    assert score(THREE, y, p, metric=name) == pytest.approx(CLASSIFICATION[name](y, p, None))
    weight = next(resample(len(y), seed=1, times=5))
    expected = [CLASSIFICATION[name](y, p, row) for row in weight]
    np.testing.assert_allclose(METRICS[name].prepare(THREE, y, p)(weight), expected)


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_equals_scikit_learn_also_on_resamples(name):
    y, f = values()
    assert score(NUMBER, y, f, metric=name) == pytest.approx(REGRESSION[name](y, f))
    weight = next(resample(len(y), seed=1, times=5))
    expected = [REGRESSION[name](y.repeat(row.astype(int)), f.repeat(row.astype(int))) for row in weight]
    np.testing.assert_allclose(METRICS[name].prepare(NUMBER, y, f)(weight), expected)


def test_macro_f1_counts_a_class_that_is_only_predicted():
    y, p = np.array([0, 0, 1]), np.eye(3)[[0, 2, 1]]
    assert score(THREE, y, p, metric="macro_f1") == pytest.approx(
        reference.f1_score(y, p.argmax(1), average="macro", zero_division=0)
    )


def test_calibration_error_closed_form():
    p = np.array([[0.9, 0.1, 0.0]] * 10)
    y = np.array([0] * 7 + [1] * 3)
    assert score(THREE, y, p, metric="ece") == pytest.approx(0.2)
    assert reliability(THREE, y, p) == [{"confidence": pytest.approx(0.9), "accuracy": 0.7, "count": 10}]


def test_constant_targets_and_predictions_do_not_divide_by_zero():
    assert score(NUMBER, np.zeros(5), np.ones(5), metric="r2") == 0
    assert score(NUMBER, np.arange(5.0), np.ones(5), metric="spearman") == 0


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.kind == "classification"])
def test_order_of_rows_and_of_classes_does_not_matter(name):
    y, p = classes()
    rows, turn = np.random.default_rng(3).permutation(len(y)), np.array([2, 0, 1])
    assert score(THREE, y[rows], p[rows], metric=name) == pytest.approx(score(THREE, y, p, metric=name))
    assert score(THREE, np.argsort(turn)[y], p[:, turn], metric=name) == pytest.approx(score(THREE, y, p, metric=name))


@pytest.mark.parametrize(("task", "made"), [(THREE, classes), (NUMBER, values)], ids=["classes", "values"])
def test_evaluate_holds_the_value_and_repeats_itself(task, made):
    y, outputs = made()
    result = evaluate(task, y, outputs, seed=3)
    assert set(result) == {name for name, metric in METRICS.items() if metric.suits(task)}
    assert next(iter(result)) == task.metric
    for name, (value, low, high) in result.items():
        assert value == pytest.approx(score(task, y, outputs, metric=name))
        assert low < value < high
    assert result == evaluate(task, y, outputs, seed=3)
    assert result != evaluate(task, y, outputs, seed=4)
    wide = evaluate(task, y, outputs, seed=3, level=0.99)
    assert all(wide[name][1] < low and high < wide[name][2] for name, (_, low, high) in result.items())


@pytest.mark.parametrize("n", [15, 100])
def test_intervals_of_r2_cover_the_truth(n):
    rng = np.random.default_rng(0)
    hits, trials = 0, 200
    for trial in range(trials):
        f = rng.normal(size=n)
        y = f + rng.normal(size=n)  # true R² of f is 1/2
        _, low, high = evaluate(NUMBER, y, f, metrics=("r2",), seed=trial)["r2"]
        hits += low <= 0.5 <= high
    assert 0.83 <= hits / trials <= 0.97


def test_intervals_of_accuracy_cover_the_truth_near_one():
    rng = np.random.default_rng(0)
    covered = [(w := wilson(rng.binomial(30, 0.97) / 30, 30, level=0.9))[1] <= 0.97 <= w[2] for _ in range(2000)]
    assert np.mean(covered) > 0.85  # the bootstrap covers 0.60 here


def test_groups_widen_the_interval_when_rows_repeat():
    y, p = classes(60)
    y, p, groups = y.repeat(20), p.repeat(20, axis=0), np.arange(60).repeat(20)
    narrow, wide = (evaluate(THREE, y, p, groups=g)["macro_f1"] for g in (None, groups))
    alone = evaluate(THREE, y[::20], p[::20])["macro_f1"]
    ratio = (wide[2] - wide[1]) / (narrow[2] - narrow[1])
    assert ratio == pytest.approx(np.sqrt(20), rel=0.2)
    assert (wide[1], wide[2]) == pytest.approx(alone[1:], abs=1e-9)


def test_many_rows_are_quick_and_agree_with_theory():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 30_000)
    p = np.where(rng.random(30_000)[:, None] < 0.8, np.eye(3)[y], np.eye(3)[(y + 1) % 3])
    value, low, high = evaluate(THREE, y, p, metrics=("balanced_accuracy",))["balanced_accuracy"]
    assert high - low == pytest.approx(2 * 1.645 * np.sqrt(value * (1 - value) / 30_000), rel=0.2)


def test_a_thousand_resamples_of_two_thousand_rows_take_less_than_a_second():
    y, p = classes(2000)
    start = time.process_time()
    evaluate(THREE, y, p)
    assert time.process_time() - start < 2  # 0.3 s on an idle core


def test_confusion_and_per_class():
    y, p = classes()
    np.testing.assert_array_equal(confusion(THREE, y, p), reference.confusion_matrix(y, p.argmax(1)))
    table = reference.precision_recall_fscore_support(y, p.argmax(1))
    for row, column in zip(per_class(THREE, y, p), zip(*table, strict=True), strict=True):
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(column)


@pytest.mark.parametrize(
    ("y", "outputs", "word"),
    [
        (np.array([], int), np.empty((0, 3)), "no rows"),
        (np.array([0, 1]), np.ones((2, 2)) / 2, "shape"),
        (np.array([0, 1]), np.array([[1, 0, 0], [np.nan, 0, 1]]), "scored row 2"),
        (np.array([0, 1]), np.array([[3.0, -2, 0], [0, 0, 1]]), "probabilities"),
    ],
)
def test_refuses_outputs_that_cannot_be_scored(y, outputs, word):
    with pytest.raises(DataError, match=word):
        evaluate(THREE, y, outputs)


def test_refuses_a_metric_of_another_task():
    with pytest.raises(UsageError, match="accuracy"):
        score(THREE, *classes(), metric="r2")


def test_ordered_classes_are_judged_by_their_ranks():
    y, p = classes()
    task = Task("ordinal", "text", ("a", "b", "c"), "quadratic_kappa")
    found, said = evaluate(task, y, p), task.winners(p)
    assert next(iter(found)) == "quadratic_kappa"
    assert found["quadratic_kappa"][0] == pytest.approx(reference.cohen_kappa_score(y, said, weights="quadratic"))
    assert found["rank_error"][0] == pytest.approx(np.abs(y - said).mean())
    assert found["accuracy"][0] == pytest.approx((y == said).mean())
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    kappa = METRICS["quadratic_kappa"].prepare(task, y, p)(weight[None].astype(float))[0]
    assert kappa == pytest.approx(reference.cohen_kappa_score(y, said, weights="quadratic", sample_weight=weight))
    assert confusion(task, y, p).sum(axis=0).tolist() == np.bincount(said, minlength=3).tolist()
