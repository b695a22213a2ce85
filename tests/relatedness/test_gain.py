"""The measured gain: what helps brings it, what has nothing to say brings none, and the closed form is the refit."""

import numpy as np
import pytest

from graft.core.errors import DataError
from graft.core.task import Task
from graft.relatedness.gain import INTERCEPT, STRENGTHS, _fit, _Option, _with_intercept, measured_gain
from graft.relatedness.judging import Side

TWO = Task("classification", "table", ("a", "b"))


def rows(n, seed, *, shift=0.5, d=30, task=TWO):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % task.outputs)
    direction = np.random.default_rng(99).normal(size=(task.outputs, d)) / np.sqrt(d) * 4 * shift
    return Side(rng.normal(size=(n, d)) + direction[y], y, task)


def test_labels_of_the_same_task_bring_a_gain_where_there_are_few():
    found = measured_gain(rows(600, 1), rows(300, 2), labels=16)
    assert found.gain.better
    assert found.speaks
    assert found.labels == 16
    assert found.used["alone"] < 0.5
    assert set(found.direct) == {"head", "means"}


def test_labels_that_say_nothing_bring_none_and_pooling_them_harms():
    one = rows(600, 1)
    shuffled = Side(one.X, np.random.default_rng(0).permutation(one.y), TWO)
    found = measured_gain(shuffled, rows(120, 2, shift=1.0))
    assert not found.gain.better
    assert abs(found.gain.value) < 0.06
    assert found.pooled.worse
    assert not found.speaks


def test_other_classes_of_the_same_rows_are_mapped():
    four = Task("classification", "table", ("p", "q", "r", "s"))
    one, two = rows(600, 1, task=four, shift=1.0), rows(150, 2, task=four, shift=1.0)
    coarse = Side(two.X, two.y // 2, TWO)
    found = measured_gain(one, coarse)
    assert set(found.direct) == {"mapped"}
    assert found.speaks
    assert found.behind is None
    assert found.pooled is None


def test_the_number_of_labels_can_be_asked_for():
    few, many = (measured_gain(rows(600, 1), rows(400, 2), labels=labels) for labels in (10, 200))
    assert (few.labels, many.labels) == (10, 200)
    assert few.alone[0] < many.alone[0]
    assert few.gain.value > many.gain.value


def test_values_are_compared_in_their_own_unit():
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(300, 20)), rng.normal(size=20)
    values = X @ w + 2 * rng.normal(size=300)
    sides = []
    for part, task in ((slice(0, 250), Task("regression", "table", (), "r2", "y", 3.0, 7.0)),
                       (slice(250, 300), Task("regression", "table", (), "r2", "y", -1.0, 2.0))):  # fmt: skip
        sides.append(Side(X[part], (values[part] - task.center) / task.scale, task))
    found = measured_gain(*sides)
    assert found.direct["head"][0] > 0.6
    assert found.gain.better


def test_left_out_errors_are_those_of_refits():
    side = rows(30, 3, d=5)
    Z, T = _with_intercept(side.X), np.eye(2)[side.y]
    extra = rows(20, 4, d=5)
    A, U = _with_intercept(extra.X), np.eye(2)[extra.y]
    option = _Option("rows", Z, 0.3 * A.T @ A, 0.3 * A.T @ U)
    train, test = np.arange(24), np.arange(24, 30)
    gram = Z[train].T @ Z[train] + option.gram
    mean = (np.trace(gram) - INTERCEPT**2 * len(train)) / len(gram)
    errors = []
    for strength in STRENGTHS:
        total = 0.0
        for out in train:
            rest = train[train != out]
            left = Z[rest].T @ Z[rest] + option.gram + strength * mean * np.eye(len(gram))
            coef = np.linalg.solve(left, Z[rest].T @ T[rest] + option.cross)
            total += float(np.square(T[out] - Z[out] @ coef).mean())
        errors.append(total)
    strength = STRENGTHS[int(np.argmin(errors))]
    whole = np.linalg.solve(gram + strength * mean * np.eye(len(gram)), Z[train].T @ T[train] + option.cross)
    name, outputs = _fit([option], T, train, test)
    assert name == "rows"
    np.testing.assert_allclose(outputs, Z[test] @ whole, atol=1e-8)


def test_too_few_labels_are_refused():
    with pytest.raises(DataError, match="too few to measure a gain"):
        measured_gain(rows(100, 1), rows(12, 2))
