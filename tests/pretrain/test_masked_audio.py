"""Hidden parts of spectrograms, on tones whose pitch tells everything."""

import json

import numpy as np
import pytest
import torch
from conftest import make_tones, save_tones
from safetensors.torch import load_file

from graft.core.errors import DataError, UsageError
from graft.core.registry import OBJECTIVES
from graft.data.load import load
from graft.pretrain.masked_audio import CELL, MaskedAudio, interpolated
from graft.pretrain.sounds import rows_of
from graft.sources.base import open_model
from graft.transfer.probe import Probe

SMALL = {"size": "tiny", "batch_size": 16, "lr": 3e-3}


def sweeps(n=120, seed=0):
    """Sounds that rise from a pitch of their own: what is hidden in between lies on no straight line in time."""
    rng = np.random.default_rng(seed)
    time = np.arange(3200) / 8000
    begin, speed = rng.uniform(200, 800, (n, 1)), rng.uniform(1500, 5000, (n, 1))
    samples = 0.4 * np.sin(2 * np.pi * (begin * time + speed * time**2 / 2)) + rng.normal(scale=1e-3, size=(n, 3200))
    return [(row.astype(np.float32), 8000) for row in samples]


@pytest.fixture(scope="module")
def filled():
    return MaskedAudio(**SMALL, epochs=25, hidden=0.2).fit(sweeps())


def scores(made):
    return {score["name"]: score for score in made.record_["scores"]}


def test_a_sweep_is_filled_better_than_by_a_line(filled):
    error = scores(filled)["squared error of what is hidden"]
    assert error["value"] < 0.8 * min(error["baselines"].values())
    assert error["low"] <= error["value"] <= error["high"]
    decibel = scores(filled)["error of what is hidden"]
    assert decibel["value"] < min(decibel["baselines"].values())
    sample = filled.record_["samples"][0]
    assert (sample["kind"], sample["picture"][:22]) == ("inpainted", "data:image/png;base64,")
    assert filled.record_["data"]["train_sounds"] == 114
    assert filled.record_["training"]["rows_per_second"] > 0


@pytest.mark.parametrize(("gap", "share"), [("patches", 0.5), ("time", 0.3)])
def test_what_is_hidden(gap, share):
    made = MaskedAudio(gap=gap)
    real = np.zeros((50, 40), np.float32)
    for row in range(50):
        real[row, : 20 + row % 20] = 1
    hidden = made._places(real, 64, np.random.default_rng(0))
    assert hidden.shape == (50, 40, 64)
    assert not hidden[real == 0].any()  # nothing beyond the end of a sound
    counts = hidden.sum(axis=(1, 2))
    assert counts.min() > 0
    assert abs((counts / (real.sum(axis=1) * 64)).mean() - share) < 0.05
    if gap == "time":
        assert (hidden.all(axis=2) == hidden.any(axis=2)).all()
    else:
        bands = hidden.reshape(50, 40, 64 // CELL, CELL)
        assert (bands.all(axis=3) == bands.any(axis=3)).all()
        assert hidden.any(axis=2).sum() > hidden.all(axis=2).sum()


def test_something_is_seen_even_of_the_shortest_sound():
    made = MaskedAudio(gap="time", hidden=0.9)
    real = np.zeros((1, 16), np.float32)
    real[0, :12] = 1
    for seed in range(20):
        hidden = made._places(real, 64, np.random.default_rng(seed))
        assert hidden.any()
        assert (~hidden[0, :12]).any()


def test_lines_are_drawn_between_what_is_seen():
    frames = torch.tensor([[1.0, 5.0], [9.0, 9.0], [3.0, 9.0], [9.0, 9.0]])[None]
    hidden = torch.tensor([[0, 0], [1, 1], [0, 1], [0, 1]], dtype=torch.bool)[None]
    real = torch.tensor([[1.0, 1.0, 1.0, 0.0]])  # the last frame is none
    guess = interpolated({"frames": frames, "hidden": hidden, "attention_mask": real}, torch.zeros(2))
    assert guess[0, :3].tolist() == [[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]
    nothing = interpolated(
        {"frames": frames, "hidden": torch.ones_like(hidden), "attention_mask": real}, torch.tensor([7.0, 8.0])
    )
    assert nothing[0, 1].tolist() == [7.0, 8.0]


def test_means_count_only_what_is_marked():
    values = torch.arange(12.0).reshape(2, 3, 2)
    real = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert rows_of(values, real).tolist() == [0.5, 0.0]
    assert rows_of(values, values > 9).tolist() == [0.0, 10.5]


def test_what_is_hidden_is_not_seen():
    made = MaskedAudio(**SMALL, epochs=0.2)
    made.fit(make_tones(20)[0])
    objective = made._objective(made.backbone_).eval()
    batch = next(made._held_out_batches(objective))
    changed = batch | {"frames": torch.where(batch["hidden"], torch.full_like(batch["frames"], 9.0), batch["frames"])}
    with torch.inference_mode():
        torch.testing.assert_close(objective.predicted(batch), objective.predicted(changed))


@pytest.mark.parametrize("encoder", ["resnet", "vgg", "transformer"])
def test_every_encoder_makes_a_source_that_others_open(encoder, tmp_path):
    sounds, labels = make_tones(40)
    made = MaskedAudio(**SMALL, encoder=encoder, epochs=1).fit(sounds)
    folder = made.save(tmp_path / "source")
    record = json.loads((folder / "pretrain.json").read_text())
    assert record["data"]["gap"] == ("time" if encoder == "transformer" else "patches")
    opened = open_model(f"file:{folder}")
    assert opened.spec.modality == "audio"
    assert opened.spec.objective.startswith(made.label)
    probe = Probe(f"file:{folder}").fit(sounds, labels)
    assert np.mean(probe.predict(make_tones(10, seed=1)[0]) == make_tones(10, seed=1)[1]) > 0.7


def test_equal_seeds_give_equal_bytes(tmp_path):
    def weights(seed, name):
        made = MaskedAudio(**SMALL, epochs=1, seed=seed).fit(make_tones(20)[0])
        return made.save(tmp_path / name)

    one, two, other = weights(0, "a"), weights(0, "b"), weights(1, "c")
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    first, last = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert any(not torch.equal(first[key], last[key]) for key in first)


def test_files_are_read_once_and_taken_up_again(tmp_path):
    data = load(save_tones(tmp_path / "sounds", 10), labelled=False)
    made = MaskedAudio(**SMALL, epochs=1).fit(data, work=tmp_path / "work")
    stamp = (tmp_path / "work" / "train.frames").stat().st_mtime_ns
    again = MaskedAudio(**SMALL, epochs=1).fit(data, work=tmp_path / "work")
    assert (tmp_path / "work" / "train.frames").stat().st_mtime_ns == stamp
    assert again.record_["scores"] == made.record_["scores"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gap": "holes"}, "no gap 'holes'; use patches or time"),
        ({"hidden": 1.5}, "a share of 1.5 cannot be hidden"),
        ({"encoder": "lstm"}, "does not train the encoder 'lstm'"),
        ({"length": 12}, "12 frames do not fit the encoders"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(UsageError, match=message):
        MaskedAudio(**options, epochs=1).fit(make_tones(4)[0])


def test_wrong_data():
    with pytest.raises(DataError, match="1 sound"):
        MaskedAudio(epochs=1).fit(make_tones(1)[0])
    with pytest.raises(UsageError, match="does not read text; it reads audio"):
        MaskedAudio(epochs=1).fit(["a text", "another"])
    assert OBJECTIVES["masked-audio"] is MaskedAudio
