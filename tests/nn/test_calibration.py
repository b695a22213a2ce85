"""The temperature against its defining property."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from graft.core.errors import DataError
from graft.nn.calibration import fit_temperature, nll


def drawn(n=4000, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return logits * scale, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=3)


def test_finds_the_scale_that_was_put_in():
    for scale in (0.01, 1.0, 30.0):
        assert fit_temperature(*drawn(scale=scale)) == pytest.approx(scale, rel=0.06)


def test_is_the_minimum_of_the_likelihood():
    z, y = drawn(300)
    best = minimize_scalar(
        lambda log: nll(z / np.exp(log), y), bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}
    )
    assert np.log(fit_temperature(z, y)) == pytest.approx(best.x, abs=1e-5)


def test_shift_of_a_row_and_units_do_not_matter():
    z, y = drawn(300)
    shift = np.random.default_rng(1).normal(size=(300, 1)) * 50
    assert fit_temperature(z + shift, y) == pytest.approx(fit_temperature(z, y))
    assert fit_temperature(z * 1e-4, y) == pytest.approx(fit_temperature(z, y) * 1e-4)


def test_weights_are_repeated_rows():
    z, y = drawn(100)
    times = np.arange(100) % 3
    assert fit_temperature(z, y, weight=times) == pytest.approx(fit_temperature(z.repeat(times, 0), y.repeat(times)))


def test_scores_without_an_optimum_stay_finite():
    z = np.eye(3) * 0.1
    assert 0 < fit_temperature(z, np.arange(3)) < 1e-3  # perfect
    assert 10 < fit_temperature(-z, np.arange(3)) < 1e3  # perfectly wrong
    assert fit_temperature(np.ones((3, 3)), np.arange(3)) == 1.0


def test_refuses_what_is_not_finite():
    with pytest.raises(DataError):
        fit_temperature(np.array([[np.nan, 1.0]]), np.array([0]))
