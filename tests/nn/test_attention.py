"""Attention: the backward pass written out against torch's own, in some places against all, with and without masks."""

import pytest
import torch

from graft.nn.attention import angles, attend, turned
from graft.nn.encoders import make_encoder

B, T, H, D = 3, 7, 2, 8


def parts_of(count=3, dtype=torch.float64):
    torch.manual_seed(0)
    return torch.randn(B, T, count, H, D, dtype=dtype, requires_grad=True)


def masks():
    padded = (torch.arange(T) < torch.tensor([7, 4, 1])[:, None])[:, None, None, :]
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    return {"none": None, "padding": padded, "causal": causal, "both": padded & causal}


@pytest.mark.parametrize("seen", masks())
@pytest.mark.parametrize("rotary", [False, True])
def test_value_and_gradient_are_those_of_torch(seen, rotary):
    parts, seen = parts_of(), masks()[seen]
    turn = angles(T, D, parts.detach()) if rotary else None
    ours, plain = (attend(parts, seen=seen, turn=turn, training=training) for training in (True, False))
    torch.testing.assert_close(ours, plain)
    to = torch.randn_like(plain)
    one, other = (torch.autograd.grad(y, parts, to)[0] for y in (ours, plain))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("training", [False, True])
def test_some_places_ask_as_they_do_among_all(training):
    parts, places = parts_of(), torch.tensor([[0, 3], [2, 6], [1, 1]])
    turn = angles(T, D, parts.detach())
    asked = torch.stack([parts[row, places[row], 0] for row in range(B)])
    some = attend(parts[:, :, 1:], asked, turn=turn, turn_q=(turn[0][places], turn[1][places]), training=training)
    whole = attend(parts, turn=turn)
    expected = torch.stack([whole[row, places[row]] for row in range(B)])
    torch.testing.assert_close(some, expected)
    to = torch.randn_like(expected)
    one, other = (torch.autograd.grad(y, parts, to)[0] for y in (some, expected))
    torch.testing.assert_close(one, other)


def test_products_of_turned_vectors_hang_on_the_distance_alone():
    x, turn = torch.randn(1, 1, 1, D, dtype=torch.float64), angles(T, D, torch.zeros(1, dtype=torch.float64))
    everywhere = turned(x.expand(1, 1, T, D), turn)[0, 0]
    products = everywhere @ everywhere.T
    for distance in range(T):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along))


def test_last_block_in_some_places_is_that_in_all():
    encoder, ids = make_encoder("transformer", vocabulary=50, width=64, depth=2), torch.randint(1, 50, (3, 9))
    places = torch.tensor([[0, 4], [1, 8], [2, 3]])
    for training in (False, True):
        encoder.train(training)
        whole = encoder.forward_features({"input_ids": ids})[-1]
        some = encoder.forward_features({"input_ids": ids, "places": places})[-1]
        torch.testing.assert_close(some, torch.stack([whole[row, places[row]] for row in range(3)]))


def test_half_precision_comes_close():
    exact = parts_of(dtype=torch.float32)
    low = exact.detach().bfloat16().requires_grad_()
    one, other = (attend(x, turn=angles(T, D, x.detach()), training=True) for x in (low, exact))
    assert one.dtype == torch.bfloat16
    torch.testing.assert_close(one.float(), other, rtol=0.05, atol=0.05)
    rough, fine = (torch.autograd.grad(y.sum(), x)[0].float() for y, x in ((one, low), (other, exact)))
    assert torch.cosine_similarity(rough.flatten(), fine.flatten(), dim=0) > 0.999
