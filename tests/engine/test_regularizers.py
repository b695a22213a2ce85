import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from graft.core.errors import UsageError
from graft.core.task import Task
from graft.engine.objective import Supervised
from graft.engine.regularizers import Regularized, Terms, classification_loss, mix, smallest_square

CLASSES = Task("classification", "table", ("a", "b", "c"))
NUMBERS = Task("regression", "table", (), "r2")


class Body(nn.Module):
    """A linear map of the values; tokens are looked up."""

    def __init__(self):
        super().__init__()
        self.map, self.words = nn.Linear(4, 5), nn.Embedding(9, 5)

    def forward(self, batch):
        if "input_ids" in batch:
            return self.words(batch["input_ids"]).mean(1)
        return self.map(batch["values"])


def rows(task=CLASSES, n=12, tokens=False):
    torch.manual_seed(3)
    batch = {"input_ids": torch.randint(0, 9, (n, 6))} if tokens else {"values": torch.randn(n, 4)}
    y = torch.randint(0, 3, (n,)) if task.is_classification else torch.randn(n)
    return {**batch, "y": y, "weight": torch.rand(n) + 0.5}


def made(task=CLASSES, **terms):
    torch.manual_seed(0)
    return Regularized(Body().double(), nn.Linear(5, task.outputs), task, terms=Terms(**terms))


def double(batch):
    return {key: value.double() if value.is_floating_point() else value for key, value in batch.items()}


@pytest.mark.parametrize("task", [CLASSES, NUMBERS], ids=["classes", "numbers"])
def test_without_terms_it_is_the_plain_loss(task):
    objective, batch = made(task), double(rows(task))
    plain = Supervised(objective.backbone, objective.head, task).loss(batch, "model")
    found = objective.loss(batch, "model")
    torch.testing.assert_close(found.per_example, plain.per_example, rtol=1e-6, atol=1e-7)
    assert found.logs == plain.logs
    assert found.batch == 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_is_that_of_torch(smoothing):
    outputs, y = torch.randn(20, 5, dtype=torch.float64), torch.arange(20) % 5
    wanted = F.cross_entropy(outputs, y, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(classification_loss(outputs, y, smoothing=smoothing), wanted)


def test_generalised_cross_entropy_goes_from_the_logarithm_to_the_mean_absolute_error():
    outputs, y = torch.randn(20, 5, dtype=torch.float64), torch.arange(20) % 5
    p = torch.softmax(outputs, 1)[torch.arange(20), y]
    for q in (0.2, 0.7, 1.0):
        torch.testing.assert_close(classification_loss(outputs, y, robust=q), (1 - p**q) / q)
    torch.testing.assert_close(classification_loss(outputs, y, robust=1e-12), -p.log())
    worst = classification_loss(torch.tensor([[100.0, -100.0]]), torch.tensor([1]), robust=0.7)
    assert float(worst) == pytest.approx(1 / 0.7)  # a wrong label cannot cost more


def test_smoothing_and_robustness_go_together():
    outputs, y = torch.randn(8, 3, dtype=torch.float64), torch.arange(8) % 3
    p = torch.softmax(outputs, 1)
    target = 0.8 * torch.eye(3, dtype=torch.float64)[y] + 0.2 / 3
    wanted = (target * (1 - p**0.5) / 0.5).sum(1)
    torch.testing.assert_close(classification_loss(outputs, y, smoothing=0.2, robust=0.5), wanted)


def drawn(alpha, n):
    """λ and partners as the objective draws them."""
    share = float(torch.distributions.Beta(torch.tensor(alpha).double(), torch.tensor(alpha).double()).sample())
    return share, torch.randperm(n)


@pytest.mark.parametrize("tokens", [False, True], ids=["inputs", "features of tokens"])
def test_mixup_is_the_loss_of_mixed_rows_against_mixed_targets(tokens):
    objective, batch = made(mixup=0.4), double(rows(tokens=tokens))
    batch.pop("weight")
    torch.manual_seed(11)
    found = objective.loss(batch, "model").per_example
    torch.manual_seed(11)
    share, partner = drawn(0.4, 12)
    if tokens:
        features = objective.backbone(batch)
        features = share * features + (1 - share) * features[partner]
    else:
        features = objective.backbone({"values": share * batch["values"] + (1 - share) * batch["values"][partner]})
    one_hot = torch.eye(3, dtype=torch.float64)[batch["y"]]
    target = share * one_hot + (1 - share) * one_hot[partner]
    wanted = -(target * F.log_softmax(objective.head(features.float()).double(), 1)).sum(1)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)
    assert 0 < share < 1


