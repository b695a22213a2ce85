"""Networks for colours that read pictures of other channels."""

import numpy as np
import pytest
import torch
from sources import tiny_models as tiny

from graft.core.errors import SourceError
from graft.core.runtime import seeded
from graft.core.store import Store
from graft.data.load import load
from graft.sources.bands import BandBackbone, grouped, of_channels
from graft.sources.base import open_model
from graft.sources.native import build_backbone
from graft.testing import check_source
from graft.transfer.base import Setting, load_transfer
from graft.transfer.finetune import Finetune
from graft.transfer.probe import Probe
from graft.transfer.scratch import Scratch

RNG = np.random.default_rng(0)


def pictures(count=24, channels=5):
    """Classes differ in the last channel alone."""
    y = np.arange(count) % 2
    X = RNG.integers(0, 2000, (count, 16, 16, channels)).astype(np.uint16)
    X[..., -1] = X[..., -1] // 4 + (1500 * y)[:, None, None]
    return X, np.array(["low", "high"])[y]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return tiny.image(tmp_path_factory.mktemp("m") / "resnet", "resnet")


def test_channels_go_by_threes():
    image = RNG.integers(0, 256, (4, 4, 7), np.uint8)
    groups = grouped(image)
    assert [one.shape for one in groups] == [(4, 4, 3)] * 3
    np.testing.assert_array_equal(np.dstack(groups)[..., :7], image)
    assert len(grouped(image, 1)) == 7


@pytest.mark.parametrize(("form", "kind"), [("groups", "resnet"), ("mixed", "mobilenet_v2"), ("mixed", "vit")])
def test_both_forms_keep_the_contract(tmp_path, form, kind):
    inner = open_model(f"hf:{tiny.image(tmp_path / kind, kind)}")
    check_source(BandBackbone(inner, 5, form), [RNG.integers(0, 256, (20 + i, 24, 5), np.uint8) for i in range(3)])


def test_groups_are_passes_side_by_side_and_the_mixture_starts_as_their_mean(resnet):
    inner = open_model(f"hf:{resnet}")
    image = RNG.integers(0, 256, (32, 32, 6), np.uint8)
    both = BandBackbone(inner, 6).eval()
    apart = [inner(inner.collate(inner.preprocess([part]))) for part in grouped(image)]
    torch.testing.assert_close(both(both.collate(both.preprocess([image]))), torch.cat(apart, 1), atol=1e-5, rtol=1e-4)
    mixed = BandBackbone(inner, 6, "mixed").eval()
    pixels = mixed.collate(mixed.preprocess([image]))["pixel_values"]
    torch.testing.assert_close(mixed.mix(pixels), (pixels[:, :3] + pixels[:, 3:]) / 2)
    assert mixed.spec.hidden_size * 2 == both.spec.hidden_size


def test_a_network_for_as_many_channels_is_itself_and_for_others_refused(resnet):
    five, two = load(pictures()), load(pictures(channels=2))
    inner = open_model(f"hf:{resnet}")
    mixed = of_channels(inner, five, form="mixed")
    assert of_channels(mixed, five) is mixed
    own = build_backbone(five)
    assert of_channels(own, five) is own
    for network in (mixed, own):
        with pytest.raises(SourceError, match="reads pictures of 5 channels, these have 2"):
            of_channels(network, two)


@pytest.mark.parametrize("blocks", [None, 1])
def test_fine_tuning_on_channels_learns_and_comes_back(tmp_path, resnet, blocks):
    X, y = pictures()
    tuned = Finetune(f"hf:{resnet}", blocks=blocks, epochs=4, lr=3e-3, batch_size=12)
    tuned.fit(X, y, setting=Setting(store=Store(tmp_path / "store")))
    weight = tuned.backbone_.mix.weight.detach().flatten(1)
    assert torch.equal(weight, torch.eye(3).repeat(1, 2) / 2) == (blocks == 1)  # frozen with the lower blocks
    again = load_transfer(tuned.save(tmp_path / "run"))
    np.testing.assert_allclose(again.predict_proba(X), tuned.predict_proba(X), atol=1e-5)
    assert open_model(f"file:{tmp_path / 'run' / 'source'}").channels == 5


def test_probe_and_scratch_read_every_channel(tmp_path, resnet):
    X, y = pictures()
    probe = Probe(f"hf:{resnet}").fit(X, y, setting=Setting(store=Store(tmp_path / "store")))
    assert (probe.predict(X) == y).mean() > 0.9
    again = load_transfer(probe.save(tmp_path / "probe"))
    assert (again.predict(X) == probe.predict(X)).all()
    with seeded(0):
        scratch = Scratch(epochs=4, lr=1e-2).fit(X, y)
    again = load_transfer(scratch.save(tmp_path / "scratch"))
    np.testing.assert_allclose(again.predict_proba(X), scratch.predict_proba(X), atol=1e-6)
