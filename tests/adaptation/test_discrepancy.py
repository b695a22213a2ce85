"""Distances between samples, by closed forms."""

import pytest
import torch

from graft.adaptation.discrepancy import (
    coral,
    covariance,
    gaussian,
    mean_discrepancy,
    moment_distance,
    squared_distances,
)


def sample(rows=40, width=3, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


@pytest.mark.parametrize("linear", [False, True])
def test_equal_samples_have_no_discrepancy(linear):
    x = sample()
    assert abs(float(mean_discrepancy([x, x[:, :1]], [x, x[:, :1]], linear=linear))) < 1e-6


@pytest.mark.parametrize("linear", [False, True])
def test_far_samples_have_a_large_one_and_near_ones_none(linear):
    x, same, far = sample(400), sample(400, seed=1), sample(400, seed=2) + 3
    assert float(mean_discrepancy([x], [far], linear=linear)) > 0.3
    assert abs(float(mean_discrepancy([x], [same], linear=linear))) < 0.06


def test_the_estimate_is_the_sum_over_pairs():
    s, t = sample(5), sample(5, seed=1) + 1
    rows = torch.cat([s, t])
    k = gaussian(squared_distances(rows, rows))
    n = 5
    total = sum(k[i, j] + k[n + i, n + j] - k[i, n + j] - k[j, n + i] for i in range(n) for j in range(n) if i != j) / (
        n * (n - 1)
    )
    assert torch.allclose(mean_discrepancy([s], [t]), total, atol=1e-6)


def test_the_bandwidth_follows_the_scale_and_rows_beyond_are_left_out():
    s, t = sample(), sample(seed=1) + 1
    one = mean_discrepancy([s], [t])
    assert torch.allclose(one, mean_discrepancy([100 * s], [100 * t]), atol=1e-5)
    assert torch.allclose(one, mean_discrepancy([torch.cat([s, s])], [t]), atol=1e-6)


def test_the_joint_kernel_sees_what_each_layer_hides():
    x = torch.tensor([[1.0], [-1.0]]).repeat(50, 1)
    y = x.clone()
    joint = float(mean_discrepancy([x, y], [x, -y]))  # both layers alike, together turned around
    alone = float(mean_discrepancy([x], [x]) + mean_discrepancy([y], [-y]))
    assert joint > 0.1
    assert abs(alone) < 0.05


def test_coral_is_zero_for_equal_covariances():
    x = sample()
    assert float(coral(x, x + 7)) < 1e-9
    assert torch.allclose(covariance(x), torch.cov(x.T), atol=1e-5)
    assert float(coral(x, 2 * x)) == pytest.approx(9 * float(covariance(x).square().sum()) / 36, rel=1e-4)


def test_moments():
    x = sample()
    assert float(moment_distance([x, x, x])) == 0.0
    ones = torch.ones(4, 2)
    assert float(moment_distance([ones, 0 * ones], orders=3)) == pytest.approx(3 * 2**0.5)


def test_gradients_lower_the_discrepancy():
    s, t = sample(), (sample(seed=1) + 1).requires_grad_()
    before = mean_discrepancy([s], [t])
    before.backward()
    assert mean_discrepancy([s], [t - 5 * t.grad]) < before
