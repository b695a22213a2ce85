"""Adapters: which layers, what is trained, that merging changes nothing, and that nothing of peft is left."""

import copy
import importlib.util
import sys

import numpy as np
import pytest
import torch
import transformers as tf
from conftest import make_pictures
from sources import tiny_keras, tiny_models
from torch import nn

from graft.core.errors import MissingExtraError, UsageError
from graft.core.runtime import seeded
from graft.core.types import ModelSpec
from graft.data.load import load
from graft.engine.callbacks import Checkpoint
from graft.nn.cifar import CifarResNet
from graft.sources.base import open_model
from graft.sources.loading import quiet
from graft.sources.native import NativeBackbone, build_backbone
from graft.testing import check_transfer, toy_data
from graft.transfer.adapters import RATES, Adapters
from graft.transfer.base import Setting, load_transfer
from graft.transfer.injection import adaptable, merge

pytestmark = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs the extra adapters")
with_keras = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="needs the extra keras")
QUICK = {"rank": 2, "epochs": 3, "batch_size": 8, "lr": 1e-2}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Folders and files of tiny sources beside BERT and ViT."""
    folder = tmp_path_factory.mktemp("shelf")
    config = tf.GPT2Config(
        n_embd=16,
        n_head=2,
        n_layer=2,
        n_positions=64,
        vocab_size=len(tiny_models.PIECES),
        bos_token_id=2,
        eos_token_id=3,
    )
    with seeded(0):
        tiny_models.write_vocabulary(folder / "gpt2")
        with quiet():
            tf.GPT2Model(config).save_pretrained(folder / "gpt2")
        for kind in ("resnet", "mobilenet_v2"):
            tiny_models.image(folder / kind, kind)
    return folder


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory):
    """Two Keras networks: one with residual blocks, one with hidden Dense layers."""
    folder = tmp_path_factory.mktemp("keras")
    tiny_keras.save(tiny_keras.residual(dropout=0.5), folder / "residual.keras")
    tiny_keras.save(tiny_keras.stacked(), folder / "stacked.keras")
    return folder


def weights(backbone):
    return {name: tensor.clone() for name, tensor in backbone.state_dict().items()}


def moved(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def native(kind):
    with seeded(0):
        return build_backbone(toy_data(kind))


def batch_of(backbone):
    data = toy_data(backbone.spec.modality)
    return backbone.collate(backbone.preprocess(data.take(slice(0, 6))))


def disturb(backbone):
    """Give what is trained values that it did not start from."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


# -- merging -----------------------------------------------------------------------------------------------------------


def check_merging(backbone, kind):
    batch, before = batch_of(backbone.eval()), weights(backbone)
    adapters = Adapters(kind=kind, rank=2)
    with torch.no_grad():
        plain = backbone(batch)
        with seeded(0):
            adapters._freeze(backbone)
        start = backbone.eval()(batch)
        assert torch.allclose(start, plain, atol=1e-5 * float(plain.abs().max()))  # training starts from the source
        disturb(backbone)
        apart = backbone(batch)
        merge(backbone)
        merged = backbone(batch)
    size = float(apart.abs().max())
    assert float((merged - apart).abs().max()) < 1e-4 * size
    assert float((apart - plain).abs().max()) > 1e-3 * size
    assert not [part for part in backbone.modules() if type(part).__module__.startswith("peft")]
    assert not hasattr(backbone, "peft_config")
    assert not backbone._forward_pre_hooks
    changed = moved(before, weights(backbone))
    assert len({name.rsplit(".", 1)[0] for name in changed}) == adapters.trained_["layers"]
    assert adapters.trained_["of"] == sum(p.numel() for p in backbone.parameters())


@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize("name", ["bert", "vit", "gpt2", "resnet", "mobilenet_v2", "image", "audio", "table", "text"])
def test_merging_changes_no_output_and_leaves_nothing_behind(name, kind, tiny_bert, tiny_vit, shelf):
    folders = {"bert": tiny_bert, "vit": tiny_vit, **{key: shelf / key for key in ("gpt2", "resnet", "mobilenet_v2")}}
    if (name, kind) == ("text", "ia3"):  # peft scales no convolution over time
        with pytest.raises(UsageError, match="textcnn has no layer that ia3 can adapt; use finetune or probe"):
            Adapters(native("text"), kind=kind).fit(toy_data("text"))
        return
    check_merging(open_model(f"hf:{folders[name]}") if name in folders else native(name), kind)


