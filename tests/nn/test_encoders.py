import pytest
import torch

from graft.core.errors import UsageError
from graft.nn.encoders import ENCODERS, MLP, ResNet, TextCNN, make_encoder

MADE = {
    "textcnn": (lambda: TextCNN(20, width=8, filters=5), lambda n: {
        "input_ids": torch.randint(1, 20, (n, 9)), "attention_mask": torch.ones(n, 9),
    }),
    "resnet": (lambda: ResNet(1, widths=(8, 16)), lambda n: {"pixel_values": torch.randn(n, 1, 12, 12)}),
    "mlp": (lambda: MLP(4, width=6), lambda n: {"values": torch.randn(n, 4)}),
}  # fmt: skip


@pytest.fixture(params=MADE)
def made(request):
    torch.manual_seed(0)
    encoder, batch = MADE[request.param]
    return encoder().eval(), batch


def pooled(encoder, batch):
    return encoder.pool(encoder.forward_features(batch)[-1], batch)


def test_all_are_tried():
    assert set(MADE) == set(ENCODERS)


def test_shapes(made):
    encoder, batch = made
    with torch.no_grad():
        layers = encoder.forward_features(batch(3))
        assert len(layers) >= 1
        assert pooled(encoder, batch(3)).shape == (3, encoder.hidden_size)


def test_blocks_and_stem_hold_every_parameter_once(made):
    encoder, _ = made
    parts = [*encoder.stem(), *encoder.blocks()]
    found = [id(p) for part in parts for p in part.parameters()]
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


def test_weights_come_from_the_random_state(made):
    name = type(made[0]).__name__.lower()
    arguments = {"textcnn": {"vocabulary": 20}, "resnet": {"channels": 1}, "mlp": {"inputs": 4}}[name]

    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for p in make_encoder(name, **arguments).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_padding_changes_nothing_in_a_text():
    torch.manual_seed(0)
    encoder = TextCNN(20, width=8, filters=5).eval()
    ids = torch.randint(1, 20, (2, 8))
    short = {"input_ids": ids, "attention_mask": torch.ones(2, 8)}
    long = {
        "input_ids": torch.cat([ids, torch.full((2, 7), 3)], 1),  # what stands under the padding must not matter
        "attention_mask": torch.cat([torch.ones(2, 8), torch.zeros(2, 7)], 1),
    }
    with torch.no_grad():
        torch.testing.assert_close(pooled(encoder, short), pooled(encoder, long))


def test_contrast_of_a_picture_hardly_matters():
    """Without biases before the first normalisation, scaling the input changes nothing."""
    torch.manual_seed(0)
    encoder = ResNet(1, widths=(8, 16)).eval()
    picture = {"pixel_values": torch.randn(2, 1, 16, 16)}
    with torch.no_grad():
        louder = pooled(encoder, {"pixel_values": 3 * picture["pixel_values"]})
        torch.testing.assert_close(pooled(encoder, picture), louder, rtol=1e-3, atol=1e-3)


def test_unknown_encoder():
    with pytest.raises(UsageError, match="no encoder 'lstm'; known: mlp, resnet, textcnn"):
        make_encoder("lstm")
