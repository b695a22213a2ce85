"""Sources of pictures that are shown sounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sources import tiny_models as tiny

from graft.auto.sources import find_sources
from graft.core.errors import DataError, SourceError
from graft.core.runtime import seeded
from graft.data.spectrogram import Sound
from graft.sources.base import describe_model, list_models, open_model
from graft.sources.native import build_backbone
from graft.sources.spectrogram import picture
from graft.testing import check_source, toy_data
from graft.transfer.base import load_transfer
from graft.transfer.finetune import Finetune

SOUNDS = [
    Sound(np.random.default_rng(i).normal(scale=0.1, size=n).astype(np.float32), 8000)
    for i, n in enumerate((2000, 900, 300))
]


def chirp():
    """Low at its beginning, high at its end, loudest there."""
    time = np.arange(8000) / 8000
    return Sound(
        (0.1 + 0.8 * time).astype(np.float32) * np.sin(2 * np.pi * (200 + 1500 * time) * time).astype("f4"), 8000
    )


@pytest.mark.parametrize("kind", ["resnet", "vit", "mobilenet_v2"])
def test_every_source_of_pictures_keeps_the_contract_on_sounds(tmp_path, kind):
    folder = tiny.image(tmp_path / kind, kind, classes=["cat", "dog"])
    check_source(f"spectrogram:hf:{folder}", SOUNDS)
    spec = describe_model(f"spectrogram:{folder}")
    assert (spec.modality, spec.classes, spec.name) == ("audio", (), f"{kind} on spectrograms")


def test_own_checkpoints_are_shown_sounds_too(tmp_path):
    with seeded(0):
        build_backbone(toy_data("image")).save(tmp_path / "own")
    check_source(f"spectrogram:file:{tmp_path / 'own'}", SOUNDS)


def test_pictures_are_whole_and_upright(tmp_path):
    shown = picture(chirp())
    assert shown.shape == (64, 98, 3)
    top = shown[..., 0].argmax(axis=0)
    assert top[0] > top[48] > top[-1]  # rows count from above: what is high is up
    assert shown.max() == 255
    np.testing.assert_array_equal(picture(Sound(chirp().samples / 4, 8000)), shown)  # loudness changes nothing
    backbone = open_model(f"spectrogram:hf:{tiny.image(tmp_path / 'm', 'mobilenet_v2')}")  # whose pictures are cropped
    (seen,) = backbone.preprocess([chirp()])
    assert seen.shape == (32, 32, 3)
    columns = seen[..., 0].argmax(axis=0)
    assert np.abs(2 * columns[[0, -1]] - top[[0, -1]]).max() <= 3


def test_maps_are_pooled_in_parts(tmp_path):
    backbone = open_model(f"spectrogram:hf:{tiny.image(tmp_path / 'm', 'resnet')}")
    one = torch.zeros(1, 5, 4, 8)
    one[0, 2, :2, 2:4] = 1.0  # above, second quarter
    parts = backbone.pool(one, {}).reshape(5, 2, 4)
    assert parts.nonzero().tolist() == [[2, 0, 1]]
    assert backbone.pool(torch.zeros(1, 2000, 7, 7), {}).shape == (1, 4000)
    assert backbone.pool(torch.zeros(1, 9000, 7, 7), {}).shape == (1, 9000)


def test_sources_of_pictures_are_candidates_for_sounds(tmp_path, monkeypatch):
    tiny.image(tmp_path / "many" / "vit", "vit")
    tiny.audio(tmp_path / "many" / "hubert", "hubert")
    tiny.bert(tmp_path / "many" / "bert")
    monkeypatch.setenv("GRAFT_MODELS", str(tmp_path / "many"))
    names = {"vit on spectrograms", "hubert"}
    assert {spec.name for spec in list_models(modality="audio")} >= names
    assert {spec.name for spec in list_models()} >= {"vit", "hubert", "bert"}
    assert "vit on spectrograms" not in {spec.name for spec in list_models()}
    assert {spec.name for spec in find_sources("audio", [str(tmp_path / "many")])} == names
    (one,) = find_sources("audio", [str(tmp_path / "many" / "vit")])
    assert one.uri == f"spectrogram:hf:{tmp_path / 'many' / 'vit'}" or one.uri.startswith("spectrogram:")
    with pytest.raises(SourceError, match="reads text, the data are audio"):
        find_sources("audio", [str(tmp_path / "many" / "bert")])
    for uri in (f"spectrogram:hf:{tmp_path / 'many' / 'vit'}", f"hf:{tmp_path / 'many' / 'hubert'}"):
        with pytest.raises(DataError, match="a sound is a Sound, not str"):
            open_model(uri).preprocess(["a.wav"])
    with pytest.raises(SourceError, match="reads text, not pictures"):
        open_model(f"spectrogram:hf:{tmp_path / 'many' / 'bert'}")


def test_a_network_of_pictures_is_tuned_on_sounds_and_opens_again(tmp_path):
    data = toy_data("audio", rows=30)
    folder = tiny.image(tmp_path / "m", "mobilenet_v2")
    tuned = Finetune(f"spectrogram:hf:{folder}", blocks=2, epochs=8, lr=1e-3, augment="retake").fit(data)
    tuned.save(tmp_path / "run")
    opened = load_transfer(tmp_path / "run")
    np.testing.assert_array_equal(opened.outputs(data), tuned.outputs(data))
    assert opened.backbone_.spec.name == "m on spectrograms"
    assert opened.backbone_.spec.objective.startswith("image classification") or opened.backbone_.spec.objective
    (tmp_path / "run" / "source" / "spectrogram.json").write_text('{"format": 2}')
    with pytest.raises(SourceError, match="written by another graft"):
        open_model(str(tmp_path / "run" / "source"))
