"""CORAL."""

import numpy as np
from adaptation.shifts import turned, two_domains

from graft.adaptation.coral import Coral, recolour
from graft.adaptation.source_only import SourceOnly
from graft.testing import check_transfer, toy_data


def test_without_a_ridge_the_covariances_become_equal():
    rng = np.random.default_rng(0)
    source, target = (rng.standard_normal((70, 4)) @ rng.standard_normal((4, 4)) for _ in range(2))
    assert np.allclose(np.cov((source @ recolour(source, target, ridge=0.0)).T), np.cov(target.T))


def test_equal_domains_stay_as_they_are():
    X = np.random.default_rng(1).standard_normal((50, 3)) * [1.0, 5.0, 0.1]
    assert np.allclose(recolour(X, X), np.eye(3))
    assert np.allclose(recolour(X, X + 7.0, ridge=0.0), np.eye(3))


def test_a_recoloured_target_is_read_better_than_without():
    colour = np.array([[1.0, 0.8], [0.8, 1.0]])
    source, (rows, y) = turned(0.0), turned(0.0, seed=1)
    rows[:, :2] = rows[:, :2] @ colour + 3.0
    domains = two_domains(source, rows)
    models = [model.fit(domains) for model in (SourceOnly(), Coral(ridge=0.01))]
    right = [float((model.predict(domains.target).astype(int) == y).mean()) for model in models]
    assert right[0] < 0.9
    assert right[1] > 0.95


def test_it_keeps_the_contract():
    check_transfer(Coral, toy_data("text"))
    check_transfer(Coral, toy_data("table"))