@with_keras
@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize("name", ["residual", "stacked"])
def test_merging_into_a_keras_network(name, kind, keras_files):
    check_merging(open_model(f"keras:{keras_files / name}.keras"), kind)


# -- which layers ------------------------------------------------------------------------------------------------------


def ends(backbone, **settings):
    return {".".join(name.split(".")[-2:]) for name in Adapters(**settings)._layers(backbone)}


def test_layers_are_chosen_by_what_the_network_is(tiny_bert, tiny_vit, shelf):
    bert, vit = open_model(f"hf:{tiny_bert}"), open_model(f"hf:{tiny_vit}")
    assert ends(bert) == {"self.query", "self.value"}
    assert ends(bert, kind="ia3") == {"self.key", "self.value", "output.dense"}
    assert not [name for name in Adapters(kind="ia3")._layers(bert) if "attention.output" in name]
    assert ends(vit) == {"attention.q_proj", "attention.v_proj"}
    assert ends(open_model(f"hf:{shelf / 'gpt2'}"), kind="ia3") == {"attn.c_attn", "mlp.c_proj"}
    assert ends(native("audio")) == {"0.qkv", "1.qkv"}
    assert len(Adapters()._layers(native("image"))) == sum(isinstance(m, nn.Conv2d) for m in native("image").modules())
    assert ends(bert, targets=["dense"]) == {"output.dense", "intermediate.dense"}
    assert len(Adapters(targets="query")._layers(bert)) == 2
    assert [name for name in Adapters(blocks=1)._layers(bert) if "layer.1." not in name] == []


def test_what_peft_would_merge_wrongly_is_left_alone():
    class Odd(nn.Linear):
        pass

    kinds = {
        "plain": nn.Conv2d(4, 4, 3), "grouped": nn.Conv2d(4, 4, 3, groups=2), "dilated": nn.Conv2d(4, 4, 3, dilation=2),
        "reflected": nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "odd": Odd(4, 4), "linear": nn.Linear(4, 4),
        "product": nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), "attention": nn.MultiheadAttention(4, 2),
    }  # fmt: skip
    backbone = native("table")
    backbone.body.layers = nn.ModuleList([nn.ModuleDict(kinds)])
    assert {name.rsplit(".", 1)[-1] for name in adaptable(backbone, "lora")} == {"plain", "linear"}
    scaled = {name.rsplit(".", 1)[-1] for name in adaptable(backbone, "ia3")}
    assert scaled == {"plain", "grouped", "dilated", "reflected", "linear"}


@with_keras
def test_layers_of_keras_have_their_names(keras_files):
    residual = open_model(f"keras:{keras_files / 'residual.keras'}")
    assert list(Adapters()._layers(residual)) == ["conv_1", "conv_2", "shortcut_2"]
    assert list(Adapters(targets=["2"])._layers(residual)) == ["conv_2", "shortcut_2"]
    assert list(Adapters(blocks=1)._layers(residual)) == ["conv_2", "shortcut_2"]
    with pytest.raises(UsageError, match="no layer 'conv' that lora can adapt; it has conv_1, conv_2, shortcut_2"):
        Adapters(targets=["conv"])._layers(residual)


# -- fitting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dora", "ia3"])  # lora: with the other transfers
def test_the_contract(kind):
    check_transfer("adapters", toy_data("table"), kind=kind, epochs=8, batch_size=8)


@pytest.mark.parametrize("kind", RATES)
def test_only_the_adapted_layers_change(kind, tiny_bert, texts):
    before = weights(open_model(f"hf:{tiny_bert}"))
    tuned = Adapters(f"hf:{tiny_bert}", kind=kind, blocks=1, **QUICK).fit(*texts)
    changed = moved(before, weights(tuned.backbone_))  # the others are the same byte for byte
    names = ("key", "value", "output.dense") if kind == "ia3" else ("query", "value")
    parts = ("weight", "bias") if kind == "ia3" else ("weight",)
    assert {name.split("layer.1.")[1] for name in changed} <= {
        f"{'' if name == 'output.dense' else 'attention.self.'}{name}.{part}" for name in names for part in parts
    }
    assert {name for name in changed if name.endswith("weight")} == {
        name for name in before if "layer.1." in name and name.endswith(tuple(f".{n}.weight" for n in names))
        and "attention.output" not in name
    }  # fmt: skip


