"""Density ratio by classification."""

import numpy as np
from adaptation.shifts import covariate

from graft.adaptation.density_ratio import DensityRatio, domain_ratio
from graft.adaptation.source_only import SourceOnly
from graft.testing import check_transfer, toy_data


def test_the_ratio_of_two_normals_is_found():
    rng = np.random.default_rng(0)
    source, target = rng.standard_normal((900, 1)), 1.0 + rng.standard_normal((300, 1))
    ratio = domain_ratio(source, target)
    truth = np.exp(source[:, 0] - 0.5)
    assert abs(ratio.mean() - 1.0) < 0.15
    assert np.abs(np.log(ratio / truth)).mean() < 0.25


def test_a_shift_of_the_rows_is_mended():
    domains, y = covariate()
    right = [
        float((model.fit(domains).predict(domains.target).astype(int) == y).mean())
        for model in (SourceOnly(), DensityRatio(effective=0.1))
    ]
    assert right[1] > right[0] + 0.03


def test_it_keeps_the_contract():
    check_transfer(DensityRatio, toy_data("text"))
