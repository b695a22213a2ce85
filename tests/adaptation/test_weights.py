"""Flattening of weights."""

import numpy as np

from graft.adaptation.weights import effective_rows, flattened


def test_even_weights_stay_and_steep_ones_are_flattened_as_far_as_needed():
    assert np.allclose(flattened(np.full(9, 3.0), 1.0), 1.0)
    steep = np.exp(3.0 * np.random.default_rng(0).standard_normal(500))
    for least in (0.2, 0.5, 0.9):
        found = flattened(steep, least)
        assert effective_rows(found) >= least * 500
        assert abs(found.mean() - 1.0) < 1e-12
        assert (np.argsort(found) == np.argsort(steep)).all()
    assert np.allclose(flattened(steep, 0.0), steep / steep.mean())