def test_what_was_trained_is_counted_and_kept(tiny_bert, texts, tmp_path):
    tuned = Adapters(f"hf:{tiny_bert}", **QUICK).fit(*texts)
    source = open_model(f"hf:{tiny_bert}")
    assert tuned.trained_["layers"] == 4
    assert tuned.trained_["weights"] == 4 * 2 * (16 + 16)
    assert tuned.trained_["of"] == sum(p.numel() for p in source.parameters())
    assert tuned.trained_["share"] == tuned.trained_["weights"] / tuned.trained_["of"] < 0.05
    opened = load_transfer(tuned.save(tmp_path / "run"))
    assert opened.trained_ == tuned.trained_
    assert np.array_equal(opened.predict_proba(texts[0]), tuned.predict_proba(texts[0]))
    again = open_model(str(tmp_path / "run" / "source"))
    assert again.fingerprint() == tuned.backbone_.fingerprint() != source.fingerprint()
    assert weights(again).keys() == weights(source).keys()


@pytest.mark.parametrize("kind", RATES)
def test_adapters_learn_more_than_the_head_can(kind):
    """Rows inside a ring against rows on it: the body must move."""
    X = np.random.default_rng(0).normal(size=(200, 2))
    data = load((X, np.where(np.square(X).sum(1) > 1.4, "out", "in").tolist()))
    own = build_backbone(data)
    with seeded(0):
        backbone = NativeBackbone("mlp", {"inputs": 2, "width": 8}, own.reader, own.spec)
    settings = {"kind": kind, "epochs": 10, "batch_size": 20, "head_lr": 1e-2}
    still, tuned = (Adapters(backbone, lr=lr, **settings).fit(data) for lr in (0.0, 3e-2))
    assert tuned.curve_[-1]["loss"] < 0.9 * still.curve_[-1]["loss"]
    assert not moved(weights(backbone), weights(still.backbone_))


def test_it_learns_pictures():
    data = toy_data("image")
    tuned = Adapters(native("image"), **QUICK).fit(data)
    assert np.mean(tuned.predict(data) == data.labels) > 0.9


def test_an_opened_source_stays_as_it_was_and_seeds_decide(tiny_bert, texts):
    backbone = open_model(f"hf:{tiny_bert}")
    before = weights(backbone)
    one, two, three = (Adapters(backbone, seed=seed, **QUICK).fit(*texts).backbone_ for seed in (0, 0, 1))
    assert not moved(before, weights(backbone))
    assert all(p.requires_grad for p in backbone.parameters())
    assert not moved(weights(one), weights(two))
    assert moved(weights(one), weights(three))


def test_statistics_stay(pictures):
    with seeded(0):
        own = build_backbone(load(pictures))
        backbone = NativeBackbone("resnet-cifar", {"depth": 8}, own.reader, own.spec)
    assert isinstance(backbone.body, CifarResNet)
    tuned = Adapters(backbone, **QUICK).fit(*pictures)
    changed = moved(weights(backbone), weights(tuned.backbone_))
    assert changed
    assert all("conv" in name for name in changed)


def test_scales_are_not_decayed(tiny_bert):
    for kind, decay in (("ia3", {0.0}), ("lora", {0.1})):
        adapters = Adapters(f"hf:{tiny_bert}", kind=kind, weight_decay=0.1)
        backbone = adapters._backbone(toy_data("text"))
        adapters._freeze(backbone)
        own = {id(p) for p in backbone.parameters()}
        groups = adapters._groups(backbone, nn.Linear(16, 2), 1e-3)
        assert {g["weight_decay"] for g in groups for p in g["params"] if id(p) in own} == decay
        assert {g["lr"] for g in groups for p in g["params"] if id(p) in own} == {RATES[kind]}
        assert {g["weight_decay"] for g in groups for p in g["params"] if id(p) not in own} == {0.0, 0.1}


