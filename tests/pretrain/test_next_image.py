"""Pixels predicted one after the other, in pictures whose rules are known."""

import math

import numpy as np
import pytest
import torch
from pretrain.picture_sets import accuracy_of, score_of, stripes, untrained

from graft.core.runtime import silent
from graft.data.load import load
from graft.pretrain.next_image import Neighbours, NextImage
from graft.sources.readers import ImageReader, PixelReader, restore_reader

BITS = "bits per number"


def coins(n, *, side=8, seed=0):
    """A light or dark left half, and a right half that is its opposite: one bit per picture, and no more."""
    light = np.random.default_rng(seed).random(n) < 0.5
    pictures = np.empty((n, side, side, 1), np.uint8)
    pictures[:, :, : side // 2] = np.where(light, 200, 40)[:, None, None, None]
    pictures[:, :, side // 2 :] = np.where(light, 40, 200)[:, None, None, None]
    return pictures


class Kept(NextImage):
    """Keeps the objective, which a training throws away, to draw with it."""

    def _measure(self, objective):
        self.objective_ = objective
        return super()._measure(objective)


@pytest.fixture(scope="module")
def made():
    return Kept(size="tiny", side=8, levels=4, epochs=8, batch_size=16, lr=3e-3).fit(coins(200))


def test_what_remains_is_the_one_bit_that_nothing_tells(made):
    """Neighbours alone say nothing at the edge between the halves and at the start of a row."""
    bits = score_of(made, BITS)
    assert bits["value"] < 0.06  # 1 / 64 is the least possible on average
    assert bits["value"] < 0.6 * min(bits["baselines"].values())
    assert bits["low"] <= bits["value"] <= bits["high"]
    losses = [point["loss"] for point in made.record_["curve"]]
    assert losses[-1] < 0.2 * losses[0]


def test_what_is_drawn_keeps_the_rule(made):
    drawn = made.pixels_.pictures(made.draw(made.objective_, np.zeros((12, 0), np.int64)))
    possible = {bytes(picture) for picture in made.pixels_.pictures(made.pixels_.tokens(coins(50)))}
    assert len(possible) == 2
    right = [bytes(picture) for picture in drawn if bytes(picture) in possible]
    assert len(right) >= 8
    assert set(right) == possible
    assert [sample["kind"] for sample in made.record_["samples"]] == ["drawn", "completed"]


def test_what_is_given_stays(made):
    begun = made.pixels_.tokens(coins(6, seed=3))[:, :36]
    ids = made.draw(made.objective_, begun)
    assert np.array_equal(ids[:, :36], begun)
    assert ids.shape == (6, 72)
    assert np.array_equal(ids, made.draw(made.objective_, begun))  # equal seeds draw equal pictures
    pictures = made.pixels_.pictures(ids)
    assert np.mean([np.array_equal(p[4:], p[:4]) for p in pictures]) >= 0.5


@pytest.mark.parametrize("encoder", ["transformer", "lstm", "gru"])
def test_no_pixel_is_predicted_from_itself_or_what_follows(encoder, tmp_path):
    made = NextImage(encoder=encoder, size="tiny", side=8, levels=4)
    _, objective, _, _ = made._start(load(stripes(20)[0], labelled=False), tmp_path, silent)
    objective.eval()
    ids = torch.from_numpy(made.pixels_.tokens(made._held_out()))
    changed = ids.clone()
    changed[:, 40] = 1 + (changed[:, 40] % 4)
    assert not torch.equal(ids, changed)
    with torch.no_grad():
        before, after = (objective.logits(objective.predicted({"ids": x})[0]) for x in (ids, changed))
    first = int((objective.places <= 40).sum())  # predictions of pixels up to the changed one
    assert torch.allclose(before[:, :first], after[:, :first], atol=1e-5)
    assert not torch.allclose(before[:, first], after[:, first], atol=1e-5)


@pytest.mark.parametrize("encoder", ["transformer", "lstm", "gru"])
def test_step_by_step_gives_the_states_of_the_whole(encoder, tmp_path):
    made = NextImage(encoder=encoder, size="tiny", side=8, levels=4)
    backbone, objective, _, _ = made._start(load(stripes(20)[0], labelled=False), tmp_path, silent)
    backbone.eval()
    ids = torch.from_numpy(made.pixels_.tokens(made._held_out()))
    past = []
    with torch.no_grad():
        whole = objective.states(ids)
        steps = torch.stack([backbone.body.step(ids[:, at], past) for at in range(ids.shape[1])], dim=1)
    assert torch.allclose(whole, steps, atol=1e-4)


def test_only_pixels_are_predicted_and_every_weight_learns(tmp_path):
    made = NextImage(size="tiny", side=8, levels=4)
    _, objective, batches, _ = made._start(load(stripes(20, channels=3)[0], labelled=False), tmp_path, silent)
    batch = next(iter(batches(0)))
    states, wanted = objective.predicted(batch)
    assert states.shape[:2] == wanted.shape == (19, 64)  # grey, though it has three equal channels
    assert int(wanted.max()) <= 4
    objective.loss(batch, "model").total().backward()
    assert not [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_features_tell_more_than_those_of_a_random_network():
    pictures, labels = stripes(400, noise=60)
    made = NextImage(size="tiny", side=8, epochs=4, batch_size=32, lr=3e-3).fit(pictures)
    trained = accuracy_of(made.backbone_, pictures, labels, labelled=40)
    assert trained > accuracy_of(untrained(made.backbone_), pictures, labels, labelled=40) + 0.1


def test_the_side_follows_the_colours(tmp_path):
    for channels, side in ((1, 16), (3, 8)):
        pictures = np.random.default_rng(0).integers(0, 256, (20, 32, 32, channels), dtype=np.uint8)
        made = NextImage(size="tiny")
        made._start(load(pictures, labelled=False), tmp_path, silent)
        assert made.reader_.size == side


# -- the reader --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("levels", [2, 16, 256])
def test_pixels_and_tokens_are_inverse_up_to_a_step(grey, levels):
    reader = PixelReader(8, grey=grey, levels=levels)
    channels = 1 if grey else 3
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 8, channels), dtype=np.uint8)
    ids = reader.tokens(pictures)
    assert ids.shape == (5, 8 * (1 + 8 * channels))
    assert (ids.min(), ids.max()) >= (1, reader.vocabulary - 1)
    assert ids.max() == reader.vocabulary - 1
    error = np.abs(reader.pictures(ids).astype(int) - pictures.astype(int)).max()
    assert error <= 128 / levels
    assert np.array_equal(reader.tokens(reader.pictures(ids)), ids)


def test_tokens_name_rows_and_colours():
    reader = PixelReader(2, grey=False, levels=4)
    pictures = np.array([[[[0, 64, 128], [255, 0, 0]], [[0, 0, 255], [0, 0, 0]]]], np.uint8)
    assert reader.tokens(pictures).tolist() == [[13, 1, 6, 11, 4, 5, 9, 14, 1, 5, 12, 1, 5, 9]]


def test_the_reader_is_restored_and_reads_any_size():
    reader = PixelReader(8, grey=True, levels=4)
    again = restore_reader(*reader.state())
    assert type(again) is PixelReader
    assert again.state() == reader.state()
    large = [np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)]
    encoded = again.encode(large)
    batch = again.collate(encoded)
    assert batch["input_ids"].shape == (1, 72)
    assert batch["input_ids"].dtype == torch.int64
    assert again.length(encoded[0]) == 1  # pictures are counted, as for every source of pictures
    assert again.encode([]) == []
    assert type(restore_reader({"modality": "image", "size": 8, "grey": True}, {})) is ImageReader


# -- simple models -----------------------------------------------------------------------------------------------------


def test_simple_models_know_their_context():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.integers(0, 4, (400, 8, 1, 1)), 8, axis=2)  # every row of one brightness
    nats = {name: float(one.mean()) for name, one in Neighbours(values, 4).nats(values).items()}
    assert nats["unigram"] == pytest.approx(math.log(4), abs=0.01)
    assert nats["unigram by place"] == pytest.approx(math.log(4), abs=0.02)
    assert nats["upper neighbour"] == pytest.approx(math.log(4), abs=0.02)
    assert nats["left neighbour"] == pytest.approx(math.log(4) / 8, abs=0.02)  # all but the first of a row
    assert nats["both neighbours"] == pytest.approx(nats["left neighbour"], abs=0.02)


def test_chances_of_simple_models_sum_to_one():
    values = np.random.default_rng(0).integers(0, 5, (30, 4, 4, 3))
    model = Neighbours(values, 5)
    assert len(model.chances) == 5
    for table in model.chances.values():
        assert np.allclose(table.sum(axis=1), 1)
        assert (table > 0).all()
