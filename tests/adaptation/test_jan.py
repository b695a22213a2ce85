"""Joint discrepancy in a network."""

from adaptation.networks import learns, lowers

from graft.adaptation.discrepancy import mean_discrepancy


def test_it_learns():
    learns("jan")


def test_it_lowers_the_joint_discrepancy():
    lowers("jan", lambda s, zs, t, zt: mean_discrepancy([s, zs.softmax(1)], [t, zt.softmax(1)]))
