"""Activations that a training keeps, measured on few rows against what a larger batch keeps."""

import gc

import pytest
import torch

from graft.core.memory import _mallinfo
from graft.core.runtime import bf16_is_faster
from graft.engine.precision import fast_products
from graft.sources.base import open_model
from graft.transfer import cost
from graft.transfer.cost import kept_bytes

TEXTS = ["a parcel", "a parcel that never came", "where is the parcel that you said had been sent to me last week"]


@pytest.fixture
def backbone(tiny_bert):
    return open_model(f"hf:{tiny_bert}")


def of_a_batch(backbone, encoded):
    """Bytes of all tensors kept for the backward pass that are no weights."""
    weights = {p.untyped_storage().data_ptr() for p in backbone.parameters()}
    kept = {}

    def count(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t), fast_products("cpu", low=bf16_is_faster()):
        output = backbone(backbone.collate(encoded))
    del output
    return sum(size for place, size in kept.items() if place not in weights)


def test_a_batch_keeps_what_its_rows_do(backbone):
    row = backbone.preprocess(TEXTS)[2]
    each = kept_bytes(backbone, [row], float("inf"))
    more, less = (of_a_batch(backbone, [row] * count) for count in (24, 8))
    assert each == pytest.approx((more - less) / 16, rel=0.1)


def test_the_longest_row_counts_and_may_be_guessed(backbone):
    encoded = backbone.preprocess(TEXTS)
    lengths = [backbone.length(row) for row in encoded]
    assert lengths == sorted(lengths)
    exact = kept_bytes(backbone, encoded, float("inf"))
    assert exact == kept_bytes(backbone, encoded[2:], float("inf")) > kept_bytes(backbone, encoded[:2], float("inf"))
    guessed = kept_bytes(backbone, encoded, room=0)  # nothing longer than the middle row is tried
    assert guessed == int(cost._kept(backbone, encoded[1]) * (lengths[2] / lengths[1]) ** 2)
    assert guessed >= exact


def test_nothing_stays_behind(backbone):
    heap = _mallinfo()
    if heap is None:
        pytest.skip("the C library is not glibc 2.33 or later")
    encoded = backbone.preprocess(TEXTS[2:])
    each = kept_bytes(backbone, encoded, float("inf"))
    gc.collect()
    before = heap()
    for _ in range(30):
        kept_bytes(backbone, encoded, float("inf"))
    gc.collect()
    after = heap()
    grown = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd
    assert grown < 10 * each  # three rows are passed each time
