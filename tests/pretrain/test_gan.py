"""Two players in one loop."""

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pretrain.picture_sets import crosses, stripes
from pretrain.resuming import same_bytes, straight_and_resumed

from graft.core.errors import DataError, UsageError
from graft.core.runtime import Clock, silent
from graft.data.load import load
from graft.pretrain.gan import BETAS, EVERY, GAN, open_generator, slope
from graft.sources.base import open_model
from graft.transfer.probe import Probe

SMALL = {"size": "tiny", "side": 8, "latent": 4, "batch_size": 16}


@pytest.fixture(scope="module")
def pictures():
    return stripes(400, side=8)[0]


@pytest.fixture(scope="module")
def made(pictures):
    return GAN(**SMALL, epochs=4).fit(pictures)


def duel(form="r1", **more):
    """Objective and a batch of an untrained game."""
    game = GAN(**{**SMALL, "form": form, **more})
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as work:
        data = load(stripes(60, side=8)[0], labelled=False)
        _, objective, batches, per_epoch = game._start(data, Path(work), silent)
    return objective, list(batches(0)), per_epoch


@pytest.mark.parametrize("form", ["non-saturating", "minimax"])
def test_losses_are_those_of_the_paper(form):
    objective, batches, _ = duel(form)
    objective.generator.eval()  # the formula below must see the same pictures
    batch = batches[0]
    with torch.no_grad():
        real = torch.sigmoid(objective.judge(batch["pixel_values"]))
        drawn = torch.sigmoid(objective.judge(objective.generator(batch["codes"])))
        again = torch.sigmoid(objective.judge(objective.generator(batch["codes_generator"])))
    discriminator = objective.loss(batch, "discriminator").per_example
    torch.testing.assert_close(discriminator, -torch.log(real) - torch.log(1 - drawn))
    generator = objective.loss(batch, "generator").per_example
    torch.testing.assert_close(generator, torch.log(1 - again) if form == "minimax" else -torch.log(again))


def test_the_penalty_is_the_slope_at_real_pictures():
    """|∇D|² against the gradient of each picture alone and the rise of D along it, and its place in the loss."""
    objective, batches, _ = duel("r1", penalty=3.0)
    objective.generator.eval()
    batch = {key: value[:3] if value.ndim else value for key, value in batches[0].items()}
    pixels = batch["pixel_values"].clone().requires_grad_(requires_grad=True)
    found = slope(objective.judge(pixels), pixels)
    assert found.requires_grad
    found = found.detach()
    for row in range(3):
        one = batch["pixel_values"][row : row + 1].clone().requires_grad_(requires_grad=True)
        objective.judge(one).sum().backward()
        torch.testing.assert_close(one.grad.square().sum(), found[row])
        step = 0.01 * one.grad / one.grad.norm()
        with torch.no_grad():
            rise = objective.judge(one + step) - objective.judge(one - step)
        assert float(rise) / 0.02 == pytest.approx(float(found[row].sqrt()), rel=0.1)
    plain = {**batch, "penalised": torch.tensor(data=False)}
    difference = objective.loss(batch, "discriminator").per_example - objective.loss(plain, "discriminator").per_example
    torch.testing.assert_close(difference, EVERY * 1.5 * found, rtol=1e-4, atol=1e-6)


def test_the_penalty_comes_every_few_steps():
    _, batches, per_epoch = duel("r1", batch_size=8)
    assert len(batches) == per_epoch
    assert [bool(batch["penalised"]) for batch in batches] == [step % EVERY == 0 for step in range(per_epoch)]


def test_each_player_moves_only_its_own_weights():
    objective, batches, _ = duel()
    judges = [*objective.backbone.parameters(), *objective.output.parameters()]
    draws = list(objective.generator.parameters())
    for player, own, other in (("discriminator", judges, draws), ("generator", draws, judges)):
        objective.zero_grad(set_to_none=True)
        objective.loss(batches[0], player).total().backward()
        assert all(p.grad is not None for p in own)
        assert all(p.grad is None for p in other)
        assert all(p.requires_grad for p in objective.parameters())
    groups = objective.players()
    assert list(groups) == ["discriminator", "generator"]
    assert all(group["betas"] == BETAS for player in groups.values() for group in player)


def test_contrast_is_seen():
    """The encoder is blind to it; what is beside the features is not."""
    objective, batches, _ = duel(encoder="resnet")
    pixels = batches[0]["pixel_values"]
    with torch.no_grad():
        pooled = [objective.backbone({"pixel_values": factor * pixels}) for factor in (1.0, 0.5)]
        torch.testing.assert_close(*pooled, rtol=1e-2, atol=1e-2)
        one, two = (objective.judge(factor * pixels) for factor in (1.0, 0.5))
    assert (one - two).abs().min() > 1e-3


