"""Choosing rows, and cutting an order of them into batches."""

import numpy as np
import pytest

from graft.core.rows import evenly_spaced, in_batches


@pytest.mark.parametrize(
    ("total", "most", "chosen"),
    [(5, 10, [0, 1, 2, 3, 4]), (101, 3, [0, 50, 100]), (0, 3, []), (1, 3, [0]), (7, 1, [0])],
)
def test_evenly_spaced(total, most, chosen):
    assert evenly_spaced(total, most).tolist() == chosen


def test_no_row_is_chosen_twice_and_none_is_lost():
    for total in range(1, 60):
        for most in range(1, 70):
            chosen = evenly_spaced(total, most).tolist()
            assert len(chosen) == len(set(chosen)) == min(total, most)


def test_batches_hold_every_row_once_and_nearly_no_padding():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    orders = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        batches = list(in_batches(rng.permutation(1000), 16, lengths, rng))
        assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
        assert max(map(len, batches)) == 16
        orders.append(np.concatenate(batches).tolist())
        padding = sum(lengths[batch].max() * len(batch) for batch in batches) / lengths.sum()
        assert padding < 1.2  # a random order has 1.8 times the tokens
    assert orders[0] != orders[1]


def test_without_lengths_the_order_is_cut_as_it_is():
    batches = list(in_batches(np.arange(33), 16, None, np.random.default_rng(0)))
    assert sorted(map(len, batches)) == [1, 16, 16]
    assert all((np.diff(batch) == 1).all() for batch in batches)
