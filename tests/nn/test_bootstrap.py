"""Resamples, intervals and paired differences."""

import numpy as np
import pytest

from graft.nn.bootstrap import TIMES, accuracy, bootstrap, interval, paired, r2, resample


def mean_of(values):
    return lambda weight: weight @ values / weight.sum(axis=1)


def test_counts_are_multinomial_and_repeat_with_the_seed():
    counts = np.concatenate(list(resample(50, seed=0, times=4000)))
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean() == 1
    assert counts.var() == pytest.approx(1 - 1 / 50, rel=0.02)
    again = np.concatenate(list(resample(50, seed=0, times=4000)))
    assert (counts == again).all()
    assert (counts != np.concatenate(list(resample(50, seed=1, times=4000)))).any()


def test_chunks_hold_all_resamples(monkeypatch):
    monkeypatch.setattr("graft.nn.bootstrap._HELD", 100)
    chunks = list(resample(30, seed=0, times=11))
    assert len(chunks) == 4
    assert sum(map(len, chunks)) == 11


def test_groups_are_drawn_whole():
    groups = np.array(["x", "y", "x", "z"])
    counts = next(resample(4, seed=0, times=20, groups=groups))
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, [0, 1, 3]].sum(axis=1) == 3).all()


@pytest.mark.parametrize("n", [8, 40])
@pytest.mark.parametrize("times", [TIMES, 200])
def test_intervals_of_a_mean_cover_it(n, times):
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        values = rng.normal(size=n)
        draws = bootstrap([mean_of(values)], n, seed=trial, times=times)[:, 0]
        _, low, high = interval(values.mean(), draws, level=0.9, size=n)
        hits += low <= 0 <= high
    assert 0.86 <= hits / 300 <= 0.95  # plain percentiles reach 0.82 for eight rows


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(size=400)
    draws = bootstrap([mean_of(values)], 400, seed=0)[:, 0]
    value, low, high = interval(values.mean(), draws, level=0.9, size=400)
    assert high - low == pytest.approx(2 * 1.645 * values.std() / 20, rel=0.08)
    assert low < value < high


def test_pairing_sees_a_small_steady_difference():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=100) * 10
    draws = bootstrap([mean_of(shared + 0.2 + 0.1 * rng.normal(size=100)), mean_of(shared)], 100, seed=0)
    gap = paired(0.2, draws[:, 0] - draws[:, 1], level=0.9, size=100)
    assert gap.better
    assert not gap.worse
    assert gap.p < 0.01
    reverse = paired(-0.2, draws[:, 1] - draws[:, 0], level=0.9, size=100)
    assert reverse.worse
    assert (reverse.low, reverse.high) == pytest.approx((-gap.high, -gap.low))


def test_no_difference_has_p_of_one():
    assert paired(0.0, np.zeros(TIMES), level=0.9, size=50).p == 1


def test_metrics_take_weights_of_any_scale():
    y, p = np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]]
    assert accuracy(y, p)(np.array([[1.0, 1, 1], [0, 0, 5], [2, 2, 0]])).tolist() == pytest.approx([2 / 3, 0, 1])
    assert r2(np.array([1e6, 1e6 + 1]), np.array([1e6, 1e6 + 1]))(np.ones((1, 2)))[0] == 1
