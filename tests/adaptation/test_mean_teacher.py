"""Self-ensembling."""

import pytest
import torch
from adaptation.networks import accuracy, fitted, learns, picture_domains, tiny, tiny_batch

from graft.adaptation.mean_teacher import Averaged, disagreement


@pytest.mark.parametrize("form", ["squared", "cross-entropy"])
def test_it_learns(form):
    learns("mean_teacher", form=form, decay=0.9, threshold=0.8)


def test_pictures_are_learned_in_random_views():
    domains, y = picture_domains()
    assert accuracy(fitted("mean_teacher", domains, epochs=20, decay=0.9), domains.target, y) > 0.9


def test_the_average_forgets_as_it_shall():
    layer = torch.nn.Linear(1, 1, bias=False)
    average = Averaged(layer, 0.75)
    for value in (1.0, 2.0, 3.0, 4.0, 8.0):
        torch.nn.init.constant_(layer.weight, value)
        average.update(layer)
    assert float(average.weights()["weight"]) == pytest.approx(0.75 * 2.5 + 0.25 * 8)  # four in the mean, then 3/4
    average.put(layer)
    assert layer.weight.item() == pytest.approx(0.75 * 2.5 + 0.25 * 8)
    assert not list(average.parameters())


def test_rows_below_the_threshold_teach_nothing():
    game = tiny("mean_teacher", threshold=1.0).eval()
    loss = game.loss(tiny_batch(), "model")
    assert loss.batch.item() == 0.0
    assert loss.logs["sure"] == 0.0
    everything = tiny("mean_teacher", threshold=0.0, form="squared").eval().loss(tiny_batch(), "model")
    assert everything.logs["sure"] == 1.0
    assert everything.batch.item() == pytest.approx(0.0, abs=1e-9)  # one view, equal weights: no disagreement


def test_the_teacher_gets_no_gradients():
    game = tiny("mean_teacher", threshold=0.0).train()
    with torch.no_grad():
        game.head.weight.neg_()
    game.loss(tiny_batch(), "model").total().backward()
    assert all(buffer.grad is None for buffer in game.teacher.buffers())
    assert game.head.weight.grad is not None


def test_disagreement():
    logits, wanted = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    assert float(disagreement(logits, wanted, "cross-entropy")) == pytest.approx(0.6931, abs=1e-4)
    assert float(disagreement(100 * wanted, wanted, "squared")) == 0.0
