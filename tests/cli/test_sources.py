"""Model folders that people have, given to --models."""

import json
import shutil
import time

import pytest
import torch
from cli.conftest import files


@pytest.fixture
def model(here, tiny_bert):
    shutil.copytree(tiny_bert, here / "model")
    return here / "model"


def fit(graft, good, *models):
    return graft("fit", good, "--methods", "probe", "--budget", "1h", "--out", "run", "--quiet", "--models", *models)


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def pickled(folder):
    no_weights(folder)
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def wrong_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 32, "intermediate_size": 64}))


def remote_code(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    (folder / "evil.py").write_text("raise SystemExit('this code ran')")


def no_json(folder):
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (no_weights, ["no weights in", "model.safetensors"]),
        (pickled, ["pytorch_model.bin is a pickle", "safetensors"]),
        (truncated, ["model.safetensors is cut off"]),
        (wrong_shape, ["has shape", "config"]),
        (remote_code, ["auto_map", "runs no code"]),
        (no_json, ["config.json"]),
    ],
)
def test_a_broken_model_is_one_line(graft, good, here, model, spoil, parts):
    spoil(model)
    before = set(files(here))
    fit(graft, good, "model").fails(4, *parts)
    assert set(files(here)) == before


@pytest.mark.parametrize("folder", ["{here}/models", "models"])
def test_a_folder_of_models_uses_the_whole_ones_and_names_the_broken(graft, good, here, tiny_bert, folder):
    shutil.copytree(tiny_bert, here / "models" / "sound")
    shutil.copytree(tiny_bert, here / "models" / "spoilt")
    truncated(here / "models" / "spoilt")
    done = graft(
        "fit", good, "--methods", "probe", "--budget", "1h", "--out", "run", "--models", folder.format(here=here)
    )
    assert done.code == 0, done.err
    assert "probe of sound" in done.out


@pytest.mark.parametrize(
    ("name", "code", "parts"),
    [
        ("hf:some/model", 4, ["no model 'some/model' here", "HF_HUB_OFFLINE"]),
        ("hff:some/model", 2, ["'hff'", "'hf'"]),
        ("zzz:some/model", 2, ["'zzz'", "known: bands, clip, file, hf, keras, sbert"]),
        ("nowhere/at/all", 2, ["no model 'nowhere/at/all'"]),
    ],
)
def test_a_model_out_of_reach_is_said_at_once(graft, good, here, name, code, parts):
    started = time.monotonic()
    fit(graft, good, name).fails(code, *parts)
    assert time.monotonic() - started < 5
    assert set(files(here)) == {"good.csv"}


def test_a_source_of_another_modality(graft, good, tiny_vit):
    fit(graft, good, tiny_vit).fails(4, "reads image, the data are text")


def test_evaluate_a_source_with_classes_of_its_own(graft, pictures, here):
    from sources import tiny_models

    tiny_models.image(here / "vit", "vit", classes=["Left_side", "right", "third"])
    graft("evaluate", "vit", pictures).fails(3, "has no class 'left'", "--rename left=CLASS", "Left_side")
    done = graft("evaluate", "vit", pictures, "--rename", "left=left side").works(
        "20 rows", "accuracy", "all 3 classes"
    )
    facts = json.loads(graft("evaluate", "vit", pictures, "--rename", "left=left side", "--json").works().out)
    value, low, high = facts["metrics"]["accuracy"]
    assert 0 <= low <= value <= high <= 1
    assert f"{value:.3f}" in done.out
    graft("evaluate", "vit", pictures, "--rename", "left").fails(2, "'left' is not a pair", "LABEL=CLASS")


def test_evaluate_a_source_without_classes(graft, good, tiny_bert):
    graft("evaluate", tiny_bert, good).fails(4, "no classes of its own", "graft fit")


def test_rank_and_models(graft, good, here, tiny_bert):
    shutil.copytree(tiny_bert, here / "models" / "first")
    shutil.copytree(tiny_bert, here / "models" / "spoilt")
    truncated(here / "models" / "spoilt")
    shown = graft("rank", good, "--models", here / "models")
    assert shown.code == 0, shown.err
    assert "first" in shown.out
    assert "spoilt" in shown.out
    rows = json.loads(graft("rank", good, "--models", "models/first", "--json").works().out)["rows"]
    assert [row["spec"]["name"] for row in rows] == ["first"]
    assert graft("rank", good, "--models", "models/first", "--json", "--no-cache").works().out
    graft("rank", good, "--models", "models/first", "--by", "prob").fails(2, "'prob'")
    listed = json.loads(graft("models", "--models", "models", "--json").works().out)
    assert any(spec["name"] == "first" for spec in listed)
    graft("models", "--models", "models").works("first", "M parameters")
    graft("models", "--modality", "video").fails(
        2, '"video"', '"text", "image", "audio", "sequence", "series", "table"'
    )
