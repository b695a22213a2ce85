"""Audio encoders of transformers: their own values, whatever the padding, and everything that a source promises."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import transformers as tf
from sources import tiny_models as tiny

from graft.core.errors import SourceError
from graft.data.spectrogram import Sound, resampled
from graft.ranking.rank import rank
from graft.sources.base import describe_model, list_models, open_model
from graft.sources.loading import quiet
from graft.testing import check_source, toy_data
from graft.transfer.finetune import Finetune

WAVES = ("wav2vec2", "hubert", "wavlm")
KINDS = (*WAVES, "audio-spectrogram-transformer", "whisper")


def noise(seconds, rate=16_000, seed=0):
    return Sound(np.random.default_rng(seed).normal(scale=0.1, size=int(seconds * rate)).astype(np.float32), rate)


SOUNDS = [noise(0.31, seed=1), noise(0.12, 8000, seed=2), noise(0.03, seed=3)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("audio")
    return {kind: tiny.audio(root / kind, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_encoder_keeps_the_contract(folders, kind):
    check_source(f"hf:{folders[kind]}", SOUNDS)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_those_of_transformers(folders, kind):
    backbone = open_model(f"hf:{folders[kind]}")
    assert (backbone.spec.modality, backbone.rate, len(backbone.blocks())) == ("audio", 16_000, 3)
    batch = backbone.collate(backbone.preprocess(SOUNDS))
    with torch.inference_mode():
        ours = backbone.forward_features(batch)
    with quiet():
        network = tf.AutoModel.from_pretrained(folders[kind]).eval()
        extractor = tf.AutoFeatureExtractor.from_pretrained(folders[kind])
        network = network.get_encoder() if kind == "whisper" else network
        for row, sound in enumerate(SOUNDS):
            values = extractor(resampled(sound, 16_000), sampling_rate=16_000, return_tensors="pt")
            with torch.inference_mode():
                found = network(**values, output_hidden_states=True)
            theirs = [*found.hidden_states[1:-1], found.last_hidden_state]
            assert len(ours) == len(theirs) == 3
            for one, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(one[row, : other.shape[1]], other[0], atol=2e-5, rtol=1e-4)


def test_waves_with_layer_normalisation_and_a_norm_at_the_end(tmp_path):
    options = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    check_source(f"hf:{tiny.audio(tmp_path / 'm', 'wav2vec2', **options)}", SOUNDS)


def test_pooled_is_what_is_heard(folders):
    backbone = open_model(f"hf:{folders['whisper']}")
    batch = backbone.collate(backbone.preprocess(SOUNDS))
    assert batch["heard"].sum(1).tolist() == [16, 6, 2]  # 20 ms each
    assert batch["input_features"].shape == (3, 16, 100)
    waves = open_model(f"hf:{folders['hubert']}")
    encoded = waves.preprocess(SOUNDS)
    assert waves.collate(encoded)["attention_mask"].sum(1).tolist() == [waves.length(row) for row in encoded]
    assert waves.length(encoded[0]) == 4960 // 160


def test_sounds_are_ranked_and_a_network_is_tuned_on_them(folders, tmp_path):
    data = toy_data("audio", rows=30)
    ranking = rank([f"hf:{folders['wav2vec2']}", f"hf:{folders['whisper']}"], data)
    assert not [row.failure for row in ranking.rows if row.failure]
    tuned = Finetune(f"hf:{folders['wav2vec2']}", blocks=1, epochs=3, lr=1e-3, augment="retake").fit(data)
    tuned.save(tmp_path / "run")
    opened = open_model(str(tmp_path / "run" / "source"))
    assert opened.fingerprint() == tuned.backbone_.fingerprint()
    # the frozen blocks are run once: the same weights as if every step ran them
    plain = {"blocks": 1, "epochs": 1, "dropout": None}
    once = Finetune(f"hf:{folders['hubert']}", blocks=1, epochs=2, head_start="zero").fit(data)
    assert once.curve_
    assert np.isfinite(Finetune(f"hf:{folders['hubert']}", **plain).fit(data).outputs(data)).all()


def test_models_of_sounds_are_listed_and_odd_ones_refused(folders, tmp_path):
    root = folders["wav2vec2"].parent
    names = {spec.name for spec in list_models(modality="audio", folders=(str(root),))}
    assert set(KINDS) <= names
    assert describe_model(f"hf:{folders['whisper']}").hidden_size == 16
    bare = tiny.audio(tmp_path / "bare", "wav2vec2")
    (bare / "preprocessor_config.json").rename(tmp_path / "kept.json")
    with pytest.raises(SourceError, match=r"no preprocessor_config\.json"):
        open_model(f"hf:{bare}")
    facts = json.loads((folders["whisper"] / "preprocessor_config.json").read_text())
    (bare / "preprocessor_config.json").write_text(json.dumps(facts))
    with pytest.raises(SourceError, match="another kind of model"):
        open_model(f"hf:{bare}")
    config = json.loads((bare / "config.json").read_text()) | {"model_type": "data2vec-audio"}
    (bare / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError, match="audio model of the kind data2vec-audio"):
        open_model(f"hf:{bare}")


def test_heads_of_audio_models_are_left_out(tmp_path):
    folder = tiny.audio(tmp_path / "m", "hubert")
    config = tf.AutoConfig.from_pretrained(folder)
    config = tf.HubertConfig(**(config.to_dict() | {"id2label": {0: "yes", 1: "no"}}))
    with quiet():
        tf.HubertForSequenceClassification(config).save_pretrained(folder)
    backbone = open_model(f"hf:{folder}")
    assert dataclasses.asdict(backbone.spec)["classes"] == ()
    check_source(backbone, SOUNDS)
