import time

import pytest
import torch
from torch import nn

from graft.core.errors import GraftError, UsageError
from graft.core.runtime import Clock
from graft.engine.loop import LOG_POINTS, fit
from graft.engine.objective import Loss, Objective
from graft.engine.optim import clip_gradients, warmup_linear


def constant(progress, warmup):
    return 1.0


class Regression(Objective):
    """Squared error of a linear layer; dropout in front of it where asked for."""

    def __init__(self, inputs=3, dropout=0.0, lr=0.1):
        super().__init__()
        self.layer, self.dropout, self.lr = nn.Linear(inputs, 1), nn.Dropout(dropout), lr

    def players(self):
        return {"model": [{"params": list(self.parameters()), "lr": self.lr, "weight_decay": 0.0}]}

    def loss(self, batch, player):
        outputs = self.layer(self.dropout(batch["x"]))[:, 0]
        return Loss((outputs.float() - batch["y"]).square())


def rows(n=64, inputs=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, inputs, generator=generator)
    return x, x @ torch.arange(1.0, inputs + 1) + 0.5 + 0.3 * torch.randn(n, generator=generator)


def whole(x, y):
    return lambda epoch: [{"x": x, "y": y}]


def cut(x, y, size=8):
    return lambda epoch: [{"x": x[i : i + size], "y": y[i : i + size]} for i in range(0, len(x), size)]


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.1), ("adam", 0.3), ("adamw", 0.3)])
def test_a_linear_regression_reaches_the_least_squares_solution(optimizer, lr):
    x, y = rows()
    torch.manual_seed(0)
    objective = Regression(lr=lr)
    history = fit(objective, whole(x, y), steps=600, optimizer=optimizer, clip=0)
    wanted = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), y).solution
    found = torch.cat([objective.layer.weight[0], objective.layer.bias]).detach()
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)
    assert history.steps == history.planned == 600
    assert history.stopped == ""
    assert len(history.points) <= LOG_POINTS
    assert history.points[-1]["loss"] < history.points[0]["loss"]
    assert not objective.training


def test_bf16_comes_near_the_same_solution_and_leaves_float32_weights():
    x, y = rows()
    torch.manual_seed(0)
    objective = Regression()
    fit(objective, whole(x, y), steps=300, optimizer="sgd", precision="bf16")
    wanted = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), y).solution
    found = torch.cat([objective.layer.weight[0], objective.layer.bias]).detach()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=0.05, rtol=0)
    assert not torch.equal(found, found.bfloat16().float())  # the weights themselves were not rounded


def test_bf16_does_not_lose_small_updates():
    """A step of 1e-4 on a weight of 1 vanishes in bfloat16 (spacing 2⁻⁷), but not in its float32 master."""

    class Push(Objective):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1, bias=False)
            nn.init.ones_(self.layer.weight)

        def players(self):
            return {"model": [{"params": list(self.parameters()), "lr": 1e-4, "weight_decay": 0.0}]}

        def loss(self, batch, player):
            return Loss(self.layer(batch["x"])[:, 0].float())  # gradient 1 everywhere

    objective = Push()
    batch = {"x": torch.ones(4, 1)}
    fit(objective, lambda epoch: [batch], steps=20, optimizer="adam", schedule=constant, clip=0, precision="bf16")
    assert objective.layer.weight.item() == pytest.approx(1 - 20e-4, abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_equal_seeds_give_equal_bytes(precision):
    def train(seed):
        torch.manual_seed(seed)
        objective = Regression(dropout=0.3)
        history = fit(objective, cut(*rows()), steps=40, precision=precision)
        return objective.state_dict(), [point["loss"] for point in history.points]

    (one, losses), (same, again), (other, _) = train(1), train(1), train(2)
    assert losses == again
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["layer.weight"], other["layer.weight"])


def test_the_rate_follows_the_schedule():
    objective = Regression(lr=0.2)
    history = fit(objective, cut(*rows()), steps=50, warmup=0.2)
    assert [point["step"] for point in history.points] == list(range(1, 51))
    for point in history.points:
        done = max((point["step"] - 1) / 50, 0.5 / 50)
        assert point["lr"] == pytest.approx(0.2 * warmup_linear(done, 0.2))
    assert [point["epoch"] for point in history.points[:17:8]] == [0, 1, 2]


def test_batches_are_asked_for_once_per_epoch_in_order():
    asked = []
    x, y = rows(32)

    def batches(epoch):
        asked.append(epoch)
        return cut(x, y)(epoch)

    fit(Regression(), batches, steps=10)
    assert asked == [0, 1, 2]


