import itertools
import math

import pytest
import torch
from torch import nn

from graft.core.errors import UsageError
from graft.engine.optim import SCHEDULES, discriminative_groups, make_optimizer, make_schedule, set_rate, warmup_linear


def test_schedule_is_a_triangle_with_area_one_half():
    for warmup in (0.05, 0.1, 0.5):
        assert warmup_linear(0.0, warmup) == 0
        assert warmup_linear(warmup, warmup) == pytest.approx(1)
        assert warmup_linear(1.0, warmup) == 0
        grid = [warmup_linear(step / 1000, warmup) for step in range(1001)]
        assert sum(grid) / 1000 == pytest.approx(0.5, abs=1e-3)
        assert max(grid) <= 1
    assert warmup_linear(0.0, 0.0) == 1
    assert warmup_linear(1.0, 0.0) == 0
    assert warmup_linear(1.2, 0.1) == 0  # a deadline that was missed must not climb


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_rises_in_the_warm_up_and_never_after(name):
    schedule = make_schedule(name)
    for warmup in (0.0, 0.1, 0.5, 1.0):
        assert [schedule(p * warmup, warmup) for p in (0.0, 0.5)] == ([0, 0.5] if warmup else [schedule(0, 0)] * 2)
        after = [schedule(warmup + (1 - warmup) * step / 50, warmup) for step in range(51)]
        assert after[0] == pytest.approx(1)
        assert all(one >= other - 1e-12 for one, other in itertools.pairwise(after))
        assert schedule(1.2, 0.1) == pytest.approx(float(name == "constant"))  # a deadline that was missed
    with pytest.raises(UsageError, match="no schedule 'cosin'; use linear, cosine, constant"):
        make_schedule("cosin")


def test_the_cosine_is_one_with_area_one_half():
    grid = [make_schedule("cosine")(step / 1000, 0.0) for step in range(1001)]
    assert sum(grid) / 1001 == pytest.approx(0.5, abs=1e-3)
    assert grid[250] == pytest.approx((1 + math.sqrt(0.5)) / 2)


def body():
    return [nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), nn.Linear(4, 4)]


def rates(groups):
    return {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_rates_fall_from_top_to_bottom_and_vectors_are_not_decayed():
    layers, head = body(), nn.Linear(4, 2)
    groups = discriminative_groups(
        [list(layer.parameters()) for layer in layers], head, lr=0.1, head_lr=0.7, layer_decay=0.5, weight_decay=0.03
    )
    found = rates(groups)
    for layer, rate in zip([*layers, head], [0.025, 0.05, 0.1, 0.7], strict=True):
        for parameter in layer.parameters():
            assert found[id(parameter)] == (pytest.approx(rate), 0.03 if parameter.ndim > 1 else 0.0)
    assert sum(len(group["params"]) for group in groups) == sum(
        1 for part in [*layers, head] for _ in part.parameters()
    )


def test_the_head_may_decay_alone():
    layers, head = body(), nn.Linear(4, 2)
    groups = discriminative_groups(
        [list(layer.parameters()) for layer in layers], head, lr=0.1, head_lr=0.1, weight_decay=0.0, head_decay=0.3
    )
    found = rates(groups)
    assert found[id(head.weight)] == (0.1, 0.3)
    assert found[id(layers[0].weight)] == found[id(head.bias)] == (0.1, 0.0)


def test_equal_rates_become_one_group():
    layers, head = body(), nn.Linear(4, 2)
    groups = discriminative_groups(
        [list(layer.parameters()) for layer in layers], head, lr=0.1, head_lr=0.1, weight_decay=0.01
    )
    assert len(groups) == 2  # matrices and vectors


def test_frozen_parameters_are_left_out():
    layers, head = body(), nn.Linear(4, 2)
    layers[0].requires_grad_(requires_grad=False)
    found = rates(discriminative_groups([list(layer.parameters()) for layer in layers], head, lr=0.1, head_lr=0.1))
    assert not {id(p) for p in layers[0].parameters()} & set(found)


def test_rates_are_set_relative_to_each_peak():
    layers, head = body(), nn.Linear(4, 2)
    groups = discriminative_groups([list(layers[0].parameters())], head, lr=0.1, head_lr=0.4)
    for name in ("adamw", "adam", "sgd"):
        optimizer = make_optimizer(name, [*groups, {"params": [], "lr": 9.0}])
        set_rate(optimizer, 0.5)
        set_rate(optimizer, 0.25)  # not on top of the earlier factor
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.025, 0.1])
    assert "peak_lr" not in groups[0]  # the caller's groups stay as they were


def test_decay_shrinks_matrices_only():
    """With no gradient, AdamW's step is w ← w (1 - lr · decay)."""
    layer = nn.Linear(3, 3)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    groups = discriminative_groups([[]], layer, lr=1.0, head_lr=0.1, weight_decay=0.5)
    optimizer = make_optimizer("adamw", groups)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias.detach(), before[1])
