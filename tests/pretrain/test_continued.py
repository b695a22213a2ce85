"""Continued pretraining of a source of transformers."""

import json

import numpy as np
import pytest
import torch

from graft.core.errors import SourceError
from graft.core.types import ModelSpec
from graft.pretrain.continued import Continued, _Rows
from graft.sources.base import open_model
from graft.sources.native import NativeBackbone
from graft.sources.readers import TextReader

ROWS = [f"where is my {colour} parcel" for colour in ("red", "blue", "green", "old", "new")] * 12


@pytest.fixture(scope="module")
def made(tiny_bert):
    return Continued(f"hf:{tiny_bert}", epochs=2, batch_size=8, lr=1e-3).fit(ROWS)


def test_it_learns_and_says_so():
    made = Continued("sbert:all-MiniLM-L6-v2", epochs=4, batch_size=8).fit(ROWS)
    score = made.record_["scores"][0]
    losses = [point["loss"] for point in made.record_["curve"]]
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert set(score["baselines"]) == {"unigram", "bigram"}
    assert score["value"] < score["baselines"]["unigram"]
    assert score["low"] <= score["value"] <= score["high"]
    assert made.record_["training"]["tokens_per_second"] > 0
    sample = made.record_["samples"][0]
    assert "___" in sample["given"]
    assert len(sample["blanks"][0]["guesses"]) == 3


def test_the_source_changes_but_not_its_embeddings(made, tiny_bert):
    before = dict(open_model(f"hf:{tiny_bert}").named_parameters())
    after = dict(made.backbone_.named_parameters())
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved
    assert not [name for name in moved if "embeddings" in name]
    assert all("layer" in name for name in moved)


def test_what_is_saved_opens_like_the_source(made, tiny_bert, tmp_path):
    folder = made.save(tmp_path / "source")
    opened = open_model(f"file:{folder}")
    batch = opened.collate(opened.preprocess(ROWS[:3]))
    with torch.inference_mode():
        torch.testing.assert_close(opened(batch), made.backbone_(batch))
    assert json.loads((folder / "pretrain.json").read_text())["objective"] == "continue"


def test_equal_seeds_give_equal_weights(tiny_bert):
    one, two = (Continued(f"hf:{tiny_bert}", epochs=1, seed=3).fit(ROWS[:20]) for _ in range(2))
    pairs = zip(one.backbone_.parameters(), two.backbone_.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_blanks_lie_on_tokens_of_the_row(made):
    rows = [np.arange(10, 10 + n) for n in (1, 5, 20)]
    batch = made._blanked(made.backbone_, rows, np.random.default_rng(0))
    assert batch["counted"].sum(1).tolist() == [1, 1, 3]
    for index, row in enumerate(rows):
        counted = batch["counted"][index] > 0
        places = batch["places"][index][counted]
        assert places.min() >= 1
        assert places.max() <= len(row)
        assert batch["wanted"][index][counted].tolist() == row[places.numpy() - 1].tolist()
        assert int(batch["attention_mask"][index].sum()) == len(row) + 2


def test_rows_of_a_corpus():
    rows = _Rows(np.array([5, 6, 2, 2, 7, 8, 9, 2]), end=2, longest=2)
    assert [rows.take(row).tolist() for row in rows.order] == [[5, 6], [7, 8]]
    assert sorted(np.concatenate(list(rows.batches(1, np.random.default_rng(0)))).tolist()) == rows.order.tolist()


def test_a_source_without_blanks_is_refused(tmp_path):
    reader = TextReader.build(ROWS)
    spec = ModelSpec("new:textcnn", "textcnn", "text")
    NativeBackbone("textcnn", {"vocabulary": reader.vocabulary}, reader, spec).save(tmp_path / "native")
    with pytest.raises(SourceError, match="is no text source of transformers"):
        Continued(f"file:{tmp_path / 'native'}").fit(ROWS)
