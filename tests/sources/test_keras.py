"""Keras files: opened to the outputs of Keras itself, trained by graft's loop, or refused in one line."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_pictures
from PIL import Image
from sklearn.base import clone
from sources import tiny_keras as tiny

from graft.core.errors import SourceError, UnsafeSourceError, UsageError
from graft.predict import evaluate_model
from graft.sources import keras as source
from graft.sources.base import describe_model, list_models, open_model
from graft.sources.keras_graph import undisturbed
from graft.testing import check_source
from graft.transfer.base import load_transfer
from graft.transfer.finetune import Finetune

pytestmark = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="needs the extra keras")
PICTURES = np.random.default_rng(9).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("GRAFT_MODELS", raising=False)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Files of the tiny networks."""
    folder = tmp_path_factory.mktemp("shelf")
    tiny.save(tiny.residual(dropout=0.5), folder / "residual.keras")
    tiny.save(tiny.residual(), folder / "residual.h5")
    tiny.save(tiny.stacked(), folder / "stacked.keras")
    tiny.save(tiny.nested(), folder / "nested.keras")
    return folder


def run(backbone, pictures=PICTURES):
    batch = backbone.collate(backbone.preprocess(list(pictures)))
    with torch.inference_mode():
        layers, logits = backbone.forward_all(batch)
    return layers, logits


def refused(location, pattern, error=SourceError):
    with pytest.raises(error, match=pattern) as caught:
        open_model(f"keras:{location}")
    assert "\n" not in str(caught.value)


# -- outputs and layers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "make", "shapes"),
    [
        ("residual.keras", tiny.residual, [(8, 16, 16), (12, 8, 8)]),
        ("residual.h5", tiny.residual, [(8, 16, 16), (12, 8, 8)]),
        ("stacked.keras", tiny.stacked, [(6, 12, 12), (8, 6, 6), (8, 3, 3), (10,)]),
        ("nested.keras", tiny.nested, [(8, 8, 8), (10, 3, 3)]),
    ],
)
def test_it_gives_what_keras_gives(shelf, file, make, shapes):
    model, names = make(), "abcd" if file.startswith("nested") else "abc"
    backbone = open_model(f"keras:{shelf / file}?classes={','.join(names)}")
    side = backbone.reader.height
    pictures = PICTURES[:, :side, :side]
    layers, logits = run(backbone, pictures)
    np.testing.assert_allclose(logits.softmax(1), tiny.probabilities(model, pictures), atol=1e-5)
    assert [tuple(layer.shape[1:]) for layer in layers] == shapes
    assert backbone.spec.hidden_size == shapes[-1][0]
    assert backbone.spec.classes == tuple(names)
    assert backbone.spec.flops > 0


