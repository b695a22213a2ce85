import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)

from graft.nn import losses
from graft.nn.losses import linear_cross_entropy, nt_xent


def problem(rows=7, width=5, classes=11, dtype=torch.float64):
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(*shape, dtype=dtype) for shape in ((rows, width), (classes, width), (classes,)))
    return [t.requires_grad_() for t in (x, weight, bias)], torch.randint(0, classes, (rows,))


@pytest.mark.parametrize(("chunk", "few"), [(3, 2), (512, 64), (512, 4)])
@pytest.mark.parametrize("kind", ["mean", "weighed later", "shares", "shares weighed later"])
def test_value_and_gradients_are_those_of_torch(chunk, few, kind, monkeypatch):
    monkeypatch.setattr(losses, "ROWS", chunk)
    monkeypatch.setattr(losses, "FEW", few)
    (x, weight, bias), wanted = problem()
    shares = torch.rand(7, dtype=torch.float64) if "shares" in kind else None
    scale = torch.rand(7, dtype=torch.float64) if "later" in kind else torch.full((7,), 0.5, dtype=torch.float64)
    ours = linear_cross_entropy(x, weight, bias, wanted, shares)
    plain = F.cross_entropy(F.linear(x, weight, bias), wanted, reduction="none") * (1 if shares is None else shares)
    torch.testing.assert_close(ours, plain)
    found = torch.autograd.grad((ours * scale).sum(), (x, weight, bias))
    expected = torch.autograd.grad((plain * scale).sum(), (x, weight, bias))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_frozen_weights_get_no_gradient():
    (x, weight, bias), wanted = problem()
    loss = linear_cross_entropy(x, weight.detach(), bias, wanted).mean()
    loss.backward()
    assert weight.grad is None
    assert x.grad is not None
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(x, weight, bias, wanted).mean(), loss.detach())


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


# -- pairs of views ----------------------------------------------------------------------------------------------------


def brute_nt_xent(one, two, temperature):
    """The formula as it is written, view by view."""
    views = [v / v.norm() for v in torch.cat([one, two])]
    count, rows = len(views), len(one)

    def loss(i):
        partner = (i + rows) % count
        others = sum(torch.exp(views[i] @ views[k] / temperature) for k in range(count) if k != i)
        return -torch.log(torch.exp(views[i] @ views[partner] / temperature) / others)

    return torch.stack([(loss(i) + loss(i + rows)) / 2 for i in range(rows)])


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_its_formula(temperature):
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(7, 5, generator=generator) for _ in range(2))
    assert torch.allclose(nt_xent(one, two, temperature), brute_nt_xent(one, two, temperature), atol=1e-5)
    assert torch.allclose(nt_xent(3 * one, 0.1 * two, temperature), nt_xent(one, two, temperature), atol=1e-5)
    assert torch.allclose(nt_xent(two, one, temperature), nt_xent(one, two, temperature), atol=1e-5)


def test_nt_xent_stays_finite_where_the_formula_overflows():
    one = torch.eye(4, requires_grad=True)
    losses = nt_xent(one, torch.eye(4), 1e-3)  # exp(1000) is not a number of float32
    assert torch.allclose(losses, torch.zeros(4), atol=1e-5)
    losses.sum().backward()
    assert one.grad.isfinite().all()
    wrong = nt_xent(torch.eye(4), torch.eye(4).roll(1, 0), 1e-3)
    assert torch.allclose(wrong, torch.full((4,), 1000.0), rtol=1e-4)


def test_the_gradient_of_nt_xent_is_that_of_its_formula():
    generator = torch.Generator().manual_seed(1)
    one, two = (torch.randn(6, 3, generator=generator, requires_grad=True) for _ in range(2))
    mine = torch.autograd.grad(nt_xent(one, two, 0.5).sum(), (one, two))
    plain = torch.autograd.grad(brute_nt_xent(one, two, 0.5).sum(), (one, two))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(mine, plain, strict=True))
