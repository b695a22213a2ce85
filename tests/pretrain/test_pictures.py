"""What objectives over pictures share: pictures on disk, batches, sheets, seeds, taking up again, budgets, bad input."""

import json
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from pretrain.picture_sets import crosses, stripes

from graft.core.errors import DataError, UsageError
from graft.core.runtime import Clock, silent
from graft.data.load import load
from graft.engine import callbacks
from graft.features import encode
from graft.pretrain.base import decayed
from graft.pretrain.contrastive import Contrastive
from graft.pretrain.masked_image import MaskedImage
from graft.pretrain.next_image import NextImage
from graft.pretrain.pictures import as_pictures, as_pixels, patch_of, sheet, write_pictures
from graft.sources.base import open_model
from graft.sources.readers import ImageReader
from graft.transfer.probe import Probe

MAKE = {
    "masked patches": lambda **more: MaskedImage(size="tiny", batch_size=16, **more),
    "masked resnet": lambda **more: MaskedImage(encoder="resnet", size="tiny", batch_size=16, **more),
    "masked vgg, patches": lambda **more: MaskedImage(encoder="vgg", gap="patches", size="tiny", batch_size=16, **more),
    "next": lambda **more: NextImage(size="tiny", side=8, batch_size=16, **more),
    "next, gru": lambda **more: NextImage(encoder="gru", size="tiny", side=8, batch_size=16, **more),
    "contrastive": lambda **more: Contrastive(size="tiny", batch_size=16, **more),
    "contrastive, patches": lambda **more: Contrastive(encoder="patches", size="tiny", batch_size=16, **more),
}
every = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


def test_pixels_and_pictures_are_inverse():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    pixels = as_pixels(pictures)
    assert pixels.shape == (3, 3, 8, 8)
    assert (float(pixels.min()), float(pixels.max())) >= (-1, -1)
    assert torch.equal(pixels[0, 2], torch.from_numpy(pictures[0, :, :, 2]).float() / 127.5 - 1)
    assert np.array_equal(as_pictures(pixels), pictures)
    assert as_pictures(torch.full((1, 1, 8, 8), 7.0)).max() == 255  # clipped


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_is_a_picture_of_rows(channels):
    rows = [np.full((count, 8, 8, channels), 10 * count, np.uint8) for count in (3, 2)]
    head, data = sheet(rows).split(",")
    assert head == "data:image/png;base64"
    pixels = np.asarray(Image.open(BytesIO(b64decode(data))))
    assert pixels.shape == (17 * 8, 26 * 8, 3)  # eight pixels for one, a white line between
    assert pixels[0, 0].tolist() == [30] * 3
    assert pixels[-1, 0].tolist() == [20] * 3
    assert pixels[-1, -1].tolist() == [255] * 3  # the shorter row ends earlier


def test_pictures_on_disk_are_used_again_and_made_again_when_the_question_differs(tmp_path, monkeypatch):
    data = load(stripes(40)[0], labelled=False)
    reader = ImageReader(16, grey=True)
    first = write_pictures(reader, data, tmp_path, seed=0, progress=silent)
    assert (first.train.shape, first.held_out.shape) == ((38, 16, 16, 1), (2, 16, 16, 1))
    every = {bytes(picture) for picture in np.concatenate([first.train, first.held_out])}
    assert every == {bytes(picture[..., 0]) for picture in stripes(40)[0]}
    with monkeypatch.context() as patch:
        patch.setattr(ImageReader, "encode", None)  # decoding again would fail
        again = write_pictures(reader, data, tmp_path, seed=0, progress=silent)
    assert np.array_equal(first.train, again.train)
    assert write_pictures(ImageReader(8, grey=True), data, tmp_path, seed=0, progress=silent).train.shape[1:] == (
        8,
        8,
        1,
    )
    assert write_pictures(reader, data, tmp_path, seed=1, progress=silent).train.shape == (38, 16, 16, 1)


def test_an_epoch_holds_every_picture_once(tmp_path):
    made = Contrastive(size="tiny", batch_size=16)
    _, _, batches, per_epoch = made._start(load(stripes(43)[0], labelled=False), tmp_path, silent)
    sizes = [len(batch["pixel_values"]) for batch in batches(0)]
    assert sizes == [16, 16, 9]
    assert per_epoch == len(sizes)
    seen = np.concatenate([as_pictures(batch["pixel_values"]) for batch in batches(0)])
    assert {bytes(picture) for picture in seen} == {bytes(picture) for picture in made.pictures_.train}
    first, other = next(iter(batches(0))), next(iter(batches(1)))
    assert torch.equal(first["draws"], next(iter(batches(0)))["draws"])
    assert not torch.equal(first["draws"], other["draws"])


def test_a_rest_too_small_to_learn_from_is_left_out(tmp_path):
    made = Contrastive(size="tiny", batch_size=16)
    _, _, batches, per_epoch = made._start(load(stripes(40)[0], labelled=False), tmp_path, silent)
    assert [len(batch["pixel_values"]) for batch in batches(0)] == [16, 16]  # 38, and 6 are fewer than 8
    assert per_epoch == 2


def test_matrices_are_decayed_and_vectors_are_not():
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(requires_grad=False)
    matrices, vectors = decayed(torch.nn.Sequential(layer, torch.nn.LayerNorm(2)), lr=0.1, weight_decay=0.5)
    assert [p.shape for p in matrices["params"]] == [(2, 3)]
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.5, 0.0)
    assert len(vectors["params"]) == 2  # of the norm; what is frozen is left out


