"""Marginalised stacked denoising autoencoder."""

import itertools

import numpy as np
import pytest
from adaptation.shifts import rotated
from scipy import sparse

from graft.adaptation import msda
from graft.adaptation.msda import DenoisingAutoencoder, denoiser, denoiser_of_itself, denoiser_of_rows, restore
from graft.adaptation.shallow import Matrices
from graft.core.errors import UsageError
from graft.testing import check_transfer, toy_data


@pytest.mark.parametrize("corruption", [0.3, 0.7])
def test_the_closed_form_is_the_mean_over_all_ways_to_strike_columns_out(corruption, monkeypatch):
    monkeypatch.setattr(msda, "RIDGE", 0.0)
    X = np.random.default_rng(0).poisson(1.0, (9, 4)).astype(float)
    left, right = np.zeros((5, 5)), np.zeros((5, 4))
    for kept in itertools.product([0.0, 1.0], repeat=4):
        chance = np.prod([1 - corruption if k else corruption for k in kept])
        struck = np.column_stack([X * kept, np.ones(9)])
        left += chance * struck.T @ struck
        right += chance * struck.T @ X
    brute = np.linalg.solve(left, right)
    mean = X.mean(0)
    W, b = denoiser(X.T @ X / 9, X.T @ X / 9, mean, mean, corruption)
    assert np.allclose(np.vstack([W, b]), brute)


@pytest.mark.parametrize("rows", [9, 40])
def test_rows_and_columns_and_the_inverse_give_one_layer(rows):
    X = np.random.default_rng(0).poisson(0.7, (rows, 15)).astype(float)
    X[:, 4] = 0.0  # a column that never occurs
    second, mean = X.T @ X / rows, X.mean(0)
    W, b = denoiser(second, second, mean, mean, 0.6)
    for X_ in (X, sparse.csr_matrix(X)):
        found = denoiser_of_rows(X_, X, 0.6)
        assert np.allclose(found[0], W, atol=1e-9)
        assert np.allclose(found[1], b, atol=1e-9)
    found = denoiser_of_itself(second, mean, 0.6)
    assert np.allclose(found[0], W, atol=1e-9)
    assert np.allclose(found[1], b, atol=1e-9)


def test_sparse_rows_and_parts_of_the_columns():
    X = sparse.random(60, 12, 0.4, format="csr", random_state=0)
    wanted = np.array([0, 3, 7])
    whole = restore(X, wanted, 0.5)
    assert np.allclose(whole[0], restore(X.toarray(), wanted, 0.5)[0])
    W, b = restore(X, wanted, 0.5, at_once=6)
    errors = [float(((X @ W + b - X[:, wanted].toarray()) ** 2).mean()) for W, b in (whole, (W, b))]
    assert np.isfinite(W).all()
    assert errors[1] < float(X[:, wanted].toarray().var(0).mean())  # better than saying the mean
    assert errors[0] < errors[1]


def reviews(rows, words, seed):
    """Binary rows: each class says 'good' or 'bad' and, with it, words of which the domains share none."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 2
    X = rng.random((rows, 60)) < 0.08
    X[:, words] = rng.random((rows, len(words))) < 0.05 + 0.5 * (y[:, None] == np.arange(len(words)) % 2)
    X[:, :2] = (rng.random((rows, 2)) < 0.55) & (y[:, None] == np.arange(2))
    return sparse.csr_matrix(X.astype(float)), y


def test_words_of_the_target_alone_get_a_meaning():
    source, y = reviews(400, np.arange(2, 12), 0)
    target, _ = reviews(400, np.arange(12, 22), 1)
    model = DenoisingAutoencoder(components=30)
    seen, _ = model._learn(Matrices(source, y, target, np.zeros(400, int), 2))
    assert np.allclose(model._see_source(source), seen)
    way = seen[y == 1].mean(0) - seen[y == 0].mean(0)
    asked, truth = reviews(400, np.arange(12, 22), 2)
    asked = (asked @ sparse.diags((np.arange(60) > 1).astype(float))).tocsr()  # without the words that both domains use
    assert float(((model._see(asked) @ way > 0) == truth).mean()) > 0.8


def test_counts_are_made_binary_and_weights_are_not():
    source, y = reviews(60, np.arange(2, 12), 0)
    target, _ = reviews(60, np.arange(12, 22), 1)
    one, two, three = (DenoisingAutoencoder(layers=1, components=5) for _ in range(3))
    seen = one._learn(Matrices(source, y, target, np.zeros(60, int), 2))[0]
    assert np.array_equal(seen, two._learn(Matrices(source * 3, y, target * 2, np.zeros(60, int), 2))[0])
    three._learn(Matrices(source * 0.5, y, target * 0.5, np.zeros(60, int), 2))
    assert (three.binary_, three.scale_) == (False, 2.0)


def test_it_keeps_the_contract():
    check_transfer(DenoisingAutoencoder, toy_data("text"))
    check_transfer(DenoisingAutoencoder, toy_data("table"))


def test_a_corruption_of_one_is_refused():
    with pytest.raises(UsageError, match="corruption 1"):
        DenoisingAutoencoder(corruption=1).fit(rotated()[0])
