import functools
import json

import pytest
import torch
from engine.training import STEPS, KilledError, Net, SaveThenDie, batches, same
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from graft.engine.callbacks import Callback, Checkpoint, EarlyStop, Stopwatch
from graft.engine.loop import fit


def killed(path, *, at=37, later=3, net=None, **options):
    checkpoint = Checkpoint(path, every=1e9)
    with pytest.raises(KilledError):
        fit(net or Net(), batches, steps=STEPS, callbacks=[checkpoint, SaveThenDie(checkpoint, at, later)], **options)
    assert path.exists()


def without_time(points):
    return [{key: value for key, value in point.items() if key != "seconds"} for point in points]


@functools.cache
def straight(make=Net, seed=None, **options):
    """Weights and history of a training that nothing interrupts."""
    net = make()
    if seed is not None:
        torch.manual_seed(seed)
    history = fit(net, batches, steps=STEPS, **options)
    return net.state_dict(), history


@pytest.mark.parametrize(
    ("optimizer", "at", "later"),
    [("adamw", 37, 3), ("adamw", 40, 0), ("adamw", 1, 0), ("adam", 37, 3), ("sgd", 37, 3)],
    ids=["inside an epoch", "at its end", "at once", "adam", "sgd"],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_training_ends_with_the_same_bytes(tmp_path, optimizer, precision, at, later):
    options = {"optimizer": optimizer, "precision": precision}
    weights, history = straight(**options)
    path = tmp_path / "inside" / "state.safetensors"
    killed(path, at=at, later=later, **options)
    resumed = Net(seed=99)  # other weights and another random state: all of it must come from the file
    torch.manual_seed(123)
    again = fit(resumed, batches, steps=STEPS, callbacks=[Checkpoint(path)], **options)
    assert same(weights, resumed.state_dict())
    assert without_time(again.points) == without_time(history.points)
    assert again.steps == STEPS
    assert not path.exists()  # a finished training leaves nothing behind


def test_time_before_the_interruption_counts(tmp_path):
    path = tmp_path / "state.safetensors"
    killed(path)
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["state"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"state": json.dumps(facts | {"spent": 1000.0})})
    assert fit(Net(), batches, steps=STEPS, callbacks=[Checkpoint(path)]).seconds > 1000


def started_anew(path, make=Net, **options):
    """Whether a training with this checkpoint there gives what one without gives."""
    net = make()
    torch.manual_seed(7)
    fit(net, batches, steps=STEPS, callbacks=[Checkpoint(path)], **options)
    return same(net.state_dict(), straight(make, 7, **options)[0]) and not path.exists()


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def damage_empty(path):
    path.write_bytes(b"")


def damage_text(path):
    path.write_text("no checkpoint")


def damage_no_facts(path):
    save_file({"model.head.bias": torch.zeros(1)}, path)


def damage_other_facts(path):
    save_file({"model.head.bias": torch.zeros(1)}, path, {"state": json.dumps({"step": 5})})


def damage_list(path):
    save_file({"model.head.bias": torch.zeros(1)}, path, {"state": "[]"})


@pytest.mark.parametrize(
    "damage", [damage_cut, damage_empty, damage_text, damage_no_facts, damage_other_facts, damage_list]
)
def test_a_damaged_checkpoint_starts_anew(tmp_path, damage):
    path = tmp_path / "state.safetensors"
    killed(path)
    damage(path)
    assert started_anew(path)


@pytest.mark.parametrize(
    ("net", "options"),
    [(lambda: Net(width=7), {}), (lambda: Net(frozen=True), {}), (Net, {"optimizer": "sgd"})],
    ids=["another width", "another part frozen", "another optimizer"],
)
def test_the_checkpoint_of_another_training_is_ignored(tmp_path, net, options):
    path = tmp_path / "state.safetensors"
    killed(path)
    assert started_anew(path, net, **options)


def test_checkpoints_are_written_by_the_clock(tmp_path):
    saves = []

    class Counting(Checkpoint):
        def save(self, state):
            saves.append(state.step)
            super().save(state)

    fit(Net(), batches, steps=5, callbacks=[Counting(tmp_path / "a", every=0.0)])
    assert saves == [1, 2, 3, 4, 5]
    fit(Net(), batches, steps=5, callbacks=[Counting(tmp_path / "a", every=60.0)])
    assert saves == [1, 2, 3, 4, 5]
    assert list(tmp_path.iterdir()) == []


def test_tied_weights_can_be_saved(tmp_path):
    class Tied(Net):
        def __init__(self):
            super().__init__(width=3)
            self.again = nn.Linear(3, 3)
            self.again.weight = self.body[0].weight

    path = tmp_path / "state.safetensors"
    killed(path, net=Tied())
    resumed = Tied()
    assert fit(resumed, batches, steps=STEPS, callbacks=[Checkpoint(path)]).steps == STEPS
    assert resumed.again.weight is resumed.body[0].weight


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_early_stopping_returns_to_the_best_weights(precision):
    values = iter([0.1, 0.5, 0.9, 0.8, float("nan"), 0.85, 1.0])
    seen, modes = {}, []

    class Remember(Callback):
        def on_step(self, state):
            seen[state.step] = {key: value.clone() for key, value in state.weights().items()}
            return False

    net = Net()

    def measure():
        modes.append(net.training)
        return next(values)

    stop = EarlyStop(measure, every=4, patience=3)
    history = fit(net, batches, steps=STEPS, callbacks=[Remember(), stop], precision=precision)
    assert history.stopped == "stopped early"
    assert history.steps == 4 * 6  # the sixth measurement is the third without improvement
    assert same(net.state_dict(), seen[4 * 3])
    assert stop.best == 0.9
    assert modes == [False] * 6
    assert 0.9 in [point.get("valid") for point in history.points]


def test_early_stopping_also_goes_back_when_training_runs_to_its_end():
    values = iter([1.0, 0.0, 0.0, 0.0, 0.0])
    net, weights = Net(), []
    stop = EarlyStop(lambda: next(values), every=2, patience=9)

    class First(Callback):
        def on_step(self, state):
            if state.step == 2:
                weights.append({key: value.clone() for key, value in state.weights().items()})
            return False

    history = fit(net, batches, steps=10, callbacks=[stop, First()])
    assert history.stopped == ""
    assert same(net.state_dict(), weights[0])


def test_a_stopwatch_notes_start_and_steps():
    times = [9.0, 9.0]
    fit(Net(), batches, steps=6, callbacks=[Stopwatch(times)])
    assert len(times) == 7
    assert times == sorted(times)


def test_a_checkpoint_of_before_is_opened(tmp_path):
    """Files that do not say what share was done are those of trainings that did not need it."""
    path = tmp_path / "state.safetensors"
    killed(path)
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["state"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    del facts["done"]
    save_file(tensors, path, {"state": json.dumps(facts)})
    steps = []

    class Count(Callback):
        def on_step(self, state):
            steps.append(state.step)
            return False

    fit(Net(), batches, steps=STEPS, callbacks=[Checkpoint(path), Count()])
    assert steps[0] == facts["step"] + 1
