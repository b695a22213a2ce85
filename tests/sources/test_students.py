"""Fresh networks of every kind and size, and the lower blocks of others."""

import numpy as np
import pytest
import torch

from graft.core.errors import SourceError, UsageError
from graft.core.runtime import seeded
from graft.core.types import ModelSpec
from graft.features import encode
from graft.sources.base import open_model
from graft.sources.native import NativeBackbone
from graft.sources.students import DEEP, FRESH, fresh_backbone, fresh_reader, lower_blocks, student_options
from graft.testing import check_source, toy_data


@pytest.mark.parametrize(("modality", "encoder"), [(kind, name) for kind, names in FRESH.items() for name in names])
def test_every_fresh_student_is_a_source(modality, encoder):
    data = toy_data(modality)
    with seeded(0):
        made = fresh_backbone(encoder, "tiny", fresh_reader(data, encoder, vocabulary=1000), modality)
        check_source(made, data.take(slice(0, 4)))
    assert made.spec.name == f"{encoder}:tiny"


@pytest.mark.parametrize("encoder", DEEP)
def test_lower_blocks_of_own_encoders_give_the_states_of_the_whole(encoder):
    modality = next(kind for kind, names in FRESH.items() if encoder in names)
    data = toy_data(modality)
    with seeded(0):
        made = fresh_backbone(encoder, "tiny", fresh_reader(data, encoder, vocabulary=1000), modality)
        whole = NativeBackbone(encoder, {**made.arguments, "depth": 3}, made.reader, made.spec)
        whole.eval()
        cut = lower_blocks(whole, 2)
        check_source(cut, data.take(slice(0, 4)))
    assert len(cut.blocks()) == 2
    batch = whole.collate(whole.preprocess(data.take(slice(0, 4))))
    first = 1 if len(whole.forward_features(batch)) == 4 else 0  # where the lowest state is that of the embeddings
    with torch.inference_mode():
        assert torch.equal(cut.forward_features(batch)[first], whole.forward_features(batch)[first])


@pytest.mark.parametrize("kind", ["text", "image"])
def test_lower_blocks_of_transformers_open_again(kind, tiny_bert, tiny_vit, tmp_path):
    whole = open_model(f"hf:{tiny_bert if kind == 'text' else tiny_vit}")
    before, rows = whole.fingerprint(), toy_data(kind).take(slice(0, 4))
    cut = lower_blocks(whole, 1)
    check_source(cut, rows)
    assert whole.fingerprint() == before
    assert cut.spec.parameters < whole.spec.parameters
    cut.save(tmp_path / "cut")
    again = open_model(f"file:{tmp_path / 'cut'}")
    assert len(again.blocks()) == 1
    assert np.array_equal(encode(again, rows).values, encode(cut, rows).values)
    batch = whole.collate(whole.preprocess(rows))
    with torch.inference_mode():
        if kind == "text":  # which has no normalisation behind its blocks
            assert torch.equal(cut.forward_features(batch)[-1], whole.forward_features(batch)[0])


def test_what_cannot_be_cut_is_one_line():
    data = toy_data("image")
    with seeded(0):
        made = fresh_backbone("resnet", "tiny", fresh_reader(data, "resnet", vocabulary=0), "image")
    with pytest.raises(SourceError, match="cannot be cut between its blocks"):
        lower_blocks(made, 1)
    with pytest.raises(UsageError, match="has 4 block"):
        lower_blocks(made, 4)


def test_options():
    assert student_options(None, "image", sizes=False) == ["resnet:small"]
    assert student_options("lstm", "text", sizes=True) == ["lstm:tiny", "lstm:small", "lstm:base"]
    assert student_options(("mlp:tiny", "linear"), "table", sizes=False) == ["mlp:tiny", "linear:small"]
    spec = ModelSpec("hf:any", "any", "text")
    assert student_options([spec, "blocks:3"], "text", sizes=True) == [spec, "blocks:3"]
    with pytest.raises(SourceError, match="hf:any reads text, the data are image"):
        student_options(spec, "image", sizes=False)
    with pytest.raises(UsageError, match="is not a number of blocks; write blocks:2"):
        student_options("blocks:0", "text", sizes=False)
