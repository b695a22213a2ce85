"""Every way to boxes: it learns, saves, opens and repeats itself byte by byte."""

import dataclasses

import numpy as np
import pytest
import torch

from graft.core.boxes import SCORE
from graft.core.errors import BudgetError, SourceError, UsageError
from graft.core.ragged import flat
from graft.core.registry import TRANSFERS
from graft.core.runtime import Clock
from graft.core.store import Store
from graft.evaluate.metrics import score
from graft.sources.native import build_backbone
from graft.testing import toy_boxes
from graft.transfer.base import Setting, load_transfer
from graft.transfer.maps import MapReader, draws_of, kept_views, view

QUICK = {
    "mean_boxes": {}, "hand_boxes": {}, "box_probe": {"size": 64}, "detector": {"epochs": 2, "views": 2, "width": 8, "size": 64},
    "detector_scratch": {"epochs": 1, "width": 8, "size": 64},
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return toy_boxes(12)


@pytest.fixture(scope="module")
def source(data):
    torch.manual_seed(0)
    return build_backbone(data).eval()


def make(name, source, **more):
    first = [source] if TRANSFERS[name].needs_source else []
    return TRANSFERS[name](*first, **(QUICK[name] | more))


@pytest.mark.parametrize("name", QUICK)
def test_a_way_to_boxes_keeps_its_promises(name, data, source, tmp_path):
    before = source.fingerprint()
    fitted = make(name, source).fit(data)
    assert source.fingerprint() == before
    outputs = fitted.outputs(data)
    assert all(row.shape[1] == 6 and np.isfinite(row).all() for row in outputs)
    assert all((np.diff(row[:, SCORE]) <= 0).all() for row in outputs if name != "mean_boxes")
    edges = flat(outputs)[:, :4]
    assert (edges[:, :2] < edges[:, 2:]).all()
    assert edges.min() >= -1e-9
    assert (edges.max(axis=0) <= [64.001, 48.001, 64.001, 48.001]).all()
    fitted.calibrate(outputs, data.y)
    assert len(fitted.task_.thresholds) == 2
    opened = load_transfer(fitted.save(tmp_path / "one"))
    assert np.array_equal(flat(opened.outputs(data)), flat(outputs))
    assert opened.predict(data).tolist() == fitted.predict(data).tolist()
    with pytest.raises(UsageError, match="boxes have no sets"):
        fitted.region(outputs, 0.9)
    make(name, source).fit(data).save(tmp_path / "two")
    one, two = ((tmp_path / each / "model.safetensors").read_bytes() for each in ("one", "two"))
    assert one == two


def test_features_of_colour_find_coloured_things(data):
    other = toy_boxes(8, seed=1)
    blind, hand = (score(data.task, other.y, TRANSFERS[name]().fit(data).outputs(other), metric="map50") for name in ("mean_boxes", "hand_boxes"))  # fmt: skip
    assert blind < 0.3
    assert hand > 0.5


def test_views_move_boxes_with_what_they_hold(data):
    pictures = np.stack(data.take())
    objects = [row / [64, 48, 64, 48, 1] for row in data.y]
    whole = [row[:, :4] * 0 for row in objects]
    seen, moved = view(pictures, objects, draws_of(0, 1, np.arange(len(data))), smallest=0.5)
    assert seen.shape == pictures.shape
    assert len(whole) == len(moved)
    inside = outside = 0
    for picture, row in zip(seen.astype(int), moved, strict=True):
        colourful = np.ptp(picture, axis=2) > 60
        for left, top, right, bottom in (row[:, :4] * [64, 48, 64, 48]).round().astype(int):
            inside += colourful[top:bottom, left:right].sum()
            outside += (bottom - top) * (right - left)
    assert inside > 0.5 * outside  # some views have lost their colours


def test_maps_are_kept_and_found_again(data, source, tmp_path):
    reader = MapReader.build(source, (48, 64), 64)
    store = Store(tmp_path)
    first = kept_views(reader, data, Setting(store=store), views=2, seed=0)
    expired = Setting(store=store, clock=Clock(0.0))
    again = kept_views(reader, data, expired, views=2, seed=0)  # nothing is computed
    assert np.array_equal(first.values, again.values)
    maps = first.maps(np.array([0, 1]), np.array([3, 3]))
    assert [tuple(one.shape[1:]) for one in maps] == reader.shapes
    assert not torch.equal(maps[0][0], maps[0][1])
    with pytest.raises(BudgetError, match="no time left"):
        kept_views(reader, data, expired, views=3, seed=0)
    with pytest.raises(BudgetError, match="use fewer views"):
        kept_views(dataclasses.replace(reader, shapes=[(10**6, 64, 64)]), data, Setting(), views=2, seed=0)


def test_blocks_are_trained_where_that_is_asked_for(data, source):
    fitted = make("detector", source, blocks=1, epochs=1).fit(data)
    own, theirs = fitted.backbone_.state_dict(), source.state_dict()
    changed = {name for name in own if not torch.equal(own[name], theirs[name])}
    assert changed
    assert len(changed) < len(own)
    assert fitted.backbone_.spec.objective.startswith("detection of")
    with pytest.raises(UsageError, match="one view or more"):
        make("detector", source, views=0).fit(data)


def tiny(kind, folder):
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig, YolosConfig, YolosForObjectDetection

    torch.manual_seed(0)
    if kind == "yolos":
        config = YolosConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[64, 64],
            patch_size=16, num_detection_tokens=5, num_labels=4,
        )  # fmt: skip
        YolosForObjectDetection(config).save_pretrained(folder)
    else:
        inner = ResNetConfig(
            embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", out_features=["stage2"]
        )
        config = DetrConfig(
            backbone_config=inner, use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, d_model=16,
            encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
            decoder_ffn_dim=16, num_queries=5, num_labels=4,
        )  # fmt: skip
        DetrForObjectDetection(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["yolos", "detr"])
def test_detection_transformers_take_new_classes(kind, data, tmp_path):
    from graft.sources.base import describe_model

    spec = describe_model(f"hf:{tiny(kind, tmp_path / kind)}")
    assert spec.architecture == kind
    assert not TRANSFERS["detr"].fits(spec)
    few = data.select(np.arange(6))
    fitted = TRANSFERS["detr"](spec, epochs=1, size=64, batch_size=3).fit(few)
    outputs = fitted.outputs(few)
    assert all(row.shape[1] == 6 for row in outputs)
    assert fitted.curve_
    opened = load_transfer(fitted.save(tmp_path / "saved"))
    assert np.array_equal(flat(opened.outputs(few)), flat(outputs))


def test_what_is_no_detection_transformer_is_said(data, source):
    assert "is no detection transformer" in TRANSFERS["detr"].fits(source.spec)
    with pytest.raises(SourceError, match="no detection transformer"):
        TRANSFERS["detr"](source).fit(data)
    with pytest.raises(UsageError, match="not detection"):
        TRANSFERS["majority"]().fit(data)
