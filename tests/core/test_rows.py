"""Choosing rows."""

import pytest

from graft.core.rows import evenly_spaced


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
