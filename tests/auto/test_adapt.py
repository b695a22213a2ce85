"""``graft adapt`` from the inside: what is tried, judged, vetoed and recorded."""

import json

import numpy as np
import pytest
from adaptation.shifts import rotated, turned, two_domains

from graft.adaptation.domains import pair
from graft.auto.adapt import Adapt, AdaptConfig
from graft.core.errors import UsageError
from graft.data.load import load

QUICK = ("coral", "subspace")


@pytest.fixture(autouse=True)
def few_shifts(monkeypatch):
    monkeypatch.setattr("graft.auto.adapt.SHIFTS", 5)


def adapted(domains, **options):
    run = Adapt(domains, AdaptConfig(budget=None, methods=QUICK, **options))
    return run, *run.run()


def big_rotated(angle, rows=400):
    target, y = turned(angle, rows=rows, seed=1)
    return two_domains(turned(0.0, rows=rows), target), target, y


def test_what_is_returned_is_not_worse_than_source_only():
    domains, target, y = big_rotated(np.pi / 3)
    run, model, record = adapted(domains)
    base = run.fitted("source_only")
    right = [float((each.predict(target).astype(int) == y).mean()) for each in (model, base)]
    assert right[0] >= right[1] - 0.02
    assert record["returned"] == model.name
    assert {one["name"] for one in record["tried"]} == {"source_only", *QUICK}


def test_without_a_shift_source_only_is_returned():
    domains, _, _ = big_rotated(0.0)
    _, model, record = adapted(domains)
    assert model.name == "source_only"
    assert record["decision"] == "source only"
    assert record["distance"]["a_distance"][0] < 0.5


def test_labels_of_the_target_change_nothing(tmp_path):
    source, (target, y) = turned(0.0, rows=300), turned(0.8, rows=300, seed=1)
    labelled = load(source, task="classification")
    saved = []
    for labels in (y, 1 - y):
        domains = pair(labelled, load((target, labels), like=labelled))
        _, model, _ = adapted(domains)
        model.save(tmp_path / str(len(saved)))
        saved.append((tmp_path / str(len(saved)) / "model.safetensors").read_bytes())
    assert saved[0] == saved[1]


def test_too_few_rows_for_evidence_give_source_only():
    domains, _ = rotated()
    _, model, record = adapted(domains)
    assert model.name == "source_only"
    assert "too few rows" in record["sentence"]


def test_the_record_is_json_and_names_the_shift():
    X, y = turned(0.0, rows=300)
    away = turned(0.0, rows=300, seed=1)[0] + np.array([0.0, 0.0, 0.0, 5.0, 0.0])
    _, _, record = adapted(two_domains((X, y), away))
    assert json.loads(json.dumps(record, default=lambda value: value.tolist()))["distance"]["a_distance"][0] > 1.5
    assert len(record["shift"]) >= 1


def test_an_unknown_method_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'coral'"):
        Adapt(rotated()[0], AdaptConfig(methods=("corral",))).run()


def test_a_network_without_time_for_all_rows_is_returned_as_it_was_tried():
    domains, target, y = big_rotated(0.3, rows=300)
    run = Adapt(domains, AdaptConfig(budget=9.0, methods=("mcc",)))
    model, record = run.run()
    assert record["base"] == "network"
    assert model is run.networks[model.name] or run.clock.left() > 0
    assert float((model.predict(target).astype(int) == y).mean()) > 0.8
    assert record["seconds"] < 12
