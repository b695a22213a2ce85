"""The frame that comes next, in sounds that go on as they began, and in sounds that turn."""

import json

import numpy as np
import pytest
import torch
from conftest import make_tones

from graft.core.errors import DataError, UsageError
from graft.core.registry import OBJECTIVES
from graft.data.spectrogram import Sound
from graft.pretrain.next_audio import NextAudio
from graft.sources.base import open_model
from graft.transfer.probe import Probe

SMALL = {"size": "tiny", "batch_size": 16, "lr": 3e-3}


def clocks(n=100, seed=0):
    """Two pitches that take turns every 50 ms: the last frame says too little, the turns before it say all."""
    rng = np.random.default_rng(seed)
    time = np.arange(4000) / 8000
    turn = (np.floor((time + rng.uniform(0, 0.1, (n, 1))) / 0.05) % 2).astype(bool)
    pitch = np.where(turn, 400, 1600)
    samples = 0.4 * np.sin(2 * np.pi * pitch * time) + rng.normal(scale=1e-2, size=turn.shape)
    return [(row.astype(np.float32), 8000) for row in samples]


@pytest.fixture(scope="module")
def heard():
    return NextAudio(**SMALL | {"lr": 8e-3}, encoder="gru", epochs=15).fit(clocks())


def test_turns_are_foreseen(heard):
    for score in heard.record_["scores"]:
        assert score["name"].startswith("absolute error 3 frames ahead")
        assert score["value"] < 0.7 * min(score["baselines"].values())
        assert score["low"] <= score["value"] <= score["high"]
    sample = heard.record_["samples"][0]
    assert (sample["kind"], sample["picture"][:22]) == ("predicted", "data:image/png;base64,")
    assert heard.record_["data"]["ahead"] == 3


@pytest.mark.parametrize("encoder", ["lstm", "gru", "transformer"])
def test_nothing_is_seen_of_what_is_predicted(encoder):
    made = NextAudio(**SMALL, encoder=encoder, epochs=0.2)
    made.fit(make_tones(20)[0])
    objective = made._objective(made.backbone_).eval()
    frames = torch.randn(2, 16, 64)
    other = frames.clone()
    other[:, 10:] += 5
    with torch.inference_mode():
        one, two = (objective.predicted({"frames": each}) for each in (frames, other))
    assert one.shape == (2, 13, 64)  # the first of these is frame 3
    torch.testing.assert_close(one[:, :10], two[:, :10])
    assert not torch.allclose(one[:, 10], two[:, 10])


@pytest.mark.parametrize("encoder", ["lstm", "gru", "transformer"])
def test_every_encoder_makes_a_source_that_others_open(encoder, tmp_path):
    sounds, labels = make_tones(40)
    made = NextAudio(**SMALL, encoder=encoder, epochs=1).fit(sounds)
    folder = made.save(tmp_path / "source")
    assert json.loads((folder / "pretrain.json").read_text())["objective"] == "next-audio"
    opened = open_model(f"file:{folder}")
    assert (opened.spec.modality, opened.reader.form) == ("audio", "frames")
    probe = Probe(f"file:{folder}").fit(sounds, labels)
    assert np.mean(probe.predict(make_tones(10, seed=1)[0]) == make_tones(10, seed=1)[1]) > 0.8


def test_sounds_of_few_frames_say_nothing_and_do_no_harm():
    sounds = [Sound(samples, rate) for samples, rate in make_tones(40)[0]]
    short = [Sound(sound.samples[:300], sound.rate) for sound in sounds]  # two frames
    made = NextAudio(**SMALL, epochs=1).fit(sounds + short)
    assert all(np.isfinite(score["value"]) for score in made.record_["scores"])
    with pytest.raises(DataError, match="no sound is longer than 3 frames"):
        NextAudio(**SMALL, epochs=1).fit(short)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"ahead": 0}, "cannot look 0 frames ahead; use 1 to 7"), ({"encoder": "resnet"}, "use lstm, gru, transformer")],
)
def test_wrong_settings(options, message):
    with pytest.raises(UsageError, match=message):
        NextAudio(**options, epochs=1).fit(make_tones(4)[0])
    assert OBJECTIVES["next-audio"] is NextAudio