def test_layers_are_the_ends_of_blocks(shelf):
    keras = tiny.import_keras()
    model = tiny.residual()
    outputs = [model.get_layer(name).output for name in ("relu_1", "relu_2", "pool")]
    with torch.no_grad(), undisturbed():
        one, two, pooled = keras.Model(model.inputs, outputs)(PICTURES.astype(np.float32), training=False)
    backbone = open_model(f"keras:{shelf / 'residual.keras'}")
    layers, _ = run(backbone)
    torch.testing.assert_close(layers[0], one.permute(0, 3, 1, 2), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layers[1], two.permute(0, 3, 1, 2), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(backbone.pool(layers[1], {}), pooled, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("file", ["residual.keras", "stacked.keras", "nested.keras"])
def test_the_contract_of_sources(shelf, file):
    names = "a,b,c,d" if file.startswith("nested") else "a,b,c"
    check_source(f"keras:{shelf / file}?classes={names}", list(make_pictures(4)[0]))


def test_every_weight_is_trained_once_and_statistics_never(shelf):
    backbone = open_model(f"keras:{shelf / 'residual.keras'}")
    weights, statistics = dict(backbone.named_parameters()), dict(backbone.named_buffers())
    assert sum(p.numel() for p in weights.values()) == backbone.spec.parameters
    assert {name.split("_", 1)[1] for name in weights} == {"kernel", "bias", "gamma", "beta"}
    assert {name.split("_", 1)[1] for name in statistics} == {"moving_mean", "moving_variance"}
    assert [len(list(part.parameters())) for part in backbone.stem()] == [2, 2]  # first convolution and its norm
    assert [len(list(part.parameters())) for part in backbone.blocks()] == [4, 6]
    backbone.freeze_below(1)
    trained = [p.requires_grad for p in backbone.parameters()]
    assert sum(trained) == 6 + 2  # the top block, and the network's own head beside it
    assert len(open_model(f"keras:{shelf / 'nested.keras'}").blocks()) == 2  # frozen in the file, free here


def test_what_is_drawn_and_warned_about_stays_inside(shelf, capfd):
    random.seed(4)
    state, torch_state, environment = random.getstate(), torch.get_rng_state(), dict(os.environ)
    capfd.readouterr()
    open_model(f"keras:{shelf / 'residual.keras'}")
    assert random.getstate() == state
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert dict(os.environ) == environment
    assert capfd.readouterr() == ("", "")


def test_dropout_follows_the_mode_and_torch_s_random_state(shelf):
    backbone = open_model(f"keras:{shelf / 'residual.keras'}?classes=a,b,c")
    batch = backbone.collate(backbone.preprocess(list(PICTURES)))
    still = backbone.classify(batch)
    backbone.train()
    torch.manual_seed(0)
    once, again = backbone.classify(batch), backbone.classify(batch)
    torch.manual_seed(0)
    assert torch.equal(once, backbone.classify(batch))
    assert not torch.equal(once, again)
    assert torch.equal(still, backbone.eval().classify(batch))


def test_one_output_is_two_classes(tmp_path):
    model = tiny.save(tiny.residual(classes=1, end="sigmoid", channels=1), tmp_path / "grey.keras")
    backbone = open_model(f"keras:{tmp_path / 'grey.keras'}?classes=no,yes")
    assert backbone.outputs == 2
    grey = np.asarray([np.asarray(Image.fromarray(picture).convert("L"))[..., None] for picture in PICTURES])
    wanted = tiny.probabilities(model, grey)[:, 0]
    np.testing.assert_allclose(run(backbone)[1].softmax(1)[:, 1], wanted, atol=1e-5)
    with pytest.raises(UsageError, match="shades of grey"):
        open_model(f"keras:{tmp_path / 'grey.keras'}?input=caffe")


def test_a_network_without_classifier(tmp_path):
    keras = tiny.import_keras()
    model = tiny.residual()
    tiny.save(keras.Model(model.inputs, model.get_layer("relu_2").output), tmp_path / "body.keras")
    backbone = open_model(f"keras:{tmp_path / 'body.keras'}")
    assert backbone.outputs == 0
    assert [tuple(layer.shape[1:]) for layer in run(backbone)[0]] == [(8, 16, 16), (12, 8, 8)]
    refused(f"{tmp_path / 'body.keras'}?classes=a,b", "2 classes are named, body.keras tells 0 apart")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("raw", [200, 100, 0]),
        ("unit", [200 / 255, 100 / 255, 0]),
        ("tf", [200 / 127.5 - 1, 100 / 127.5 - 1, -1]),
        ("torch", [(200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, -0.406 / 0.225]),
        ("caffe", [-103.939, 100 - 116.779, 200 - 123.68]),
    ],
)
def test_what_the_network_sees(shelf, kind, value):
    backbone = open_model(f"keras:{shelf / 'residual.keras'}?input={kind}")
    picture = np.full((30, 20, 3), [200, 100, 0], dtype=np.uint8)
    pixels = backbone.collate(backbone.preprocess([picture]))["pixel_values"]
    assert pixels.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(pixels[0, :, 3, 5], value, rtol=1e-5, atol=1e-5)


# -- training and saving -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [0, 1, None])
def test_fine_tuning_moves_the_asked_for_blocks_and_no_statistics(shelf, blocks):
    opened = open_model(f"keras:{shelf / 'residual.keras'}")
    before = copy.deepcopy(opened.state_dict())
    tuned = Finetune(opened, blocks=blocks, epochs=12, lr=1e-2, head_lr=1e-2, batch_size=8).fit(*make_pictures(40))
    after, groups = tuned.backbone_.state_dict(), tuned.backbone_.layer_groups()
    assert all(torch.equal(opened.state_dict()[name], before[name]) for name in before)  # the opened one is copied
    free = {id(p) for group in groups[len(groups) - (2 if blocks is None else blocks) :] for p in group}
    free -= {id(p) for p in tuned.backbone_.leaves[-1].parameters()}  # its own head has no gradient
    names = {name for name, p in tuned.backbone_.named_parameters() if id(p) in free}
    assert {name for name in before if not torch.equal(before[name], after[name])} == names
    if blocks is None:
        assert tuned.curve_[-1]["loss"] < 0.7 * tuned.curve_[0]["loss"]


def test_a_tuned_network_is_kept_and_opened_again(shelf, tmp_path):
    pictures, y = make_pictures(40)
    opened = open_model(f"keras:{shelf / 'stacked.keras'}?classes=a,b,c")
    tuned = Finetune(opened, epochs=3, lr=3e-3, batch_size=8).fit(pictures, y)
    tuned.save(tmp_path / "run")
    kept = {path.name for path in (tmp_path / "run" / "source").iterdir()}
    assert kept == {"keras.json", "model.safetensors"}
    again = load_transfer(tmp_path / "run")
    assert np.array_equal(again.predict_proba(pictures), tuned.predict_proba(pictures))
    source_ = open_model(str(tmp_path / "run" / "source"))
    assert source_.fingerprint() == tuned.backbone_.fingerprint() != opened.fingerprint()
    assert source_.spec.classes == ("a", "b", "c")
    assert source_.spec.objective.startswith("classification of")
    assert describe_model(str(tmp_path / "run" / "source")).parameters == opened.spec.parameters


def test_copies_are_networks_of_their_own(shelf):
    backbone = open_model(f"keras:{shelf / 'nested.keras'}?classes=a,b,c,d")
    backbone.freeze_below(1)
    for twin in (copy.deepcopy(backbone), clone(Finetune(backbone)).source):
        assert torch.equal(run(twin)[1], run(backbone)[1])
        assert [p.requires_grad for p in twin.parameters()] == [p.requires_grad for p in backbone.parameters()]
        with torch.no_grad():
            next(twin.parameters()).zero_()
        assert not torch.equal(run(twin)[1], run(backbone)[1])


def test_moving_the_weights_moves_what_keras_computes_with(shelf):
    backbone = open_model(f"keras:{shelf / 'residual.keras'}?classes=a,b,c")
    before = run(backbone)[1]
    backbone.double().float()  # buffers become other tensors
    assert torch.equal(run(backbone)[1], before)
    for name, buffer in backbone.named_buffers():
        if name.endswith("moving_variance"):
            buffer.fill_(100.0)
    assert not torch.allclose(run(backbone)[1], before)


# -- names of classes --------------------------------------------------------------------------------------------------


def write_pictures(folder, names):
    for number, picture in enumerate(PICTURES):
        path = folder / names[number % len(names)] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return str(folder)


def test_unnamed_outputs_are_taken_for_the_classes_of_the_data(shelf, tmp_path):
    uri = f"keras:{shelf / 'residual.h5'}"
    data = write_pictures(tmp_path / "three", ["dog", "ant", "cat"])
    facts = evaluate_model(uri, data)
    assert (
        "the source names no classes: its 3 outputs were taken for those of the data in alphabetical order"
        in facts["notes"]
    )
    best = tiny.probabilities(tiny.residual(), PICTURES).argmax(1)
    wanted = np.mean(best == np.array([2, 0, 1, 2]))  # ant, cat, dog
    assert facts["metrics"]["accuracy"][0] == pytest.approx(wanted)
    with pytest.raises(
        SourceError, match=r"does not name its 3 classes, and the data have 2; name them in classes\.txt"
    ):
        evaluate_model(uri, write_pictures(tmp_path / "two", ["dog", "cat"]))
    named = evaluate_model(f"{uri}?classes=dog,cat,cow", str(tmp_path / "two"))
    assert named["metrics"]["accuracy"][0] == pytest.approx(np.mean(best == np.array([0, 1, 0, 1])))


def test_names_beside_the_file(shelf, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes((shelf / "residual.keras").read_bytes())
    (tmp_path / "classes.txt").write_text("ant\n\n cat\ndog\n")
    assert open_model(f"keras:{path}").spec.classes == ("ant", "cat", "dog")
    assert open_model(f"keras:{path}?classes=x,y,z").spec.classes == ("x", "y", "z")
    assert open_model(str(tmp_path)).spec.classes == ("ant", "cat", "dog")
    (tmp_path / "classes.txt").write_text("ant\ncat\n")
    refused(path, "2 classes are named, model.keras tells 3 apart")


# -- listing -----------------------------------------------------------------------------------------------------------


def test_files_are_listed_without_keras(shelf, tmp_path, monkeypatch):
    tiny.save(tiny.residual(), shelf / "only.weights.h5", weights=True)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "model.h5").write_bytes((shelf / "residual.h5").read_bytes())
    monkeypatch.setattr(source, "import_keras", lambda: pytest.fail("Keras was imported"))
    found = {spec.uri: spec for spec in list_models(folders=(str(shelf), str(tmp_path)))}
    (shelf / "only.weights.h5").unlink()
    uris = [f"keras:{shelf / name}" for name in ("nested.keras", "residual.h5", "residual.keras", "stacked.keras")]
    assert sorted(uri for uri in found if uri.startswith("keras:")) == sorted([*uris, f"keras:{tmp_path}/one/model.h5"])
    counts = {name: sum(int(np.prod(w.shape)) for w in tiny.residual().trainable_weights) for name in uris[1:3]}
    assert {uri: found[uri].parameters for uri in counts} == counts
    assert {found[uri].modality for uri in uris} == {"image"}
    assert found[f"keras:{tmp_path}/one/model.h5"].path == str(tmp_path / "one")  # so that its folder can be named
    assert found[uris[1]].architecture == "tiny"


def test_without_h5py_nothing_is_listed(shelf, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    assert not [spec for spec in list_models(folders=(str(shelf),)) if spec.uri.startswith("keras:")]
    refused(shelf / "residual.h5", "needs the package 'h5py'.*graft-learn\\[keras\\]", ImportError)


def test_another_backend_is_one_line(shelf, monkeypatch):
    monkeypatch.setattr(tiny.import_keras().config, "backend", lambda: "tensorflow")
    refused(shelf / "residual.h5", "keras runs on tensorflow in this process; set KERAS_BACKEND=torch")


# -- refusals ----------------------------------------------------------------------------------------------------------


def layer(config, name):
    return next(item for item in config["config"]["layers"] if item["name"] == name)


def as_lambda(config):
    layer(config, "relu_0").update(class_name="Lambda")


def as_own_class(config):
    layer(config, "relu_0").update(module="mine", class_name="Wave", registered_name="mine>Wave")


def as_unregistered(config):
    layer(config, "relu_0").update(module=None, class_name="Wave", registered_name="Wave")


def as_pickle(config):
    layer(config, "relu_0").update(class_name="TorchModuleWrapper")


def as_reader_of_files(config):
    layer(config, "relu_0").update(class_name="StringLookup")


def as_function(config):
    act = {"module": "builtins", "class_name": "function", "config": "wave", "registered_name": "wave"}
    layer(config, "relu_0")["config"]["activation"] = act


def as_outsider(config):
    layer(config, "first")["config"]["kernel_initializer"]["module"] = "os"


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (as_lambda, r"the layer 'relu_0' \(Lambda\) of .* holds Python code; graft runs no code from model files"),
        (as_own_class, r"the layer 'relu_0' \(Wave\) of .* is a class of its own \(mine>Wave\)"),
        (as_unregistered, r"the layer 'relu_0' \(Wave\) of .* is a class of its own \(Wave\)"),
        (as_pickle, r"the layer 'relu_0' \(TorchModuleWrapper\) of .* holds a pickle"),
        (as_reader_of_files, r"the layer 'relu_0' \(StringLookup\) of .* is no layer for pictures that Keras has"),
        (as_function, r"the part function of .* is a Python function"),
        (as_outsider, r"the part \w+ of .* is a class of its own \(os\)"),
    ],
)
def test_code_of_its_own_is_refused_before_keras_sees_it(shelf, tmp_path, monkeypatch, change, pattern):
    path = tmp_path / "model.keras"
    path.write_bytes((shelf / "residual.keras").read_bytes())
    tiny.change_config(path, change)
    monkeypatch.setattr(source, "_network", lambda *_: pytest.fail("Keras saw it"))
    refused(path, pattern, UnsafeSourceError)
    with pytest.raises(UnsafeSourceError, match=pattern):
        describe_model(str(path))
    assert [spec.modality for spec in list_models(folders=(str(tmp_path),)) if spec.uri == f"keras:{path}"] == [""]


