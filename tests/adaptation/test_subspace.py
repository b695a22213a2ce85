"""Subspace alignment."""

import numpy as np
from adaptation.shifts import rotated

from graft.adaptation.lowrank import directions
from graft.adaptation.source_only import SourceOnly
from graft.adaptation.subspace import SubspaceAlignment, align
from graft.testing import check_transfer, toy_data


def test_equal_domains_are_projected_and_nothing_else():
    X = np.random.default_rng(0).standard_normal((50, 6)) * np.arange(1, 7)
    basis, _ = directions([X], 3)
    again, _ = directions([X + 5.0], 3)
    assert np.allclose(align(basis, again), basis)


def test_a_turned_target_is_read_better_than_without():
    domains, y = rotated()
    right = [
        float((model.fit(domains).predict(domains.target).astype(int) == y).mean())
        for model in (SourceOnly(), SubspaceAlignment(components=2))
    ]
    assert right[1] >= right[0]
    assert right[1] > 0.9


def test_the_size_is_chosen_where_none_is_given():
    domains, _ = rotated()
    assert 1 <= SubspaceAlignment().fit(domains).basis_.shape[1] <= 5


def test_it_keeps_the_contract():
    check_transfer(SubspaceAlignment, toy_data("text"))
    check_transfer(SubspaceAlignment, toy_data("table"))
