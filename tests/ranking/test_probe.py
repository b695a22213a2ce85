"""Folds and held-out outputs."""

import numpy as np
import pytest

from graft.core.task import Task
from graft.core.types import Features, ModelSpec
from graft.ranking.probe import deal_folds, held_out

TASK = Task("classification", "text", ("a", "b", "c"))
NUMBER = Task("regression", "text", metric="r2")
SPEC = ModelSpec("fake:one", "one", "text")


def features(values, sizes):
    return Features(values.astype(np.float32), sizes, np.arange(len(values)), SPEC, "key")


def test_folds_have_equal_shares_of_every_class():
    y = np.random.default_rng(0).choice(3, 103, p=[0.7, 0.2, 0.1])
    fold = deal_folds(y, TASK, folds=5, seed=0)
    table = np.array([np.bincount(y[fold == f], minlength=3) for f in range(5)])
    assert np.ptp(table, axis=0).max() <= 1
    assert np.ptp(table.sum(axis=1)) <= 1


def test_folds_keep_groups_whole_and_are_drawn_by_the_seed():
    y, groups = np.arange(60) % 3, np.arange(60) // 4
    fold = deal_folds(y, TASK, folds=5, seed=0, groups=groups)
    assert all(len(set(fold[groups == g])) == 1 for g in groups)
    assert (fold == deal_folds(y, TASK, folds=5, seed=0, groups=groups)).all()
    assert (fold != deal_folds(y, TASK, folds=5, seed=1, groups=groups)).any()


def test_held_out_rows_cannot_see_their_own_labels():
    rng = np.random.default_rng(0)
    values, y = rng.normal(size=(60, 40)), rng.integers(0, 3, 60)
    fold = deal_folds(y, TASK, folds=5, seed=0)
    outputs = held_out(features(values, (20, 20)), y, TASK, fold)
    changed = y.copy()
    changed[fold == 2] = (changed[fold == 2] + 1) % 3
    again = held_out(features(values, (20, 20)), changed, TASK, fold)
    np.testing.assert_array_equal(outputs[fold == 2], again[fold == 2])
    assert not np.allclose(outputs[fold != 2], again[fold != 2])
    assert outputs.sum(axis=1) == pytest.approx(1)


def test_noise_scores_at_chance_though_layers_and_strength_are_chosen():
    rng = np.random.default_rng(0)
    shares = []
    for seed in range(10):
        y = np.arange(60) % 2
        fold = deal_folds(y, Task("classification", "text", ("a", "b")), folds=5, seed=seed)
        two = Task("classification", "text", ("a", "b"))
        outputs = held_out(features(rng.normal(size=(60, 90)), (30, 30, 30)), y, two, fold)
        shares.append(np.mean(outputs.argmax(axis=1) == y))
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)


def test_regression_gives_values_and_auto_finds_the_layer_that_knows():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(150, 20))
    y = values[:, 0].copy()  # only the first layer knows
    fold = deal_folds(y, NUMBER, folds=5, seed=0)
    auto, last = (held_out(features(values, (10, 10)), y, NUMBER, fold, layers=how) for how in ("auto", "last"))
    assert auto.shape == (150,)
    assert np.mean((auto - y) ** 2) < 0.1 < np.mean((last - y) ** 2)
