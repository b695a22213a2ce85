"""timm: models opened to timm's own outputs; run by ``make test-timm``, which has timm and a torchvision that fits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import make_pictures
from safetensors.torch import load_file, save_file

from graft.core.errors import SourceError, UnsafeSourceError
from graft.sources.base import describe_model, list_models, open_model
from graft.sources.timm_network import divide
from graft.testing import check_source
from graft.transfer.base import load_transfer
from graft.transfer.finetune import Finetune

pytestmark = [pytest.mark.timm, pytest.mark.filterwarnings("ignore")]
NAMES = ("resnet10t", "test_vit", "test_efficientnet", "test_convnext")


@pytest.fixture
def timm(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return pytest.importorskip("timm")


def write(timm, folder, name, classes=("ant", "bee", "cat")):
    """A folder as timm's ``save_for_hf`` writes it, with random weights."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=len(classes)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    folder.mkdir(parents=True)
    save_file({key: value.clone() for key, value in model.state_dict().items()}, folder / "model.safetensors")
    facts = {key: value for key, value in model.pretrained_cfg.items() if value is not None}
    config = {"architecture": name, "num_classes": len(classes), "num_features": model.num_features}
    config |= {"label_names": list(classes), "pretrained_cfg": facts}
    (folder / "config.json").write_text(json.dumps(config))
    return model


def run(backbone, pictures):
    batch = backbone.collate(backbone.preprocess(list(pictures)))
    with torch.inference_mode():
        return batch["pixel_values"], *backbone.forward_all(batch)


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_what_timm_gives(timm, tmp_path, name):
    model = write(timm, tmp_path / "m", name)
    backbone = open_model(f"timm:{tmp_path / 'm'}")
    pixels, layers, logits = run(backbone, make_pictures(3)[0])
    with torch.inference_mode():
        torch.testing.assert_close(logits, model(pixels), atol=1e-4, rtol=1e-4)
        head = model.forward_head(model.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(backbone.pool(layers[-1], {}), head, atol=1e-4, rtol=1e-4)
    assert len(layers) >= 3
    assert backbone.spec.classes == ("ant", "bee", "cat")
    assert backbone.spec.flops > 0


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_of_sources(timm, tmp_path, name):
    write(timm, tmp_path / "m", name)
    check_source(str(tmp_path / "m"), list(make_pictures(4)[0]))


def test_pictures_are_read_as_timm_reads_them(timm, tmp_path):
    from PIL import Image

    write(timm, tmp_path / "m", "test_vit")
    backbone = open_model(f"timm:{tmp_path / 'm'}")
    facts = timm.data.resolve_model_data_config(backbone.model)
    transform = timm.data.create_transform(**facts, is_training=False)
    for shape in ((400, 500, 3), (180, 180, 3)):
        picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        ours = backbone.collate(backbone.preprocess([picture]))["pixel_values"][0]
        torch.testing.assert_close(ours, transform(Image.fromarray(picture)), atol=1e-4, rtol=1e-4)


def test_stem_and_blocks(timm):
    made = {name: divide(timm.create_model(name, pretrained=False, num_classes=4)) for name in NAMES}
    assert made["resnet10t"] == (["conv1", "bn1"], ["layer1", "layer2", "layer3", "layer4"])
    assert made["test_vit"][0] == ["patch_embed"]
    assert all(name.startswith("blocks.") for name in made["test_vit"][1])
    assert made["test_convnext"][0] == ["stem"]
    assert made["test_convnext"][1][0] == "stages.0"


def test_an_architecture_with_a_file_of_weights(timm, tmp_path):
    model = write(timm, tmp_path / "m", "resnet10t")
    path = tmp_path / "m" / "model.safetensors"
    backbone = open_model(f"timm:resnet10t@{path}")
    assert backbone.outputs == 3
    assert backbone.spec.classes == ()
    pixels, layers, _ = run(backbone, make_pictures(3)[0])
    with torch.inference_mode():
        torch.testing.assert_close(layers[-1], model.forward_features(pixels), atol=1e-4, rtol=1e-4)
    with pytest.raises(SourceError, match="are not those of resnet14t: they lack"):
        open_model(f"timm:resnet14t@{path}")
    with pytest.raises(SourceError, match="timm has no model 'resnet10x'; did you mean"):
        open_model(f"timm:resnet10x@{path}")


def test_fine_tuning_keeps_statistics_and_is_kept(timm, tmp_path):
    write(timm, tmp_path / "m", "resnet10t")
    pictures, y = make_pictures(16)
    before = open_model(f"timm:{tmp_path / 'm'}").state_dict()
    tuned = Finetune(f"timm:{tmp_path / 'm'}", blocks=1, epochs=3, lr=1e-3, batch_size=8).fit(pictures, y)
    after = tuned.backbone_.state_dict()
    assert {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])} == {"layer4"}
    assert not [name for name in before if "running" in name and not torch.equal(before[name], after[name])]
    tuned.save(tmp_path / "run")
    again = load_transfer(tmp_path / "run")
    assert np.array_equal(again.predict_proba(pictures), tuned.predict_proba(pictures))


def test_it_is_described_and_listed(timm, tmp_path):
    model = write(timm, tmp_path / "shelf" / "m", "test_vit")
    spec = describe_model(str(tmp_path / "shelf" / "m"))
    assert spec.parameters == sum(p.numel() for p in model.parameters())
    assert spec.hidden_size == model.num_features
    assert f"timm:{tmp_path / 'shelf' / 'm'}" in [
        found.uri for found in list_models(folders=(str(tmp_path / "shelf"),))
    ]


def test_refusals(timm, tmp_path):
    folder = tmp_path / "m"
    write(timm, folder, "resnet10t")
    whole = json.loads((folder / "config.json").read_text())

    def refused(pattern, error=SourceError, **facts):
        (folder / "config.json").write_text(json.dumps(whole | facts))
        with pytest.raises(error, match=pattern) as caught:
            open_model(f"timm:{folder}")
        assert "\n" not in str(caught.value)

    refused("asks timm to load other files", UnsafeSourceError, model_args={"checkpoint_path": "x.pth"})
    refused("timm has no model 'resnet10q'", architecture="resnet10q")
    refused("has shape .* asks for", num_classes=5)
    refused("crop_mode 'border'", pretrained_cfg=whole["pretrained_cfg"] | {"crop_mode": "border"})
    refused("timm cannot make resnet10t", model_args={"no_such": 1})
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    refused("is a pickle", UnsafeSourceError)


def test_the_hub_out_of_reach_is_one_line(timm, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceError, match=r"no model 'timm/resnet18\.\w+' here, and HF_HUB_OFFLINE is set"):
        open_model("timm:resnet18")
    with pytest.raises(SourceError, match="timm has no model 'resnet1x'; did you mean"):
        open_model("timm:resnet1x")
