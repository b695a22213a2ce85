"""Transfer component analysis."""

import numpy as np
from scipy import linalg

from graft.adaptation.tca import TransferComponents, transfer_components
from graft.testing import check_transfer, toy_data


def shifted():
    rng = np.random.default_rng(0)
    source, target = rng.standard_normal((90, 5)), rng.standard_normal((110, 5)) + np.array([3.0, 1.0, 0.0, 0.0, 0.0])
    return source, target


def test_the_domains_means_come_together():
    source, target = shifted()
    W = transfer_components(source, target, 3, mu=0.1)
    pooled = np.concatenate([source, target])
    plain = linalg.eigh(np.cov(pooled.T))[1][:, ::-1][:, :3] / np.sqrt(linalg.eigvalsh(np.cov(pooled.T))[::-1][:3])
    gaps = [np.linalg.norm((source.mean(0) - target.mean(0)) @ turn) for turn in (W, plain)]
    assert gaps[0] < 0.2 * gaps[1]


def test_components_have_variance_one_and_are_uncorrelated():
    source, target = shifted()
    pooled = np.concatenate([source, target]) @ transfer_components(source, target, 4, mu=1.0)
    assert np.allclose(np.cov(pooled.T, bias=True), np.eye(4), atol=1e-8)


def test_it_keeps_the_contract():
    check_transfer(TransferComponents, toy_data("text"), points=40, components=10)
    check_transfer(TransferComponents, toy_data("table"), points=40, components=10)
