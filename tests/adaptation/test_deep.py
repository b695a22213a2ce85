"""What all deep adaptations share."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from adaptation.networks import QUICK, accuracy, bars, picture_domains
from adaptation.shifts import rotated, turned, two_domains

from graft.adaptation.deep import ramp
from graft.adaptation.domains import pair
from graft.adaptation.networks import fresh_backbone, normalisations
from graft.adaptation.paired import PairedRows
from graft.core.errors import UsageError
from graft.core.registry import ADAPTATIONS
from graft.core.runtime import Clock
from graft.data.load import load
from graft.engine.callbacks import Checkpoint
from graft.transfer.base import Setting, load_transfer

DEEP = [name for name, method in ADAPTATIONS.items() if method.trains]
BRIEF = QUICK | {"epochs": 2}


def made(name, domains, setting=None, **more):
    return ADAPTATIONS[name](**(BRIEF | more)).fit(domains, setting=setting)


def domains_for(name):
    return picture_domains()[0] if name == "batch_norm" else rotated()[0]


@pytest.mark.parametrize("name", DEEP)
def test_equal_seeds_give_equal_bytes_and_saving_keeps_them(name, tmp_path):
    domains = domains_for(name)
    model = made(name, domains)
    chances = model.outputs(domains.target)
    assert chances.shape == (len(domains.target), 2)
    assert np.array_equal(chances, made(name, domains).outputs(domains.target))
    model.save(tmp_path / "run")
    json.loads((tmp_path / "run" / "model.json").read_text())
    assert np.array_equal(load_transfer(tmp_path / "run").outputs(domains.target), chances)


class KilledError(Exception):
    """What stands for a killed process."""


@pytest.mark.parametrize("name", ["dann", "mean_teacher", "self_training", "source_free", "mcd"])
def test_a_killed_training_ends_with_the_same_bytes(name, tmp_path, monkeypatch):
    domains, whole = rotated()[0], {"epochs": 4}
    wanted = made(name, domains, **whole).outputs(domains.target)
    path, step = tmp_path / "checkpoint", Checkpoint.on_step

    def until(self, state):
        self.save(state)
        if state.step == 11:
            raise KilledError
        return False

    monkeypatch.setattr(Checkpoint, "on_step", until)
    with pytest.raises(KilledError):
        made(name, domains, Setting(checkpoint=path), **whole)
    assert path.exists()
    monkeypatch.setattr(Checkpoint, "on_step", step)
    assert np.array_equal(made(name, domains, Setting(checkpoint=path), **whole).outputs(domains.target), wanted)


def test_the_clock_ends_a_training():
    domains, _ = rotated()
    model = made("dann", domains, Setting(clock=Clock(0.2)), epochs=100_000)
    assert "time" in model.stopped_


def test_labelled_target_rows_are_learned_from():
    source, (target, y) = turned(0.0), turned(2.4, seed=5)  # nearer to the wrong class
    labelled = load(source, task="classification")
    few = load(turned(2.4, rows=20, seed=4), like=labelled)
    unlabelled = load(target, labelled=False, like=labelled)
    score = {}
    for name in ("with", "without"):
        domains = pair(labelled, unlabelled, few=few if name == "with" else None)
        score[name] = accuracy(made("dann", domains, epochs=20, strength=0.1), unlabelled, y)
    assert score["without"] < 0.4
    assert score["with"] > 0.6


def test_batches_hold_both_domains_and_begin_again():
    few = load(turned(0.1, rows=12), task="classification")
    source = load(turned(0.0, rows=50), task="classification")
    domains = pair(source, load(turned(0.0, rows=100)[0], labelled=False, like=source), few=few)
    rows = PairedRows(fresh_backbone(domains), domains, 20, seed=3)
    batches = list(rows(1))
    assert len(batches) == rows.per_epoch == 7  # 100 rows and twice 12 labelled ones
    assert all(torch.equal(a[key], b[key]) for a, b in zip(batches, rows(1), strict=True) for key in a)
    assert not torch.equal(batches[0]["row"], next(iter(rows(2)))["row"])
    numbers = torch.cat([batch["row"] for batch in batches])
    assert set(numbers.tolist()) == set(range(124))
    for batch in batches:
        assert len(batch["y"]) == len(batch["source.values"]) == len(batch["row"]) == 20
        assert torch.equal(batch["target_y"] >= 0, batch["row"] >= 100)


def test_no_label_of_the_target_changes_anything():
    source = load(turned(0.0), task="classification")
    X, y = turned(0.5, seed=1)
    outputs = [made("cdan", pair(source, load((X, labels), like=source))).outputs(X) for labels in (y, 1 - y)]
    assert np.array_equal(*outputs)


def test_pictures_of_both_domains_get_one_size():
    fine, coarse = np.zeros((20, 28, 28), np.uint8), np.zeros((20, 16, 16), np.uint8)
    fine[::2, 5:20, 14] = coarse[::2, 3:12, 8] = 255
    y = np.arange(20) % 2
    for one, two in ((fine, coarse), (coarse, fine)):
        source = load((one, y), task="classification")
        backbone = fresh_backbone(pair(source, load(two, labelled=False, like=source)))
        assert backbone.reader.size == 16
        assert backbone.reader.grey
        assert normalisations(backbone)


def test_predictions_use_the_statistics_of_the_target():
    domains, y = picture_domains()
    model = made("dan", domains, epochs=1)
    layer = normalisations(model.backbone_)[0]
    pixels = model.backbone_.collate(model.backbone_.preprocess(domains.target.take()))["pixel_values"]
    maps = model.backbone_.body.conv1(pixels)
    assert torch.allclose(layer.running_mean, maps.mean((0, 2, 3)), atol=1e-3)
    assert y.shape == (96,)


def test_the_ramp_rises_from_nothing_to_one():
    assert ramp(0.0) == 0.0
    assert 0.9998 < ramp(1.0) < 1.0


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("dan", {"strength": -1.0}),
        ("dan", {"estimate": "cubic"}),
        ("dann", {"batch_size": 1}),
        ("mcc", {"temperature": 0.0}),
        ("mcd", {"repeats": 0}),
        ("mean_teacher", {"decay": 1.0}),
        ("mean_teacher", {"form": "cubic"}),
        ("self_training", {"first": 0.9, "last": 0.5}),
    ],
)
def test_settings_that_make_no_sense_are_refused(name, wrong):
    with pytest.raises(UsageError):
        made(name, rotated()[0], **wrong)


def test_texts_are_adapted_with_one_vocabulary():
    texts = [f"{'good' if i % 2 else 'bad'} film {i % 7}" for i in range(40)]
    away = [f"{'good' if i % 2 else 'bad'} kettle {i % 7}" for i in range(40)]
    source = load((texts, ["+" if i % 2 else "-" for i in range(40)]))
    domains = pair(source, load(away, labelled=False, like=source))
    assert "kettle" in fresh_backbone(domains).reader.tokenizer.get_vocab()
    model = made("mcc", domains, epochs=20)
    assert (model.predict(away) == ["+" if i % 2 else "-" for i in range(40)]).mean() > 0.9


def test_a_saved_run_names_its_files(tmp_path):
    model = made("network", two_domains(turned(0.0), turned(0.0)[0]))
    folder = Path(model.save(tmp_path / "run"))
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors", "source"]
    assert len(bars()[0]) == 96