@with_keras
def test_a_keras_network_is_adapted_kept_and_opened(keras_files, tmp_path):
    data = load(make_pictures(24))
    opened = open_model(f"keras:{keras_files / 'residual.keras'}?classes=a,b,c")
    before = copy.deepcopy(opened.state_dict())
    make = lambda: Adapters(opened, **QUICK).fit(data)  # noqa: E731
    tuned = make()
    assert not moved(before, weights(opened))
    changed = moved(before, weights(tuned.backbone_))
    assert len(changed) == tuned.trained_["layers"] == 3
    assert all(name.endswith("kernel") for name in changed)
    assert not moved(weights(make().backbone_), weights(tuned.backbone_))
    tuned.save(tmp_path / "run")
    again = load_transfer(tmp_path / "run")
    assert np.array_equal(again.outputs(data), tuned.outputs(data))
    assert again.backbone_.fingerprint() == tuned.backbone_.fingerprint() != opened.fingerprint()
    assert again.backbone_.spec.classes == ("a", "b", "c")


# -- a killed run ------------------------------------------------------------------------------------------------------


def check_resuming(make, data, path, monkeypatch):
    straight, original = make().fit(data), Checkpoint.on_step

    def die(self, state):
        if state.step == 5:
            self.save(state)
            raise KeyboardInterrupt
        return original(self, state)

    monkeypatch.setattr(Checkpoint, "on_step", die)
    with pytest.raises(KeyboardInterrupt):
        make().fit(data, setting=Setting(checkpoint=path))
    monkeypatch.setattr(Checkpoint, "on_step", original)
    assert path.exists()
    resumed = make().fit(data, setting=Setting(checkpoint=path))
    assert len(resumed.curve_) == len(straight.curve_)
    assert not moved(weights(straight.backbone_), weights(resumed.backbone_))
    assert np.array_equal(straight.outputs(data), resumed.outputs(data))
    assert not path.exists()


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_a_killed_fit_resumes_to_the_same_bytes(kind, tiny_bert, texts, tmp_path, monkeypatch):
    make = lambda: Adapters(f"hf:{tiny_bert}", kind=kind, dropout=0.1, **QUICK)  # noqa: E731
    check_resuming(make, load(texts), tmp_path / "state.safetensors", monkeypatch)


@with_keras
def test_a_killed_fit_of_a_keras_network_resumes_too(keras_files, pictures, tmp_path, monkeypatch):
    make = lambda: Adapters(f"keras:{keras_files / 'stacked.keras'}", kind="dora", **QUICK)  # noqa: E731
    check_resuming(make, load(pictures), tmp_path / "state.safetensors", monkeypatch)


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"kind": "lorra"}, "no adapters of the kind 'lorra'; use lora, dora, ia3"),
        ({"rank": 0}, "rank must be at least 1, not 0"),
        ({"blocks": 0}, "blocks must be at least 1, not 0"),
        ({"targets": ["query", "kwery"]}, "no layer 'kwery' that lora can adapt; it has dense, key, query, value"),
    ],
)
def test_wrong_settings_are_named(settings, line, tiny_bert, texts):
    with pytest.raises(UsageError, match=line) as caught:
        Adapters(f"hf:{tiny_bert}", **settings).fit(*texts)
    assert "\n" not in str(caught.value)


def test_networks_without_such_layers_are_refused():
    assert not Adapters.fits(ModelSpec("hf:any", "any", "text", architecture="bert"))
    for architecture in ("word vectors", "lstm-tiny", "gru"):
        assert "no layer that can be adapted" in Adapters.fits(ModelSpec("x:y", "y", "text", architecture=architecture))
    data, spec = toy_data("text"), ModelSpec("new:net", "net", "text", architecture="net")
    reader = native("text").reader
    recurrent = NativeBackbone("lstm", {"vocabulary": reader.vocabulary, "width": 8, "depth": 1}, reader, spec)
    with pytest.raises(UsageError, match="net has no layer that lora can adapt; use finetune or probe"):
        Adapters(recurrent).fit(data)


def test_a_missing_package_is_named(tiny_bert, texts, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'graft-learn\[adapters\]'"):
        Adapters(f"hf:{tiny_bert}").fit(*texts)
