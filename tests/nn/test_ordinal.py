"""Proportional odds: the closed form without inputs, the gradient, the truth found again, and reversal."""

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import logistic

from graft.nn.ordinal import fit_ordinal, probabilities


def drawn(n=1500, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    w, cuts = np.array([1.5, -0.7, 0.0]), np.array([-1.0, 0.5, 2.0])
    y = (X @ w + logistic.rvs(size=n, random_state=rng))[:, None] > cuts
    return X, y.sum(axis=1), w, cuts


def test_without_inputs_thresholds_are_the_log_odds_of_the_shares():
    y = np.repeat([0, 1, 2], [10, 30, 60])
    found = fit_ordinal(np.zeros((100, 1)), y, 3, strengths=(1.0,))
    np.testing.assert_allclose(found.thresholds, logit([0.1, 0.4]), atol=2e-3)
    np.testing.assert_allclose(found.outputs(np.zeros((1, 1))), [[0.1, 0.3, 0.6]], atol=1e-3)


def test_the_truth_is_found_again():
    X, y, w, cuts = drawn()
    found = fit_ordinal(X, y, 4)
    np.testing.assert_allclose(found.coef, w, atol=0.25)
    np.testing.assert_allclose(found.thresholds, cuts, atol=0.25)
    assert found.error < 1.2


def test_the_other_order_is_the_same_model_turned_round():
    X, y, *_ = drawn(200)
    one, two = fit_ordinal(X, y, 4, strengths=(0.01,)), fit_ordinal(X, 3 - y, 4, strengths=(0.01,))
    np.testing.assert_allclose(one.outputs(X), two.outputs(X)[:, ::-1], atol=1e-3)


def test_probabilities_sum_to_one_and_a_class_without_rows_stays_unlikely():
    assert probabilities(np.linspace(-50, 50, 9), np.array([-1.0, 0.0, 3.0])).sum(axis=1) == pytest.approx(1)
    X, y, *_ = drawn(200)
    y[y == 1] = 0
    assert fit_ordinal(X, y, 4).outputs(X)[:, 1].max() < 0.1
