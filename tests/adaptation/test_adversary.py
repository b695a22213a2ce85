"""The reversal of gradients."""

import torch

from graft.adaptation.adversary import discriminator, reverse


def test_reversal_negates_gradients_and_nothing_else():
    torch.manual_seed(0)
    x = torch.randn(5, 3, requires_grad=True)
    net = discriminator(3, 2).eval()
    plain = torch.autograd.grad(net(x).square().sum(), [x, *net.parameters()])
    turned = torch.autograd.grad(net(reverse(x, 0.3)).square().sum(), [x, *net.parameters()])
    assert torch.equal(reverse(x, 0.3), x)
    assert torch.allclose(turned[0], -0.3 * plain[0])
    assert all(torch.equal(a, b) for a, b in zip(turned[1:], plain[1:], strict=True))
