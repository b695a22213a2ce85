"""Transformers folders: opened whole and safely, or refused in one line."""

from __future__ import annotations

import json
import os
import random
import socket
import time

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from sources import tiny_models as tiny

from graft.core.errors import DataError, SourceError, UnsafeSourceError
from graft.sources.base import describe_model, list_models, open_model
from graft.sources.hub import check_files
from graft.sources.loading import quiet

TEXTS = ["where is my parcel", "i lost the card. please help, i want to cancel an order", "good"]


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GRAFT_MODELS", raising=False)


def refused(folder, pattern, error=SourceError):
    with pytest.raises(error, match=pattern) as caught:
        open_model(f"hf:{folder}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(folder, name="config.json", /, **facts):
    path = folder / name
    data = json.loads(path.read_text()) | facts
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))


def run(backbone, examples):
    batch = backbone.collate(backbone.preprocess(examples))
    with torch.inference_mode():
        layers, logits = backbone.forward_all(batch)
        return [backbone.pool(layer, batch) for layer in layers], logits


# text


def test_layers_are_those_of_transformers_whatever_the_padding(tmp_path):
    backbone = open_model(f"hf:{tiny.bert(tmp_path / 'm')}")
    together, _ = run(backbone, TEXTS)
    with quiet():
        network = tf.AutoModel.from_pretrained(tmp_path / "m").eval()
        tokenizer = tf.AutoTokenizer.from_pretrained(tmp_path / "m")
    for row, text in enumerate(TEXTS):
        with torch.inference_mode():
            hidden = network(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        assert len(together) == len(hidden) - 1
        for ours, theirs in zip(together, hidden[1:], strict=True):
            torch.testing.assert_close(ours[row], theirs[0].mean(0), atol=1e-5, rtol=1e-4)


def test_pairs_have_segments(tmp_path):
    backbone = open_model(f"hf:{tiny.bert(tmp_path / 'm')}")
    batch = backbone.collate(backbone.preprocess([("where is", "my card"), ("good", "bad")]))
    assert batch["token_type_ids"][0, :7].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert batch["input_ids"].shape[1] % 8 == 0
    assert batch["attention_mask"].sum(1).tolist() == [7, 5]


@pytest.mark.parametrize("bad", [3, None, ("a", "b", "c"), ["a", 2]])
def test_what_is_no_text_is_refused(tmp_path, bad):
    backbone = open_model(f"hf:{tiny.bert(tmp_path / 'm')}")
    with pytest.raises(DataError, match="reads a text or two texts"):
        backbone.preprocess([bad])


def test_long_texts_are_cut_and_empty_ones_work(tmp_path):
    backbone = open_model(f"hf:{tiny.bert(tmp_path / 'm')}")
    encoded = backbone.preprocess(["help " * 500, ""])
    assert [backbone.length(item) for item in encoded] == [64, 2]
    assert all(item.dtype == np.int32 for item in encoded)
    assert torch.isfinite(run(backbone, ["help " * 500, ""])[0][-1]).all()


def test_stem_blocks_and_groups_hold_every_weight_once(tmp_path):
    for folder in (tiny.bert(tmp_path / "b", layers=3), tiny.llama(tmp_path / "l"), tiny.t5(tmp_path / "t")):
        backbone = open_model(f"hf:{folder}")
        groups = backbone.layer_groups()
        assert len(groups) == 1 + len(backbone.blocks())
        grouped = [id(p) for group in groups for p in group]
        assert sorted(grouped) == sorted(id(p) for p in backbone.parameters())
        assert all(groups)
        assert len(run(backbone, TEXTS)[0]) == len(backbone.blocks())


def test_freezing_keeps_the_top(tmp_path):
    backbone = open_model(f"hf:{tiny.bert(tmp_path / 'm', layers=3)}")
    backbone.freeze_below(1)
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained
    assert all("layer.2." in name for name in trained)


def test_a_decoder_has_no_padding_token_and_is_pooled_over_real_tokens(tmp_path):
    backbone = open_model(f"hf:{tiny.llama(tmp_path / 'm')}")
    alone, _ = run(backbone, TEXTS[:1])
    together, _ = run(backbone, TEXTS)
    torch.testing.assert_close(alone[-1][0], together[-1][0], atol=1e-5, rtol=1e-4)


def test_own_classes_in_the_same_pass(tmp_path):
    backbone = open_model(f"hf:{tiny.bert(tmp_path / 'm', classes=['good', 'bad', 'good'])}")
    assert backbone.spec.classes == ("good (0)", "bad", "good (2)")
    batch = backbone.collate(backbone.preprocess(TEXTS))
    with torch.inference_mode():
        layers, logits = backbone.forward_all(batch)
        torch.testing.assert_close(logits, backbone.classify(batch))
        torch.testing.assert_close(layers[-1], backbone.forward_features(batch)[-1])
    assert logits.shape == (3, 3)


def test_numbered_labels_are_no_classes(tmp_path):
    backbone = open_model(f"hf:{tiny.bert(tmp_path / 'm', classes=['LABEL_0', 'LABEL_1'])}")
    assert backbone.spec.classes == ()
    assert run(backbone, TEXTS)[1] is None


@pytest.mark.parametrize("make", [tiny.bert, tiny.llama])
def test_saving_and_opening_gives_the_same_features(tmp_path, make):
    backbone = open_model(f"hf:{make(tmp_path / 'm')}")
    (tmp_path / "m" / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n")
    backbone.save(tmp_path / "again")
    again = open_model(f"file:{tmp_path / 'again'}")
    assert torch.equal(run(backbone, TEXTS)[0][-1], run(again, TEXTS)[0][-1])
    assert again.spec.licence == "mit"
    assert again.fingerprint() == backbone.fingerprint()


def test_the_fingerprint_follows_weights_and_length(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    backbone, same = open_model(f"hf:{folder}"), open_model(f"hf:{folder}")
    before = backbone.fingerprint()
    assert before == same.fingerprint()
    with torch.no_grad():
        next(backbone.parameters()).add_(1e-3)
    same.longest = 9
    assert len({before, backbone.fingerprint(), same.fingerprint()}) == 3


def test_opening_moves_no_random_state_and_no_setting(tmp_path, capfd):
    folder = tiny.bert(tmp_path / "m")
    random.seed(1)
    level, bars = tf.logging.get_verbosity(), tf.logging.is_progress_bar_enabled()
    state, torch_state = random.getstate(), torch.get_rng_state()
    capfd.readouterr()
    open_model(f"hf:{folder}")
    assert (random.getstate(), level, bars) == (state, tf.logging.get_verbosity(), tf.logging.is_progress_bar_enabled())
    assert torch.equal(torch_state, torch.get_rng_state())
    assert capfd.readouterr() == ("", "")


def test_facts_without_loading(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    card = "---\nlanguage:\n- en\n- no\nlicense: apache-2.0\ndatasets: [a, b, c]\ntags: [sentence-similarity]\n---\n# M"
    (folder / "README.md").write_text(card)
    spec = describe_model(str(folder))
    network = tf.BertModel(tf.AutoConfig.from_pretrained(folder))
    assert spec.parameters == sum(p.numel() for p in network.parameters())
    assert spec.flops == 2 * sum(p.numel() for p in network.encoder.parameters())
    assert (spec.modality, spec.architecture, spec.hidden_size) == ("text", "bert", 16)
    assert (spec.licence, spec.languages) == ("apache-2.0", ("en", "no"))
    assert spec.objective == "sentence similarity on a, b and 1 more sets"
    assert spec.bytes == (folder / "model.safetensors").stat().st_size


# coverage


def test_letters_without_a_piece_are_not_covered(tmp_path):
    backbone = open_model(f"hf:{tiny.bert(tmp_path / 'm')}")
    assert backbone.coverage(TEXTS).ok
    assert backbone.coverage(["123 !"] * 3).ok
    found = backbone.coverage(["где моя посылка"] * 9 + ["good"])
    assert found.share == pytest.approx(0.1)
    assert "Cyrillic" in found.reason


def test_the_model_card_counts_where_the_vocabulary_knows_the_letters(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    assert open_model(f"hf:{folder}").coverage(["中中中中"]).ok
    (folder / "README.md").write_text("---\nlanguage: en\n---\n")
    found = open_model(f"hf:{folder}").coverage(["中中中中"] * 97 + ["good"] * 3)
    assert found.share == pytest.approx(0.03)
    assert found.reason == ("its vocabulary and model card cover Latin script (en), 97 % of the rows are in Han script")


# pictures


@pytest.mark.parametrize("kind", ["vit", "resnet", "convnext", "mobilenet_v2"])
def test_pictures_are_read_as_the_processor_reads_them(tmp_path, kind):
    backbone = open_model(f"hf:{tiny.image(tmp_path / 'm', kind)}")
    assert backbone.reader.fast
    for shape in ((50, 40, 3), (17, 90, 3), (32, 32, 3), (1, 1, 3)):
        picture = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
        (encoded,) = backbone.preprocess([picture])
        assert encoded.dtype == np.uint8
        ours = backbone.collate([encoded])["pixel_values"][0].numpy()
        np.testing.assert_allclose(ours, backbone.reader.slow(picture), atol=1e-5)


@pytest.mark.parametrize(("kind", "layers"), [("vit", 2), ("resnet", 3), ("convnext", 2), ("mobilenet_v2", 5)])
def test_layers_of_pictures(tmp_path, kind, layers):
    backbone = open_model(f"hf:{tiny.image(tmp_path / 'm', kind, classes=['ant', 'bee'])}")
    pictures = list(np.random.default_rng(1).integers(0, 256, (3, 40, 48, 3), dtype=np.uint8))
    pooled, logits = run(backbone, pictures)
    assert len(pooled) == layers
    assert all(part.ndim == 2 for part in pooled)
    assert pooled[-1].shape == (3, backbone.spec.hidden_size)
    assert logits.shape == (3, 2)
    with torch.inference_mode():  # the last layer is what the model's own head reads
        head = [m for n, m in backbone.model.named_modules() if n.startswith("classifier")][-1]
        torch.testing.assert_close(head(pooled[-1]), logits)
    grouped = [id(p) for group in backbone.layer_groups() for p in group]
    assert sorted(grouped) == sorted(id(p) for p in backbone.parameters())
    assert backbone.spec.flops > 0


def test_batch_norm_is_never_updated(tmp_path):
    backbone = open_model(f"hf:{tiny.image(tmp_path / 'm', 'mobilenet_v2')}")
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone.train()
    assert backbone.training
    backbone(backbone.collate(backbone.preprocess([np.zeros((32, 32, 3), np.uint8)])))
    assert all(torch.equal(value, before[name]) for name, value in backbone.named_buffers())


def test_an_unusual_processor_is_called_itself(tmp_path):
    folder = tiny.image(tmp_path / "m", "vit")
    change(folder, "preprocessor_config.json", do_pad=True, pad_size={"height": 40, "width": 40})
    backbone = open_model(f"hf:{folder}")
    assert not backbone.reader.fast
    (encoded,) = backbone.preprocess([np.zeros((20, 20, 3), np.uint8)])
    assert encoded.shape == (3, 40, 40)


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(tmp_path, bad):
    backbone = open_model(f"hf:{tiny.image(tmp_path / 'm', 'vit')}")
    with pytest.raises(DataError, match="a picture must be uint8"):
        backbone.preprocess([bad])


def test_saved_pictures_model_is_the_same(tmp_path):
    backbone = open_model(f"hf:{tiny.image(tmp_path / 'm', 'resnet', classes=['a', 'b'])}")
    backbone.save(tmp_path / "again")
    again = open_model(f"file:{tmp_path / 'again'}")
    pictures = list(np.random.default_rng(1).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8))
    assert torch.equal(run(backbone, pictures)[1], run(again, pictures)[1])
    assert again.spec.classes == ("a", "b")


def test_a_missing_processor_is_refused(tmp_path):
    folder = tiny.image(tmp_path / "m", "vit")
    (folder / "preprocessor_config.json").unlink()
    refused(folder, "no preprocessor_config.json")


# what is refused


def test_pickles_are_refused_with_how_to_convert(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "safetensors.torch.save_file" in refused(folder, r"pytorch_model\.bin is a pickle", UnsafeSourceError)
    refused(folder / "pytorch_model.bin", "is a pickle", UnsafeSourceError)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused(tmp_path, name):
    folder = tiny.bert(tmp_path / "m")
    change(folder, name, auto_map={"AutoModel": "evil.py--Model"})
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    refused(folder, "needs code of its own", UnsafeSourceError)


def test_a_folder_without_weights(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    refused(folder, "no weights in")


def test_an_empty_folder(tmp_path):
    (tmp_path / "m").mkdir()
    refused(tmp_path / "m", "no config.json")


@pytest.mark.parametrize("size", [0, 4, 40, 2000])
def test_weights_that_are_cut_off(tmp_path, size):
    folder = tiny.bert(tmp_path / "m")
    os.truncate(folder / "model.safetensors", size)
    refused(folder, "cut off")


def test_weights_with_a_damaged_header(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[8:20] = b"x" * 12
    (folder / "model.safetensors").write_bytes(data)
    refused(folder, "damaged header")


def test_a_tensor_of_the_wrong_shape_is_named(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    change(folder, intermediate_size=48)
    line = refused(folder, r"tensor .*intermediate.* has shape \(32")
    assert "(48" in line


def test_missing_weights_are_named_not_filled(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, r"lack encoder\.layer\.1\.output\.dense\.weight")


def test_a_missing_pooler_is_no_matter(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if "pooler" not in k}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert len(open_model(f"hf:{folder}").blocks()) == 2


def test_weights_with_more_blocks_than_the_configuration(tmp_path):
    folder = tiny.bert(tmp_path / "m", layers=4)
    change(folder, num_hidden_layers=2)
    refused(folder, "more blocks than the 2")


def test_an_unknown_architecture(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    change(folder, model_type="hyperbert")
    refused(folder, "unknown architecture 'hyperbert'")


def test_a_damaged_configuration(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    (folder / "config.json").write_text('{"model_type": ')
    refused(folder, "is not valid JSON")


def test_a_configuration_without_a_type(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    change(folder, model_type=None)
    refused(folder, "names no model_type")


def test_a_missing_tokenizer(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    for name in ("tokenizer.json", "vocab.txt", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    refused(folder, "no tokenizer in")


def test_a_damaged_tokenizer(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    (folder / "tokenizer.json").write_text("{")
    refused(folder, "the tokenizer of .* cannot be opened")


def test_a_tokenizer_of_another_model(tmp_path):
    folder = tiny.bert(tmp_path / "m", vocab_size=len(tiny.PIECES) - 3)
    refused(folder, "belong to different models")


def test_a_missing_shard_and_a_shard_outside(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "part-1.safetensors"}}')
    refused(folder, "lacks the weight file part-1")
    index.write_text('{"weight_map": {"a": "../../x.safetensors"}}')
    refused(folder, "outside its folder", UnsafeSourceError)


def test_adapters_two_towers_and_quantised_weights(tmp_path):
    folder = tiny.bert(tmp_path / "m")
    (folder / "adapter_config.json").write_text("{}")
    refused(folder, "is an adapter")
    (folder / "adapter_config.json").unlink()
    change(folder, quantization_config={"bits": 4})
    refused(folder, "quantised")
    change(folder, text_config={}, vision_config={})
    refused(folder, "reads pictures and texts")


# finding


def test_a_repository_is_judged_before_it_is_fetched():
    check_files("org/m", ["config.json", "model.safetensors", "pytorch_model.bin"])
    with pytest.raises(UnsafeSourceError, match=r"only pickled weights \(pytorch_model\.bin\)"):
        check_files("org/m", ["config.json", "pytorch_model.bin"])
    with pytest.raises(SourceError, match="no safetensors"):
        check_files("org/m", ["config.json"])


def test_a_name_that_is_not_here_fails_at_once_without_a_network(monkeypatch):
    start = time.monotonic()
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        open_model("hf:someone/some-model")
    monkeypatch.delenv("HF_HUB_OFFLINE")

    with socket.socket() as closed:  # a port that nobody listens on
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(SourceError, match="no model 'someone/some-model' here"):
            open_model("hf:someone/some-model")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("name", ["./nowhere", "/no/where/at/all", "a/b/c"])
def test_a_path_that_does_not_exist(name):
    with pytest.raises(SourceError, match="no folder"):
        open_model(f"hf:{name}")


def test_the_cache_is_used_without_a_network(tmp_path):
    repository = tmp_path / "hub" / "models--org--tiny"
    tiny.bert(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert open_model("hf:org/tiny").spec.name == "org/tiny"
    assert open_model("hf:org/tiny@abc").spec.uri == "hf:org/tiny@abc"
    assert "hf:org/tiny" in [spec.uri for spec in list_models()]


def test_lists_hold_what_is_a_model_and_say_why_when_opened(tmp_path, monkeypatch):
    tiny.bert(tmp_path / "models" / "good")
    tiny.image(tmp_path / "models" / "eye", "vit")
    os.truncate(tiny.bert(tmp_path / "models" / "cut") / "model.safetensors", 100)
    (tmp_path / "models" / "notes").mkdir()
    (tmp_path / "models" / "notes" / "config.json").write_text("[]")
    monkeypatch.setenv("GRAFT_MODELS", f"{tmp_path / 'models'}{os.pathsep}{tmp_path / 'absent'}")
    specs = {spec.name: spec for spec in list_models() if spec.uri.startswith("hf:")}
    assert set(specs) == {"good", "eye", "cut"}
    assert [spec.name for spec in list_models(modality="image")] == ["eye"]
    with pytest.raises(SourceError, match="cut off"):
        open_model(specs["cut"])
    assert open_model(specs["good"]).spec.name == "good"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "width", "layers"),
    [
        ("mobilenetv1-0.25-224-backbone", 256, 5),
        ("mobilenetv1-0.5-160-imagenet", 512, 5),
        ("mobilenetv2-0.35-224-backbone", 1280, 5),
        ("mobilenetv2-1.0-224-imagenet", 1280, 5),
        ("stories260k-llama", 64, 5),
    ],
)
def test_real_models(name, width, layers):
    from pathlib import Path

    data = os.environ.get("GRAFT_DATA")
    folder = Path(data or ".").parent / "models" / name
    if not data or not folder.is_dir():
        pytest.skip("needs the folder models/ beside GRAFT_DATA")
    backbone = open_model(f"hf:{folder}")
    examples = TEXTS if backbone.spec.modality == "text" else [np.zeros((200, 300, 3), np.uint8)] * 3
    pooled, logits = run(backbone, examples)
    assert (pooled[-1].shape, len(pooled)) == ((3, width), layers)
    assert (logits is not None) == ("imagenet" in name)