@pytest.mark.parametrize(("side", "patch"), [(8, 2), (16, 2), (24, 3), (32, 4), (64, 8)])
def test_patches_fit_every_side(side, patch):
    assert patch_of(side) == patch
    assert side % patch == 0


@every
def test_what_is_made_opens_as_a_source(make, tmp_path):
    pictures, labels = crosses(60, channels=3)
    made = make(epochs=1).fit(pictures)
    folder = made.save(tmp_path / "source")
    record = json.loads((folder / "pretrain.json").read_text())
    assert record["objective"] == made.name
    assert record["training"]["pictures_per_second"] > 0
    assert record["data"]["train_pictures"] == 57
    assert record["data"]["shape"][2] == 3
    for score in record["scores"]:
        assert score["low"] <= score["value"] <= score["high"]
        assert all(np.isfinite(value) for value in score["baselines"].values())
    assert all(sample["picture"].startswith("data:image/png;base64,") for sample in record["samples"])
    opened = open_model(f"file:{folder}")
    assert opened.spec.modality == "image"
    assert opened.spec.name.endswith(f"-{made.name}")
    assert opened.fingerprint() == made.backbone_.fingerprint()
    again, first = (encode(backbone, pictures[:5]).values for backbone in (opened, made.backbone_))
    assert np.allclose(again, first, atol=1e-5)  # recurrent kernels add in an order that depends on where weights lie
    probe = Probe(f"file:{folder}").fit(pictures[:40], labels[:40])
    assert len(probe.predict(pictures[40:])) == 20


@every
def test_equal_seeds_give_equal_bytes(make, tmp_path):
    pictures = stripes(40)[0]
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        make(epochs=1, seed=seed).fit(pictures).save(tmp_path / name)
    one, two, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other


class KilledError(Exception):
    """The training was killed."""


@every
def test_a_killed_training_ends_with_the_same_bytes(make, tmp_path, monkeypatch):
    pictures = stripes(40)[0]
    make(epochs=3).fit(pictures, work=tmp_path / "a").save(tmp_path / "one")
    step = callbacks.Checkpoint.on_step

    def die(self, state):
        if state.step == 4:
            self.save(state)
        if state.step == 5:
            raise KilledError
        return step(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Checkpoint, "on_step", die)
        with pytest.raises(KilledError):
            make(epochs=3).fit(pictures, work=tmp_path / "b")
    assert (tmp_path / "b" / "training.safetensors").exists()
    make(epochs=3).fit(pictures, work=tmp_path / "b").save(tmp_path / "two")
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


@every
def test_bfloat16_learns_and_leaves_float32(make, monkeypatch):
    monkeypatch.setattr("graft.pretrain.base.bf16_is_faster", lambda: True)
    made = make(epochs=1).fit(stripes(40)[0])
    assert {p.dtype for p in made.backbone_.parameters()} == {torch.float32}
    assert all(np.isfinite(point["loss"]) for point in made.record_["curve"])


def test_without_epochs_it_goes_on_until_the_time_is_up():
    clock = Clock(0.6)
    made = MAKE["masked patches"]().fit(stripes(60)[0], clock=clock)
    assert clock.elapsed() < 2.1
    assert made.record_["training"]["epochs"] > 1
    assert made.record_["training"]["stopped"] == ""


@every
def test_few_pictures_are_enough(make):
    assert make(epochs=1).fit(stripes(9)[0]).record_["data"]["held_out_pictures"] == 1


@pytest.mark.parametrize(
    ("make", "pictures", "error", "words"),
    [
        (MaskedImage, stripes(1)[0], DataError, "has 1 picture"),
        (NextImage, np.full((20, 8, 8), 7, np.uint8), DataError, "all 20 pictures .* are equal"),
        (lambda: MaskedImage(side=20), stripes(20)[0], UsageError, "a side of 20 pixels .* multiple of 8"),
        (lambda: NextImage(side=4), stripes(20)[0], UsageError, "a side of 4 pixels"),
        (lambda: Contrastive(batch_size=4), stripes(20)[0], UsageError, "batches of 4; use 8 or more"),
        (Contrastive, stripes(6)[0], DataError, "needs 8 pictures beside the held-out ones, data has 5"),
        (lambda: MaskedImage(encoder="lstm"), stripes(20)[0], UsageError, "does not train the encoder 'lstm'"),
        (lambda: Contrastive(size="huge"), stripes(20)[0], UsageError, "no size 'huge'"),
        (lambda: MaskedImage(gap="round"), stripes(20)[0], UsageError, "no gap 'round'; use patches or block"),
        (lambda: MaskedImage(hidden=1.0), stripes(20)[0], UsageError, "a share of 1.0 cannot be hidden"),
        (lambda: NextImage(levels=1), stripes(20)[0], UsageError, "1 levels; use 2 to 256"),
        (lambda: Contrastive(temperature=0.0), stripes(20)[0], UsageError, "temperature"),
        (MaskedImage, ["a text", "another text"] * 9, UsageError, "does not read text"),
    ],
)
def test_what_cannot_be_learned_is_said(make, pictures, error, words):
    with pytest.raises(error, match=words):
        make().fit(pictures)


def test_pictures_of_mixed_sizes_are_said():
    same = list(stripes(20, seed=1)[0])
    mixed = [np.tile(picture, (1 + row % 2, 1, 1)) for row, picture in enumerate(same)]
    assert MAKE["masked patches"](epochs=1).fit(same).record_["notes"] == []
    (note,) = MAKE["masked patches"](epochs=1, side=16).fit(mixed).record_["notes"]
    assert note.endswith("from 16 × 16 to 32 × 16 pixels; all were brought to 16 × 16.")
