import pytest
import torch
from conftest import make_pictures, make_texts

from graft.data.load import load
from graft.sources.base import open_model
from graft.sources.native import build_backbone
from graft.sources.prefix import PREFIX, UpperPart, cut


def opened(uri, rows):
    backbone = open_model(uri)
    return backbone, backbone.collate(backbone.preprocess(rows))


@pytest.fixture
def bert(tiny_bert):
    return opened(f"hf:{tiny_bert}", make_texts(5)[0])


@pytest.fixture
def vit(tiny_vit):
    return opened(f"hf:{tiny_vit}", make_pictures(3)[0])


@pytest.mark.parametrize("model", ["bert", "vit"])
def test_the_upper_part_gives_the_features_of_the_whole(model, request):
    backbone, batch = request.getfixturevalue(model)
    upper = cut(backbone, 1, batch)
    with torch.no_grad():
        hidden = upper.lower(batch)
        assert torch.allclose(upper({**batch, PREFIX: hidden}), backbone(batch), atol=1e-6)
        other = upper({**batch, PREFIX: hidden.flip(0)})
    assert not torch.allclose(other, backbone(batch), atol=1e-3)  # what is handed over is what is read


def test_the_network_is_whole_again_afterwards(bert):
    backbone, batch = bert
    with torch.no_grad():
        before = backbone(batch)
        hooks = [len(module._forward_hooks) for module in backbone.modules()]
        upper = cut(backbone, 1, batch)
        upper({**batch, PREFIX: upper.lower(batch)})
        assert torch.equal(backbone(batch), before)
    assert not any("forward" in vars(module) for module in backbone.modules())
    assert [len(module._forward_hooks) for module in backbone.modules()] == hooks


def test_gradients_are_those_of_the_whole(bert):
    backbone, batch = bert
    backbone.freeze_below(1)
    upper = cut(backbone, 1, batch)
    found = []
    for features in (backbone(batch), upper({**batch, PREFIX: upper.lower(batch)})):
        backbone.zero_grad()
        features.square().sum().backward()
        found.append([p.grad.clone() for p in backbone.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 4
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("blocks", [0, 2, 9])
def test_at_least_one_block_on_either_side(bert, blocks):
    assert cut(bert[0], blocks, bert[1]) is None


def test_what_cannot_be_cut_is_left_whole():
    data = load(make_texts(20))
    backbone = build_backbone(data)  # its blocks hold what is called inside them
    batch = backbone.collate(backbone.preprocess(data.take()))
    upper = cut(backbone, 1, batch)
    if upper is not None:  # if it can, it must be right
        backbone.eval()
        assert torch.allclose(upper({**batch, PREFIX: upper.lower(batch)}), backbone(batch), atol=1e-5)
    with pytest.raises((RuntimeError, KeyError)):
        UpperPart(backbone, len(backbone.blocks())).forward(batch)
