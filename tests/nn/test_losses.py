import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)

from graft.nn import losses
from graft.nn.losses import linear_cross_entropy


def problem(rows=7, width=5, classes=11, dtype=torch.float64):
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*shape, dtype=dtype) for shape in ((rows, width), (classes, width), (classes,)))
    return [t.requires_grad_() for t in (x, weight, bias)], torch.randint(0, classes, (rows,))


@pytest.mark.parametrize("chunk", [3, 512])
def test_value_and_gradients_are_those_of_torch(chunk, monkeypatch):
    monkeypatch.setattr(losses, "ROWS", chunk)
    (x, weight, bias), wanted = problem()
    scale = torch.rand(7, dtype=torch.float64)  # rows may weigh differently
    ours = linear_cross_entropy(x, weight, bias, wanted)
    plain = F.cross_entropy(F.linear(x, weight, bias), wanted, reduction="none")
    torch.testing.assert_close(ours, plain)
    found = torch.autograd.grad((ours * scale).sum(), (x, weight, bias))
    expected = torch.autograd.grad((plain * scale).sum(), (x, weight, bias))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_half_precision_comes_close():
    (x, weight, bias), wanted = problem(64, 32, 100, torch.float32)
    low = weight.detach().bfloat16().requires_grad_()
    rough, exact = linear_cross_entropy(x, low, bias, wanted), linear_cross_entropy(x, weight, bias, wanted)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0.05)
    one, other = (torch.autograd.grad(loss.mean(), x)[0] for loss in (rough, exact))
    assert F.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999


def test_all_scores_are_never_held():
    """Of 4096 rows and 4000 classes only chunks are made: what is kept for the backward pass is small."""
    (x, weight, bias), wanted = problem(4096, 8, 4000, torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        linear_cross_entropy(x, weight, bias, wanted).mean().backward()
    assert max(kept) <= 4096 * 8
