"""Pinball loss and its minimum; intervals that are moved hold as often as asked, whatever the quantiles were."""

import numpy as np
import pytest

from graft.nn.conformal import kept, threshold
from graft.nn.quantiles import fit_linear, outside, pinball


def test_the_minimum_is_the_quantile():
    y = np.random.default_rng(0).normal(size=2000)
    grid = np.linspace(-2, 2, 401)
    losses = [pinball(y, np.full((2000, 1), q), [0.8]).mean() for q in grid]
    assert grid[int(np.argmin(losses))] == pytest.approx(np.quantile(y, 0.8), abs=0.02)
    assert fit_linear(np.zeros((2000, 1)), y, [0.8])[-1, 0] == pytest.approx(np.quantile(y, 0.8), abs=0.03)


def test_a_spread_that_grows_is_found():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 2, 3000)
    weights = fit_linear(x[:, None], x * rng.normal(size=3000), [0.1, 0.5, 0.9], penalty=0.0)
    np.testing.assert_allclose(weights, [[-1.2816, 0, 1.2816], [0, 0, 0]], atol=0.12)


@pytest.mark.parametrize("wrong", [0.2, 1.0, 3.0])
def test_intervals_hold_the_truth_however_wrong_their_width_was(wrong):
    rng, inside = np.random.default_rng(2), []
    for _ in range(100):
        x, z = rng.uniform(0.5, 2, (2, 150)), rng.normal(size=(2, 150))
        y = x * z
        limit = threshold(kept(outside(y[0], -wrong * x[0], wrong * x[0])), 0.9)
        inside.append((np.abs(y[1]) <= wrong * x[1] + limit).mean())
    assert np.mean(inside) == pytest.approx(0.905, abs=0.015)
