"""Rounds of a network's own labels."""

import pytest
import torch
from adaptation.networks import learns, tiny

from graft.adaptation.deep import Seen
from graft.adaptation.information import surest_labels


def test_it_learns():
    learns("self_training")


def test_shares_grow_from_round_to_round():
    assert [round(tiny("self_training", rounds=3).share(number), 2) for number in (1, 2, 3)] == [0.2, 0.5, 0.8]


def test_labels_are_made_at_the_start_of_each_round():
    game = tiny("self_training", rounds=3)
    game.on_step(0.24)
    assert (game.labels == -1).all()
    game.on_step(0.76)
    assert int(game.round) == 3
    assert torch.equal(game.labels, surest_labels(game.judged()[1], 0.8))
    before = game.labels.clone()
    with torch.no_grad():
        game.head.weight.neg_()
    game.on_step(0.8)
    assert torch.equal(game.labels, before)


def test_only_labelled_rows_count():
    game = tiny("self_training", rounds=3)
    game.labels.copy_(torch.tensor([0, -1, 1, -1]))
    logits = torch.tensor([[2.0, 0.0]] * 4)
    seen = Seen(logits, logits, logits, logits)
    losses = -logits.log_softmax(1)[0]
    assert float(game.adapt(seen, {"row": torch.arange(4)})) == pytest.approx(2.0 * float(losses.sum()) / 4)
    assert float(game.adapt(seen, {"row": torch.tensor([1, 3, 4])})) == 0.0  # 4: one of the few with a label
