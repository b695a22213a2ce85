import functools
import math

import pytest
import torch
from engine.training import STEPS, KilledError, Net, SaveThenDie, batches, same

from graft.core.errors import UsageError
from graft.engine.callbacks import Callback, Checkpoint, State
from graft.engine.loop import fit
from graft.engine.optim import make_schedule
from graft.engine.precision import MasterWeights
from graft.engine.weights import StartingPoint, Unfreezing, WeightAverage


class Record(Callback):
    """Weights after each step, in float64, and what was free in it."""

    def __init__(self):
        self.weights, self.free = [], []

    def on_step(self, state):
        self.weights.append({k: v.detach().double().clone() for k, v in state.weights().items()})
        self.free.append({k for k, p in state.objective.named_parameters() if p.requires_grad})
        return False


def layers(net):
    """Bottom to top."""
    return [list(net.body[0].parameters()), list(net.body[1].parameters())]


# -- L2-SP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_is_that_of_the_optimizer_then_a_pull_to_the_start(precision):
    net = Net(seed=1)
    start = {key: value.double().clone() for key, value in net.state_dict().items()}
    groups = [{"params": list(net.parameters()), "lr": 0.01, "weight_decay": 0.0}]
    net.players = lambda: {"model": groups}
    before, after = Record(), Record()
    pull = StartingPoint(net.body.parameters(), 7.0)
    fit(
        net, batches, steps=20, callbacks=[before, pull, after], precision=precision, schedule=make_schedule("constant")
    )
    pulled = {f"body.{name}" for name, _ in net.body.named_parameters()}
    for step, (one, other) in enumerate(zip(before.weights, after.weights, strict=True)):
        rate = 0.01 * make_schedule("constant")(max(step / 20, 0.025), 0.1)
        for key, value in one.items():
            share = rate * 7.0 if key in pulled else 0.0
            torch.testing.assert_close(other[key], value - share * (value - start[key]), rtol=1e-5, atol=1e-7)


def test_a_pulled_module_in_bfloat16_follows_its_masters():
    net = Net()
    masters = MasterWeights(net)
    state = State(
        net, {"model": torch.optim.SGD(masters.groups([{"params": list(net.parameters()), "lr": 0.1}]))}, masters
    )
    pull = StartingPoint(net.parameters(), 5.0)
    pull.on_start(state)
    start = masters.exact(net)["head.weight"].clone()
    masters.masters[net.head.weight].data += 1.0
    pull.on_step(state)
    torch.testing.assert_close(masters.exact(net)["head.weight"], start + 0.5)
    assert torch.equal(net.head.weight, (start + 0.5).bfloat16())


def test_an_endless_pull_leaves_the_start():
    net = Net()
    start = {key: value.clone() for key, value in net.state_dict().items()}
    fit(net, batches, steps=9, callbacks=[StartingPoint(net.parameters(), 1e9)])
    assert all(
        torch.equal(value, start[key])
        for key, value in net.state_dict().items()
        if "running" not in key and "num" not in key
    )


# -- averages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["swa", "ema"])
def test_an_average_ends_with_the_mean_that_its_formula_names(kind, precision):
    net, record = Net(), Record()
    fit(net, batches, steps=40, callbacks=[WeightAverage(kind, share=0.25, steps=40), record], precision=precision)
    if kind == "swa":
        shares = [0.0] * 30 + [0.1] * 10
    else:
        raw = [math.exp(-(40 - step) / 10) for step in range(1, 41)]
        shares = [share / sum(raw) for share in raw]
    for name, found in net.state_dict().items():
        if found.is_floating_point():
            wanted = sum(share * weights[name] for share, weights in zip(shares, record.weights, strict=True))
            torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)
        else:
            assert found == record.weights[-1][name]


def test_averaging_does_not_disturb_the_training():
    plain, averaged, record = Net(), Net(), Record()
    torch.manual_seed(4)
    fit(plain, batches, steps=30)
    torch.manual_seed(4)
    fit(averaged, batches, steps=30, callbacks=[WeightAverage("swa", share=0.5, steps=30), record])
    last = {key: value.double() for key, value in plain.state_dict().items()}
    assert all(torch.equal(value, last[key]) for key, value in record.weights[-1].items())
    assert not same(plain.state_dict(), averaged.state_dict())


