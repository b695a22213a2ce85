"""Correlation alignment in a network."""

from adaptation.networks import learns, lowers

from graft.adaptation.discrepancy import coral


def test_it_learns():
    learns("deep_coral")


def test_it_lowers_the_distance_of_covariances():
    lowers("deep_coral", lambda _s, zs, _t, zt: coral(zs, zt))
