"""Greedy ensemble selection."""

import numpy as np

from graft.core.task import Task
from graft.evaluate.blend import blend, blended

TASK = Task("classification", "text", ("a", "b"))
VALUES = Task("regression", "table", (), "r2")


def noisy(y, seed, share=0.3):
    """Probabilities that are wrong for a share of the rows."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(y)) < share
    return np.eye(2)[np.where(wrong, 1 - y, y)] * 0.8 + 0.1


def test_models_that_err_apart_share_the_weight():
    y = np.arange(400) % 2
    models = [noisy(y, seed) for seed in range(3)]
    weights = blend(TASK, y, models)
    assert np.all(weights > 0.2)
    mean = sum(w * m for w, m in zip(weights, models, strict=True))
    best = max((m.argmax(1) == y).mean() for m in models)
    assert (mean.argmax(1) == y).mean() > best + 0.03


def test_a_copy_of_the_best_adds_nothing_and_noise_gets_nothing():
    y = np.arange(400) % 2
    good, coin = noisy(y, 0, 0.05), np.full((400, 2), 0.5)
    rng = np.random.default_rng(1)
    lies = np.eye(2)[rng.integers(0, 2, 400)] * 0.98 + 0.01
    weights = blend(TASK, y, [lies, good, coin])
    assert weights[1] > 0.8
    assert weights[0] == 0


def test_values_are_weighted_by_squared_error():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(500)
    one, two = y + 0.5 * rng.standard_normal(500), y + 0.5 * rng.standard_normal(500)
    assert np.allclose(blend(VALUES, y, [one, two]), 0.5, atol=0.15)


def test_members_stay_within_what_they_may_take_together():
    y = np.arange(400) % 2
    models = [noisy(y, seed) for seed in range(4)]
    costs = np.array([[1.0, 5.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    assert np.count_nonzero(blend(TASK, y, models, costs=costs, most=np.array([9.0, 9.0]))) == 4
    weights = blend(TASK, y, models, costs=costs, most=np.array([2.0, 9.0]))
    assert np.count_nonzero(weights) == 2
    weights = blend(TASK, y, models, costs=costs, most=np.array([9.0, 5.5]))
    assert weights[0] in (0.0, 1.0)  # with the first there is no room for another
    mean, weights = blended(TASK, y, models, np.array_split(np.arange(400), 4), costs=costs, most=np.array([1.0, 9.0]))
    assert np.count_nonzero(weights) == 1
    assert any(np.array_equal(mean[:100], model[:100]) for model in models)


def test_rows_do_not_choose_the_weights_they_are_scored_by():
    y = np.arange(60) % 2
    rng = np.random.default_rng(2)
    coins = [rng.dirichlet([1, 1], 60) for _ in range(20)]
    parts = np.array_split(rng.permutation(60), 5)
    honest, weights = blended(TASK, y, coins, parts)
    naive = sum(w * c for w, c in zip(weights, coins, strict=True))
    assert (naive.argmax(1) == y).mean() > (honest.argmax(1) == y).mean()
