import pytest
import torch

from graft.core.errors import UsageError
from graft.nn.encoders import ENCODERS, SIZES, make_encoder, size_of


def tokens(n):
    return {"input_ids": torch.randint(1, 20, (n, 9)), "attention_mask": torch.ones(n, 9)}


def pictures(n):
    return {"pixel_values": torch.randn(n, 1, 16, 16)}


ARGUMENTS = {
    "cnn": {"vocabulary": 20, "width": 8, "depth": 2},
    "gru": {"vocabulary": 20, "width": 8},
    "linear": {"inputs": 4, "width": 3},
    "lstm": {"vocabulary": 20, "width": 8, "embedded": 5},
    "mean": {"vocabulary": 20, "width": 8},
    "mlp": {"inputs": 4, "width": 6},
    "patches": {"channels": 1, "size": 16, "patch": 4, "width": 32, "depth": 2},
    "resnet": {"channels": 1, "widths": (8, 16)},
    "resnet-cifar": {"channels": 1, "widths": (8, 16), "depth": 6},
    "textcnn": {"vocabulary": 20, "width": 8, "filters": 5},
    "transformer": {"vocabulary": 20, "width": 16, "depth": 2, "heads": 2},
    "vgg": {"channels": 1, "widths": (8, 16)},
}
TOKENS = ("cnn", "gru", "lstm", "mean", "textcnn", "transformer")
BATCHES = dict.fromkeys(TOKENS, tokens) | {
    "linear": lambda n: {"values": torch.randn(n, 4)}, "mlp": lambda n: {"values": torch.randn(n, 4)}, "patches": pictures, "resnet": pictures,
    "resnet-cifar": pictures, "vgg": pictures,
}  # fmt: skip


@pytest.fixture(params=ARGUMENTS)
def made(request):
    torch.manual_seed(0)
    return make_encoder(request.param, **ARGUMENTS[request.param]).eval(), BATCHES[request.param]


def pooled(encoder, batch):
    return encoder.pool(encoder.forward_features(batch)[-1], batch)


def test_all_are_tried():
    assert set(ARGUMENTS) == set(BATCHES) == set(ENCODERS) == set(SIZES)


def test_shapes(made):
    encoder, batch = made
    with torch.no_grad():
        layers = encoder.forward_features(batch(3))
        assert len(layers) >= 1
        assert pooled(encoder, batch(3)).shape == (3, encoder.hidden_size)


def test_blocks_hold_every_parameter_once(made):
    encoder, _ = made
    found = [id(p) for part in encoder.blocks() for p in part.parameters()]
    assert sorted(found) == sorted(id(p) for p in encoder.parameters())


def test_rows_do_not_see_each_other(made):
    encoder, make = made
    batch = make(4)
    with torch.no_grad():
        whole = pooled(encoder, batch)
        for row in range(4):
            one = {key: value[row : row + 1] for key, value in batch.items()}
            torch.testing.assert_close(pooled(encoder, one)[0], whole[row], rtol=1e-4, atol=1e-5)


def test_every_parameter_has_a_gradient_and_a_step_lowers_the_loss(made):
    encoder, make = made
    encoder.train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch, target = make(16), torch.randn(16, encoder.hidden_size)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        loss = (pooled(encoder, batch) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())
    assert losses[1] < losses[0]


@pytest.mark.parametrize("name", ARGUMENTS)
def test_weights_come_from_the_random_state(name):
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for p in make_encoder(name, **ARGUMENTS[name]).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_sizes_grow(name, size):
    first = {"inputs": 4} if name in ("linear", "mlp") else {"vocabulary": 20} if name in TOKENS else {}
    count = sum(p.numel() for p in make_encoder(name, **first, **size_of(name, size)).parameters())
    order = list(SIZES[name])
    if order.index(size):
        smaller = make_encoder(name, **first, **size_of(name, order[order.index(size) - 1]))
        assert count > sum(p.numel() for p in smaller.parameters())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", TOKENS)
