"""Moment matching of several sources."""

import numpy as np
from adaptation.networks import QUICK, accuracy, learns, lowers
from adaptation.shifts import turned, two_domains

from graft.adaptation.discrepancy import moment_distance
from graft.core.registry import ADAPTATIONS


def test_it_learns():
    learns("m3sda", strength=0.3)


def test_it_lowers_the_distance_of_moments():
    lowers("m3sda", lambda s, _zs, t, _zt: moment_distance([s, t]))


def test_each_source_is_a_domain_of_its_own():
    (one, y), (two, _), (target, truth) = turned(0.0), turned(0.6, seed=3), turned(0.9, seed=1)
    source = (np.concatenate([one, two]), np.concatenate([y, y]))
    domains = two_domains(source, target, origin=np.repeat([0, 1], len(y)))
    assert domains.sources == 2
    method = ADAPTATIONS["m3sda"]
    assert method.several
    assert accuracy(method(**QUICK, strength=0.3).fit(domains), domains.target, truth) > 0.9