def test_code_in_an_h5_or_in_what_graft_wrote_is_refused(shelf, tmp_path):
    import h5py

    path = tmp_path / "model.h5"
    path.write_bytes((shelf / "residual.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        as_lambda(config)
        file.attrs["model_config"] = json.dumps(config)
    refused(path, "Lambda.* holds Python code", UnsafeSourceError)
    open_model(f"keras:{shelf / 'residual.keras'}").save(tmp_path / "kept")
    facts = json.loads((tmp_path / "kept" / "keras.json").read_text())
    as_lambda(facts["config"])
    (tmp_path / "kept" / "keras.json").write_text(json.dumps(facts))
    for uri in (f"keras:{tmp_path / 'kept'}", f"file:{tmp_path / 'kept'}"):
        with pytest.raises(UnsafeSourceError, match="holds Python code"):
            open_model(uri)


@pytest.mark.parametrize("file", ["residual.h5", "residual.keras"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_a_file_that_is_cut_off(shelf, tmp_path, file, share):
    whole = (shelf / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: int(share * len(whole))])
    refused(tmp_path / file, "is cut off or not a (Keras|.keras) file")


def test_what_graft_wrote_and_is_damaged(shelf, tmp_path):
    open_model(f"keras:{shelf / 'residual.keras'}").save(tmp_path / "kept")
    weights = tmp_path / "kept" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    refused(tmp_path / "kept", "is cut off")
    (tmp_path / "kept" / "keras.json").write_text('{"format": 7}')
    refused(tmp_path / "kept", "describes no network of this graft")


def test_weights_alone(tmp_path):
    tiny.save(tiny.residual(), tmp_path / "new.weights.h5", weights=True)
    hint = "holds weights without a network; name the network, for example keras:VGG16@FILE"
    refused(tmp_path / "new.weights.h5", hint)


def test_a_saved_model_of_tensorflow(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    refused(tmp_path, r"is a TensorFlow SavedModel, which Keras 3 does not open; .*\.save\('model\.h5'\)")
    with pytest.raises(SourceError, match="SavedModel"):
        open_model(str(tmp_path))


@pytest.mark.parametrize(
    ("location", "pattern", "error"),
    [
        ("VGG16", "keras:VGG16 names no file of weights; graft downloads none: write keras:VGG16@FILE.h5", SourceError),
        ("{}/absent.h5", "no file", SourceError),
        ("{}", "no Keras file in", SourceError),
        ("{}/note.txt", "is no Keras file", SourceError),
        ("{}/model.pkl", "is a pickle and is not opened", UnsafeSourceError),
        ("{}/note.txt?imput=tf", "knows no option 'imput'", UsageError),
        ("{}/note.txt?input=fp8", "no input 'fp8'; use raw, unit, tf, torch, caffe", UsageError),
    ],
)
def test_what_cannot_be_meant(tmp_path, location, pattern, error):
    (tmp_path / "note.txt").write_text("a")
    (tmp_path / "model.pkl").write_text("a")
    refused(location.format(tmp_path), pattern, error)


def test_several_files_in_a_folder(shelf):
    refused(shelf, "holds 4 Keras files; name one file")


def test_networks_that_read_no_picture(tmp_path):
    keras = tiny.import_keras()
    tiny.save(keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)]), tmp_path / "table.keras")
    refused(tmp_path / "table.keras", r"reads an input of shape \(None, 5\) and gives 1 outputs")
    assert describe_model(str(tmp_path / "table.keras")).modality == ""


# -- applications ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [False, True])
def test_an_application_with_a_file_of_weights(tmp_path, monkeypatch, top):
    keras = tiny.import_keras()
    path = tmp_path / ("m.h5" if top else "m.weights.h5")  # the older and the newer form of weights alone
    monkeypatch.setattr(source, "SIDE", 32)
    monkeypatch.setattr(source, "_SIDES", (("", 32),))
    made = tiny.save(keras.applications.MobileNet(weights=None, include_top=top, classes=7), path, weights=not top)
    backbone = open_model(f"keras:MobileNet@{path}")
    assert backbone.outputs == (7 if top else 0)
    assert backbone.spec.architecture == "MobileNet"
    assert backbone.reader == source.PictureReader(*((224, 224) if top else (32, 32)), scale=1 / 127.5, mean=(1.0,))
    assert backbone.spec.hidden_size == 1024
    for weight, other in zip(made.weights, backbone._network[0].weights, strict=True):
        assert torch.equal(weight.value, other.value)
    refused(f"VGG16@{path}", "does not hold the weights of VGG16: it lacks a tensor of shape")
    refused(f"MobilNet@{path}", "Keras has no application 'MobilNet'; did you mean MobileNet?")


# -- the real thing ----------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_the_resnet_of_mlperf_tiny():
    data = Path(os.environ.get("GRAFT_DATA") or ".")
    folder, pictures = data.parent / "models" / "keras-h5", data / "image" / "cifar10" / "test"
    if not folder.is_dir() or not pictures.is_dir():
        pytest.skip("needs the folder models/ beside GRAFT_DATA")
    expected = np.load(folder / "expected.npz", allow_pickle=False)
    names = sorted(path.name for path in pictures.iterdir() if path.is_dir())
    files = {path.stem: path for path in pictures.rglob("*.png")}
    backbone = open_model(f"keras:{folder}?classes={','.join(names)}")
    _, logits = run(backbone, [np.asarray(Image.open(files[f"{i:05d}"]).convert("RGB")) for i in expected["index"]])
    np.testing.assert_allclose(logits.softmax(1), expected["probs"], atol=1e-4)
    facts = evaluate_model(f"keras:{folder / 'resnet8_cifar10.h5'}", str(pictures))
    assert facts["metrics"]["accuracy"][0] == pytest.approx(0.881, abs=1e-9)
