"""Multi-kernel discrepancy in a network."""

import pytest
from adaptation.networks import learns, lowers

from graft.adaptation.discrepancy import mean_discrepancy


def test_it_learns():
    learns("dan")


@pytest.mark.parametrize("estimate", ["quadratic", "linear"])
def test_it_lowers_the_discrepancy(estimate):
    lowers("dan", lambda s, zs, t, zt: mean_discrepancy([s], [t]) + mean_discrepancy([zs], [zt]), estimate=estimate)
