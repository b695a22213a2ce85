import numpy as np
import pytest
import torch
from torch import nn

from graft.core.task import Task
from graft.engine.objective import Loss, Objective, Supervised

TASK = Task("classification", "text", ("a", "b", "c"))


def supervised(**options):
    torch.manual_seed(0)

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 5)

        def forward(self, batch):
            assert set(batch) == {"x"}  # neither targets nor weights reach the network
            return self.layer(batch["x"])

    return Supervised(Body(), nn.Linear(5, 3), TASK, **options)


def test_total_is_the_mean_over_rows_plus_the_batch_term():
    assert Loss(torch.tensor([1.0, 3.0]), batch=torch.tensor(0.5)).total().item() == 2.5
    assert Loss(torch.tensor([1.0, 3.0])).total().item() == 2.0


def test_the_loss_stays_per_row_and_weights_multiply_it():
    objective = supervised()
    batch = {"x": torch.randn(6, 4), "y": torch.tensor([0, 1, 2, 0, 1, 2])}
    plain = objective.loss(batch, "model")
    logits = objective.head(objective.backbone({"x": batch["x"]}))
    torch.testing.assert_close(plain.per_example, nn.functional.cross_entropy(logits, batch["y"], reduction="none"))
    weight = torch.arange(6.0)
    torch.testing.assert_close(
        objective.loss(batch | {"weight": weight}, "model").per_example, plain.per_example * weight
    )
    assert plain.logs["accuracy"] == pytest.approx((logits.argmax(1) == batch["y"]).float().mean().item())


def test_permuting_rows_permutes_the_losses():
    objective = supervised()
    batch = {"x": torch.randn(6, 4), "y": torch.tensor([0, 1, 2, 0, 1, 2])}
    order = torch.randperm(6)
    one = objective.loss(batch, "model").per_example
    other = objective.loss({key: value[order] for key, value in batch.items()}, "model").per_example
    torch.testing.assert_close(one[order], other)


def test_players_hold_what_is_trained():
    objective = supervised()
    objective.backbone.requires_grad_(requires_grad=False)
    assert [p.shape for p in objective.players()["model"][0]["params"]] == [(3, 5), (3,)]
    groups = [{"params": [objective.head.bias], "lr": 1.0}]
    assert supervised(groups=groups).players() == {"model": groups}
    assert Objective().on_step(0.5) is None


def test_regression_is_the_squared_error_of_standardised_targets():
    task = Task.infer(np.array([1.5, 2.5, 6.5]), modality="table")
    y = torch.from_numpy(task.encode([1.5, 6.5]))
    outputs = torch.tensor([[0.0], [1.0]])
    torch.testing.assert_close(task.loss(outputs, y), (outputs[:, 0] - y.float()).square())
