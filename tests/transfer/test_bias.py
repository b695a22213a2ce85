"""Bias tuning: vectors move, matrices do not."""

import importlib.util

import numpy as np
import pytest
import torch
from sources import tiny_keras, tiny_models

from graft.core.errors import UsageError
from graft.core.runtime import seeded
from graft.core.types import ModelSpec
from graft.data.load import load
from graft.engine.callbacks import Checkpoint
from graft.sources.base import open_model
from graft.sources.native import NativeBackbone, build_backbone
from graft.testing import toy_data, toy_sources
from graft.transfer.base import Setting, load_transfer
from graft.transfer.bias import SHIFT, BiasOnly

QUICK = {"epochs": 4, "batch_size": 8, "lr": 1e-2}


def weights(backbone):
    return {name: tensor.clone() for name, tensor in backbone.state_dict().items()}


def moved(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("blocks", [1, None])
def test_biases_move_and_everything_else_stays_byte_for_byte(blocks, tiny_bert, texts):
    source = open_model(f"hf:{tiny_bert}")
    before = weights(source)
    tuned = BiasOnly(source, blocks=blocks, **QUICK).fit(*texts)
    changed = moved(before, weights(tuned.backbone_))
    shifts = {name for name in before if name.endswith(".bias") and (blocks is None or "layer.1." in name)}
    assert changed <= shifts
    assert shifts - changed <= {name for name in shifts if "key.bias" in name}  # softmax ignores the bias of the keys
    assert any("LayerNorm" in name for name in changed)
    assert tuned.trained_["layers"] == len(shifts)
    assert tuned.trained_["weights"] == sum(before[name].numel() for name in shifts)
    assert tuned.trained_["of"] == sum(p.numel() for p in source.parameters())
    assert not moved(before, weights(source))


def test_biases_learn_more_than_the_head_can():
    """Rows inside a ring against rows on it: the body must move."""
    X = np.random.default_rng(0).normal(size=(200, 2))
    data = load((X, np.where(np.square(X).sum(1) > 1.4, "out", "in").tolist()))
    own = build_backbone(data)
    with seeded(0):
        backbone = NativeBackbone("mlp", {"inputs": 2, "width": 8}, own.reader, own.spec)
    settings = {"epochs": 10, "batch_size": 20, "head_lr": 1e-2}
    still, tuned = (BiasOnly(backbone, lr=lr, **settings).fit(data) for lr in (0.0, 3e-2))
    assert tuned.curve_[-1]["loss"] < 0.9 * still.curve_[-1]["loss"]


def test_a_picture_network_is_kept_and_opened(tiny_vit, pictures, tmp_path):
    data, source = load(pictures), open_model(f"hf:{tiny_vit}")
    tuned = BiasOnly(source, **QUICK).fit(data)
    assert {name.rsplit(".", 1)[-1] for name in moved(weights(source), weights(tuned.backbone_))} == {"bias"}
    again = load_transfer(tuned.save(tmp_path / "run"))
    assert np.array_equal(again.outputs(data), tuned.outputs(data))
    assert again.trained_ == tuned.trained_
    assert again.backbone_.fingerprint() == tuned.backbone_.fingerprint() != source.fingerprint()


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="needs the extra keras")
def test_biases_and_shifts_of_a_keras_network(pictures, tmp_path):
    path = tmp_path / "residual.keras"
    tiny_keras.save(tiny_keras.residual(), path)
    before = weights(open_model(f"keras:{path}"))
    changed = moved(before, weights(BiasOnly(f"keras:{path}", **QUICK).fit(*pictures).backbone_))
    assert {name.rsplit("_", 1)[-1] for name in changed} == {"bias", "beta"}


def test_statistics_stay(pictures):
    with seeded(0):
        own = build_backbone(load(pictures))
        backbone = NativeBackbone("resnet-cifar", {"depth": 8}, own.reader, own.spec)
    changed = moved(weights(backbone), weights(BiasOnly(backbone, **QUICK).fit(*pictures).backbone_))
    assert changed == {name for name in weights(backbone) if name.endswith(".bias")}


def test_seeds_decide(tiny_bert, texts):
    one, two, three = (BiasOnly(f"hf:{tiny_bert}", seed=seed, **QUICK).fit(*texts).backbone_ for seed in (0, 0, 1))
    assert one.fingerprint() == two.fingerprint() != three.fingerprint()


def test_a_killed_fit_resumes_to_the_same_bytes(tiny_bert, texts, tmp_path, monkeypatch):
    data, path, original = load(texts), tmp_path / "state.safetensors", Checkpoint.on_step
    make = lambda: BiasOnly(f"hf:{tiny_bert}", dropout=0.1, **QUICK)  # noqa: E731
    straight = make().fit(data)

    def die(self, state):
        if state.step == 7:
            self.save(state)
            raise KeyboardInterrupt
        return original(self, state)

    monkeypatch.setattr(Checkpoint, "on_step", die)
    with pytest.raises(KeyboardInterrupt):
        make().fit(data, setting=Setting(checkpoint=path))
    monkeypatch.setattr(Checkpoint, "on_step", original)
    assert path.exists()
    resumed = make().fit(data, setting=Setting(checkpoint=path))
    assert not moved(weights(straight.backbone_), weights(resumed.backbone_))
    assert np.array_equal(straight.outputs(data), resumed.outputs(data))


def test_names_of_shifts():
    for name in ("a.bias", "norm.beta", "leaves.3.1_bias", "leaves.4.1_beta", "lstm.bias_hh_l0_reverse", "attn.q_bias"):
        assert SHIFT.search(name), name
    for name in ("a.weight", "relative_attention_bias.weight", "biased.weight", "alphabeta", "leaves.3.0_kernel"):
        assert not SHIFT.search(name), name


def test_sources_without_biases_are_refused(tmp_path):
    assert "no biases" in BiasOnly.fits(toy_sources(toy_data("text"))[1].spec)
    assert not BiasOnly.fits(ModelSpec("hf:any", "any", "text", architecture="bert"))
    with seeded(0):
        folder = tiny_models.llama(tmp_path / "llama")
    with pytest.raises(UsageError, match="llama has no biases to train; use adapters or finetune") as caught:
        BiasOnly(f"hf:{folder}").fit(toy_data("text"))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="llama has no biases in its top 1 blocks to train"):
        BiasOnly(f"hf:{folder}", blocks=1).fit(toy_data("text"))
