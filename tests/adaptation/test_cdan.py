"""Conditional adversarial adaptation."""

import pytest
import torch
from adaptation.networks import learns

from graft.adaptation.cdan import Multilinear


@pytest.mark.parametrize("entropy_weights", [True, False])
def test_it_learns(entropy_weights):
    learns("cdan", strength=0.3, entropy_weights=entropy_weights)


def test_small_products_are_exact():
    f, g = torch.randn(3, 4), torch.randn(3, 2)
    found = Multilinear(4, 2)(f, g)
    assert torch.equal(found, torch.stack([torch.outer(a, b).flatten() for a, b in zip(f, g, strict=True)]))


def test_random_maps_keep_inner_products():
    torch.manual_seed(0)
    f, g = torch.randn(6, 4), torch.randn(6, 2)
    drawn = Multilinear(4, 2, largest=1, random=100_000)
    assert drawn.drawn
    low = drawn(f, g)
    assert torch.allclose(low @ low.T, (f @ f.T) * (g @ g.T), atol=0.4)


def test_large_products_are_drawn():
    assert Multilinear(64, 10).outputs == 640
    assert Multilinear(768, 10).outputs == 1024
