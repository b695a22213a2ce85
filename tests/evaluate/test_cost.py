import pytest

from graft.evaluate.cost import BACKWARD, HEAD_ROWS, UPDATE, Cost


def test_the_formula():
    cost = Cost(forward=0.01, weights=1_000_000)
    assert cost.training(0, 0, 8) == 0
    assert cost.training(100, 0, 8) == pytest.approx(100 * 0.01)
    step = 8 * 0.01 * (1 + BACKWARD) + UPDATE * 1_000_000
    assert cost.training(0, 50, 8) == pytest.approx(50 * step)
    assert cost.training(0, 50, 8, share=0.0) == pytest.approx(50 * 8 * 0.01)
    assert cost.training(0, 100, 8) == pytest.approx(2 * cost.training(0, 50, 8))


def test_more_of_anything_costs_more():
    cost = Cost(0.01, 1_000_000)
    base = cost.training(100, 50, 8, share=0.5)
    assert min(cost.training(200, 50, 8, share=0.5), cost.training(100, 60, 8, share=0.5)) > base
    assert min(cost.training(100, 50, 16, share=0.5), cost.training(100, 50, 8, share=0.6)) > base


def test_a_measured_step_takes_the_place_of_the_formula():
    cost = Cost(0.01, 1_000_000, step=0.5)
    assert cost.training(0, 10, 8) == pytest.approx(5.0)
    assert cost.training(10**6, 0, 8) == pytest.approx(HEAD_ROWS * 0.01)  # a head starts from some rows only
