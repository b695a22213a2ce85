"""One pass, kept by content: the same rows give the same bytes, and nothing stale is ever returned."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
import torch
from sources import tiny_models as tiny

from graft import features as module
from graft.core.errors import BudgetError, SourceError, UsageError
from graft.core.runtime import Clock
from graft.core.store import Store
from graft.core.task import Task
from graft.core.types import Dataset
from graft.features import Scattered, encode, extract, predict_seconds
from graft.sources.base import open_model

WORDS = tiny.WORDS


class Texts:
    def __init__(self, count=40, seed=0):
        random = np.random.default_rng(seed)
        self.texts = [" ".join(random.choice(WORDS, random.integers(1, 30))) for _ in range(count)]
        self.taken = []

    def __len__(self):
        return len(self.texts)

    def take(self, rows):
        self.taken += list(rows)
        return [self.texts[row] for row in rows]

    def digest(self):
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()


def dataset(X, rows=None):
    rows = np.arange(len(X)) if rows is None else np.asarray(rows)
    return Dataset(X, None, Task("classification", "text", ("a", "b")), rows)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GRAFT_DEVICE", "cpu")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "features")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.bert(tmp_path_factory.mktemp("bert") / "m", layers=3, classes=["good", "bad"])


@pytest.fixture
def backbone(folder):
    return open_model(str(folder))


@pytest.fixture
def forwards(backbone):
    """Batch sizes of the forward passes of the backbone."""
    seen = []
    backbone.network.register_forward_hook(lambda _m, _i, output: seen.append(len(output.last_hidden_state)))
    return seen


def test_values_are_the_pooled_layers_of_each_row(backbone, store):
    X = Texts()
    found = extract(backbone, dataset(X), store=store, precision="fp32", batch_tokens=64)
    assert found.sizes == (16, 16, 16)
    assert found.values.dtype == np.float16
    assert isinstance(found.values, np.memmap)
    for row, text in enumerate(X.texts):
        batch = backbone.collate(backbone.preprocess([text]))
        with torch.inference_mode():
            layers, logits = backbone.forward_all(batch)
            exact = [backbone.pool(layer, batch)[0].numpy() for layer in layers]
        for index, layer in enumerate(exact):
            np.testing.assert_allclose(found.layer(index, rows=np.array([row]))[0], layer, atol=4e-3)
        np.testing.assert_allclose(found.probabilities[row], torch.softmax(logits, 1)[0].numpy(), atol=1e-5)


def test_a_second_call_makes_no_pass_and_gives_the_same_bytes(backbone, store, forwards, tmp_path):
    X = Texts()
    first = extract(backbone, dataset(X), store=store)
    forwards.clear()
    X.taken.clear()
    again = extract(backbone, dataset(X), store=store)
    assert (forwards, X.taken) == ([], [])
    assert (again.key, again.seconds, again.precision) == (first.key, first.seconds, first.precision)
    fresh = extract(backbone, dataset(X), store=Store(tmp_path / "other"))
    assert np.asarray(fresh.values).tobytes() == np.asarray(first.values).tobytes()


def test_a_large_view_shares_the_entry_of_its_storage(backbone, store, forwards):
    X = Texts(20)
    whole = extract(backbone, dataset(X), store=store)
    forwards.clear()
    rows = np.array([7, 3, 3, *range(8, 18)])
    part = extract(backbone, dataset(X, rows), store=store)
    assert forwards == []
    np.testing.assert_array_equal(part.layer(-1), whole.layer(-1)[rows])


def test_a_small_view_is_extracted_alone_in_the_numbering_of_the_storage(backbone, store):
    X = Texts(40)
    rows = np.array([30, 2, 2, 5])
    found = extract(backbone, dataset(X, rows), store=store, precision="fp32")
    assert set(X.taken) == {2, 5, 30}
    exact = encode(backbone, [X.texts[row] for row in rows])
    np.testing.assert_allclose(found.layer(0, 1, 2), exact.values, atol=4e-3)
    np.testing.assert_allclose(found.select(np.array([5])).layer(-1), exact.layer(-1)[3:], atol=4e-3)
    np.testing.assert_allclose(found.probabilities[rows], exact.probabilities, atol=1e-6)
    assert found.values.shape == (40, 48)
    with pytest.raises(UsageError, match="row 7 has no features"):
        found.select(np.array([2, 7])).layer(-1)


def test_scattered_values_are_never_taken_for_the_whole():
    values = Scattered(np.array([[1.0], [2.0]]), np.array([3, 7]), 10)
    assert values[7].tolist() == [2.0]
    with pytest.raises(UsageError):
        values[:]
    with pytest.raises(UsageError, match="index them"):
        np.asarray(values)


def test_other_weights_rows_lengths_or_precision_are_another_entry(backbone, store):
    keys = {extract(backbone, dataset(Texts()), store=store, precision="fp32").key}
    keys.add(extract(backbone, dataset(Texts(seed=1)), store=store, precision="fp32").key)
    keys.add(extract(backbone, dataset(Texts()), store=store, precision="bf16").key)
    backbone.longest = 9
    keys.add(extract(backbone, dataset(Texts()), store=store, precision="fp32").key)
    with torch.no_grad():
        next(backbone.parameters()).add_(1e-3)
    keys.add(extract(backbone, dataset(Texts()), store=store, precision="fp32").key)
    assert len(keys) == 5


def test_a_damaged_entry_is_made_again(backbone, store):
    first = extract(backbone, dataset(Texts()), store=store)
    file = store.folder / "entries" / first.key / "values.npy"
    before = file.read_bytes()
    os.truncate(file, 200)
    extract(backbone, dataset(Texts()), store=store)
    assert file.read_bytes() == before


def test_an_expired_budget_keeps_nothing(backbone, store):
    with pytest.raises(BudgetError, match="no time left"):
        extract(backbone, dataset(Texts()), store=store, clock=Clock(0.0))
    assert store.entries() == []


def test_without_a_cache_features_stay_in_memory_and_say_so(backbone, tmp_path):
    (tmp_path / "file").write_text("")
    notes = []
    found = extract(
        backbone, dataset(Texts()), store=Store(tmp_path / "file"), progress=lambda *facts: notes.append(facts[2])
    )
    assert len(found.layer(-1)) == 40
    assert "features stay in memory" in notes[0]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")])
def test_running_out_of_memory_halves_the_batch(backbone, store, error):
    allowed = 3
    sizes = []

    def refuse(_module, arguments):
        count = len(arguments[0])
        sizes.append(count)
        if count > allowed:
            raise error

    handle = backbone.network.register_forward_pre_hook(refuse)
    found = extract(backbone, dataset(Texts()), store=store, precision="fp32")
    assert max(sizes) > allowed
    handle.remove()
    exact = encode(backbone, Texts().texts)
    np.testing.assert_allclose(found.layer(0, 1, 2), exact.values, atol=4e-3)

    allowed = 0
    backbone.network.register_forward_pre_hook(refuse)
    with pytest.raises(SourceError, match="not enough memory for one row"):
        encode(backbone, Texts().texts)


def test_other_errors_of_the_model_are_not_hidden(backbone):
    def fail(*_):
        raise RuntimeError("shape mismatch")

    backbone.network.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        encode(backbone, ["good"])


def test_large_activations_are_kept_as_float32(backbone, store):
    with torch.no_grad():
        backbone.blocks()[1].output.LayerNorm.weight.mul_(1e6)
    found = extract(backbone, dataset(Texts()), store=store, precision="fp32")
    assert found.values.dtype == np.float32
    assert np.abs(found.layer(1)).max() > 1e5
    again = extract(backbone, dataset(Texts()), store=store, precision="fp32")
    np.testing.assert_array_equal(again.layer(1), found.layer(1))


def test_values_that_are_not_finite_name_the_row(backbone, store):
    with torch.no_grad():
        backbone.blocks()[2].output.LayerNorm.bias.fill_(float("nan"))
    with pytest.raises(SourceError, match=r"not finite.*row"):
        extract(backbone, dataset(Texts()), store=store, precision="fp32")
    assert store.entries() == []


def test_bf16_is_taken_where_it_is_faster_and_agrees(backbone, store, tmp_path, monkeypatch):
    monkeypatch.setattr("graft.core.runtime.bf16_is_faster", lambda: True)
    assert extract(backbone, dataset(Texts()), store=store).precision == "bf16"
    monkeypatch.setattr(module, "AGREEMENT", 1.0)
    assert extract(backbone, dataset(Texts()), store=Store(tmp_path / "b")).precision == "fp32"
    monkeypatch.setattr("graft.core.runtime.bf16_is_faster", lambda: False)
    assert extract(backbone, dataset(Texts()), store=Store(tmp_path / "c")).precision == "fp32"


def test_batches_keep_to_the_token_budget(backbone, store):
    sizes = []
    backbone.network.register_forward_pre_hook(lambda _m, arguments: sizes.append(arguments[0].shape))
    extract(backbone, dataset(Texts(100)), store=store, batch_tokens=80, precision="fp32")
    assert max(len(shape) and shape[0] * shape[1] for shape in sizes) <= 80 + 7 * max(shape[0] for shape in sizes)
    assert len(sizes) > 10


def test_the_mode_of_the_backbone_is_kept(backbone, store):
    backbone.train()
    extract(backbone, dataset(Texts()), store=store)
    assert backbone.training
    assert backbone.blocks()[0].training


def test_nothing_to_encode(backbone):
    with pytest.raises(UsageError, match="no rows"):
        encode(backbone, [])


@pytest.mark.parametrize("options", [{"precision": "fp8"}, {"batch_tokens": 0}])
def test_wrong_options(backbone, store, options):
    with pytest.raises(UsageError):
        extract(backbone, dataset(Texts()), store=store, **options)


def test_predicted_seconds_grow_with_the_rows(backbone):
    few, many = (predict_seconds(backbone, dataset(Texts(n)), 16, precision="fp32") for n in (20, 2000))
    assert 0 < few < many


def test_pictures(tmp_path, store):
    class Pictures:
        pixels = np.random.default_rng(0).integers(0, 256, (12, 40, 30, 3), dtype=np.uint8)

        def __len__(self):
            return 12

        def take(self, rows):
            return [self.pixels[row] for row in rows]

        def digest(self):
            return "pictures"

    backbone = open_model(str(tiny.image(tmp_path / "m", "mobilenet_v2", classes=["ant", "bee"])))
    data = Dataset(Pictures(), None, Task("classification", "image", ("ant", "bee")), np.arange(12))
    found = extract(backbone, data, store=store, precision="fp32")
    exact = encode(backbone, data.take())
    assert found.layers == 5
    np.testing.assert_allclose(found.layer(*range(5)), exact.values, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found.probabilities, exact.probabilities, atol=1e-5)
