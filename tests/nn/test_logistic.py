import numpy as np
import pytest
from scipy.optimize import minimize

from graft.core.errors import DataError
from graft.nn.calibration import nll
from graft.nn.logistic import _held, fit_logistic


def made(n=200, k=4, d=6, seed=0, spread=1.5):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    return (rng.normal(size=(n, d)) + spread * np.eye(k, d)[y]).astype(np.float32), y


def test_it_is_the_minimum_of_the_penalised_likelihood():
    X, y = made()
    weight = np.linspace(0.5, 2.0, len(y))
    fit = fit_logistic(X, y, 4, weight=weight, strengths=(0.1,))

    def loss(flat):
        coef, bias = flat[:24].reshape(6, 4), flat[24:]
        return 0.1 * weight.sum() * nll(X @ coef + bias, y, weight=weight) + 0.5 * np.square(coef).sum()

    best = minimize(loss, np.zeros(28), method="BFGS")
    assert loss(np.concatenate([fit.coef.ravel(), fit.intercept])) == pytest.approx(best.fun, rel=1e-3)


def test_two_classes_have_two_scores():
    X, y = made(k=2)
    fit = fit_logistic(X, y, 2)
    assert fit.coef.shape == (6, 2)
    assert np.mean((X @ fit.coef + fit.intercept).argmax(1) == y) > 0.8


def test_noise_gets_the_simplest_fit_and_clear_classes_a_flexible_one():
    rng = np.random.default_rng(0)
    noise = fit_logistic(rng.normal(size=(300, 20)).astype(np.float32), rng.integers(0, 3, 300), 3)
    clear = fit_logistic(*made(spread=6.0), 4)
    assert noise.strength == 0.01 < clear.strength


def test_held_out_scores_are_those_of_a_fit_without_the_rows():
    X, y = made()
    fit = fit_logistic(X, y, 4, strengths=(0.1,))
    rest = np.setdiff1d(np.arange(len(y)), fit.rows)
    alone = fit_logistic(X[rest], y[rest], 4, strengths=(0.1,))
    difference = fit.held_out - (X[fit.rows] @ alone.coef + alone.intercept)
    assert np.abs(difference - difference.mean(axis=1, keepdims=True)).max() < 0.05  # equal up to a shift of all scores
    assert fit.error == pytest.approx(nll(fit.held_out, y[fit.rows]))


def test_every_fifth_row_of_a_class_is_held_out():
    assert np.flatnonzero(_held(np.array([1, 0, 0, 0, 0, 0, 1, 1]))).tolist() == [5]


def test_few_rows_and_a_class_without_any():
    X, y = np.eye(4, dtype=np.float32), np.array([0, 0, 2, 2])
    fit = fit_logistic(X, y, 4)
    scores = X @ fit.coef + fit.intercept
    assert scores.argmax(1).tolist() == y.tolist()
    assert scores[:, [1, 3]].max() < scores[:, [0, 2]].min()
    assert len(fit.rows) == 0
    assert np.isnan(fit.error)


def test_one_class_is_refused():
    with pytest.raises(DataError, match="two classes"):
        fit_logistic(np.eye(3), np.zeros(3, dtype=int), 2)
