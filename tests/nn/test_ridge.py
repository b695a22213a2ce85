"""The closed-form probe against explicit refits, scikit-learn and its own invariances."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Reference

import graft.nn.ridge as module
from graft.core.errors import DataError
from graft.nn.ridge import STRENGTHS, fit_ridge


def problem(n, d, k=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * np.linspace(0.1, 3, d) + 5
    return X, X @ rng.normal(size=(d, k)) * 0.1 + rng.normal(size=(n, k)), rng.uniform(0.2, 3, n)


shapes = pytest.mark.parametrize("shape", [(40, 7), (12, 30), (20, 20)], ids=["primal", "dual", "square"])


@shapes
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("strength", [1e-4, 0.3, 100.0])
def test_equals_scikit_learn_and_explicit_refits(shape, weighted, strength):
    X, Y, weight = problem(*shape)
    weight = weight if weighted else None
    fit = fit_ridge(X, Y, weight=weight, strengths=(strength,))
    reference = Reference(alpha=fit.penalty).fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(fit.coef, reference.coef_.T, atol=1e-6)
    np.testing.assert_allclose(fit.intercept, reference.intercept_, atol=1e-6)
    np.testing.assert_allclose(fit.predict(X), reference.predict(X), atol=1e-6)
    for left in range(len(X)):
        rest = np.arange(len(X)) != left
        again = Reference(alpha=fit.penalty).fit(X[rest], Y[rest], None if weight is None else weight[rest])
        np.testing.assert_allclose(fit.loo[left], again.predict(X[[left]])[0], atol=1e-6)


def test_errors_are_those_of_each_strength_alone():
    X, Y, weight = problem(30, 8)
    fit = fit_ridge(X, Y, weight=weight)
    alone = [fit_ridge(X, Y, weight=weight, strengths=(s,)) for s in STRENGTHS]
    np.testing.assert_allclose(fit.errors, [one.errors[0] for one in alone])
    assert fit.strength == STRENGTHS[int(fit.errors.argmin())]
    np.testing.assert_allclose(fit.coef, alone[int(fit.errors.argmin())].coef)
    expected = weight @ np.square(Y - fit.loo).sum(axis=1) / weight.sum()
    assert fit.errors.min() == pytest.approx(expected)


@shapes
def test_units_do_not_matter(shape):
    X, Y, weight = problem(*shape)
    fit, scaled = fit_ridge(X, Y, weight=weight), fit_ridge(X * 1000 - 7, Y, weight=weight * 50)
    assert fit.strength == scaled.strength
    np.testing.assert_allclose(fit.loo, scaled.loo, atol=1e-8)


def test_rotating_features_does_not_matter():
    X, Y, _ = problem(30, 8)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    np.testing.assert_allclose(fit_ridge(X, Y).loo, fit_ridge(X @ turn, Y).loo, atol=1e-9)


@shapes
def test_weight_zero_drops_the_row(shape):
    X, Y, weight = problem(*shape)
    weight[::3] = 0
    kept = weight > 0
    fit, dropped = fit_ridge(X, Y, weight=weight), fit_ridge(X[kept], Y[kept], weight=weight[kept])
    np.testing.assert_allclose(fit.coef, dropped.coef, atol=1e-8)
    np.testing.assert_allclose(fit.loo[kept], dropped.loo, atol=1e-8)
    np.testing.assert_allclose(fit.loo[~kept], dropped.predict(X[~kept]), atol=1e-8)


def test_integer_weights_are_repeated_rows():
    X, Y, _ = problem(30, 8)
    times = np.arange(30) % 3 + 1
    fit = fit_ridge(X, Y, weight=times, strengths=(0.1,))
    again = fit_ridge(X.repeat(times, axis=0), Y.repeat(times, axis=0), strengths=(0.1,))
    np.testing.assert_allclose(fit.coef, again.coef, atol=1e-9)


@shapes
def test_chunks_change_nothing(shape, monkeypatch):
    X, Y, weight = problem(*shape)
    whole = fit_ridge(X, Y, weight=weight)
    monkeypatch.setattr(module, "_CHUNK", 500)
    parts = fit_ridge(X, Y, weight=weight)
    np.testing.assert_allclose(whole.loo, parts.loo, atol=1e-10)
    np.testing.assert_allclose(whole.errors, parts.errors)
    np.testing.assert_allclose(whole.predict(X), parts.predict(X))


@pytest.mark.parametrize("chunk", [1 << 24, 500])
def test_keeps_some_left_out_predictions_and_measures_all(chunk, monkeypatch):
    X, Y, weight = problem(40, 7)
    whole = fit_ridge(X, Y, weight=weight)
    monkeypatch.setattr(module, "_CHUNK", chunk)
    monkeypatch.setattr(module, "LEFT_OUT", 9)
    some = fit_ridge(X, Y, weight=weight)
    assert some.rows.tolist() == [0, 4, 9, 14, 19, 24, 29, 34, 39]
    np.testing.assert_allclose(some.loo, whole.loo[some.rows])
    np.testing.assert_allclose(some.errors, whole.errors)


def test_reads_a_half_precision_memory_map_without_copying_it(tmp_path):
    X, Y, _ = problem(60, 5)
    path = tmp_path / "x.npy"
    np.save(path, X.astype(np.float16))
    mapped = np.load(path, mmap_mode="r")
    np.testing.assert_allclose(fit_ridge(mapped, Y).loo, fit_ridge(X.astype(np.float16).astype(float), Y).loo)


def test_the_larger_strength_wins_ties():
    X = problem(30, 8)[0]
    assert fit_ridge(X, np.zeros(30)).strength == max(STRENGTHS)


def test_constant_features_predict_the_mean_of_the_others():
    fit = fit_ridge(np.ones((4, 3)), np.array([1.0, 2.0, 3.0, 6.0]))
    np.testing.assert_allclose(fit.predict(np.ones((1, 3))), [[3.0]])
    np.testing.assert_allclose(fit.loo.ravel(), [11 / 3, 10 / 3, 3, 2])


@pytest.mark.parametrize(
    ("X", "Y", "weight", "word"),
    [
        (np.ones((3, 2)), np.ones(4), None, "agree"),
        (np.ones((3, 2)), np.ones(3), np.ones(2), "agree"),
        (np.ones((3, 2)), np.ones(3), -np.ones(3), "positive weight"),
        (np.ones((3, 2)), np.array([1, np.nan, 2]), None, "finite"),
        (np.full((3, 2), np.nan), np.ones(3), None, "finite"),
        (np.full((2, 3), np.inf), np.ones(2), None, "finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_refuses_what_has_no_answer(X, Y, weight, word):
    with pytest.raises(DataError, match=word):
        fit_ridge(X, Y, weight=weight)
