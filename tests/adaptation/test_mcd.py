"""Maximum classifier discrepancy."""

import pytest
import torch
from adaptation.networks import fitted, learns, tiny, tiny_batch
from adaptation.shifts import rotated

from graft.adaptation.mcd import discrepancy


def test_it_learns():
    learns("mcd")


def test_the_discrepancy_is_the_mean_distance_of_probabilities():
    one, two = torch.tensor([[0.0, 0.0]]), torch.log(torch.tensor([[0.9, 0.1]]))
    assert float(discrepancy(one, two)) == pytest.approx(0.4)
    assert float(discrepancy(two, two)) == 0.0


def test_players_move_what_is_theirs():
    game = tiny("mcd", rates=True).eval()
    players = game.players()
    assert list(players) == ["model", "heads", "features_1", "features_2"]
    number = {name: sum(len(group["params"]) for group in groups) for name, groups in players.items()}
    backbone = len(list(game.backbone.parameters()))
    assert number == {"model": backbone + 4, "heads": 4, "features_1": backbone, "features_2": backbone}


def test_heads_part_and_features_bring_them_together():
    game = tiny("mcd", rates=True).eval()
    game.loss(tiny_batch(), "heads").total().backward()
    assert all(parameter.grad is None for parameter in game.backbone.parameters())
    supervised = game.both(game.features({"values": tiny_batch()["source.values"]}).detach(), None, tiny_batch()).mean()
    apart = game.apart(game.features({"values": tiny_batch()["target.values"]})).mean()
    assert torch.allclose(game.loss(tiny_batch(), "heads").total(), supervised - 2 * apart, atol=1e-6)
    assert torch.allclose(game.loss(tiny_batch(), "features_1").total(), 2 * apart, atol=1e-6)


def test_the_mean_of_both_heads_is_kept():
    game = tiny("mcd", rates=True).eval()
    mean = (game.head.weight + game.other.weight) / 2
    game.finish()
    assert torch.equal(game.head.weight, mean)


def test_few_steps_of_each_player_run():
    model = fitted("mcd", rotated()[0], epochs=2)
    assert {"loss", "loss_heads", "loss_features_2", "discrepancy"} <= set(model.curve_[-1])
