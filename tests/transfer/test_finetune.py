import copy

import numpy as np
import pytest
import torch
from conftest import make_pictures, make_texts

from graft.core.errors import UsageError
from graft.core.runtime import Clock
from graft.data.load import load
from graft.sources.base import Backbone, open_model
from graft.sources.native import NativeBackbone, build_backbone
from graft.testing import toy_data
from graft.transfer.base import Setting, load_transfer
from graft.transfer.finetune import MAX_EPOCHS, MIN_STEPS, Finetune
from graft.transfer.probe import Probe
from graft.transfer.regularization import Regularization


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


@pytest.mark.parametrize(("blocks", "count"), [(0, 0), (1, 1), (2, 2), (None, 2), (0.5, 1), (0.1, 1)])
def test_only_the_asked_for_blocks_change(tiny_bert, texts, blocks, count):
    before = weights(open_model(f"hf:{tiny_bert}"))
    tuned = Finetune(f"hf:{tiny_bert}", blocks=blocks, epochs=2, lr=1e-2).fit(*texts)
    names = dict(tuned.backbone_.named_parameters())
    groups = tuned.backbone_.layer_groups()
    frozen = groups[: len(groups) - count]
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


def killed(make, data, path, at):
    """Start a fit that saves itself and dies at a step."""
    from graft.engine.callbacks import Checkpoint

    def die(self, state):
        if state.step == at:
            self.save(state)
            raise KeyboardInterrupt
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "on_step", die)
        with pytest.raises(KeyboardInterrupt):
            make().fit(data, setting=Setting(checkpoint=path))
    assert path.exists()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradual": 0.8},
        {"average": "swa", "average_share": 0.9, "schedule": "constant"},
        {"average": "ema", "l2_sp": 10.0, "mixup": 0.3},
        {"blocks": 1, "dropout": 0.0},
    ],
    ids=str,
)
def test_a_killed_fit_resumes_to_the_same_bytes(tiny_bert, texts, tmp_path, options):
    data = load((texts[0][:40], texts[1][:40]))
    make = lambda: Finetune(f"hf:{tiny_bert}", epochs=4, batch_size=8, lr=1e-3, **{"dropout": 0.1} | options)  # noqa: E731
    straight, path = make().fit(data), tmp_path / "state.safetensors"
    killed(make, data, path, at=11)
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
    clock = Clock(0.4)
    tuned = Finetune(f"hf:{tiny_bert}", epochs=100_000).fit(load(texts), setting=Setting(clock=clock))
    assert clock.elapsed() < 4.4  # 100,000 epochs would take many minutes; a step on a busy machine may take a second
    assert tuned.stopped_
    assert tuned.curve_[-1]["lr"] < 0.25 * max(point["lr"] for point in tuned.curve_)


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
    still = {"lr": 0.0, "head_lr": 0.0, "epochs": 1}
    chosen, named = (Finetune(f"hf:{tiny_bert}", head_start=h, **still).fit(*texts) for h in (None, start))
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


def test_the_head_learns_faster_on_smaller_features(tiny_bert, texts, monkeypatch):
    data, whole = load(texts), Backbone.__call__
    rates = {}
    for size in (1e-9, 10.0, 1.0, 0.0):
        monkeypatch.setattr(Backbone, "__call__", lambda self, batch, size=size: size * whole(self, batch))
        rates[size] = Finetune()._head_rate(open_model(f"hf:{tiny_bert}"), data)
    assert rates[1.0] == pytest.approx(10 * rates[10.0])
    assert (rates[1e-9], rates[0.0]) == (0.1, 1e-3)  # never without bounds
    assert Finetune(head_lr=0.7)._head_rate(open_model(f"hf:{tiny_bert}"), data) == 0.7


def test_dropout_is_set_everywhere(tiny_bert):
    backbone = open_model(f"hf:{tiny_bert}").train()
    batch = backbone.collate(backbone.preprocess(["where is my parcel"]))
    assert not torch.equal(backbone(batch), backbone(batch))
    backbone.set_dropout(0.0)
    assert torch.equal(backbone(batch), backbone(batch))
    backbone.set_dropout(0.5)
    assert not torch.equal(backbone(batch), backbone(batch))


# -- imbalance and time ------------------------------------------------------------------------------------------------


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


# -- what is off by default --------------------------------------------------------------------------------------------

OPTIONS = [
    {"schedule": "cosine"},
    {"schedule": "constant"},
    {"gradual": 0.5},
    {"l2_sp": 100.0},
    {"label_smoothing": 0.2},
    {"robust": 0.7},
    {"mixup": 0.4},
    {"shrinkage": 0.1},
    {"average": "swa"},
    {"average": "ema"},
]
SMALL = {"epochs": 3, "batch_size": 8, "lr": 1e-3}


@pytest.fixture(scope="module")
def plain(tiny_bert):
    """Weights of a fine-tuning without options."""
    return weights(Finetune(f"hf:{tiny_bert}", **SMALL).fit(toy_data("imbalanced", rows=24)).backbone_)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_option_changes_the_weights_and_nothing_else(tiny_bert, plain, tmp_path, options):
    data = toy_data("imbalanced", rows=24)
    one, again = (Finetune(f"hf:{tiny_bert}", **SMALL, **options).fit(data) for _ in range(2))
    assert moved(plain, weights(one.backbone_))
    assert not moved(weights(one.backbone_), weights(again.backbone_))
    one.save(tmp_path)
    opened = load_transfer(tmp_path)
    assert np.array_equal(opened.outputs(data), one.outputs(data))
    assert opened.get_params().items() >= options.items()


