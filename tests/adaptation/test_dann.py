"""Domain-adversarial training."""

import numpy as np
import torch
from adaptation.networks import fitted, learns, picture_domains, tiny, tiny_batch

from graft.adaptation.deep import ramp


def test_it_learns():
    learns("dann", strength=0.3)


def test_features_get_the_discriminators_gradients_turned_around():
    game = tiny("dann", sources=2).eval()
    gradients = {}
    for progress in (0.0, 0.5):
        game.on_step(progress)
        loss = game.loss(tiny_batch(), "model")
        assert loss.per_example.shape == (4,)
        term = torch.autograd.grad(loss.batch, [game.backbone.body.layers[0][0].weight, game.discriminator[-1].weight])
        gradients[progress] = term
    assert not gradients[0.0][0].any()  # no amount yet: the discriminator alone learns
    assert torch.equal(gradients[0.0][1], gradients[0.5][1])
    own, away = (game.features({"values": tiny_batch()[key]}) for key in ("source.values", "target.values"))
    plain = 0.5 * (
        torch.nn.functional.cross_entropy(game.discriminator(own), tiny_batch()["origin"])
        + torch.nn.functional.cross_entropy(game.discriminator(away), torch.full((4,), 2))
    )
    (forward,) = torch.autograd.grad(plain, [game.backbone.body.layers[0][0].weight])
    assert torch.allclose(gradients[0.5][0], -2.0 * ramp(0.5) * forward, atol=1e-6)


def test_the_curve_tells_how_well_the_domains_are_told_apart():
    domains, _ = picture_domains()
    told = [point["told_apart"] for point in fitted("dann", domains).curve_]
    assert all(0 <= value <= 1 for value in told)
    assert np.isfinite(told).all()
