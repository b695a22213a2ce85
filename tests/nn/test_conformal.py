"""Conformal sets and intervals against their guarantee, and against models that are wrong."""

import math

import numpy as np
import pytest

from graft.core.errors import UsageError
from graft.nn.conformal import KEPT, members, nonconformity, threshold


def drawn(n, seed, *, wrong=1.0):
    """Rows of four classes and the probabilities of a model that is ``wrong`` times too sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 1.5
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=3)
    said = np.exp(wrong * logits) / np.exp(wrong * logits).sum(axis=1, keepdims=True)
    return said, y


@pytest.mark.parametrize("wrong", [1.0, 3.0])
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_hold_the_truth_as_often_as_asked_even_by_a_model_that_is_too_sure(coverage, wrong):
    held = []
    for seed in range(40):
        limit = threshold(nonconformity(*drawn(200, seed, wrong=wrong)), coverage)
        p, y = drawn(500, 1000 + seed, wrong=wrong)
        held.append(members(p, limit)[np.arange(500), y].mean())
    assert coverage - 0.01 < np.mean(held) < coverage + 0.02


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_intervals_hold_the_truth_as_often_as_asked(coverage):
    rng = np.random.default_rng(0)
    held = []
    for _ in range(200):
        y, new = rng.exponential(size=(2, 100))
        limit = threshold(nonconformity(np.ones(100), y), coverage)
        held.append((np.abs(new - 1.0) <= limit).mean())
    assert np.mean(held) == pytest.approx(coverage, abs=0.02)


def test_too_few_rows_promise_nothing_and_the_set_is_everything():
    assert threshold(np.array([0.1, 0.2]), 0.9) == math.inf
    assert members(np.array([[0.9, 0.1]]), math.inf).all()


def test_a_set_is_never_empty():
    assert members(np.array([[0.5, 0.5], [0.2, 0.8]]), 0.0).sum(axis=1).tolist() == [1, 1]


def test_of_many_scores_the_quantiles_stay():
    rng = np.random.default_rng(0)
    p, y = drawn(50_000, 3)
    few, every = nonconformity(p, y), np.sort(1 - p[np.arange(50_000), y])
    assert len(few) == KEPT
    for coverage in rng.uniform(0.5, 0.99, 20):
        assert threshold(few, coverage) >= every[math.ceil(50_000 * coverage) - 1] - 1e-9
        assert threshold(few, coverage) <= every[math.ceil(50_000 * coverage) + 30]


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -0.1])
def test_no_share(coverage):
    with pytest.raises(UsageError, match="no share"):
        threshold(np.array([0.1]), coverage)
