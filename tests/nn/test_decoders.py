"""From states back to pixels."""

import pytest
import torch

from graft.nn.decoders import MapDecoder, PatchDecoder


def patch_decoder(**options):
    torch.manual_seed(0)
    return PatchDecoder(12, 5, side=4, width=8, depth=1, **options).eval()


def order(rows=2, kept=6):
    places = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(row)) for row in range(rows)])
    return places[:, :kept], places[:, kept:]


def test_hidden_patches_come_out_in_their_order():
    decoder, (kept, hidden) = patch_decoder(), order()
    states = torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(1))
    out = decoder(states, kept, hidden)
    assert out.shape == (2, 10, 5)
    assert torch.allclose(decoder(states, kept, hidden.flip(1)), out.flip(1), atol=1e-5)
    assert torch.allclose(decoder(states.flip(1), kept.flip(1), hidden), out, atol=1e-5)  # a set has no order
    assert not torch.allclose(decoder(states, kept, hidden)[:, 0], out[:, 1], atol=1e-5)  # but places count


def test_the_gradient_of_a_patch_decoder_is_right():
    decoder, (kept, hidden) = patch_decoder().double(), order()
    states = torch.randn(2, 6, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: decoder(x, kept, hidden).sum(dim=2), (states,), atol=1e-6)


@pytest.mark.parametrize("times", [2, 4, 8])
def test_every_place_of_a_map_becomes_a_square_of_pixels(times):
    torch.manual_seed(0)
    decoder = MapDecoder(16, 3, times=times, depth=0)
    maps = torch.zeros(1, 16, 4, 4)
    still = decoder(maps)
    assert still.shape == (1, 3, 4 * times, 4 * times)
    maps[0, :, 1, 2] = 1
    touched = (decoder(maps) != still).any(dim=1)[0]
    expected = torch.zeros(4 * times, 4 * times, dtype=torch.bool)
    expected[times : 2 * times, 2 * times : 3 * times] = True
    assert torch.equal(touched, expected)
