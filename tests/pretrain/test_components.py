"""Principal components, in closed form and block by block."""

import numpy as np
import pytest
import torch
from pretrain.picture_sets import score_of, stripes
from pretrain.resuming import same_bytes
from sklearn.decomposition import PCA

from graft.core.errors import DataError, UsageError
from graft.core.runtime import Clock
from graft.pretrain import components
from graft.pretrain.base import held_out_rows
from graft.pretrain.components import Components
from graft.sources.base import open_model
from graft.transfer.probe import Probe


def rows(n=300, d=6, seed=0):
    """Correlated columns on uneven scales."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def standardised(values, train):
    return (values - train.mean(axis=0)) / train.std(axis=0)


def test_a_table_gets_the_components_of_scikit_learn():
    values = rows()
    held_out = held_out_rows(len(values), 0)
    train = standardised(values[~held_out], values[~held_out])
    known = PCA(3).fit(train)
    made = Components(components=3).fit(values)
    assert np.allclose(made.ratios_, known.explained_variance_ratio_, atol=1e-5)
    assert np.allclose(np.abs((made.axes_ * known.components_).sum(axis=1)), 1, atol=1e-4)
    assert np.allclose(made.axes_ @ made.axes_.T, np.eye(3), atol=1e-6)
    unseen = standardised(values[held_out], values[~held_out])
    rest = unseen - known.inverse_transform(known.transform(unseen))
    share = 1 - np.square(rest).sum() / np.square(unseen - known.mean_).sum()
    score = score_of(made, "variance explained")
    assert score["value"] == pytest.approx(share, abs=1e-5)
    assert score["low"] <= score["value"] <= score["high"]
    assert score["baselines"]["mean"] == 0 <= score["baselines"]["random projection"] < score["value"]
    batch = made.backbone_.collate(made.backbone_.preprocess(_columns(values[held_out])))
    signs = np.sign((made.axes_ * known.components_).sum(axis=1))
    with torch.inference_mode():
        assert np.allclose(made.backbone_(batch).numpy(), known.transform(unseen) * signs, atol=1e-4)


def _columns(values):
    return {f"x{i}": values[:, i] for i in range(values.shape[1])}


@pytest.mark.parametrize("exact", [True, False])
def test_pictures_get_the_same_whole_or_by_passes(exact, monkeypatch):
    monkeypatch.setattr(components, "BLOCK", 64)
    if not exact:
        monkeypatch.setattr(components, "EXACT", 10)
    pictures = stripes(200, side=16)[0]
    made = Components(components=8).fit(pictures)
    train = pictures[~held_out_rows(200, 0)].reshape(190, -1) / 127.5 - 1.0
    known = PCA(8, svd_solver="full").fit(train)
    assert np.allclose(made.ratios_, known.explained_variance_ratio_, atol=1e-5)
    apart = np.linalg.svd(made.axes_ @ known.components_.T, compute_uv=False)
    assert np.allclose(apart, 1, atol=1e-3)  # equal spaces; within pairs of equal variance any turn is right
    assert [sample["kind"] for sample in made.record_["samples"]] == ["components", "rebuilt"]
    losses = [point["loss"] for point in made.record_["curve"]]
    assert np.allclose(losses, 1 - np.cumsum(known.explained_variance_ratio_), atol=1e-5)
    assert made.record_["training"]["epochs"] == 1


def test_few_components_are_enough_where_few_vary():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 8))
    made = Components().fit(plane + 1e-3 * rng.normal(size=(200, 8)))
    assert len(made.axes_) <= 2
    assert score_of(made, "variance explained")["value"] > 0.94
    assert made.record_["samples"][0]["text"].startswith("1, ")
    assert "x" in made.record_["samples"][0]["text"]


def test_categories_and_missing_values_are_columns_too():
    data = {"colour": ["red", "blue", "blue", None] * 20, "size": [1.0, 2.0, 3.0, None] * 20}
    made = Components(components=2).fit(data)
    assert made.names_ == ["size", "size missing", "colour=blue", "colour=red"]
    assert made.backbone_.spec.hidden_size == 2


@pytest.mark.parametrize("kind", ["pictures", "table"])
def test_what_is_saved_opens_and_is_probed(kind, tmp_path):
    data, y = stripes(80) if kind == "pictures" else (rows(80), ["a", "b"] * 40)
    one, two = (Components(components=4).fit(data) for _ in range(2))
    assert same_bytes(one, two, tmp_path)
    opened = open_model(f"file:{tmp_path / 'one'}")
    assert opened.spec.objective.startswith("principal components on")
    assert len(opened.blocks()) == 1
    assert len(Probe(f"file:{tmp_path / 'one'}").fit(data[:60], y[:60]).predict(data[60:])) == 20


def test_when_the_time_is_up_the_blocks_read_so_far_count(monkeypatch):
    monkeypatch.setattr(components, "BLOCK", 50)
    made = Components(components=2).fit(rows(500), clock=Clock(1e-9))
    assert made.record_["training"]["steps"] == 1
    assert "time" in made.record_["training"]["stopped"]


@pytest.mark.parametrize(
    ("make", "data", "error", "words"),
    [
        (lambda: Components(components=0), rows(20), UsageError, "0 components cannot be kept"),
        (lambda: Components(encoder="mlp"), rows(20), UsageError, "does not train the encoder 'mlp'; use linear"),
        (lambda: Components(side=12), stripes(20)[0], UsageError, "a side of 12 pixels"),
        (Components, ["some text", "more text"] * 5, UsageError, "does not read text"),
        (Components, np.ones((20, 3)), DataError, "all rows of data are equal"),
        (Components, rows(1), DataError, r"has 1 row\(s\)"),
    ],
)
def test_what_cannot_be_projected_is_said(make, data, error, words):
    with pytest.raises(error, match=words):
        make().fit(data)
