"""Hidden parts of pictures whose rules are known."""

import numpy as np
import pytest
import torch
from pretrain.picture_sets import accuracy_of, crosses, score_of, stripes, untrained

from graft.core.runtime import silent
from graft.data.load import load
from graft.nn.patches import cut, joined
from graft.pretrain.masked_image import MaskedImage, interpolated

ERROR, NOISE = "squared error of what is hidden", "signal to noise of what is hidden"
FORMS = [("patches", "patches"), ("patches", "block"), ("resnet", "block"), ("resnet", "patches"), ("vgg", "block")]
forms = pytest.mark.parametrize(("encoder", "gap"), FORMS)


@pytest.fixture(scope="module")
def made():
    """Stripes of which half is hidden: the rest tells all."""
    return MaskedImage(size="tiny", hidden=0.5, epochs=10, batch_size=32, lr=2e-3).fit(stripes(400, side=8)[0])


def begun(pictures, folder, **options):
    """The objective and a batch before any training."""
    made = MaskedImage(size="tiny", **options)
    _, objective, batches, _ = made._start(load(pictures, labelled=False), folder, silent)
    return objective, next(iter(batches(0)))


def test_what_is_hidden_is_told_from_the_rest(made):
    error, ratio = score_of(made, ERROR), score_of(made, NOISE)
    assert set(error["baselines"]) == {"mean picture", "mean colour", "interpolation"}
    assert error["high"] < 0.8 * min(error["baselines"].values())
    assert ratio["value"] == pytest.approx(-10 * np.log10(error["value"]))
    assert ratio["low"] > max(ratio["baselines"].values())
    losses = [point["loss"] for point in made.record_["curve"]]
    assert losses[-1] < 0.8 * losses[0]


def test_a_block_is_filled_in():
    made = MaskedImage(encoder="resnet", size="tiny", epochs=4, batch_size=32, lr=3e-3).fit(stripes(300)[0])
    assert made.record_["data"]["gap"] == "block"
    error = score_of(made, ERROR)
    assert error["high"] < 0.8 * min(error["baselines"].values())
    assert [sample["kind"] for sample in made.record_["samples"]] == ["inpainted"]


def test_features_tell_more_than_those_of_a_random_network():
    pictures, labels = stripes(500, noise=100)
    made = MaskedImage(encoder="resnet", size="tiny", epochs=6, batch_size=32, lr=3e-3).fit(pictures)
    trained = accuracy_of(made.backbone_, pictures, labels, labelled=40)
    assert trained > accuracy_of(untrained(made.backbone_), pictures, labels, labelled=40) + 0.05


@forms
def test_only_what_is_hidden_is_touched(encoder, gap, tmp_path):
    objective, batch = begun(crosses(40, channels=3)[0], tmp_path, encoder=encoder, gap=gap)
    objective.eval()
    seen = objective.seen(batch).bool().expand_as(batch["pixel_values"])
    filled = objective.filled(batch)
    assert torch.equal(filled[seen], batch["pixel_values"][seen])
    assert not torch.equal(filled[~seen], batch["pixel_values"][~seen])
    assert float(seen.float().mean()) == pytest.approx(0.25 if gap == "patches" else 0.75)


@forms
def test_what_is_hidden_cannot_be_seen(encoder, gap, tmp_path):
    """Other pixels under the gap change nothing that is predicted."""
    objective, batch = begun(crosses(40)[0], tmp_path, encoder=encoder, gap=gap)
    objective.eval()
    seen = objective.seen(batch)
    noise = torch.randn(batch["pixel_values"].shape, generator=torch.Generator().manual_seed(0))
    other = {**batch, "pixel_values": torch.where(seen > 0, batch["pixel_values"], noise)}
    assert torch.equal(objective.predicted(batch), objective.predicted(other))


@forms
def test_every_weight_learns(encoder, gap, tmp_path):
    objective, batch = begun(crosses(40)[0], tmp_path, encoder=encoder, gap=gap)
    objective.loss(batch, "model").total().backward()
    assert not [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    listed = {id(p) for group in objective.players()["model"] for p in group["params"]}
    assert listed == {id(p) for p in objective.parameters()}


@pytest.mark.parametrize(("hidden", "count"), [(None, 48), (0.5, 32), (0.001, 1), (0.999, 63)])
def test_the_share_of_patches_that_is_hidden(hidden, count):
    places = MaskedImage(hidden=hidden)._places(200, 8, np.random.default_rng(0))
    assert (places.sum(axis=1) == count).all()
    assert count in (1, 63) or places.mean(axis=0).std() < 0.06  # no place is preferred


@pytest.mark.parametrize(("hidden", "length"), [(None, 4), (0.5, 6), (0.001, 1), (0.999, 7)])
def test_a_block_is_one_square_of_its_share(hidden, length):
    places = MaskedImage(gap="block", hidden=hidden)._places(100, 8, np.random.default_rng(0)).reshape(100, 8, 8)
    for block in places:
        down, across = np.flatnonzero(block.any(axis=1)), np.flatnonzero(block.any(axis=0))
        assert len(down) == len(across) == length
        assert block[down[0] : down[-1] + 1, across[0] : across[-1] + 1].all()
        assert block.sum() == length**2
    assert length == 1 or places.any(axis=0).all()


def test_patches_are_cut_and_joined_without_loss():
    pixels = torch.arange(2 * 3 * 16 * 16.0).view(2, 3, 16, 16)
    patches = cut(pixels, 4)
    assert patches.shape == (2, 16, 48)
    assert torch.equal(patches[0, 1].view(3, 4, 4), pixels[0, :, :4, 4:8])  # row by row
    assert torch.equal(joined(patches, 4), pixels)


def test_interpolation_is_exact_on_a_slope():
    """Away from the rim a plane is its own mean of neighbours."""
    at = torch.linspace(0, 1, 16)
    plane = (at[:, None] + 2 * at)[None, None]
    seen = torch.ones(1, 1, 16, 16)
    seen[:, :, 5:11, 5:11] = 0
    filled = interpolated(plane, seen)
    assert torch.equal(filled[seen > 0], plane[seen > 0])
    assert float((filled - plane).abs().max()) < 0.03
    assert torch.equal(interpolated(plane, torch.ones(1, 1, 16, 16)), plane)
    lone = torch.zeros(1, 1, 16, 16)
    lone[..., 3, 3] = 1
    assert torch.allclose(interpolated(plane, lone), plane[..., 3, 3], atol=1e-6)
