"""Pictures out of latent codes."""

import json

import numpy as np
import pytest
import torch

from graft.core.errors import SourceError, UsageError
from graft.nn.generator import Generator, latent_codes, open_generator


def generator(seed=0, **more):
    torch.manual_seed(seed)
    return Generator(**{"channels": 1, "side": 8, "latent": 4, "width": 8, **more})


@pytest.mark.parametrize("side", [8, 16, 24, 32, 40, 48, 56, 64, 72])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_side_and_colour(side, channels):
    made = generator(side=side, channels=channels)
    with torch.no_grad():
        drawn = made(torch.randn(2, 4))
    assert drawn.shape == (2, channels, side, side)
    assert drawn.abs().max() <= 1
    assert 3 <= made.start <= 9


@pytest.mark.parametrize("side", [0, 4, 12, 30])
def test_other_sides_are_refused(side):
    with pytest.raises(UsageError, match=f"a side of {side} pixels cannot be drawn; use a multiple of 8"):
        generator(side=side)


def test_every_weight_has_a_gradient():
    made = generator(side=16)
    made(torch.randn(4, 4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())


def test_larger_sizes_have_more_weights():
    counts = [sum(p.numel() for p in generator(width=width, side=32).parameters()) for width in (8, 16, 32)]
    assert counts == sorted(set(counts))


def test_equal_seeds_draw_equal_pictures_and_leave_the_random_state_alone():
    made = generator()
    before = torch.get_rng_state()
    few, many = made.sample(3, seed=5), made.sample(70, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert few.shape == (3, 8, 8, 1)
    assert few.dtype == np.uint8
    assert np.array_equal(few, many[:3])
    assert not np.array_equal(few, made.sample(3, seed=6))
    assert made.training
    assert torch.equal(latent_codes(3, 4, 5), latent_codes(9, 4, 5)[:3])
    with pytest.raises(UsageError, match="draw one or more"):
        made.sample(0)


def test_what_is_saved_draws_the_same(tmp_path):
    made = generator(side=16, channels=3)
    made(torch.randn(8, 4))  # moves the running statistics
    made.save(tmp_path / "source")
    assert sorted(path.name for path in (tmp_path / "source").iterdir()) == [
        "generator.json", "generator.safetensors",
    ]  # fmt: skip
    opened = open_generator(str(tmp_path / "source"))
    assert np.array_equal(made.sample(5, seed=1), opened.sample(5, seed=1))
    assert not opened.training


def test_what_cannot_be_opened_is_said(tmp_path):
    with pytest.raises(SourceError, match=r"no generator in .*; make one with graft pretrain"):
        open_generator(tmp_path)
    generator().save(tmp_path)
    facts = json.loads((tmp_path / "generator.json").read_text())
    for change in ({"format": 2}, {"arguments": {"side": 16}}, {"arguments": {"sides": 16}}, {"arguments": 3}):
        (tmp_path / "generator.json").write_text(json.dumps(facts | change))
        with pytest.raises(SourceError, match="generator"):
            open_generator(tmp_path)
    (tmp_path / "generator.json").write_text(json.dumps(facts))
    whole = (tmp_path / "generator.safetensors").read_bytes()
    (tmp_path / "generator.safetensors").write_bytes(whole[:100])
    with pytest.raises(SourceError, match="is damaged"):
        open_generator(tmp_path)
