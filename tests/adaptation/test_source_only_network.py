"""The network that learns from the source alone."""

import numpy as np
from adaptation.networks import fitted, learns
from adaptation.shifts import turned, two_domains


def test_it_learns():
    learns("network")


def test_the_target_changes_nothing():
    source, X = turned(0.0), turned(1.0, seed=2)[0]
    outputs = [fitted("network", two_domains(source, target), epochs=2).outputs(X) for target in (X, -3 * X)]
    assert np.array_equal(*outputs)
