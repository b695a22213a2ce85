"""Scores: closed forms, slow definitions, invariances."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import KNeighborsClassifier

from graft.core.errors import DataError
from graft.core.registry import SCORES
from graft.ranking.scores import h_score, knn, leep, logme, nce, transrate


def problem(n=120, d=6, signal=1.5, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return rng.normal(size=(n, d)) + signal * np.eye(3, d)[y], y


def source(n=200, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(4), n), rng.integers(0, 3, n)


def test_registry_finds_them():
    assert {"h_score", "logme", "leep", "nce", "knn", "transrate"} <= set(SCORES)


ON_FEATURES = pytest.mark.parametrize("score", [h_score, logme, knn, transrate])
ON_PROBABILITIES = pytest.mark.parametrize("score", [leep, nce])


@ON_FEATURES
@pytest.mark.parametrize("shape", [(120, 6), (40, 60)], ids=["tall", "wide"])
def test_rotation_scale_rows_and_class_names_do_not_matter(score, shape):
    X, y = problem(*shape)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(shape[1],) * 2))
    rows = np.random.default_rng(2).permutation(len(y))
    value = score(X, y)
    assert score(X @ turn * 100, y) == pytest.approx(value, rel=1e-5)
    assert score(X[rows], y[rows]) == pytest.approx(value)
    assert score(X, np.array([2, 0, 1])[y]) == pytest.approx(value)


@pytest.mark.parametrize(
    ("score", "d"),
    [(h_score, 6), (h_score, 200), (logme, 6), (logme, 200), (knn, 6), (knn, 200), (transrate, 6)],
)
def test_signal_scores_higher_than_permuted_labels(score, d):
    X, y = problem(150, d, signal=3)
    assert score(X, y) > score(X, np.random.default_rng(4).permutation(y))


@pytest.mark.parametrize("score", [h_score, transrate])
def test_shift_does_not_matter(score):
    X, y = problem()
    assert score(X + 9, y) == pytest.approx(score(X, y))


@pytest.mark.parametrize("shape", [(120, 6), (30, 50)])
def test_h_score_is_its_definition(shape):
    X, y = problem(*shape)
    covariance, shrinkage = ledoit_wolf(X)
    means = np.stack([X[y == c].mean(axis=0) for c in range(3)])[y]
    between = np.cov(means.T, bias=True)
    assert h_score(X, y) == pytest.approx((1 - shrinkage) * np.trace(np.linalg.solve(covariance, between)))


def test_h_score_of_two_gaussians_is_the_explained_share():
    rng = np.random.default_rng(0)
    y = np.arange(40_000) % 2
    X = rng.normal(size=(40_000, 1)) + 2.0 * y[:, None]  # variance 1 within, 1 between
    assert h_score(X, y) == pytest.approx(0.5, abs=0.01)


def test_h_score_of_wide_noise_does_not_saturate():
    rng = np.random.default_rng(0)
    assert h_score(rng.normal(size=(50, 500)), np.arange(50) % 2) < 0.5  # 1 without shrinkage


def evidence(F, y, a, b):
    return multivariate_normal.logpdf(y, np.zeros(len(y)), np.eye(len(y)) / b + F @ F.T / a) / len(y)


@pytest.mark.parametrize("shape", [(40, 5), (20, 30)], ids=["tall", "wide"])
def test_logme_is_the_largest_evidence(shape):
    rng = np.random.default_rng(0)
    F = rng.normal(size=shape)
    y = F @ rng.normal(size=shape[1]) + 2 * rng.normal(size=shape[0])
    best = minimize(
        lambda log: -evidence(F, y, *np.exp(log)), np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8}
    )
    assert logme(F, y) == pytest.approx(-best.fun, abs=1e-5)


def test_logme_of_classes_averages_one_against_rest():
    X, y = problem()
    assert logme(X, y) == pytest.approx(np.mean([logme(X, (y == c).astype(float)) for c in range(3)]))


def test_logme_of_a_perfect_and_of_an_empty_fit_is_finite():
    X, _ = problem()
    assert np.isfinite(logme(X, X[:, 0].copy()))
    assert logme(X, np.zeros(len(X))) > 0  # no variance to explain
    assert np.isfinite(logme(np.eye(10), np.arange(10) % 2))


@ON_PROBABILITIES
def test_the_order_of_source_classes_does_not_matter(score):
    theta, y = source()
    assert score(theta[:, [3, 1, 0, 2]], y) == pytest.approx(score(theta, y))
    assert score(theta, np.array([2, 0, 1])[y]) == pytest.approx(score(theta, y))
    assert score(theta, y) <= 0


def test_leep_is_its_definition():
    theta, y = source()
    total = 0.0
    for i in range(len(y)):
        joint = [[theta[y == c, z].sum() / len(y) for c in range(3)] for z in range(4)]
        total += np.log(sum(joint[z][y[i]] / sum(joint[z]) * theta[i, z] for z in range(4)))
    assert leep(theta, y) == pytest.approx(total / len(y))


def test_nce_is_its_definition():
    theta, y = source()
    z = theta.argmax(axis=1)
    expected = sum(np.log(np.mean(y[z == z[i]] == y[i])) for i in range(len(y))) / len(y)
    assert nce(theta, y) == pytest.approx(expected)


def test_knn_equals_scikit_learn():
    X, y = problem(300)
    fit = KNeighborsClassifier(6, metric="cosine").fit(X, y)
    near = fit.kneighbors(return_distance=False)[:, :1]
    assert knn(X, y, k=1) == np.mean(y[near[:, 0]] == y)
    assert knn(np.random.default_rng(0).normal(size=(1500, 3)), np.arange(1500) / 1500) == pytest.approx(-0.2, abs=0.1)


def test_transrate_is_its_definition():
    X, y = problem()
    Z = X - X.mean(axis=0)
    Z /= np.sqrt(np.square(Z).sum(axis=1).mean())
    rate = lambda z: 0.5 * np.log(np.linalg.det(np.eye(6) + z.T @ z / (len(z) * 1e-4)))  # noqa: E731
    assert transrate(X, y) == pytest.approx(rate(Z) - sum(np.mean(y == c) * rate(Z[y == c]) for c in range(3)))


def test_values_are_refused_where_only_classes_make_sense():
    with pytest.raises(DataError, match="classes"):
        h_score(np.eye(3), np.array([0.1, 0.2, 0.3]))
