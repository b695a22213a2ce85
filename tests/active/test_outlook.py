"""The learning curve, and the power law through it."""

import numpy as np
import pytest

from graft.active.outlook import gained, in_proportion, outlook
from graft.core.task import Task
from graft.core.types import Features, ModelSpec


def rows(n, distance, classes=2, seed=0):
    """Features of classes that lie so far apart, and their labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    values = rng.normal(size=(n, 8)).astype(np.float32) + distance * np.eye(8, dtype=np.float32)[y]
    task = Task("classification", "table", tuple("abcdefgh"[:classes]))
    return Features(values, (8,), np.arange(n), ModelSpec("x", "x", "table"), ""), y, task


@pytest.mark.parametrize(("a", "b", "c"), [(0.9, 1.0, 0.5), (1.0, 0.8, 1.0), (0.6, 0.0, 1.0)])
def test_a_power_law_is_found_again(a, b, c):
    sizes = np.array([8, 16, 32, 64, 128])
    found = gained(sizes, (a - b * sizes**-c)[None], 160, 320)
    assert found[0] == pytest.approx(b * (160**-c - 320**-c), abs=0.004)


def test_no_law_promises_more_than_one_or_less_than_nothing():
    sizes = np.array([10, 20, 40])
    rising, falling = gained(sizes, np.array([[0.5, 0.75, 0.99], [0.9, 0.8, 0.7]]), 40, 10**6)
    assert 0 < rising <= 0.6
    assert falling == 0


def test_the_outlook_of_rows_that_can_be_parted_better():
    features, y, task = rows(200, 1.2, classes=4)
    found = outlook(features, y, task, 100)
    assert found.labels == 200
    assert found.score[1] < found.score[0] < found.score[2]
    sizes, values = zip(*found.curve, strict=True)
    assert list(sizes) == sorted(sizes)
    assert values[-1] > values[0]
    assert found.gain[1] <= found.gain[0] <= found.gain[2]
    assert found.sentence.startswith("100 more labels may bring +0.0")
    assert outlook(features, y, task, 100) == found


def test_it_says_when_more_labels_are_of_no_use():
    features, y, task = rows(400, 30.0)
    found = outlook(features, y, task, 20)
    assert found.score[0] == 1
    assert found.sentence.startswith("More labels will hardly help any more")


def test_values_have_an_outlook_too():
    features, _, _ = rows(120, 0)
    target = features.values[:, 0] + 0.5 * features.values[:, 1]
    task = Task("regression", "table", (), "r2")
    found = outlook(features, target.astype(float), task, 50)
    assert found.score[0] > 0.9
    assert found.metric == "r2"


@pytest.mark.parametrize("y", [np.array([0, 1] * 4), np.zeros(40, int), np.array([0] * 39 + [1])])
def test_few_labels_say_nothing(y):
    features, _, task = rows(len(y), 1)
    found = outlook(features, y, task, 10)
    assert (found.score, found.gain, found.curve) == (None, None, ())
    assert "too few" in found.sentence


def test_every_beginning_has_the_classes_in_proportion():
    y = np.array([0] * 60 + [1] * 30 + [2] * 10)
    order = in_proportion(y, Task("classification", "table", ("a", "b", "c")), np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(100))
    for size in (10, 20, 50):
        assert np.abs(np.bincount(y[order[:size]], minlength=3) / size - [0.6, 0.3, 0.1]).max() <= 0.1
