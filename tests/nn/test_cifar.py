import pytest
import torch

from graft.core.errors import UsageError
from graft.nn.cifar import CifarResNet


@pytest.mark.parametrize(("depth", "weights"), [(20, 269_722), (32, 464_154), (56, 853_018), (110, 1_727_962)])
def test_the_sizes_of_the_paper(depth, weights):
    with torch.device("meta"):
        assert sum(p.numel() for p in CifarResNet(depth=depth, classes=10).parameters()) == weights


def test_the_names_of_common_checkpoints():
    names = {name for name, _ in CifarResNet(depth=20, classes=10).named_parameters()}
    assert {"conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer3.2.bn2.weight", "linear.bias"} <= names
    assert not {name for name in names if "shortcut" in name or "downsample" in name}
    assert len(names) == 19 + 2 * 19 + 2  # convolutions, norms of two vectors each, and linear


def test_a_block_of_zeros_is_its_shortcut():
    """With convolutions of zero, a stage keeps every second pixel and puts zeros around the channels."""
    network = CifarResNet(1, depth=8, widths=(4, 8, 8)).eval()
    with torch.no_grad():
        for block in (network.layer1, network.layer2, network.layer3):
            for name, parameter in block.named_parameters():
                if "conv" in name:
                    parameter.zero_()
        one, two, three = network.forward_features({"pixel_values": torch.randn(2, 1, 8, 8)})
    assert torch.equal(two[:, 2:6], one[:, :, ::2, ::2])
    assert two[:, :2].abs().max() == two[:, 6:].abs().max() == 0
    assert torch.equal(three, two[:, :, ::2, ::2])


def test_maps_and_logits():
    network = CifarResNet(depth=8, classes=5).eval()
    maps = network.forward_features({"pixel_values": torch.randn(3, 3, 32, 32)})
    assert [tuple(each.shape[1:]) for each in maps] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert network.logits(maps[-1]).shape == (3, 5)
    assert CifarResNet(depth=8).logits(maps[-1]) is None


@pytest.mark.parametrize(("depth", "widths"), [(21, (16, 32, 64)), (2, (16, 32, 64)), (20, ()), (8, (16, 8, 4))])
def test_networks_that_do_not_exist(depth, widths):
    with pytest.raises(UsageError):
        CifarResNet(depth=depth, widths=widths)
