"""Views of pictures told from views of others."""

import numpy as np
import pytest
import torch
from pretrain.picture_sets import accuracy_of, crosses, score_of, stripes, untrained

from graft.core.runtime import silent
from graft.data.load import load
from graft.pretrain.contrastive import Contrastive, _apart, _crowded, _recognised


@pytest.fixture(scope="module")
def data():
    return stripes(500, noise=120)


@pytest.fixture(scope="module")
def made(data):
    return Contrastive(size="tiny", batch_size=64, lr=3e-3, epochs=6).fit(data[0])


def test_views_are_told_apart_better_than_by_an_untrained_network(made):
    right = score_of(made, "recognised in another view")
    assert set(right["baselines"]) == {"untrained", "raw pixels", "chance"}
    assert right["baselines"]["chance"] == pytest.approx(1 / 25)
    assert right["value"] > 1.5 * max(right["baselines"]["chance"], right["baselines"]["untrained"])
    losses = [point["loss"] for point in made.record_["curve"]]
    assert losses[-1] < 0.97 * losses[0]


def test_alignment_and_uniformity_beat_an_untrained_network(made):
    even = score_of(made, "uniformity")
    assert even["value"] < even["baselines"]["untrained"]
    assert even["low"] <= even["value"] <= even["high"] <= 0
    near = score_of(made, "alignment")
    assert 0 <= near["value"] < near["baselines"]["raw pixels"]
    assert [sample["kind"] for sample in made.record_["samples"]] == ["nearest"]


def test_features_tell_more_than_those_of_a_random_network(made, data):
    pictures, labels = data
    trained = accuracy_of(made.backbone_, pictures, labels, labelled=40)
    assert trained > accuracy_of(untrained(made.backbone_), pictures, labels, labelled=40) + 0.05


@pytest.mark.parametrize("encoder", ["resnet", "vgg", "patches"])
def test_every_weight_learns(encoder, tmp_path):
    made = Contrastive(encoder=encoder, size="tiny", batch_size=16)
    _, objective, batches, _ = made._start(load(crosses(40, channels=3)[0], labelled=False), tmp_path, silent)
    objective.loss(next(iter(batches(0))), "model").total().backward()
    assert not [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    listed = {id(p) for group in objective.players()["model"] for p in group["params"]}
    assert listed == {id(p) for p in objective.parameters()}


@pytest.mark.parametrize(("channels", "asked", "flip"), [(1, None, False), (3, None, True), (3, False, False)])
def test_digits_are_not_mirrored(channels, asked, flip, tmp_path):
    made = Contrastive(size="tiny", flip=asked)
    pictures = crosses(20)[0] if channels == 1 else crosses(20, channels=3)[0]
    _, objective, _, _ = made._start(load(pictures, labelled=False), tmp_path, silent)
    assert objective.flip is flip


def test_the_loss_of_a_row_does_not_depend_on_the_order(tmp_path):
    made = Contrastive(size="tiny", batch_size=16)
    _, objective, batches, _ = made._start(load(stripes(40)[0], labelled=False), tmp_path, silent)
    objective.eval()
    batch = next(iter(batches(0)))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = objective.loss(batch, "model").per_example
        turned = objective.loss({name: tensor[order] for name, tensor in batch.items()}, "model").per_example
    assert whole.shape == (16,)
    assert torch.allclose(whole[order], turned, atol=1e-4)


# -- scores in closed form ---------------------------------------------------------------------------------------------


def test_scores_of_perfect_and_of_collapsed_views():
    apart = np.stack([np.eye(4)] * 2)
    assert _recognised(apart).tolist() == [1.0] * 4
    assert _apart(apart).tolist() == [0.0] * 4
    assert np.allclose(_crowded(apart), np.exp(-4))  # distance of unit vectors at right angles: √2
    one_point = np.ones((2, 4, 1))
    assert _recognised(one_point).mean() == 0.25
    assert np.allclose(_crowded(one_point), 1.0)
    opposite = np.stack([np.ones((1, 1)), -np.ones((1, 1))])
    assert _apart(opposite).tolist() == [4.0]
