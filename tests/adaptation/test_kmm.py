"""Kernel mean matching."""

import numpy as np
from adaptation.shifts import covariate
from scipy.optimize import minimize

from graft.adaptation.kmm import KernelMeanMatching, match_mean
from graft.adaptation.source_only import SourceOnly
from graft.testing import check_transfer, toy_data


def test_weights_match_the_mean_within_their_bounds():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    goal = np.array([0.5, -0.3, 0.2])
    weight = match_mean(X, goal, bound=5.0, slack=0.0)
    assert np.allclose(X.T @ weight / 200, goal, atol=1e-4)
    assert abs(weight.mean() - 1.0) < 1e-9
    assert 0.0 <= weight.min() <= weight.max() <= 5.0


def test_it_is_as_low_as_a_general_solver_gets():
    rng = np.random.default_rng(1)
    X, goal = rng.standard_normal((12, 4)), np.array([1.0, 1.0, -1.0, 0.5])

    def misfit(weight):
        return 0.5 * float(((X.T @ weight / 12 - goal) ** 2).sum())

    rules = [
        {"type": "ineq", "fun": lambda w: 0.1 - (w.mean() - 1)},
        {"type": "ineq", "fun": lambda w: 0.1 + (w.mean() - 1)},
    ]
    general = minimize(misfit, np.ones(12), bounds=[(0, 2)] * 12, constraints=rules, options={"ftol": 1e-12})
    assert misfit(match_mean(X, goal, bound=2.0, slack=0.1)) < general.fun + 1e-5


def test_a_shift_of_the_rows_is_mended():
    domains, y = covariate()
    right = [
        float((model.fit(domains).predict(domains.target).astype(int) == y).mean())
        for model in (SourceOnly(), KernelMeanMatching(bound=5.0))
    ]
    assert right[1] > right[0] + 0.03


def test_it_keeps_the_contract():
    check_transfer(KernelMeanMatching, toy_data("text"))
