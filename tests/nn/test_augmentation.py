"""Views of pictures from given random numbers."""

import pytest
import torch

from graft.nn.augmentation import DRAWS, SMALLEST, augmented


def pictures(channels=3, rows=64):
    return torch.rand(rows, channels, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def draws(rows=64, seed=1):
    return torch.rand(rows, DRAWS, generator=torch.Generator().manual_seed(seed))


def plain(rows=64):
    """Draws that leave a picture as it is: the whole of it, no change of colour."""
    still = torch.full((rows, DRAWS), 0.5)
    still[:, 0] = 1.0
    return still


def test_the_right_draws_leave_a_picture_as_it_is():
    assert torch.allclose(augmented(pictures(), plain(), flip=False), pictures(), atol=1e-5)


def test_half_of_the_pictures_are_mirrored_if_asked():
    some = plain()
    some[:32, 4] = 0.4
    views = augmented(pictures(), some, flip=True)
    assert torch.allclose(views[:32], pictures()[:32].flip(3), atol=1e-5)
    assert torch.allclose(views[32:], pictures()[32:], atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_views_differ_stay_in_range_and_follow_their_draws(channels):
    x = pictures(channels)
    one, two = augmented(x, draws(), flip=True), augmented(x, draws(seed=2), flip=True)
    assert one.shape == x.shape
    assert one.dtype == torch.float32
    assert float(one.abs().max()) <= 1
    assert not torch.allclose(one, two, atol=0.1)
    assert torch.equal(one, augmented(x, draws(), flip=True))
    alone = augmented(x[3:4], draws()[3:4], flip=True)
    assert torch.allclose(alone, one[3:4], atol=1e-6)  # a row does not depend on its neighbours


def test_a_crop_lies_inside_and_keeps_its_share():
    """On a ramp the brightest and darkest pixels of a view tell where it was cut."""
    ramp = torch.linspace(-1, 1, 64).expand(256, 1, 64, 64)
    some = draws(256)
    some[:, 5:] = 0.5
    views = augmented(ramp, some, flip=False)
    width = (views.amax(dim=(1, 2, 3)) - views.amin(dim=(1, 2, 3))) / 2
    assert float(width.min()) > 0.8 * (SMALLEST * 3 / 4) ** 0.5
    assert float(width.max()) <= 1
    area, shape = SMALLEST + (1 - SMALLEST) * some[:, 0], (4 / 3) ** (2 * some[:, 1] - 1)
    assert torch.allclose(width, (area * shape).sqrt().clamp(max=1), atol=0.05)


def test_some_colour_pictures_lose_their_colour():
    some = plain(2)
    some[0, 11] = 0.0
    views = augmented(pictures(rows=2), some, flip=False)
    assert float(views[0].std(dim=0).max()) < 1e-5 < float(views[1].std(dim=0).max())


def test_brightness_and_contrast_change():
    x = pictures(1, 1) * 0.2
    some = plain(1)
    some[0, 5] = 1.0  # 40 % brighter
    assert float((augmented(x, some, flip=False) + 1).mean() / (x + 1).mean()) == pytest.approx(1.4, abs=1e-3)
    some = plain(1)
    some[0, 6] = 0.0  # 40 % less contrast
    assert float(augmented(x, some, flip=False).std() / x.std()) == pytest.approx(0.6, abs=1e-3)
