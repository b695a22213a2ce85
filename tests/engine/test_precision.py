import torch
from torch import nn

from graft.engine.precision import MasterWeights


def net():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    module[0].requires_grad_(requires_grad=False)
    return module


def copy_of(state):
    return {key: value.clone() for key, value in state.items()}


def test_products_run_in_bfloat16_and_norms_do_not():
    module = net()
    MasterWeights(module)
    assert [p.dtype for p in module.parameters()] == [torch.bfloat16] * 3 + [torch.float32] * 2 + [torch.bfloat16] * 2


def test_release_gives_every_byte_back():
    module = net()
    before = copy_of(module.state_dict())
    masters = MasterWeights(module)
    exact = masters.exact(module)
    assert all(torch.equal(exact[key], before[key]) for key in before)
    masters.release()
    after = module.state_dict()
    assert all(torch.equal(after[key], before[key]) and after[key].dtype == torch.float32 for key in before)
    assert [p.requires_grad for p in module.parameters()] == [False] + [True] * 6


def test_masters_stand_in_the_groups_and_take_the_gradients():
    module = net()
    masters = MasterWeights(module)
    weight, norm = module[1].weight, module[2].weight
    (group,) = masters.groups([{"params": [weight, norm], "lr": 0.5}])
    assert group["lr"] == 0.5
    assert group["params"][0] is masters.masters[weight]
    assert group["params"][1] is norm
    weight.grad = torch.ones_like(weight)
    masters.pull_gradients()
    assert weight.grad is None
    assert group["params"][0].grad.dtype == torch.float32


def test_load_is_the_inverse_of_exact():
    module, other = net(), net()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1234567)
    wanted = copy_of(other.state_dict())
    wanted["0.weight"] = module[0].weight.detach().clone()  # frozen: as it is
    masters = MasterWeights(module)
    masters.load(module, wanted)
    exact = masters.exact(module)
    assert all(torch.equal(exact[key], wanted[key]) for key in wanted)
    masters.push()
    assert torch.equal(module[1].weight, wanted["1.weight"].bfloat16())


def test_tied_weights_stay_tied():
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    masters = MasterWeights(module)
    assert len(masters.masters) == 3
    assert torch.equal(masters.exact(module)["1.weight"], masters.exact(module)["0.weight"])
    masters.release()
    assert module[0].weight is module[1].weight
