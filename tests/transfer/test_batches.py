import numpy as np

from graft.sources.native import build_backbone
from graft.testing import toy_data
from graft.transfer.batches import labelled_batches


def test_batches_carry_targets_and_weights_of_their_rows():
    data = toy_data("imbalanced")
    backbone = build_backbone(data)
    weights_of = data.task.class_weights(data.y)
    assert weights_of is not None
    seen = []
    for batch in labelled_batches(backbone, data, 7, seed=3)(0):
        assert batch["input_ids"].shape[0] == len(batch["y"])
        np.testing.assert_allclose(batch["weight"].numpy(), weights_of[batch["y"].numpy()], rtol=1e-6)
        seen += batch["y"].tolist()
    assert sorted(seen) == sorted(data.y.tolist())
    assert "weight" not in next(iter(labelled_batches(backbone, toy_data("text"), 7, seed=3)(0)))


def test_rows_that_do_not_fit_into_memory_are_encoded_again(monkeypatch):
    data = toy_data("text")
    backbone = build_backbone(data)
    kept = list(labelled_batches(backbone, data, 8, seed=0)(2))
    monkeypatch.setattr("graft.transfer.batches.IN_MEMORY", 0)
    again = list(labelled_batches(backbone, data, 8, seed=0)(2))
    assert sorted(y for batch in kept for y in batch["y"].tolist()) == sorted(
        y for batch in again for y in batch["y"].tolist()
    )
    assert len(kept) == len(again)