def test_padding_changes_nothing_in_a_text(name, causal):
    torch.manual_seed(0)
    more = {} if name in ("mean", "textcnn") else {"causal": causal}
    encoder = make_encoder(name, **ARGUMENTS[name], **more).eval()
    ids = torch.randint(1, 20, (2, 8))
    short = {"input_ids": ids, "attention_mask": torch.ones(2, 8)}
    long = {
        "input_ids": torch.cat([ids, torch.full((2, 7), 3)], 1),  # what stands under the padding must not matter
        "attention_mask": torch.cat([torch.ones(2, 8), torch.zeros(2, 7)], 1),
    }
    with torch.no_grad():
        torch.testing.assert_close(pooled(encoder, short), pooled(encoder, long))
        if name != "textcnn":
            del short["attention_mask"]  # nothing is padded: the same
            torch.testing.assert_close(pooled(encoder, short), pooled(encoder, long))


@pytest.mark.parametrize("name", ["cnn", "gru", "lstm", "transformer"])
def test_only_a_causal_encoder_is_blind_to_what_follows(name):
    torch.manual_seed(0)
    ids = torch.randint(1, 20, (1, 10))
    other = ids.clone()
    other[0, 7:] = (ids[0, 7:] + 5) % 20
    for causal in (True, False):
        encoder = make_encoder(name, **ARGUMENTS[name], causal=causal).eval()
        with torch.no_grad():
            one, two = (encoder.forward_features({"input_ids": each})[-1][0, :7] for each in (ids, other))
        assert torch.allclose(one, two, atol=1e-6) == causal


def test_attention_written_out_is_that_of_torch():
    torch.manual_seed(0)
    encoder = make_encoder("transformer", **ARGUMENTS["transformer"], causal=True)
    batch = {"input_ids": torch.randint(1, 20, (3, 9)), "attention_mask": torch.ones(3, 9)}
    batch["attention_mask"][1, 5:] = 0
    with torch.no_grad():
        written, fused = pooled(encoder.train(), batch), pooled(encoder.eval(), batch)
    torch.testing.assert_close(written, fused)


def test_the_order_of_tokens_and_the_place_of_patches_matter():
    torch.manual_seed(0)
    ids, picture = torch.arange(1, 10)[None], torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        encoder = make_encoder("transformer", **ARGUMENTS["transformer"]).eval()
        one, two = (pooled(encoder, {"input_ids": each}) for each in (ids, ids.flip(1)))
        assert not torch.allclose(one, two, atol=1e-4)
        encoder = make_encoder("patches", **ARGUMENTS["patches"]).eval()
        one, two = (pooled(encoder, {"pixel_values": each}) for each in (picture, picture.roll(4, dims=3)))
        assert not torch.allclose(one, two, atol=1e-4)


def test_patches_are_cut_row_by_row_and_can_be_left_out():
    encoder = make_encoder("patches", **ARGUMENTS["patches"]).eval()
    picture = torch.arange(256.0).reshape(1, 1, 16, 16)
    patches = encoder.patches(picture)
    assert patches.shape == (1, 16, 16)
    assert torch.equal(patches[0, 1].reshape(4, 4), picture[0, 0, :4, 4:8])
    assert torch.equal(patches[0, 4].reshape(4, 4), picture[0, 0, 4:8, :4])
    with torch.no_grad():
        every = torch.arange(16)[None]
        whole, kept = ({"pixel_values": picture}, {"pixel_values": picture, "kept": every})
        torch.testing.assert_close(pooled(encoder, whole), pooled(encoder, kept))
        assert encoder.forward_features(kept | {"kept": every[:, :5]})[-1].shape == (1, 5, 32)


def test_contrast_of_a_picture_hardly_matters():
    """Without biases before the first normalisation, scaling the input changes nothing."""
    torch.manual_seed(0)
    encoder = make_encoder("resnet", **ARGUMENTS["resnet"]).eval()
    picture = {"pixel_values": torch.randn(2, 1, 16, 16)}
    with torch.no_grad():
        louder = pooled(encoder, {"pixel_values": 3 * picture["pixel_values"]})
        torch.testing.assert_close(pooled(encoder, picture), louder, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("ask", [lambda: make_encoder("lstmm"), lambda: size_of("lstmm", "tiny")])
def test_unknown_encoder(ask):
    with pytest.raises(UsageError, match="no encoder 'lstmm'; known: cnn, gru, linear, lstm, mean, mlp, patches"):
        ask()


def test_unknown_size():
    with pytest.raises(UsageError, match="no size 'huge'; use tiny, small, base"):
        size_of("gru", "huge")
