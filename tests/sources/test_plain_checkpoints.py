"""Plain checkpoints: a configuration and a state dict, opened whole, trained, kept, or refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_pictures
from PIL import Image
from safetensors.torch import load_file, save_file

from graft.core.errors import SourceError, UnsafeSourceError
from graft.nn.cifar import CifarResNet
from graft.predict import evaluate_model
from graft.sources.base import describe_model, list_models, open_model
from graft.testing import check_source
from graft.transfer.base import load_transfer
from graft.transfer.finetune import Finetune

CONFIG = {
    "architecture": "resnet-cifar", "depth": 8, "widths": [8, 12, 16], "num_classes": 3, "input_size": [3, 16, 16],
    "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "classes": ["ant", "bee", "cat"],
}  # fmt: skip


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = CifarResNet(depth=8, widths=(8, 12, 16), classes=3)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return made.eval()


@pytest.fixture
def checkpoint(tmp_path, network):
    """As old PyTorch wrote it: no counters of batches."""
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    weights = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    save_file(weights, folder / "model.safetensors")
    return folder


def change(folder, **facts):
    whole = {key: value for key, value in (CONFIG | facts).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(whole))


def refused(folder, pattern, error=SourceError):
    with pytest.raises(error, match=pattern) as caught:
        open_model(f"file:{folder}")
    assert "\n" not in str(caught.value)


def run(backbone, pictures):
    batch = backbone.collate(backbone.preprocess(list(pictures)))
    with torch.inference_mode():
        return backbone.forward_all(batch)


def test_it_gives_what_the_network_gives(checkpoint, network):
    pictures, _ = make_pictures(5)
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(CONFIG[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        maps = network.forward_features({"pixel_values": (pixels - mean) / std})
    for uri in (f"file:{checkpoint}", str(checkpoint), f"file:{checkpoint / 'config.json'}"):
        backbone = open_model(uri)
        layers, logits = run(backbone, pictures)
        torch.testing.assert_close(layers, maps, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(logits, network.logits(maps[-1]), atol=1e-5, rtol=1e-4)
    assert backbone.spec.classes == ("ant", "bee", "cat")
    assert (backbone.spec.architecture, backbone.spec.hidden_size) == ("resnet-cifar-8", 16)
    assert backbone.spec.parameters == sum(p.numel() for p in network.parameters())
    assert len(backbone.spec.weights_sha256) == 64


def test_the_contract_of_sources(checkpoint):
    check_source(str(checkpoint), list(make_pictures(4)[0]))


def test_it_is_described_and_listed(checkpoint):
    (checkpoint / "README.md").write_text("---\nlicense: mit\n---\n")
    spec = describe_model(str(checkpoint))
    assert (spec.modality, spec.licence, spec.uri) == ("image", "mit", f"file:{checkpoint}")
    assert spec.flops == open_model(str(checkpoint)).spec.flops > 0
    listed = {found.uri: found for found in list_models(folders=(str(checkpoint.parent),))}
    assert listed[f"file:{checkpoint}"].classes == spec.classes
    change(checkpoint, depth=9)
    listed = {found.uri: found for found in list_models(folders=(str(checkpoint.parent),))}
    assert listed[f"file:{checkpoint}"].modality == ""  # opening it says why


def test_names_that_torch_s_wrapper_gives_and_half_precision(checkpoint, network):
    weights = {f"module.{name}": value.half() for name, value in load_file(checkpoint / "model.safetensors").items()}
    save_file(weights, checkpoint / "model.safetensors")
    backbone = open_model(str(checkpoint))
    assert {value.dtype for value in backbone.body.parameters()} == {torch.float32}
    torch.testing.assert_close(backbone.body.linear.weight, network.linear.weight, atol=1e-3, rtol=1e-3)


def test_without_names_of_classes(checkpoint, tmp_path):
    change(checkpoint, classes=None)
    for number, picture in enumerate(make_pictures(6)[0]):
        path = tmp_path / "test" / "xyz"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    backbone = open_model(str(checkpoint))
    assert (backbone.outputs, backbone.spec.classes) == (3, ())
    assert run(backbone, make_pictures(2)[0])[1] is None
    facts = evaluate_model(str(checkpoint), str(tmp_path / "test"))
    assert "its 3 outputs were taken for those of the data" in " ".join(facts["notes"])


def test_a_network_without_classifier(checkpoint):
    change(checkpoint, classes=None, num_classes=0)
    refused(checkpoint, r"they hold linear\.\w+, linear\.\w+ too many")
    weights = {k: v for k, v in load_file(checkpoint / "model.safetensors").items() if "linear" not in k}
    save_file(weights, checkpoint / "model.safetensors")
    assert open_model(str(checkpoint)).outputs == 0


@pytest.mark.parametrize("blocks", [1, None])
def test_fine_tuning_keeps_statistics_and_is_kept(checkpoint, tmp_path, blocks):
    pictures, y = make_pictures(40)
    before = open_model(str(checkpoint)).state_dict()
    tuned = Finetune(str(checkpoint), blocks=blocks, epochs=8, lr=3e-3, batch_size=8).fit(pictures, y)
    after = tuned.backbone_.state_dict()
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == ({"layer3"} if blocks == 1 else {"layer1", "layer2", "layer3"})
    assert not [name for name in before if "running" in name and not torch.equal(before[name], after[name])]
    assert tuned.curve_[-1]["loss"] < tuned.curve_[0]["loss"]
    tuned.save(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run" / "source").iterdir()} == {"config.json", "model.safetensors"}
    again = load_transfer(tmp_path / "run")
    assert np.array_equal(again.predict_proba(pictures), tuned.predict_proba(pictures))
    assert open_model(str(tmp_path / "run" / "source")).spec.objective.startswith("classification of")


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "pattern"),
    [
        ({"depth": 14}, r"not those of resnet-cifar-14: they lack layer1\.1\.conv1\.weight, .* and \d+ more; weights"),
        ({"depth": 9}, "describes no network: no residual network has the depth 9"),
        ({"depth": None}, "describes no network: it lacks 'depth'"),
        ({"depth": "deep"}, "describes no network: invalid literal"),
        (
            {"widths": [8, 12, 20]},
            r"tensor layer3\.0\.bn1\.bias of .* has shape \(16,\), resnet-cifar-8 asks for \(20,\)",
        ),
        ({"widths": [8, 12]}, "no residual network has the depth 8"),
        ({"widths": [8, 6, 4]}, r"the widths \(8, 6, 4\) do not grow"),
        ({"num_classes": 4}, "names 3 classes, its network has 4 outputs"),
        ({"input_size": [4, 8, 8]}, "pictures of the shape"),
        ({"mean": [0.1, 0.2]}, "for 3 channels"),
        ({"std": [0, 1, 1]}, "for 3 channels"),
    ],
)
def test_a_configuration_of_something_else(checkpoint, facts, pattern):
    change(checkpoint, **facts)
    refused(checkpoint, pattern)


def test_weights_of_another_network(checkpoint):
    save_file({"features.0.weight": torch.zeros(2, 2), "x": torch.zeros(1)}, checkpoint / "model.safetensors")
    refused(
        checkpoint, r"they lack conv1\.weight, bn1\.weight, bn1\.bias and \d+ more and hold features\.0\.weight, x too"
    )


def test_a_file_that_is_cut_off_or_a_pickle(checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    refused(checkpoint, "cut off")
    path.rename(checkpoint / "model.pt")
    refused(checkpoint, "is a pickle", UnsafeSourceError)


def test_an_architecture_that_is_not_known(checkpoint):
    change(checkpoint, architecture="resnet-mine")
    refused(checkpoint, "no model found in")


# -- the real thing ----------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(("depth", "accuracy"), [(20, 0.915), (56, 0.926)])
def test_the_resnets_of_cifar_10(depth, accuracy):
    data = Path(os.environ.get("GRAFT_DATA") or ".")
    folder, pictures = data.parent / "models" / f"resnet{depth}-cifar10", data / "image" / "cifar10" / "test"
    if not folder.is_dir() or not pictures.is_dir():
        pytest.skip("needs the folder models/ beside GRAFT_DATA")
    expected = np.load(folder / "expected.npz", allow_pickle=False)
    files = {path.stem: path for path in pictures.rglob("*.png")}
    shown = [np.asarray(Image.open(files[f"{i:05d}"]).convert("RGB")) for i in expected["test_index"]]
    _, logits = run(open_model(f"file:{folder}"), shown)
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-3)
    facts = evaluate_model(f"file:{folder}", str(pictures))
    assert facts["metrics"]["accuracy"][0] == pytest.approx(accuracy, abs=1e-9)
