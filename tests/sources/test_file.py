"""Folders that graft wrote."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sources import tiny_models as tiny

from graft.core.errors import SourceError, UnsafeSourceError, UsageError
from graft.core.task import Task
from graft.core.types import Dataset
from graft.sources.base import describe_model, list_models, open_model, split_uri
from graft.sources.native import build_backbone


class Texts:
    def __len__(self):
        return 4

    def take(self, rows):
        return [["good parcel", "bad card", "lost order", "my card"][row] for row in rows]

    def digest(self):
        return "texts"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def checkpoint(tmp_path):
    data = Dataset(Texts(), np.array([0, 1, 0, 1]), Task("classification", "text", ("a", "b")), np.arange(4))
    build_backbone(data).save(tmp_path / "models" / "mine")
    return tmp_path / "models" / "mine"


def test_a_checkpoint_opens_by_scheme_and_by_path(checkpoint):
    for uri in (f"file:{checkpoint}", str(checkpoint)):
        backbone = open_model(uri)
        assert backbone(backbone.collate(backbone.preprocess(["good card"]))).shape == (1, backbone.spec.hidden_size)
        assert len(backbone.spec.weights_sha256) == 64
    assert describe_model(str(checkpoint)).modality == "text"
    assert f"file:{checkpoint}" in [s.uri for s in list_models(folders=(str(checkpoint.parent),))]


def test_a_run_opens_its_source(tmp_path):
    run = tmp_path / "run"
    tiny.sbert(run / "source")
    (run / "run.json").write_text("{}")
    assert split_uri(str(run)) == ("file", str(run))
    backbone = open_model(str(run))
    assert backbone.spec.uri == f"file:{run}"
    assert len(backbone.blocks()) == 2


def test_a_run_without_a_network(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SourceError, match="kept no network"):
        open_model(str(tmp_path))


@pytest.mark.parametrize(
    ("facts", "pattern"),
    [
        ({"format": 9}, "has format 9"),
        ({"kind": "cake"}, "describes no model"),
        ({"spec": 3}, "describes no model"),
    ],
)
def test_a_checkpoint_of_another_kind(checkpoint, facts, pattern):
    path = checkpoint / "graft.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    with pytest.raises(SourceError, match=pattern):
        open_model(str(checkpoint))
    assert "mine" in [spec.name for spec in list_models(folders=(str(checkpoint),))]


def test_a_checkpoint_that_is_cut_off(checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(SourceError, match="cut off"):
        open_model(str(checkpoint))
    path.unlink()
    with pytest.raises(SourceError, match="no weights"):
        open_model(str(checkpoint))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl"])
def test_pickles_are_refused(tmp_path, suffix):
    (tmp_path / f"model{suffix}").write_bytes(b"\x80\x04.")
    for location in (tmp_path, tmp_path / f"model{suffix}"):
        with pytest.raises(UnsafeSourceError, match="weights_only=True"):
            open_model(f"file:{location}")


def test_what_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="no folder"):
        open_model(f"file:{tmp_path / 'absent'}")
    with pytest.raises(SourceError, match="no model found"):
        open_model(f"file:{tmp_path}")
    with pytest.raises(UsageError, match="no model"):
        open_model("nothing-of-this-name")
