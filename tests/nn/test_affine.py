"""Random affine views of pictures."""

import torch

from graft.nn.affine import DRAWS, perturbed


def still(rows=2):
    return torch.full((rows, DRAWS), 0.5)


def picture():
    pixels = torch.full((2, 1, 28, 28), -1.0)
    pixels[:, :, 10:18, 12:16] = 1.0
    return pixels


def test_a_half_of_every_range_is_no_change():
    assert torch.allclose(perturbed(picture(), still()), picture(), atol=1e-5)


def test_equal_draws_give_equal_views_and_others_do_not():
    draws = torch.rand(2, DRAWS, generator=torch.Generator().manual_seed(0))
    assert torch.equal(perturbed(picture(), draws), perturbed(picture(), draws))
    assert not torch.equal(*perturbed(picture(), draws))


def test_a_shift_is_two_pixels_of_28():
    draws = still()
    draws[:, 5] = 1.0
    assert torch.allclose(perturbed(picture(), draws), picture().roll(-2, dims=3), atol=1e-4)


def test_zooming_out_shows_the_edges_own_grey():
    draws = still()
    draws[:, 4] = 1.0
    bright = -picture()
    view = perturbed(bright, draws)
    assert torch.allclose(view[..., 0, :], torch.ones(28), atol=1e-5)
    share = [float((x < 0).float().mean()) for x in (bright, view)]
    assert 0.4 < share[1] / share[0] < 0.75  # nine sixteenths of the area


def test_contrast_and_brightness():
    draws = still()
    draws[:, 7], draws[:, 8] = 1.0, 0.0
    assert torch.allclose(perturbed(picture(), draws), 1.5 * picture() - 0.25, atol=1e-4)