def test_mixup_weighs_the_losses_of_both_rows():
    objective, batch = made(NUMBERS, mixup=1.0), double(rows(NUMBERS))
    torch.manual_seed(5)
    found = objective.loss(batch, "model").per_example
    torch.manual_seed(5)
    share, partner = drawn(1.0, 12)
    mixed = share * batch["values"] + (1 - share) * batch["values"][partner]
    said = objective.head(objective.backbone({"values": mixed}).float())[:, 0].double()
    y, weight = batch["y"], batch["weight"]
    wanted = share * weight * (said - y) ** 2 + (1 - share) * weight[partner] * (said - y[partner]) ** 2
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)


def test_a_mixture_of_sounds_lasts_as_long_as_the_longer_one():
    batch = {
        "frames": torch.tensor([[[1.0], [1.0]], [[3.0], [0.0]]]),
        "attention_mask": torch.tensor([[1, 1.0], [1, 0]]),
    }
    assert mix(batch, 0.75, torch.tensor([1, 0]))
    assert batch["frames"][..., 0].tolist() == [[1.5, 0.75], [2.5, 0.25]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 1]]
    assert not mix({"input_ids": torch.ones(2, 3)}, 0.5, torch.tensor([1, 0]))


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_the_smallest_singular_value_and_its_gradient(shape):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    value = smallest_square(features)
    assert float(value.detach()) == pytest.approx(np.linalg.svd(features.detach().numpy())[1].min() ** 2, rel=1e-4)
    (gradient,) = torch.autograd.grad(value, features)
    u, s, vt = np.linalg.svd(features.detach().numpy())
    np.testing.assert_allclose(gradient.numpy(), 2 * s[-1] * np.outer(u[:, len(s) - 1], vt[len(s) - 1]), atol=1e-4)


def test_shrinkage_is_added_to_the_batch():
    batch = rows()
    torch.manual_seed(0)
    objective = Regularized(Body(), nn.Linear(5, 3), CLASSES, terms=Terms(shrinkage=0.3))
    loss = objective.loss(batch, "model")
    wanted = 0.3 * smallest_square(objective.backbone({"values": batch["values"]}))
    torch.testing.assert_close(loss.batch, wanted)


def test_views_are_made_of_pictures_and_change_from_pass_to_pass():
    seen = []

    class Pixels(nn.Module):
        def forward(self, batch):
            seen.append(batch["pixel_values"])
            return batch["pixel_values"].flatten(1)

    objective = Regularized(
        Pixels(), nn.Linear(4, 3), CLASSES, terms=Terms(), view=lambda pixels, draws: pixels + draws[:, :1, None, None]
    )
    batch = {"pixel_values": torch.zeros(2, 1, 2, 2), "y": torch.tensor([0, 1])}
    torch.manual_seed(2)
    for _ in range(2):
        objective.loss(batch, "model")
    torch.manual_seed(2)
    for view in seen:
        torch.testing.assert_close(view[:, 0, 0, 0], torch.rand(2, 5)[:, 0])
    assert not torch.equal(*seen)
    assert not batch["pixel_values"].any()  # the batch stays as it was


@pytest.mark.parametrize(
    ("task", "terms", "line"),
    [
        (CLASSES, {"smoothing": 1.5}, "label_smoothing cannot be 1.5; use 0 to 1"),
        (CLASSES, {"robust": -0.1}, "robust cannot be -0.1; use 0 to 1"),
        (CLASSES, {"mixup": float("nan")}, "mixup cannot be nan; use 0 or more"),
        (CLASSES, {"shrinkage": -1.0}, "shrinkage cannot be -1.0"),
        (NUMBERS, {"smoothing": 0.1}, "label_smoothing needs classes"),
        (NUMBERS, {"robust": 0.7}, "robust needs classes"),
    ],
)
def test_terms_that_do_not_fit_are_refused(task, terms, line):
    with pytest.raises(UsageError, match=line):
        Terms(**terms).check(task)
