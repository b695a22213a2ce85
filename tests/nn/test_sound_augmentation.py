"""Other takes of a sound: what stays, what is hidden, and what equal draws give."""

import pytest
import torch

from graft.nn.sound_augmentation import BANDS, DRAWS, FRAMES, hidden, retaken, warped

MIDDLE = torch.tensor([[0.5] * 5 + [0.0] * 8])


def frames(rows=3, length=40, bands=16):
    torch.manual_seed(0)
    real = (torch.arange(length) < torch.tensor([40, 30, 20])[:rows, None]).float()
    return {"frames": torch.randn(rows, length, bands) * real[..., None], "attention_mask": real}


def forms():
    torch.manual_seed(0)
    yield frames()
    yield {"pixel_values": torch.randn(3, 3, 16, 24)}
    yield {"pixel_values": torch.randn(3, 2, 16, 24)}
    yield {"input_features": torch.randn(3, 16, 30)}
    yield {"input_values": torch.randn(3, 30, 16)}
    yield {"input_values": torch.randn(3, 200)}


@pytest.mark.parametrize("inputs", list(forms()), ids=["frames", "picture", "two channels", "whisper", "ast", "waves"])
def test_shapes_stay_equal_draws_give_equal_takes_and_inputs_are_not_changed(inputs):
    before = {name: value.clone() for name, value in inputs.items()}
    draws = torch.rand(3, DRAWS, generator=torch.Generator().manual_seed(1))
    one, other = retaken(inputs, draws), retaken(inputs, draws)
    name = next(iter(inputs))
    assert not torch.equal(one[name], inputs[name])
    for key, value in inputs.items():
        assert torch.equal(value, before[key])
        assert one[key].shape == value.shape
        assert torch.equal(one[key], other[key])
    if inputs[name].ndim == 4 and inputs[name].shape[1] == 2:  # the second channel says where a band is
        assert torch.equal(one[name][:, 1], inputs[name][:, 1])


def test_the_middle_of_all_ranges_changes_nothing():
    inputs = frames()
    same = retaken(inputs, MIDDLE.expand(3, -1))
    torch.testing.assert_close(same["frames"], inputs["frames"], atol=1e-5, rtol=1e-5)
    assert torch.equal(same["attention_mask"], inputs["attention_mask"])


def test_faster_is_shorter_and_later_is_later():
    ramp = torch.arange(40.0).reshape(1, 1, 1, 40)
    real = torch.ones(1, 40)
    quick, still = warped(ramp, torch.tensor([[1.0, 0.5, 0.5, 0.5]]), real)
    assert still.sum() == round(40 / 1.15)
    torch.testing.assert_close(quick[0, 0, 0, :30], 1.15 * torch.arange(30.0), atol=1e-3, rtol=1e-3)
    assert not quick[0, 0, 0, 35:].any()
    late, _ = warped(ramp, torch.tensor([[0.5, 1.0, 0.5, 0.5]]), real)
    torch.testing.assert_close(late[0, 0, 0, 4:], torch.arange(36.0), atol=1e-3, rtol=1e-3)


def test_what_is_hidden_is_a_few_frames_and_bands():
    draws = torch.cat([torch.full((1, 5), 0.5), torch.tensor([[1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0]])], dim=1)
    maps = torch.ones(1, 1, 40, 40) + torch.eye(40)
    shown = hidden(maps, draws, torch.ones(1, 40))[0, 0] == 0
    assert shown.all(dim=0).sum() == 2 * int(FRAMES * 40)
    assert shown.all(dim=1).sum() == 2 * int(BANDS * 40)
    fill = hidden(maps, draws)[0, 0, 0, 0]
    torch.testing.assert_close(fill, maps.mean())
