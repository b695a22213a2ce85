"""A small training that can be killed."""

import torch
from torch import nn

from graft.engine.callbacks import Callback
from graft.engine.objective import Loss, Objective

STEPS = 150  # two and a half steps per point of the curve: a kill can fall between two points


class Net(Objective):
    def __init__(self, width=6, seed=0, frozen=False, optimised=True):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.4))
        self.head = nn.Linear(width, 1)
        self.body[0].requires_grad_(requires_grad=not frozen)

    def loss(self, batch, player):
        return Loss((self.head(self.body(batch["x"])).float()[:, 0] - batch["y"]).square())


def batches(epoch):
    generator = torch.Generator().manual_seed(epoch)
    x = torch.randn(40, 3, generator=generator)
    return [{"x": x[i : i + 8], "y": x[i : i + 8].sum(1)} for i in range(0, 40, 8)]


class KilledError(Exception):
    pass


class SaveThenDie(Callback):
    """Save at one step and die some steps later."""

    def __init__(self, checkpoint, at, later):
        self.checkpoint, self.at, self.later = checkpoint, at, later

    def on_step(self, state):
        if state.step == self.at:
            self.checkpoint.save(state)
        if state.step == self.at + self.later:
            raise KilledError
        return False


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[key], other[key]) for key in one)
