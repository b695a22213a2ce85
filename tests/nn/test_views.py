"""Shifts and covers."""

import torch

from graft.nn.views import COVER_DRAWS, SHIFT_DRAWS, covered, shifted

PICTURE = torch.arange(256.0).view(1, 1, 16, 16)


def test_the_middle_draw_moves_nothing_and_the_outer_ones_an_eighth():
    middle = torch.full((1, SHIFT_DRAWS), 0.5)
    assert torch.equal(shifted(PICTURE, middle, flip=False), PICTURE)
    for axis, dim in ((0, 3), (1, 2)):
        draws = middle.clone()
        draws[0, axis] = 0.0
        moved = shifted(PICTURE, draws, flip=False)
        assert torch.equal(moved.narrow(dim, 2, 14), PICTURE.narrow(dim, 0, 14))
        assert torch.equal(moved.narrow(dim, 0, 1), PICTURE.narrow(dim, 2, 1))  # mirrored at the edge
        draws[0, axis] = 0.9999
        assert torch.equal(shifted(PICTURE, draws, flip=False).narrow(dim, 0, 14), PICTURE.narrow(dim, 2, 14))


def test_half_are_mirrored_where_asked():
    pictures, draws = PICTURE.expand(2, 3, 16, 16), torch.full((2, SHIFT_DRAWS), 0.5)
    draws[0, 2] = 0.2
    moved = shifted(pictures, draws, flip=True)
    assert torch.equal(moved[0], pictures[0].flip(2))
    assert torch.equal(moved[1], pictures[1])
    assert torch.equal(shifted(pictures, draws, flip=False), pictures)


def test_rows_are_moved_each_by_its_own_draws():
    torch.manual_seed(0)
    pictures, draws = torch.rand(5, 2, 8, 8), torch.rand(5, SHIFT_DRAWS)
    whole = shifted(pictures, draws, flip=True)
    for row in range(5):
        assert torch.equal(shifted(pictures[row : row + 1], draws[row : row + 1], flip=True)[0], whole[row])


def test_a_quarter_is_covered_in_the_middle_and_less_at_the_edge():
    draws = torch.full((2, COVER_DRAWS), 0.5)
    draws[1] = 0.0
    hidden = covered(torch.ones(2, 3, 16, 16), draws) == 0
    assert hidden[0, 0].sum() == 64
    assert hidden[0, 0, 4:12, 4:12].all()
    assert hidden[1, 2].sum() == 16
    assert hidden[1, 2, :4, :4].all()