def test_gradients_are_clipped_jointly_per_player():
    x, y = rows()
    torch.manual_seed(0)
    objective = Regression(lr=1.0)
    before = torch.cat([p.detach().flatten() for p in objective.parameters()]).clone()
    fit(objective, whole(x, 1000 * y), steps=1, optimizer="sgd", schedule=constant, clip=0.01)
    moved = torch.cat([p.detach().flatten() for p in objective.parameters()]) - before
    assert moved.norm() == pytest.approx(0.01 * 1.9, rel=1e-3)  # Nesterov's first step is (1 + momentum) gradients


def test_clipping_keeps_direction_and_leaves_small_gradients_alone():
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    c = nn.Parameter(torch.zeros(1))  # without a gradient
    optimizer = torch.optim.SGD([{"params": [a]}, {"params": [b, c]}], lr=1.0)
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    clip_gradients(optimizer, 10.0)
    assert a.grad.tolist() == [3, 0]
    assert b.grad.tolist() == [4]
    clip_gradients(optimizer, 1.0)
    torch.testing.assert_close(torch.cat([a.grad, b.grad]), torch.tensor([0.6, 0.0, 0.8]))


class Game(Objective):
    """The generator follows the critic, the critic goes to 3 and is pulled at by nobody else."""

    def __init__(self, alone=False):
        super().__init__()
        self.generator, self.critic = nn.Parameter(torch.tensor([5.0])), nn.Parameter(torch.tensor([0.0]))
        self.alone = alone

    def players(self):
        critic = {"critic": [{"params": [self.critic], "lr": 0.05}]}
        return critic if self.alone else {"generator": [{"params": [self.generator], "lr": 0.05}]} | critic

    def loss(self, batch, player):
        gap = (self.generator - self.critic) if player == "generator" else (self.critic - 3)
        return Loss(gap.square().expand(len(batch["x"])), logs={"seen": 1.0})


def test_each_player_moves_only_its_own_weights():
    batch = {"x": torch.zeros(2)}
    pair, alone = Game(), Game(alone=True)
    history = fit(pair, lambda epoch: [batch], steps=60, optimizer="sgd")
    fit(alone, lambda epoch: [batch], steps=60, optimizer="sgd")
    assert pair.critic.item() == alone.critic.item()  # bit by bit, though the generator's loss has a gradient on it
    assert alone.generator.item() == 5
    assert pair.critic.item() == pytest.approx(3, abs=0.05)
    assert pair.generator.item() == pytest.approx(3, abs=0.3)
    assert {"loss", "loss_critic", "seen"} <= set(history.points[0])
    assert len(history.points) == 60


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_is_an_error_that_says_what_to_do(value):
    class Broken(Regression):
        def loss(self, batch, player):
            good = super().loss(batch, player)
            return Loss(good.per_example, batch=value)

    with pytest.raises(GraftError, match=r"the loss became -?(nan|inf); lower the learning rate"):
        fit(Broken(), cut(*rows()), steps=5)


def test_training_stops_in_time_with_a_rate_near_zero():
    x, y = rows(8)

    def slow(epoch):
        time.sleep(0.005)
        yield {"x": x, "y": y}

    objective = Regression(lr=0.1)
    clock = Clock(0.4)
    history = fit(objective, slow, steps=1_000_000, clock=clock)
    assert clock.elapsed() < 3  # the steps that were asked for would take minutes
    assert 5 < history.steps < 100
    assert history.stopped == "the time for this training was used up"
    assert history.points[-1]["step"] == history.steps  # the last steps are in the curve too
    assert history.points[-1]["lr"] < 0.02


def test_a_budget_that_is_gone_allows_no_step():
    for clock in (Clock(0.0), Clock(10).part(-1), Clock(1, spent=2)):
        history = fit(Regression(), cut(*rows()), steps=100, clock=clock)
        assert history.steps == 0
        assert history.stopped


def test_without_a_budget_time_does_not_matter():
    assert fit(Regression(), cut(*rows()), steps=3, clock=Clock()).steps == 3


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(GraftError, match="nothing to train on"):
        fit(Regression(), lambda epoch: [], steps=5)


def test_progress_is_told_and_on_step_hears_the_share():
    heard, shares = [], []

    class Listening(Regression):
        def on_step(self, progress):
            shares.append(progress)

    fit(Listening(), cut(*rows()), steps=10, progress=lambda *args: heard.append(args), name="a name")
    assert shares == [step / 10 for step in range(10)]
    assert heard[0][0] == "a name"
    assert heard[-1][2].startswith("step 10/10, loss")


def test_unknown_optimizer():
    with pytest.raises(UsageError, match="no optimizer 'lion'"):
        fit(Regression(), cut(*rows()), steps=1, optimizer="lion")