def test_codes_are_those_of_seed_epoch_and_step(pictures, tmp_path):
    game = GAN(**SMALL)
    game._start(load(pictures, labelled=False), tmp_path, silent)
    one, two, other = (list(game._batches(epoch)) for epoch in (0, 0, 1))
    assert all(torch.equal(a[key], b[key]) for a, b in zip(one, two, strict=True) for key in a)
    assert not torch.equal(one[0]["codes"], other[0]["codes"])
    assert not torch.equal(one[0]["codes"], one[0]["codes_generator"])


def test_scores_curves_and_samples(made):
    distance = made.record_["scores"][0]
    assert distance["name"] == "Fréchet distance"
    assert set(distance["baselines"]) == {"gaussian of pixels", "training pictures"}
    assert 0 <= distance["low"] <= distance["value"] <= distance["high"]
    assert distance["baselines"]["training pictures"] < distance["value"]  # the floor
    assert {"loss", "loss_generator", "told_apart"} <= set(made.record_["curve"][-1])
    assert [sample["kind"] for sample in made.record_["samples"]] == ["drawn", "nearest"]
    assert all(sample["picture"].startswith("data:image/png;base64,") for sample in made.record_["samples"])
    assert made.record_["training"]["pictures_per_second"] > 0


def test_the_source_and_the_generator_are_kept(made, pictures, tmp_path):
    folder = made.save(tmp_path / "source")
    assert sorted(path.name for path in folder.iterdir()) == [
        "generator.json", "generator.safetensors", "graft.json", "model.safetensors", "pretrain.json",
    ]  # fmt: skip
    assert np.array_equal(open_generator(folder).sample(4, seed=2), made.generator_.sample(4, seed=2))
    opened = open_model(f"file:{folder}")
    batch = opened.collate(opened.preprocess(load(pictures, labelled=False).take(slice(0, 3))))
    with torch.inference_mode():
        torch.testing.assert_close(opened(batch), made.backbone_(batch))
    probe = Probe(f"file:{folder}").fit(pictures[:40], ["a", "b"] * 20)
    assert len(probe.predict(pictures[:5])) == 5
    assert json.loads((folder / "pretrain.json").read_text())["objective"] == "gan"


def test_a_game_that_was_killed_ends_with_the_same_bytes(pictures, tmp_path):
    pair = straight_and_resumed(lambda: GAN(**SMALL, epochs=2), pictures[:120], tmp_path)
    assert same_bytes(*pair, tmp_path, names=("model.safetensors", "generator.safetensors"))


def test_the_time_is_kept(pictures):
    clock = Clock(0.6)
    made = GAN(**SMALL).fit(pictures, clock=clock)
    assert clock.elapsed() < 2.6
    assert made.record_["training"]["steps"] > 1


def test_a_collapse_is_said(made):
    """A generator that always draws the same, and a discriminator that has won."""
    real = made._held_out()
    constant = SimpleNamespace(sample=lambda count, seed=0: np.repeat(real[:1], count, axis=0))
    objective = SimpleNamespace(generator=SimpleNamespace(requires_grad_=lambda requires_grad: constant))
    other = GAN(**SMALL)
    other.pictures_, other.reader_ = made.pictures_, made.reader_
    other._measure(objective)
    curve = [{"told_apart": value} for value in (0.7, 1.0, 1.0, 1.0, 1.0)]
    notes = other._notes(SimpleNamespace(points=curve))
    assert notes[0].startswith("The generator has collapsed")
    assert notes[-1].startswith("At the end the discriminator told 100% of the pictures apart")
    fair = other._notes(SimpleNamespace(points=[{"told_apart": 0.8}] * 4))
    assert not [note for note in fair if note.startswith("At the end")]
    assert (
        len([n for n in other._notes(SimpleNamespace(points=[{"told_apart": 0.5}])) if "no longer learned" in n]) == 1
    )


@pytest.mark.parametrize("form", ["r1", "non-saturating", "minimax"])
@pytest.mark.parametrize("encoder", ["vgg", "resnet"])
def test_every_form_and_encoder_in_colour(form, encoder):
    rows = crosses(40, side=16, channels=3)[0]
    made = GAN(form=form, encoder=encoder, size="tiny", latent=4, batch_size=16, epochs=1).fit(rows)
    assert made.generator_.sample(2, seed=0).shape == (2, 16, 16, 3)


@pytest.mark.parametrize(
    ("make", "rows", "error", "words"),
    [
        (lambda: GAN(form="wasserstein"), 20, UsageError, "no form 'wasserstein'.*use r1, non-saturating, minimax"),
        (lambda: GAN(encoder="patches"), 20, UsageError, "does not train the encoder 'patches'; use vgg, resnet"),
        (lambda: GAN(latent=0), 20, UsageError, "a latent code needs a number"),
        (lambda: GAN(size="huge"), 20, UsageError, "no size 'huge'"),
        (lambda: GAN(batch_size=1), 20, UsageError, "use 2 or more"),
        (GAN, 2, DataError, "needs 2 pictures"),
    ],
)
def test_what_cannot_be_played_is_said(make, rows, error, words):
    with pytest.raises(error, match=words):
        make().fit(stripes(rows, side=8)[0])