def test_without_a_step_in_the_last_part_the_weights_stay():
    net = Net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = State(net, {})
    average = WeightAverage("swa", share=0.1, steps=100)
    average.on_start(state)
    average.on_step(state)  # at the start of training
    average.on_end(state)
    assert same(net.state_dict(), before)


# -- gradual unfreezing ------------------------------------------------------------------------------------------------


def test_the_head_goes_first_then_layer_by_layer_from_the_top():
    net, record = Net(), Record()
    fit(net, batches, steps=60, callbacks=[Unfreezing(layers(net), 0.6), record])
    head, top = {"head.weight", "head.bias"}, {"body.1.weight", "body.1.bias"}
    steps = [{"head": head, "top": head | top}.get(kind, set(dict(net.named_parameters()))) for kind in
             ["head"] * 12 + ["top"] * 12 + ["all"] * 36]  # fmt: skip
    assert record.free == steps
    start = Net().state_dict()
    for step, weights in enumerate(record.weights[:24]):
        assert torch.equal(weights["body.0.weight"], start["body.0.weight"].double())
        assert torch.equal(weights["body.1.weight"], start["body.1.weight"].double()) == (step < 13)
    assert not torch.equal(record.weights[30]["body.0.weight"], start["body.0.weight"].double())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_what_was_frozen_stays_frozen():
    net = Net(frozen=True)
    fit(net, batches, steps=20, callbacks=[Unfreezing(layers(net), 0.5)])
    assert torch.equal(net.body[0].weight, Net().body[0].weight)
    assert not net.body[0].weight.requires_grad


# -- resuming ----------------------------------------------------------------------------------------------------------


def around(net, path, options):
    before = [StartingPoint(net.body.parameters(), 3.0)] if "pull" in options else []
    before += [WeightAverage(kind, share=0.5, steps=STEPS) for kind in ("swa", "ema") if kind in options]
    after = [Unfreezing(layers(net), 0.8)] if "unfreeze" in options else []
    return before, [Checkpoint(path, every=1e9)], after


@functools.cache
def straight(options):
    """Weights of a training that nothing interrupts."""
    net = Net()
    before, _, after = around(net, "never written", options)
    fit(net, batches, steps=STEPS, callbacks=[*before, *after], precision="bf16")
    return net.state_dict()


@pytest.mark.parametrize("at", [20, 70, 110], ids=["early", "in the middle", "late"])
@pytest.mark.parametrize("options", ["pull", "swa", "ema", "unfreeze", "pull swa unfreeze"])
def test_a_killed_training_ends_with_the_same_bytes(tmp_path, options, at):
    path = tmp_path / "state.safetensors"
    dying = Net()
    before, (checkpoint,), after = around(dying, path, options)
    callbacks = [*before, checkpoint, SaveThenDie(checkpoint, at, 3), *after]
    with pytest.raises(KilledError):
        fit(dying, batches, steps=STEPS, callbacks=callbacks, precision="bf16")
    resumed = Net()
    before, checkpoint, after = around(resumed, path, options)
    torch.manual_seed(77)
    history = fit(resumed, batches, steps=STEPS, callbacks=[*before, *checkpoint, *after], precision="bf16")
    assert history.steps == STEPS
    assert same(straight(options), resumed.state_dict())
    assert not path.exists()


def test_a_checkpoint_without_an_average_does_not_fit_a_training_with_one(tmp_path):
    path = tmp_path / "state.safetensors"
    net = Net()
    checkpoint = Checkpoint(path, every=1e9)
    with pytest.raises(KilledError):
        fit(net, batches, steps=STEPS, callbacks=[checkpoint, SaveThenDie(checkpoint, 100, 1)])
    averaged = []
    for there in (path, tmp_path / "none"):
        torch.manual_seed(7)
        net = Net()
        fit(net, batches, steps=STEPS, callbacks=[WeightAverage("ema", share=0.5, steps=STEPS), Checkpoint(there)])
        averaged.append(net.state_dict())
    assert same(*averaged)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: WeightAverage("mean", share=0.5, steps=9), "no average 'mean'; use swa or ema"),
        (lambda: WeightAverage("swa", share=0.0, steps=9), "average_share cannot be 0.0"),
        (lambda: StartingPoint([], -1.0), "l2_sp cannot be -1.0; use 0 or more"),
        (lambda: Unfreezing([], 1.5), "gradual cannot be 1.5; use 0 to 1"),
    ],
)
def test_options_out_of_range_are_refused(make, line):
    with pytest.raises(UsageError, match=line):
        make()
