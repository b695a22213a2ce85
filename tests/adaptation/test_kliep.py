"""KLIEP."""

import numpy as np
from scipy import sparse

from graft.adaptation.kliep import Kliep, fit_bumps, kliep
from graft.testing import check_transfer, toy_data


def test_the_ratio_of_two_normals_is_found_and_integrates_to_one():
    rng = np.random.default_rng(0)
    source, target = rng.standard_normal((800, 1)), 0.8 + 0.8 * rng.standard_normal((800, 1))
    ratio, _ = kliep(source, target)
    truth = np.exp(-(((source[:, 0] - 0.8) / 0.8) ** 2) / 2 + source[:, 0] ** 2 / 2) / 0.8
    assert abs(ratio.mean() - 1.0) < 1e-9
    assert (ratio >= 0).all()
    assert np.corrcoef(ratio, truth)[0, 1] > 0.9


def test_no_other_coefficients_are_likelier():
    rng = np.random.default_rng(1)
    source, target = rng.random((40, 5)), rng.random((30, 5))
    alpha = fit_bumps(source, target)
    assert abs((source @ alpha).mean() - 1.0) < 1e-9
    best = np.log(target @ alpha).sum()
    for _ in range(200):
        other = rng.dirichlet(np.ones(5)) / source.mean(0)
        assert np.log(target @ other).sum() <= best + 1e-3


def test_sparse_rows_are_weighed_as_dense_ones():
    source, target = (sparse.random(n, 12, 0.4, format="csr", random_state=n) for n in (40, 50))
    assert np.allclose(kliep(source, target)[0], kliep(source.toarray(), target.toarray())[0])


def test_it_keeps_the_contract():
    check_transfer(Kliep, toy_data("text"))
