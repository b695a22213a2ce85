"""Contrastive tuning: the loss against its formula, batches in which every row has a partner, and what tuning brings."""

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import make_pictures, make_texts

from graft.core.errors import UsageError
from graft.core.runtime import Clock, seeded
from graft.data.load import load
from graft.engine.callbacks import Checkpoint
from graft.nn.losses import nt_xent, supervised_contrastive
from graft.sources.base import open_model
from graft.sources.native import NativeBackbone, build_backbone
from graft.testing import check_transfer, toy_data
from graft.transfer import contrastive
from graft.transfer.base import Setting, load_transfer
from graft.transfer.contrastive import ClassContrast, ContrastiveFewShot, balanced, contrasted_batches, probe_rows
from graft.transfer.probe import Probe


def weights(backbone):
    return {name: tensor.clone() for name, tensor in backbone.state_dict().items()}


def moved(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


# -- the loss ----------------------------------------------------------------------------------------------------------


def brute(x, y, temperature):
    """The formula as it is written, row by row and pair by pair."""
    unit, losses = [v / v.norm() for v in x], []
    for i in range(len(x)):
        others = [k for k in range(len(x)) if k != i]
        partners = [k for k in others if y[k] == y[i]]
        every = sum(torch.exp(unit[i] @ unit[k] / temperature) for k in others)
        terms = [-torch.log(torch.exp(unit[i] @ unit[p] / temperature) / every) for p in partners]
        losses.append(sum(terms) / len(terms) if terms else 0 * every)
    return torch.stack(losses)


def vectors(rows, seed=0, width=5):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_value_and_gradient_of_the_loss_are_those_of_its_formula(temperature):
    x, y = vectors(9).requires_grad_(), torch.tensor([0, 1, 1, 0, 2, 0, 1, 3, 3])  # row 4 is alone
    mine, plain = supervised_contrastive(x, y, temperature), brute(x, y, temperature)
    torch.testing.assert_close(mine, plain)
    assert mine[4] == 0
    scale = vectors(9, seed=1)[:, 0]
    one, other = (torch.autograd.grad((loss * scale).sum(), x)[0] for loss in (mine, plain))
    torch.testing.assert_close(one, other)
    assert one.abs().max() > 1e-3


def test_with_two_rows_per_class_the_loss_is_that_of_two_views():
    one, two = vectors(6).float(), vectors(6, seed=1).float()
    losses = supervised_contrastive(torch.cat([one, two]), torch.arange(6).repeat(2), 0.5)
    torch.testing.assert_close(losses.view(2, 6).mean(0), nt_xent(one, two, 0.5))


def test_lengths_and_the_order_of_rows_change_nothing_and_small_temperatures_stay_finite():
    x, y, order = vectors(8), torch.arange(8) % 3, torch.randperm(8, generator=torch.Generator().manual_seed(2))
    losses = supervised_contrastive(x, y, 0.2)
    torch.testing.assert_close(supervised_contrastive(x * (1 + torch.arange(8.0))[:, None], y, 0.2), losses)
    torch.testing.assert_close(supervised_contrastive(x[order], y[order], 0.2), losses[order])
    cold = x.float().requires_grad_()
    supervised_contrastive(cold, y, 1e-3).sum().backward()
    assert cold.grad.isfinite().all()
    assert supervised_contrastive(x.bfloat16(), y, 0.2).dtype == torch.float32


# -- batches -----------------------------------------------------------------------------------------------------------

SIZES = {
    "fits": [8, 8, 8],
    "larger": [40, 40, 40],
    "one row": [1, 30, 1, 50],
    "all alone": [1] * 9,
    "many classes": [3] * 50,
    "uneven": [200, 2],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("size", [4, 9, 32])
def test_every_row_of_every_batch_has_a_partner(sizes, size):
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    batches = list(balanced(np.random.default_rng(1), y, size))
    for rows in batches:
        classes, counts = np.unique(y[rows], return_counts=True)
        assert len(rows) <= size
        assert counts.min() >= 2
        assert len(classes) >= 2
        twice = [row for row, count in zip(*np.unique(rows, return_counts=True), strict=True) if count > 1]
        assert all(sizes[y[row]] == 1 for row in twice)  # only the row of a class of one comes twice
        if len(batches) > 1:
            wanted = size // min(len(sizes), size // 2)
            assert all(count == max(2, min(wanted, sizes[c])) for c, count in zip(classes, counts, strict=True))
    if len(y) + sizes.count(1) <= size:
        assert len(batches) == 1
        assert set(batches[0]) == set(range(len(y)))


def test_passes_visit_all_classes_and_rows():
    y = np.repeat(np.arange(50), 3)
    seen = [np.concatenate(list(balanced(np.random.default_rng(epoch), y, 32))) for epoch in range(30)]
    assert len(set(y[np.concatenate(seen[:4])])) == 50
    assert set(np.concatenate(seen)) == set(range(150))
    assert seen[0].tolist() != seen[1].tolist()


def test_chunks_hold_rows_of_similar_length_and_classes_count_alike(monkeypatch):
    monkeypatch.setitem(contrastive.CHUNK, "text", 64)
    data = toy_data("imbalanced")
    backbone = build_backbone(data)
    batch = next(contrasted_batches(backbone, data, 64, seed=0)(0))
    parts = [batch[f"{number}.input_ids"] for number in range(sum(key.endswith("input_ids") for key in batch))]
    assert len(parts) > 2
    assert sum(map(len, parts)) == len(batch["y"]) == len(data)
    assert all(part.shape[1] <= before.shape[1] for before, part in itertools.pairwise(parts))
    assert all(part.numel() <= 64 for part in parts)
    sums = torch.zeros(3).index_add_(0, batch["y"], batch["weight"])
    torch.testing.assert_close(sums, torch.full((3,), len(data) / 3))
    texts, names = data.take(), np.asarray(data.labels)
    ids = {
        tuple(backbone.collate(backbone.preprocess([text]))["input_ids"][0].tolist()): i for i, text in enumerate(texts)
    }
    found = [ids.get(tuple(row[row != 0].tolist())) for part in parts for row in part]
    assert sum(row is not None for row in found) > len(data) / 2
    assert all(row is None or data.task.classes[c] == names[row] for row, c in zip(found, batch["y"], strict=True))


def test_a_picture_that_comes_twice_is_moved():
    pictures, _ = make_pictures(4)
    data = load((pictures, ["one", "two", "two", "two"]))
    backbone = build_backbone(data)
    batch = next(contrasted_batches(backbone, data, 16, seed=0)(0))
    pixels = batch["0.pixel_values"]
    assert batch["y"].tolist() == [0, 1, 1, 1, 0]
    plain = backbone.collate(backbone.preprocess(data.take()))["pixel_values"]
    assert torch.equal(pixels[:4], plain)
    assert not torch.equal(pixels[4], pixels[0])
    assert pixels[4].isfinite().all()


def test_rows_that_are_not_kept_encoded_give_the_same_batches(monkeypatch):
    data = toy_data("text")
    backbone = build_backbone(data)
    kept = list(contrasted_batches(backbone, data, 16, seed=0)(2))
    monkeypatch.setattr(contrastive, "ENCODED", 0)
    again = list(contrasted_batches(backbone, data, 16, seed=0)(2))
    assert len(kept) == len(again) == 3
    assert all(torch.equal(a[key], b[key]) for a, b in zip(kept, again, strict=True) for key in a)


# -- one pass over all chunks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, 1 << 40], ids=["computed twice", "kept"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_chunks_give_the_gradient_of_the_whole_batch(tiny_bert, monkeypatch, room, dropout):
    """Activations that are kept or computed again, with the same dropout, give one gradient; whole batches too."""
    data = load(make_texts(12))

    def gradient(budget):
        monkeypatch.setitem(contrastive.CHUNK, "text", budget)
        torch.manual_seed(0)
        backbone = open_model(f"hf:{tiny_bert}").train()
        backbone.freeze_below(None)
        backbone.set_dropout(dropout)
        objective = ClassContrast(backbone, 0.5, [])
        batch = next(contrasted_batches(backbone, data, 64, seed=0)(0))
        loss = objective.loss(batch, "model").total()
        loss.backward()
        grads = [p.grad for p in backbone.parameters() if p.grad is not None]
        return (
            len([key for key in batch if key.endswith("input_ids")]),
            loss.item(),
            torch.cat([g.flatten() for g in grads]),
        )

    monkeypatch.setattr(contrastive, "ROOM", room)
    chunks, loss, mine = gradient(64)
    monkeypatch.setattr(contrastive, "ROOM", 1 << 40)
    _, kept_loss, kept = gradient(64)
    assert chunks > 2
    assert loss == pytest.approx(kept_loss, abs=1e-6)
    torch.testing.assert_close(mine, kept, atol=1e-6, rtol=1e-4)
    if not dropout:
        count, whole_loss, whole = gradient(4096)
        assert count == 1
        assert loss == pytest.approx(whole_loss, abs=1e-5)
        torch.testing.assert_close(mine, whole, atol=1e-5, rtol=1e-3)


def test_a_batch_without_room_keeps_one_chunk(tiny_bert, monkeypatch):
    data = load(make_texts(24))
    monkeypatch.setitem(contrastive.CHUNK, "text", 64)
    kept = {}
    for room in (0, 1 << 40):
        monkeypatch.setattr(contrastive, "ROOM", room)
        backbone = open_model(f"hf:{tiny_bert}").train()
        batch = next(contrasted_batches(backbone, data, 64, seed=0)(0))
        calls = []
        handle = backbone.model.embeddings.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        loss = ClassContrast(backbone, 0.5, []).loss(batch, "model").total()
        before = len(calls)
        loss.backward()
        handle.remove()
        kept[room] = before, len(calls) - before
    chunks = kept[1 << 40][0]
    assert chunks > 2
    assert kept == {0: (chunks, chunks - 1), 1 << 40: (chunks, 0)}


# -- the transfer ------------------------------------------------------------------------------------------------------


def test_without_a_rate_it_is_the_probe_on_the_last_layer(tiny_bert, texts):
    tuned = ContrastiveFewShot(f"hf:{tiny_bert}", lr=0.0, steps=2).fit(*texts)
    probe = Probe(f"hf:{tiny_bert}", layers="last", loss="logistic").fit(*texts)
    np.testing.assert_allclose(tuned.predict_proba(texts[0]), probe.predict_proba(texts[0]), atol=1e-4)
    assert not moved(weights(open_model(f"hf:{tiny_bert}")), weights(tuned.backbone_))


def parity(rows, seed):
    """Two of three columns decide by their signs: no line separates the classes, and a random network hardly does."""
    X = np.random.default_rng(seed).normal(size=(rows, 3))
    return X, np.where((X[:, 0] > 0) == (X[:, 1] > 0), "same", "other")


def narrow(data):
    with seeded(0):
        plain = build_backbone(data)
        return NativeBackbone("mlp", {"inputs": 3, "width": 8, "dropout": 0.0}, plain.reader, plain.spec)


def test_it_separates_classes_that_the_source_does_not():
    data = load(parity(200, seed=0))
    source, (X, y) = narrow(data), parity(500, seed=1)
    probe, tuned = Probe(source).fit(data), ContrastiveFewShot(source, steps=120, lr=1e-2, blocks=None).fit(data)
    before, after = (float(np.mean(model.predict(X) == y)) for model in (probe, tuned))
    assert before < 0.8
    assert after > before + 0.1
    assert tuned.curve_[-1]["loss"] < math.log(63) - 0.3  # which it is where all rows lie in one point


def test_it_learns_pictures(tiny_vit):
    pictures, y = make_pictures(16)
    tuned = ContrastiveFewShot(f"hf:{tiny_vit}", steps=15, lr=1e-3).fit(pictures, y)
    assert np.mean(tuned.predict(pictures) == np.asarray(y)) > 0.8


def test_the_contract():
    check_transfer("contrastive", toy_data("imbalanced"), steps=2)


def test_one_class_alone_is_nothing_to_contrast(tiny_bert):
    data = load(make_texts(8))
    alone = ContrastiveFewShot(f"hf:{tiny_bert}").fit(data.select(data.y == 1))
    assert set(alone.predict(data)) == {"good"}
    assert alone.stopped_
    assert not alone.curve_


@pytest.mark.parametrize("blocks", [1, None])
def test_only_the_asked_for_blocks_change(tiny_bert, texts, blocks):
    source = open_model(f"hf:{tiny_bert}")
    before = weights(source)
    tuned = ContrastiveFewShot(source, blocks=blocks, steps=2, lr=1e-2).fit(*texts)
    groups, names = tuned.backbone_.layer_groups(), dict(tuned.backbone_.named_parameters())
    frozen = {id(p) for group in groups[: 2 if blocks else 1] for p in group}
    changed = moved(before, weights(tuned.backbone_)) & set(names)
    assert changed
    assert not {name for name in changed if id(names[name]) in frozen}
    assert not moved(before, weights(source))  # the opened source is copied
    assert all(p.requires_grad for p in source.parameters())
    assert "contrast of classes" in tuned.backbone_.spec.objective


def test_classes_of_one_row(tiny_bert):
    texts, y = make_texts(6, classes=("a", "b", "c"))
    y = ["a", "a", "b", "b", "c", "only"]
    tuned = ContrastiveFewShot(f"hf:{tiny_bert}", steps=8, lr=1e-3).fit(texts, y)
    assert tuned.predict_proba(texts).shape == (6, 4)
    assert all(math.isfinite(point["loss"]) for point in tuned.curve_)
    alone = ContrastiveFewShot(f"hf:{tiny_bert}", steps=2).fit(texts[:3], ["a", "b", "c"])
    assert alone.predict(texts[:3]).tolist() == ["a", "b", "c"]


def test_seeds_decide(tiny_bert, texts):
    def outputs(seed):
        made = ContrastiveFewShot(f"hf:{tiny_bert}", steps=3, lr=1e-3, seed=seed, batch_size=16)
        return made.fit(*texts).predict_proba(texts[0])

    one = outputs(0)
    assert np.array_equal(one, outputs(0))
    assert not np.array_equal(one, outputs(1))


@pytest.mark.parametrize("room", [0, 1 << 40])
def test_a_killed_fit_resumes_to_the_same_bytes(tiny_bert, texts, tmp_path, monkeypatch, room):
    monkeypatch.setattr(contrastive, "ROOM", room)
    monkeypatch.setitem(contrastive.CHUNK, "text", 128)
    data, path = load(texts), tmp_path / "state.safetensors"
    make = lambda: ContrastiveFewShot(f"hf:{tiny_bert}", steps=7, batch_size=20, lr=1e-3, dropout=0.1)  # noqa: E731
    straight, original = make().fit(data), Checkpoint.on_step

    def die(self, state):
        if state.step == 5:
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


def test_saved_and_opened_it_says_the_same(tiny_bert, texts, tmp_path):
    tuned = ContrastiveFewShot(f"hf:{tiny_bert}", steps=2, lr=1e-3, layers=(0, 1), loss="squared").fit(*texts)
    opened = load_transfer(tuned.save(tmp_path / "run"))
    assert np.array_equal(opened.predict_proba(texts[0]), tuned.predict_proba(texts[0]))
    assert opened.get_params() == tuned.get_params() | {"layers": [0, 1]}
    assert opened.head_.layers == (0, 1)


def test_steps_are_few():
    def planned(rows, **settings):
        return ContrastiveFewShot(**settings).planned(rows)

    assert [planned(rows) for rows in (16, 96, 616, 1_000, 10_000)] == [20, 20, 20, 32, 40]
    assert planned(48, steps=5) == 5


def test_lower_blocks_run_once_and_the_upper_ones_are_tuned_as_if_they_ran_each_time(tiny_bert, texts, monkeypatch):
    settings = {"blocks": 1, "steps": 4, "lr": 1e-3, "batch_size": 30}
    data = load(texts)
    cached = ContrastiveFewShot(f"hf:{tiny_bert}", **settings).fit(data)
    monkeypatch.setattr(ContrastiveFewShot, "_lower", lambda *_: None)
    whole = ContrastiveFewShot(f"hf:{tiny_bert}", **settings).fit(data)
    before = open_model(f"hf:{tiny_bert}")
    same = [
        all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
        for one, two in zip(before.blocks(), cached.backbone_.blocks(), strict=True)
    ]
    assert same == [True] * (len(same) - 1) + [False]
    np.testing.assert_allclose(cached.predict_proba(texts[0]), whole.predict_proba(texts[0]), atol=0.03)


def test_a_class_of_one_row_keeps_the_dropout_of_the_source(tiny_bert):
    texts, labels = ["good parcel", "bad parcel", "bad card", "bad order"], ["good", "bad", "bad", "bad"]
    tuned = ContrastiveFewShot(f"hf:{tiny_bert}", steps=2).fit(texts, labels)
    parts = [part.p for part in tuned.backbone_.modules() if isinstance(part, torch.nn.Dropout)]
    assert max(parts) > 0
    more = ContrastiveFewShot(f"hf:{tiny_bert}", steps=2).fit([*texts, "good card"], [*labels, "good"])
    assert max(part.p for part in more.backbone_.modules() if isinstance(part, torch.nn.Dropout)) == 0


def test_no_time_left_gives_the_probe(tiny_bert, texts):
    data = load(texts)
    stopped = ContrastiveFewShot(f"hf:{tiny_bert}").fit(data, setting=Setting(clock=Clock(0.0)))
    assert "time" in stopped.stopped_
    probe = Probe(f"hf:{tiny_bert}", layers="last", loss="logistic").fit(data)
    np.testing.assert_allclose(stopped.outputs(data), probe.outputs(data), atol=1e-4)


def test_a_short_clock_is_kept(tiny_bert, texts):
    clock = Clock(0.6)
    tuned = ContrastiveFewShot(f"hf:{tiny_bert}", steps=100_000).fit(load(texts), setting=Setting(clock=clock))
    assert clock.elapsed() < 5  # so many steps would take many minutes; one on a busy machine may take a second
    assert tuned.stopped_
    assert tuned.curve_


def test_the_probe_sees_some_rows_of_every_class(monkeypatch):
    monkeypatch.setattr(contrastive, "PROBE_ROWS", 50)
    y = np.zeros(1000, dtype=np.int64)
    y[[333, 777]] = 1
    rows = probe_rows(y)
    assert {333, 777} <= set(rows)
    assert len(rows) <= 50 + 16 + 2
    assert probe_rows(y[:50]).tolist() == list(range(50))


# -- what cannot be ----------------------------------------------------------------------------------------------------


def test_regression_is_refused_in_one_line():
    data = toy_data("regression")
    line = "contrastive tuning is for classification, not regression; use probe"
    with pytest.raises(UsageError, match=f"^{line}$"):
        ContrastiveFewShot(build_backbone(data)).fit(data)
    check_transfer("contrastive", data)  # the contract leaves out what it is not for


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"steps": 0}, "contrastive cannot have steps=0; use 1 or more"),
        ({"temperature": 0.0}, "temperature=0.0; use more than 0"),
        ({"batch_size": 3}, "batch_size=3; use 4 or more"),
        ({"blocks": 0}, "with no block to train use probe"),
        ({"loss": "hinge"}, "use squared, logistic or lda"),
    ],
)
def test_bad_settings_are_said(texts, settings, line):
    with pytest.raises(UsageError, match=line):
        ContrastiveFewShot("hf:any", **settings).fit(*texts)
