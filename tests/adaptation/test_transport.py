"""Optimal transport."""

import numpy as np
import pytest
from adaptation.shifts import rotated

from graft.adaptation import transport
from graft.adaptation.source_only import SourceOnly
from graft.adaptation.transport import Transport, carried, plan
from graft.core.errors import MissingExtraError
from graft.testing import check_transfer, toy_data

pytest.importorskip("ot")


@pytest.mark.parametrize("groups", [0.0, 0.1])
def test_the_plan_gives_every_row_its_share(groups):
    rng = np.random.default_rng(0)
    source, target, y = rng.standard_normal((20, 2)), rng.standard_normal((30, 2)), np.arange(20) % 2
    gamma = plan(source, y, target, entropy=0.1, groups=groups)
    assert (gamma >= 0).all()
    assert np.allclose(gamma.sum(1), 1 / 20, atol=1e-3)
    assert np.allclose(gamma.sum(0), 1 / 30, atol=1e-3)


def test_a_shift_is_undone():
    rng = np.random.default_rng(1)
    source = rng.standard_normal((25, 2))
    target = source + np.array([5.0, 0.0])
    gamma = plan(source, np.zeros(25, int), target, entropy=0.002, groups=0.0)
    assert np.abs(carried(gamma, target) - target).mean() < 0.1


def test_a_turned_target_is_read_better_than_without(monkeypatch):
    domains, y = rotated()
    right = [
        float((model.fit(domains).predict(domains.target).astype(int) == y).mean())
        for model in (SourceOnly(), Transport())
    ]
    assert right[1] >= right[0]
    assert right[1] > 0.9
    monkeypatch.setattr(transport, "BLOCK", 50)
    assert float((Transport().fit(domains).predict(domains.target).astype(int) == y).mean()) > 0.9


def test_it_keeps_the_contract():
    check_transfer(Transport, toy_data("text"))


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ot", None)
    with pytest.raises(MissingExtraError, match="transport"):
        Transport().fit(rotated()[0])
