import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from graft.core.errors import DataError
from graft.nn import discriminant
from graft.nn.discriminant import fit_discriminant


def made(n=90, d=7, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3 * np.eye(classes, d)[y] + 5, y


def chances(scores):
    scores = np.exp(scores - scores.max(1, keepdims=True))
    return scores / scores.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("shrinkage", [0.0, 0.2, 1.0])
def test_it_is_that_of_scikit_learn(shrinkage, classes):
    X, y = made(classes=classes)
    fit = fit_discriminant(X, y, classes, shrinkage=shrinkage)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(X, y)
    np.testing.assert_allclose(chances(X @ fit.coef + fit.intercept), theirs.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("shape", [(90, 7), (30, 60), (2000, 4)])
def test_the_shrinkage_is_that_of_ledoit_and_wolf(shape):
    X, y = made(*shape)
    rows = X - np.stack([X[y == c].mean(0) for c in range(3)])[y]
    wanted = ledoit_wolf_shrinkage(rows, assume_centered=True)
    assert fit_discriminant(X, y, 3).shrinkage == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("shape", [(40, 6), (15, 30)])
@pytest.mark.parametrize("weighted", [False, True])
def test_left_out_scores_are_those_of_a_fit_without_the_row(shape, weighted):
    X, y = made(*shape, seed=2)
    weight = np.linspace(0.5, 2.0, len(y)) if weighted else np.ones(len(y))
    fit = fit_discriminant(X, y, 3, weight=weight)
    gamma, means = fit.shrinkage, np.stack([X[y == c].mean(0) for c in range(3)])
    level = np.square(X - means[y]).sum() / X.size
    for row, place in enumerate(fit.rows):
        rest = np.delete(np.arange(len(y)), place)
        means = np.stack([X[rest][y[rest] == c].mean(0) for c in range(3)])
        scatter = sum(np.outer(r, r) for r in X[rest] - means[y[rest]])
        sigma = (1 - gamma) * scatter / len(rest) + (gamma + 1e-9) * level * np.eye(X.shape[1])
        mass = np.bincount(y[rest], weight[rest])
        gaps = X[place] - means
        wanted = np.log(mass / mass.sum()) - 0.5 * np.einsum("kd,kd->k", gaps, np.linalg.solve(sigma, gaps.T).T)
        np.testing.assert_allclose(fit.loo[row], wanted, rtol=1e-6, atol=1e-6)


def test_weights_change_the_shares_of_the_classes_alone():
    X, y = made()
    plain, weighted = fit_discriminant(X, y, 3), fit_discriminant(X, y, 3, weight=np.array([1.0, 2.0, 4.0])[y])
    np.testing.assert_allclose(plain.coef, weighted.coef)
    counts = np.bincount(y)
    shares = counts * [1, 2, 4] / (counts @ [1, 2, 4])
    np.testing.assert_allclose(weighted.intercept - plain.intercept, np.log(shares / (counts / len(y))))


def test_block_by_block_gives_the_same(monkeypatch):
    X, y = made()
    whole = fit_discriminant(X, y, 3)
    monkeypatch.setattr(discriminant, "BLOCK", 11)
    parts = fit_discriminant(X, y, 3)
    np.testing.assert_allclose(parts.coef, whole.coef, rtol=1e-9)
    np.testing.assert_allclose(parts.loo, whole.loo, rtol=1e-9)


def test_classes_without_rows_and_with_one_row():
    X, y = made()
    X[0], y[0] = 50, 4  # alone in its class
    fit = fit_discriminant(X, y, 5)
    assert fit.seen.tolist() == [0, 1, 2, 4]
    assert fit.rows.tolist() == list(range(1, 90))
    assert np.isfinite(fit.loo).all()
    scores = X @ fit.coef + fit.intercept
    assert (scores[:, 3] < scores.max(1) - 15).all()
    assert scores[0].argmax() == 4


def test_columns_without_spread_do_no_harm():
    X, y = made()
    X[:, 3] = 1.0
    fit = fit_discriminant(X, y, 3, shrinkage=0.0)
    assert np.isfinite(fit.coef).all()
    assert abs(fit.coef[3]).max() < 1e-3
    flat = fit_discriminant(np.zeros((6, 2)), np.array([0, 1] * 3), 2)
    np.testing.assert_allclose(np.zeros(2) @ flat.coef + flat.intercept, np.log(0.5))


def test_one_class_and_broken_numbers_are_refused():
    with pytest.raises(DataError, match="two classes"):
        fit_discriminant(np.ones((4, 2)), np.zeros(4, int), 2)
    with pytest.raises(DataError, match="not finite"):
        fit_discriminant(np.full((4, 2), np.nan), np.array([0, 1, 0, 1]), 2)
