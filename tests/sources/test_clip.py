import json

import numpy as np
import pytest
import torch
from conftest import make_pictures
from sources import tiny_models
from transformers import CLIPModel

from graft.core.errors import SourceError
from graft.sources.base import list_models, open_model
from graft.sources.loading import quiet
from graft.testing import check_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.clip(tmp_path_factory.mktemp("clip") / "tiny-clip")


def _peer(folder):
    with quiet():
        return CLIPModel.from_pretrained(folder).eval()


def test_it_keeps_the_contract_of_a_source(folder):
    check_source(f"clip:{folder}", make_pictures(4)[0])


def test_pictures_and_captions_are_those_of_transformers(folder):
    mine, peer = open_model(str(folder)), _peer(folder)
    assert mine.spec.uri == f"clip:{folder}"
    batch = mine.collate(mine.preprocess(make_pictures(3)[0]))
    texts = ["a good card", "where is my parcel"]
    words = mine.tokenizer(texts, padding=True, return_tensors="pt")
    inputs = {name: words[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        theirs = peer(**batch, **inputs)
        features = mine(batch)
    one = features / features.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(one.numpy(), theirs.image_embeds.numpy(), atol=1e-5)
    captions = mine.captions(texts)
    captions /= np.linalg.norm(captions, axis=1, keepdims=True)
    np.testing.assert_allclose(captions, theirs.text_embeds.numpy(), atol=1e-5)
    assert 1 / mine.temperature == pytest.approx(peer.logit_scale.detach().exp().item(), rel=1e-4)


def test_it_is_found_and_described(folder):
    (spec,) = [spec for spec in list_models(modality="image", folders=(str(folder),)) if spec.path == str(folder)]
    assert (spec.architecture, spec.hidden_size, spec.uri) == ("clip", 12, f"clip:{folder}")


def test_what_is_no_clip_or_is_damaged_is_one_line(folder, tmp_path):
    with pytest.raises(SourceError, match="is no CLIP"):
        open_model(f"clip:{tiny_models.bert(tmp_path / 'bert')}")
    broken = tiny_models.clip(tmp_path / "broken")
    facts = json.loads((broken / "config.json").read_text())
    facts["projection_dim"] = 7
    (broken / "config.json").write_text(json.dumps(facts))
    with pytest.raises(SourceError, match="cannot open"):
        open_model(f"clip:{broken}")
    (broken / "preprocessor_config.json").unlink()
