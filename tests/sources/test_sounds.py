"""The reader of sounds, and networks over them."""

import numpy as np
import pytest
import torch
from conftest import make_tones

from graft.core.errors import UsageError
from graft.core.runtime import seeded
from graft.core.types import ModelSpec
from graft.data.load import load
from graft.data.spectrogram import Sound
from graft.sources.base import open_model
from graft.sources.native import NativeBackbone, build_backbone
from graft.sources.sounds import MOST_FRAMES, AudioReader, padded
from graft.testing import check_source


def noise(seconds, rate=8000, seed=0):
    return Sound(np.random.default_rng(seed).normal(scale=0.1, size=int(seconds * rate)).astype(np.float32), rate)


def test_bands_are_standardised_and_short_sounds_are_filled_up():
    sounds = [noise(seconds, seed=i) for i, seconds in enumerate((0.3, 0.5, 0.4, 0.5))]
    reader = AudioReader.build(sounds, rate=8000)
    assert (reader.step, reader.frames, reader.bands) == (1, 48, 64)
    encoded = reader.encode(sounds)
    whole = np.concatenate(encoded)
    np.testing.assert_allclose(whole.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(whole.std(axis=0), 1, atol=1e-3)
    pixels = reader.collate(encoded)["pixel_values"]
    assert pixels.shape == (4, 2, 64, 48)
    np.testing.assert_array_equal(pixels[0, 0, :, : len(encoded[0])].numpy().T, encoded[0])
    assert not pixels[0, 0, :, len(encoded[0]) :].any()
    assert (pixels[0, 1, 0, 0], pixels[0, 1, -1, -1]) == (-1, 1)  # where a band stands


def test_frame_by_frame_there_is_a_mask():
    reader = AudioReader.build([noise(0.3), noise(0.2)], rate=8000, form="frames")
    batch = reader.collate(reader.encode([noise(0.1), noise(0.2)]))
    assert batch["frames"].shape == (2, 24, 64)
    assert batch["attention_mask"].sum(dim=1).tolist() == [8, 18]
    assert not batch["frames"][0, 8:].any()


def test_long_sounds_are_averaged_not_cut():
    reader = AudioReader.build([noise(4.0)] * 5, rate=8000)
    assert (reader.step, reader.frames) == (4, 104)
    assert reader.frames <= MOST_FRAMES
    assert len(reader.encode([noise(4.0)])[0]) == 100
    assert len(reader.encode([noise(30.0)])[0]) == 104
    asked = AudioReader.build([noise(4.0)], rate=8000, frames=16)
    assert asked.encode([noise(4.0)])[0].shape == (16, 64)


def test_another_rate_is_resampled():
    reader = AudioReader.build([noise(0.3)], rate=8000)
    time = np.arange(8000) / 16_000
    tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    fast, slow = reader.encode([Sound(tone, 16_000), Sound(tone[::2], 8000)])
    loud = slow > (-40 - reader.mean) / reader.spread
    assert loud.any()
    assert np.abs(fast - slow)[loud].max() < 1


def test_state_round_trip():
    reader = AudioReader.build([noise(0.3), noise(0.4)], rate=8000, form="frames")
    again = AudioReader.from_state(*reader.state())
    for one, two in zip(reader.encode([noise(0.3)]), again.encode([noise(0.3)]), strict=True):
        np.testing.assert_array_equal(one, two)
    assert again.form == "frames"


@pytest.mark.parametrize("ask", [{"frames": 12}, {"frames": 0}, {"form": "waves"}])
def test_wrong_settings(ask):
    with pytest.raises(UsageError):
        AudioReader.build([noise(0.3)], rate=8000, **ask)


def test_padding_is_to_multiples_of_eight():
    frames, real = padded([np.ones((3, 2), np.float32), np.ones((9, 2), np.float32)])
    assert frames.shape == (2, 16, 2)
    assert real.sum(axis=1).tolist() == [3, 9]
    assert frames.sum() == 24


@pytest.mark.parametrize("encoder", ["lstm", "gru", "transformer", "resnet", "vgg"])
def test_every_encoder_of_sounds_keeps_the_contract(encoder):
    sounds = [Sound(samples[: 700 + 100 * i], rate) for i, (samples, rate) in enumerate(make_tones(5)[0])]
    picture = encoder in ("resnet", "vgg")
    reader = AudioReader.build(sounds, rate=8000, form="picture" if picture else "frames")
    arguments = {"channels": 2, "widths": (8, 16)} if picture else {"bands": 64, "width": 32}
    with seeded(0):
        backbone = NativeBackbone(encoder, arguments, reader, ModelSpec("new:x", "x", "audio", architecture=encoder))
    check_source(backbone, sounds)


def test_a_fresh_network_reads_what_it_was_built_on(tmp_path):
    data = load(make_tones(10))
    with seeded(0):
        backbone = build_backbone(data)
    assert (backbone.spec.modality, backbone.encoder, backbone.reader.rate) == ("audio", "transformer", 8000)
    backbone.save(tmp_path / "source")
    opened = open_model(f"file:{tmp_path / 'source'}")
    with torch.inference_mode():
        one, two = (each.eval()(each.collate(each.preprocess(data.take()))) for each in (backbone, opened))
    torch.testing.assert_close(one, two, rtol=0, atol=0)
