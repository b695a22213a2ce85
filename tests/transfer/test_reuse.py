import json

import numpy as np
import pytest
import torch

from graft.core.errors import UsageError
from graft.core.runtime import Clock
from graft.data.load import load
from graft.sources.base import open_model
from graft.sources.native import build_backbone
from graft.testing import toy_data
from graft.transfer.base import Setting, load_transfer
from graft.transfer.finetune import Finetune
from graft.transfer.reuse import Reuse

SMALL = {"epochs": 2, "batch_size": 8}


def weights(transfer):
    return {name: tensor.clone() for name, tensor in transfer.backbone_.state_dict().items()}


def test_by_default_the_structure_alone_is_taken(tiny_bert, texts):
    data = load(texts)
    reused = Reuse(f"hf:{tiny_bert}", **SMALL).fit(data)
    assert reused.is_fresh
    assert reused.report_.counts()["new"]["tensors"] == len(reused.report_.tensors)
    before = open_model(f"hf:{tiny_bert}").state_dict()
    for name, value in weights(reused).items():
        assert value.shape == before[name].shape
        assert value.ndim < 2 or not torch.allclose(value, before[name], atol=1e-3), name
    start = Reuse(f"hf:{tiny_bert}", **SMALL)._backbone(data).state_dict()
    table = "model.embeddings.word_embeddings.weight"
    assert not torch.equal(weights(reused)[table], start[table])  # what is new is trained, embeddings too
    assert reused.curve_


def test_a_change_that_copies_everything_is_fine_tuning(tiny_bert, texts):
    data = load(texts)
    one = Finetune(f"hf:{tiny_bert}", **SMALL).fit(data)
    other = Reuse(f"hf:{tiny_bert}", fresh=False, **SMALL).fit(data)
    assert np.array_equal(one.outputs(data), other.outputs(data))
    assert all(torch.equal(a, b) for a, b in zip(weights(one).values(), weights(other).values(), strict=True))


def test_blocks_are_frozen_where_they_are_copied(tiny_bert, texts):
    data = load(texts)
    reused = Reuse(f"hf:{tiny_bert}", insert=(0,), blocks=1, **SMALL)
    start = reused._backbone(data).state_dict()
    reused.fit(data)
    new = [fate.name for fate in reused.report_.tensors if fate.what == "new"]
    assert {name.split(".")[3] for name in new} == {"1"}
    trained = {name for name, value in weights(reused).items() if not torch.equal(value, start[name])}
    assert {name.split(".")[3] for name in trained} == {"1", "2"}
    assert len(reused.backbone_.blocks()) == 3


def test_a_vocabulary_is_learned_from_the_rows(tiny_bert, texts):
    data = load(texts)
    reused = Reuse(f"hf:{tiny_bert}", vocabulary=True, tokens=70, length=20, **SMALL).fit(data)
    assert not reused.is_fresh
    assert reused.report_.changes["vocabulary"] == len(data)
    assert len(reused.backbone_.tokenizer) <= 70
    assert {fate.what for fate in reused.report_.tensors} == {"copied", "resized"}
    with pytest.raises(UsageError, match="learned from texts, the data are image"):
        Reuse(f"hf:{tiny_bert}", vocabulary=True).fit(toy_data("image"))


def test_pictures_of_one_channel(tiny_vit):
    data = toy_data("image")
    reused = Reuse(f"hf:{tiny_vit}", channels=1, size=16, remove=(0,), **SMALL).fit(data)
    assert reused.backbone_.collate(reused.backbone_.preprocess(data.take(slice(0, 2))))["pixel_values"].shape[1:] == (
        1,
        16,
        16,
    )
    assert reused.backbone_.spec.objective.startswith("classification of")


def test_the_report_is_saved_with_the_model(tiny_bert, texts, tmp_path):
    data = load(texts)
    reused = Reuse(f"hf:{tiny_bert}", remove=(1,), widen=1.5, **SMALL).fit(data)
    reused.save(tmp_path)
    state = json.loads((tmp_path / "model.json").read_text())["state"]
    assert state["report"]["summary"] == reused.report_.summary()
    opened = load_transfer(tmp_path)
    assert opened.report_ == reused.report_
    assert np.array_equal(opened.outputs(data), reused.outputs(data))
    assert opened.get_params()["remove"] == [1]


def test_fresh_weights_take_more_steps_and_obey_the_clock(texts):
    data = load(texts)
    assert Reuse().steps(100) == 200
    assert Reuse(remove=(1,)).steps(100) == Finetune().steps(100)
    assert Reuse(epochs=1).steps(100) == 3
    reused = Reuse(build_backbone(data), batch_size=8).fit(data, setting=Setting(Clock(0.001)))
    assert reused.stopped_
    assert np.isfinite(reused.outputs(data)).all()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"remove": (9,)}, "no block 9"),
        ({"widen": 0}, "cannot be widened by 0"),
        ({"channels": 1}, "cannot change its channels; it can change its blocks"),
        ({"order": (0,), "remove": (0,)}, "remove and order both"),
        ({"fresh": True, "tokens": 5}, "tokens without a vocabulary"),
    ],
)
def test_bad_changes_are_one_line(tiny_bert, texts, settings, line):
    with pytest.raises(UsageError) as caught:
        Reuse(f"hf:{tiny_bert}", **settings, **SMALL).fit(load(texts))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