def test_all_options_go_together(tiny_vit, tmp_path):
    every = {key: value for options in OPTIONS for key, value in options.items()} | {"augment": "flip", "l2_sp": 1.0}
    data = toy_data("image")
    tuned = Finetune(f"hf:{tiny_vit}", epochs=8, batch_size=16, lr=3e-3, **every).fit(data)
    assert np.isfinite(tuned.outputs(data)).all()
    tuned.save(tmp_path)
    assert np.array_equal(load_transfer(tmp_path).outputs(data), tuned.outputs(data))


@pytest.mark.parametrize("kind", ["table", "audio", "regression"])
def test_inputs_that_are_numbers_are_mixed(kind):
    data = toy_data(kind)
    source = build_backbone(data)
    tuned = Finetune(source, epochs=10, batch_size=16, lr=3e-3, mixup=0.2, shrinkage=0.01).fit(data)
    errors = np.abs(tuned.outputs(data) - (data.y if kind == "regression" else np.eye(2)[data.y]))
    assert errors.mean() < (0.6 if kind == "regression" else 0.35)


def test_the_pull_keeps_the_source(tiny_bert, texts):
    data, start = load(texts), weights(open_model(f"hf:{tiny_bert}"))

    def distance(**options):
        tuned = Finetune(f"hf:{tiny_bert}", **SMALL, **options).fit(data)
        return sum(
            float((tensor.double() - start[key].double()).square().sum())
            for key, tensor in weights(tuned.backbone_).items()
        )

    far, near, none = distance(), distance(l2_sp=300.0), distance(l2_sp=1e9)
    assert none == 0.0 < near < 0.5 * far


@pytest.mark.parametrize("augment", ["crop", "flip"])
def test_pictures_are_cropped_and_mirrored(augment):
    """The crop keeps half of the area at least, in any range of values; the fifth random number mirrors."""
    data = toy_data("image")
    options = Regularization.of(Finetune(augment=augment))
    view = options.objective(build_backbone(data), torch.nn.Linear(1, 2), data.task, []).view
    ramp = torch.linspace(-7.0, 3.0, 16).expand(4, 3, 16, 16)  # rises from left to right
    draws = torch.tensor([[1.0, 0.5, 0.5, 0.5, side] for side in (0.1, 0.9)] * 2)
    draws[2:, 0] = 0.0
    seen = view(ramp, draws)
    rises = (seen.diff(dim=3) > 0).float().mean(dim=(1, 2, 3)) > 0.5
    assert rises.tolist() == ([False, True] * 2 if augment == "flip" else [True] * 4)
    torch.testing.assert_close(seen[1], ramp[1], rtol=0, atol=1e-4)  # the whole picture
    widths = seen[3].amax() - seen[3].amin()
    assert float(widths) == pytest.approx(10 * 0.5**0.5, rel=0.02)  # a side of √½
    tuned = Finetune(build_backbone(data), augment=augment, epochs=1).fit(data)
    assert np.isfinite(tuned.outputs(data)).all()


def test_while_all_blocks_wait_the_head_alone_learns(tiny_bert, texts):
    """Of three parts of a training of three steps the first is the head's, the second the top block's too."""
    data, start = load(texts), open_model(f"hf:{tiny_bert}")
    names = [{id(p): n for n, p in start.named_parameters()}[id(p)] for p in start.layer_groups()[1]]
    tuned = Finetune(f"hf:{tiny_bert}", gradual=1.0, epochs=1, batch_size=20, lr=1e-2).fit(data)
    changed = moved(weights(start), weights(tuned.backbone_))
    assert changed
    assert not changed & set(names)  # the lower block's turn comes after the last step
    assert np.abs(tuned.head_.coef).max() > 0


@pytest.mark.parametrize(
    ("kind", "options", "line"),
    [
        ("text", {"schedule": "cosin"}, "no schedule 'cosin'; use linear, cosine, constant"),
        ("text", {"gradual": 2.0}, "gradual cannot be 2.0; use 0 to 1"),
        ("text", {"l2_sp": -1.0}, "l2_sp cannot be -1.0; use 0 or more"),
        ("text", {"average": "mean"}, "no average 'mean'; use swa or ema"),
        ("text", {"average": "ema", "average_share": 0.0}, "average_share cannot be 0.0; use more than 0, at most 1"),
        ("text", {"augment": "crop"}, "augment crop is for pictures, not for text; leave it at None"),
        ("image", {"augment": "rotate"}, "no augmentation 'rotate'; use crop or flip, or None"),
        ("text", {"mixup": -1.0}, "mixup cannot be -1.0"),
        ("regression", {"robust": 0.7}, "robust needs classes; leave it at 0 for a regression"),
        ("regression", {"label_smoothing": 0.1}, "label_smoothing needs classes"),
    ],
)
def test_options_are_refused_before_anything_is_opened(kind, options, line):
    with pytest.raises(UsageError, match=line) as caught:
        Finetune("hf:nowhere", **options).fit(toy_data(kind))
    assert "\n" not in str(caught.value)
