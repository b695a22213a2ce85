"""Minimum class confusion in a network."""

from adaptation.networks import learns, lowers

from graft.adaptation.information import class_confusion


def test_it_learns():
    learns("mcc")


def test_it_lowers_the_confusion_on_the_target():
    lowers("mcc", lambda _s, _zs, _t, zt: class_confusion(zt, 2.5))
