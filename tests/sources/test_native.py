import json

import numpy as np
import pytest
import torch
from conftest import make_pictures, make_table, make_texts
from safetensors.torch import load_file, save_file

from graft.core.errors import SourceError
from graft.core.runtime import seeded
from graft.data.load import load
from graft.features import encode
from graft.sources.base import open_model
from graft.sources.native import build_backbone, describe_native, open_native
from graft.sources.readers import SPECIAL, ImageReader, TextReader


def built(kind="text"):
    data = {"text": make_texts, "image": make_pictures, "table": make_table}[kind](30)
    with seeded(0):
        data = load(data)
        return build_backbone(data), data


@pytest.mark.parametrize("kind", ["text", "image", "table"])
def test_what_is_saved_opens_to_the_same(kind, tmp_path):
    backbone, data = built(kind)
    backbone.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graft.json", "model.safetensors"]
    opened = open_native(tmp_path)
    assert opened.fingerprint() == backbone.fingerprint()
    assert np.array_equal(encode(opened, data.take()).values, encode(backbone, data.take()).values)
    assert not opened.training
    spec = describe_native(tmp_path)
    assert spec.uri == f"file:{tmp_path}"
    assert (spec.modality, spec.parameters) == (kind, sum(p.numel() for p in backbone.parameters()))
    assert open_model(str(tmp_path)).fingerprint() == backbone.fingerprint()


def edit(**changes):
    def damage(folder):
        facts = json.loads((folder / "graft.json").read_text())
        (folder / "graft.json").write_text(json.dumps(facts | changes))

    return damage


def lose_a_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(iter(tensors)))
    save_file(tensors, folder / "model.safetensors")


DAMAGE = {
    "json cut": lambda f: (f / "graft.json").write_text('{"encoder": '),
    "json empty": lambda f: (f / "graft.json").write_text("{}"),
    "json a list": lambda f: (f / "graft.json").write_text("[]"),
    "no encoder": edit(encoder="lstm"),
    "other arguments": edit(arguments={"vocabulary": 3}),
    "unknown arguments": edit(arguments={"nonsense": 3}),
    "no reader": edit(reader={}),
    "weights cut": lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-5]),
    "weights gone": lambda f: (f / "model.safetensors").unlink(),
    "a tensor gone": lose_a_tensor,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_one_line(damage, tmp_path):
    built()[0].save(tmp_path)
    damage(tmp_path)
    with pytest.raises(SourceError) as caught:
        open_native(tmp_path)
    assert "\n" not in str(caught.value)


# -- readers -----------------------------------------------------------------------------------------------------------


def ids(reader, text):
    return reader.encode([text])[0].tolist()


def test_words_are_counted_and_unknown_ones_are_one_token():
    reader = TextReader.build(["the cat sat", "the dog sat", "A cat!"])
    assert ids(reader, "the CAT") == ids(reader, "The cat")
    assert len(ids(reader, "the cat!")) == 3
    assert ids(reader, "zebra") == [1]
    assert ids(reader, "") == [1]  # an empty row is still a row
    assert reader.vocabulary == len(SPECIAL) + 6


def test_chinese_is_read_by_character():
    reader = TextReader.build(["我想取消订单", "我的包裹在哪里"])
    assert len(ids(reader, "取消订单")) == 4
    assert 1 not in ids(reader, "我的订单")


def test_genes_are_read_by_letter():
    reader = TextReader.build(["ACGTACGATCGATTTACGGACTAGCA", "TTTACGGACTAGCAACGTACGATCGA"])
    assert len(ids(reader, "ACGT")) == 4
    assert reader.vocabulary == len(SPECIAL) + 4


def test_pairs_have_a_mark_between():
    reader = TextReader.build([("a cat", "a dog"), ("a dog", "a cat")])
    pair, swapped, joined = (
        reader.encode([row])[0].tolist() for row in (("a cat", "a dog"), ("a dog", "a cat"), "a cat a dog")
    )
    assert len(pair) == len(joined) + 1
    assert pair != swapped
    assert 1 not in pair  # the mark has a token of its own


def test_the_vocabulary_does_not_depend_on_the_order_of_rows():
    texts, _ = make_texts(40)
    assert TextReader.build(texts).tokenizer.to_str() == TextReader.build(texts[::-1]).tokenizer.to_str()


def test_long_texts_are_cut():
    reader = TextReader.build(["word"])
    assert len(ids(reader, "word " * 5000)) == 256


def test_coverage_tells_a_language_it_does_not_know():
    backbone, data = built()
    assert backbone.coverage(data.take()).ok
    strange = backbone.coverage(["ganz andere Wörter hier", "und noch mehr davon", "help"])
    assert not strange.ok
    assert strange.reason == "its vocabulary knows most words of only 33% of the rows"


def test_batches_are_padded_and_masked():
    reader = TextReader.build(["a b c", "d"])
    batch = reader.collate(reader.encode(["a b c", "d"]))
    assert batch["attention_mask"].sum(1).tolist() == [3, 1]
    assert batch["input_ids"].shape == (2, 8)
    assert batch["input_ids"][1, 1:].eq(0).all()


def test_pictures_become_squares_and_grey_where_they_are():
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(0, 256, (20, 30, 1), dtype=np.uint8), 3, axis=2)
    colour = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    reader = ImageReader.build([grey, grey])
    assert (reader.size, reader.grey) == (32, True)
    assert not ImageReader.build([grey, colour]).grey
    assert ImageReader.build([np.zeros((400, 600, 3), np.uint8)]).size == 64
    assert ImageReader.build([np.zeros((5, 3, 3), np.uint8)]).size == 8
    batch = reader.collate(reader.encode([grey, np.zeros((64, 64, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)]))
    assert batch["pixel_values"].shape == (3, 1, 32, 32)
    assert batch["pixel_values"][1].eq(-1).all()
    assert batch["pixel_values"][2].eq(1).all()


def test_tables_are_read_with_the_statistics_of_the_training_rows():
    backbone, data = built("table")
    rows = torch.from_numpy(np.stack(backbone.preprocess(data.take())))
    assert rows.mean(0).abs().max() < 1e-5
    assert (rows.std(0, unbiased=False) - 1).abs().max() < 1e-4
    one = backbone.preprocess(data.take(slice(3, 4)))[0]
    assert np.array_equal(one, rows[3].numpy())


def test_seeds_decide_the_weights():
    data = load(make_texts(30))
    prints = []
    for seed in (0, 0, 1):
        with seeded(seed):
            prints.append(build_backbone(data).fingerprint())
    assert prints[0] == prints[1] != prints[2]
