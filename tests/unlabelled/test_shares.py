"""Label shift: estimated where it is one, and what lies beyond it."""

import numpy as np
import pytest

from graft.unlabelled.shares import share_distance, target_shares


def noisy(y, rng, right=0.8):
    return np.eye(3)[np.where(rng.random(len(y)) < right, y, rng.integers(0, 3, len(y)))]


def test_shares_of_the_target_are_found_through_the_confusion():
    rng = np.random.default_rng(0)
    y, truth = rng.integers(0, 3, 900), rng.choice(3, 1500, p=[0.7, 0.2, 0.1])
    found = target_shares(noisy(y, rng), y, noisy(truth, rng))
    assert found.target == pytest.approx([0.7, 0.2, 0.1], abs=0.05)
    assert (found.low <= found.target).all()
    assert (found.target <= found.high).all()
    assert (found.high - found.low).max() < 0.2
    assert found.predicted[0] < 0.7  # uncorrected shares are drawn together


def test_a_class_that_the_source_lacks_gets_no_share():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    found = target_shares(noisy(y, rng, 1.0), y, noisy(rng.integers(0, 3, 300), rng, 1.0))
    assert found.target[2] == 0
    assert found.target.sum() == pytest.approx(1)


def test_only_what_label_shift_cannot_explain_is_far():
    rng = np.random.default_rng(0)
    y, truth = rng.integers(0, 3, 900), rng.choice(3, 900, p=[0.7, 0.2, 0.1])
    shares = target_shares(noisy(y, rng), y, noisy(truth, rng))
    assert share_distance(np.bincount(truth) / 900, shares) < 0.03
    assert share_distance(np.full(3, 1 / 3), shares) < 0.03
    assert share_distance(np.array([0.0, 0.0, 1.0]), shares) > 0.5
