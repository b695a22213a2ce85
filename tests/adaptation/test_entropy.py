"""Information maximisation in a network."""

import math

from adaptation.networks import learns, lowers

from graft.adaptation.information import mutual_information


def test_it_learns():
    learns("entropy")


def test_it_raises_the_information_on_the_target():
    lowers("entropy", lambda _s, _zs, _t, zt: math.log(2) - mutual_information(zt))
