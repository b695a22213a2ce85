import copy

import numpy as np
import pytest
import torch
from conftest import make_pictures, make_texts

from graft.core.errors import UsageError
from graft.core.runtime import Clock
from graft.data.load import load
from graft.sources.base import open_model
from graft.sources.native import NativeBackbone, build_backbone
from graft.testing import toy_data
from graft.transfer.base import Setting
from graft.transfer.finetune import MAX_EPOCHS, MIN_STEPS, Finetune, _bucketed, labelled_batches
from graft.transfer.probe import Probe


def weights(backbone):
    return {name: tensor.clone() for name, tensor in backbone.state_dict().items()}


def moved(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_without_rates_it_is_the_probe_on_the_last_layer(tiny_bert, texts):
    tuned = Finetune(f"hf:{tiny_bert}", head_start="probe", lr=0.0, head_lr=0.0, epochs=1).fit(*texts)
    probe = Probe(f"hf:{tiny_bert}", layers="last").fit(*texts)
    np.testing.assert_allclose(tuned.predict_proba(texts[0]), probe.predict_proba(texts[0]), atol=1e-4)
    assert not moved(weights(open_model(f"hf:{tiny_bert}")), weights(tuned.backbone_))


@pytest.mark.parametrize("blocks", [0, 1, 2, None])
def test_only_the_asked_for_blocks_change(tiny_bert, texts, blocks):
    before = weights(open_model(f"hf:{tiny_bert}"))
    tuned = Finetune(f"hf:{tiny_bert}", blocks=blocks, epochs=2, lr=1e-2).fit(*texts)
    names = dict(tuned.backbone_.named_parameters())
    groups = tuned.backbone_.layer_groups()
    frozen = groups[: len(groups) - (2 if blocks is None else blocks)]
    frozen_ids = {id(p) for group in frozen for p in group}
    changed = moved(before, weights(tuned.backbone_)) & set(names)
    assert not {name for name in changed if id(names[name]) in frozen_ids}  # byte for byte
    # what a model never uses (BERT's pooler) has no gradient; everything else that is free moves
    free = {name for name, p in names.items() if id(p) not in frozen_ids and "pooler" not in name}
    assert free - changed <= {name for name in free if "key.bias" in name}  # softmax ignores the bias of the keys
    assert bool(changed) == (blocks != 0)


def test_it_learns_pictures(tiny_vit):
    pictures, y = make_pictures(40)
    tuned = Finetune(f"hf:{tiny_vit}", epochs=15, lr=1e-3, batch_size=8, head_start="probe").fit(pictures, y)
    assert np.mean(tuned.predict(pictures) == np.asarray(y)) > 0.8


def test_it_learns_more_than_the_head_can():
    """Rows inside a ring against rows on it, in one dimension of the source's last layer: the body must move."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    data = load((X, np.where(np.square(X).sum(1) > 1.4, "out", "in").tolist()))
    torch.manual_seed(0)
    backbone = NativeBackbone("mlp", {"inputs": 2, "width": 4}, build_backbone(data).reader, build_backbone(data).spec)
    frozen = Finetune(backbone, blocks=0, epochs=40, head_lr=1e-2).fit(data)
    tuned = Finetune(backbone, epochs=40, lr=1e-2, head_lr=1e-2).fit(data)
    assert np.mean(tuned.predict(data) == data.labels) > np.mean(frozen.predict(data) == data.labels) + 0.1
    assert tuned.curve_[-1]["loss"] < 0.7 * frozen.curve_[-1]["loss"]


def test_a_source_that_was_handed_over_opened_stays_as_it_was(tiny_bert, texts):
    backbone = open_model(f"hf:{tiny_bert}")
    before, modes = weights(backbone), [module.training for module in backbone.modules()]
    dropout = [m.p for m in backbone.modules() if isinstance(m, torch.nn.Dropout)]
    tuned = Finetune(backbone, epochs=1, lr=1e-2).fit(*texts)
    assert not moved(before, weights(backbone))
    assert all(p.requires_grad for p in backbone.parameters())
    assert [module.training for module in backbone.modules()] == modes
    assert [m.p for m in backbone.modules() if isinstance(m, torch.nn.Dropout)] == dropout
    assert moved(before, weights(tuned.backbone_))


def test_seeds_decide(tiny_bert, texts):
    def outputs(seed):
        return Finetune(f"hf:{tiny_bert}", epochs=2, seed=seed, batch_size=8).fit(*texts).predict_proba(texts[0])

    one = outputs(0)
    assert np.array_equal(one, outputs(0))
    assert not np.array_equal(one, outputs(1))


def test_a_killed_fit_resumes_to_the_same_bytes(tiny_bert, texts, tmp_path, monkeypatch):
    from graft.engine.callbacks import Checkpoint

    data = load(texts)
    make = lambda: Finetune(f"hf:{tiny_bert}", epochs=6, batch_size=8, dropout=0.1)  # noqa: E731
    straight = make().fit(data)
    path = tmp_path / "state.safetensors"
    original = Checkpoint.on_step

    def die(self, state):
        if state.step == 11:
            self.save(state)
            raise KeyboardInterrupt
        return original(self, state)

    monkeypatch.setattr(Checkpoint, "on_step", die)
    with pytest.raises(KeyboardInterrupt):
        make().fit(data, setting=Setting(checkpoint=path))
    monkeypatch.setattr(Checkpoint, "on_step", original)
    assert path.exists()
    resumed = make().fit(data, setting=Setting(checkpoint=path))
    assert not moved(weights(straight.backbone_), weights(resumed.backbone_))
    assert np.array_equal(straight.outputs(data), resumed.outputs(data))
    assert not path.exists()


def test_no_time_left_gives_the_head_start(tiny_bert, texts):
    data = load(texts)
    tuned = Finetune(f"hf:{tiny_bert}", epochs=1000, head_start="probe").fit(data, setting=Setting(clock=Clock(0.0)))
    assert tuned.stopped_
    assert np.mean(tuned.predict(data) == data.labels) > 0.9


def test_a_short_clock_is_kept(tiny_bert, texts):
    clock = Clock(1.0)
    tuned = Finetune(f"hf:{tiny_bert}", epochs=100_000).fit(load(texts), setting=Setting(clock=clock))
    assert clock.elapsed() < 5  # 100,000 epochs would take many minutes; a step on a busy machine may take a second
    assert tuned.stopped_
    assert tuned.curve_[-1]["lr"] < 0.1 * max(point["lr"] for point in tuned.curve_)


def test_steps():
    finetune = Finetune(batch_size=32)
    assert finetune.steps(32 * 1000) == 3000
    assert finetune.steps(32 * 20) == MIN_STEPS
    assert finetune.steps(32) == MAX_EPOCHS
    assert Finetune(epochs=0.5, batch_size=10).steps(100) == 5
    assert Finetune(epochs=0.001).steps(10) == 1


def test_head_start_must_be_known(tiny_bert, texts):
    with pytest.raises(UsageError, match="no head start 'prob'"):
        Finetune(f"hf:{tiny_bert}", head_start="prob").fit(*texts)


@pytest.mark.parametrize(("share", "start"), [(1000, "zero"), (0, "probe")])
def test_the_head_starts_from_the_probe_where_rows_suffice(tiny_bert, texts, monkeypatch, share, start):
    monkeypatch.setattr("graft.transfer.finetune.HEAD_SHARE", share)
    chosen, named = (Finetune(f"hf:{tiny_bert}", head_start=h, lr=0.0, head_lr=0.0).fit(*texts) for h in (None, start))
    assert np.array_equal(chosen.predict_proba(texts[0]), named.predict_proba(texts[0]))


def test_the_head_start_reads_no_more_rows_than_it_needs(tiny_bert, texts, monkeypatch):
    monkeypatch.setattr("graft.transfer.finetune.HEAD_ROWS", 6)
    seen = []
    original = Finetune._features
    monkeypatch.setattr(
        Finetune, "_features", lambda self, data, *more: seen.append(len(data)) or original(self, data, *more)
    )
    Finetune(f"hf:{tiny_bert}", head_start="probe", epochs=1).fit(*texts)
    assert seen[0] == 6


def test_a_zero_head_starts_from_equal_chances(tiny_bert, texts):
    tuned = Finetune(f"hf:{tiny_bert}", head_start="zero", lr=0.0, head_lr=0.0, epochs=1).fit(*texts)
    assert np.allclose(tuned.predict_proba(texts[0]), 0.5)


def test_dropout_is_set_everywhere(tiny_bert):
    backbone = open_model(f"hf:{tiny_bert}").train()
    batch = backbone.collate(backbone.preprocess(["where is my parcel"]))
    assert not torch.equal(backbone(batch), backbone(batch))
    backbone.set_dropout(0.0)
    assert torch.equal(backbone(batch), backbone(batch))
    backbone.set_dropout(0.5)
    assert not torch.equal(backbone(batch), backbone(batch))


# -- batches -----------------------------------------------------------------------------------------------------------


def test_an_epoch_holds_every_row_once_in_an_order_of_its_own():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    orders = []
    for epoch in (0, 1):
        batches = list(_bucketed(np.random.default_rng((7, epoch)), 1000, 16, lengths))
        assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
        assert max(map(len, batches)) == 16
        orders.append(np.concatenate(batches).tolist())
        padding = sum(lengths[batch].max() * len(batch) for batch in batches) / lengths.sum()
        assert padding < 1.2  # nearly no padding; a random order has 1.8 times the tokens
    assert orders[0] != orders[1]


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
    monkeypatch.setattr("graft.transfer.finetune.IN_MEMORY", 0)
    again = list(labelled_batches(backbone, data, 8, seed=0)(2))
    assert sorted(y for batch in kept for y in batch["y"].tolist()) == sorted(
        y for batch in again for y in batch["y"].tolist()
    )
    assert len(kept) == len(again)


def test_imbalance_is_seen_by_the_loss():
    """With the rare class weighted up, its recall on hard data does not fall to zero."""
    texts, _ = make_texts(120, signal=False)
    y = ["rare" if i % 8 == 0 else "common" for i in range(120)]
    data = load((texts, y))
    assert data.task.metric == "macro_f1"
    backbone = build_backbone(data)
    tuned = Finetune(copy.deepcopy(backbone), epochs=15, lr=1e-3, head_start="probe").fit(data)
    assert np.mean(tuned.predict(data)[data.labels == "rare"] == "rare") > 0.3


def test_a_step_is_timed_without_touching_the_transfer(tiny_bert, texts):
    data = load(texts)
    finetune = Finetune(f"hf:{tiny_bert}", batch_size=4)
    before = finetune.get_params()
    seconds = finetune.step_seconds(data)
    assert 0 < seconds < 5
    assert finetune.get_params() == before
    assert not hasattr(finetune, "head_")
    opened = open_model(f"hf:{tiny_bert}")
    kept = weights(opened)
    Finetune(opened, batch_size=4).step_seconds(data)
    assert not moved(kept, weights(opened))  # an opened source is copied before it is trained
