"""``graft adapt`` from the inside: what is tried, judged, vetoed and recorded."""

import json

import numpy as np
import pytest
from adaptation.shifts import rotated, turned, two_domains

from graft.adaptation.domains import pair
from graft.auto.adapt import Adapt, AdaptConfig
from graft.core.errors import UsageError
from graft.core.runtime import Clock
from graft.core.store import Store
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


def test_a_network_without_time_for_all_rows_is_returned_as_it_was_tried(monkeypatch):
    made = Adapt._make
    monkeypatch.setattr(Adapt, "_make", lambda self, name: made(self, name).set_params(epochs=8))
    domains, target, y = big_rotated(0.3, rows=300)
    run = Adapt(domains, AdaptConfig(budget=None, methods=("mcc",)))
    model, record = run.run()
    assert record["base"] == "network"
    assert float((model.predict(target).astype(int) == y).mean()) > 0.8
    run.clock = Clock(1.0)  # less than is kept for saving
    assert run.fitted("mcc") is run.networks["mcc"]


class StoppedError(Exception):
    """The run is killed here."""


def stopping_after(count):
    seen = []

    def told(tried):
        seen.append(tried.name)
        if len(seen) == count:
            raise StoppedError

    return told


def test_a_killed_run_takes_up_what_it_finished(tmp_path, monkeypatch):
    domains, _, _ = big_rotated(0.9)
    config = AdaptConfig(budget=None, methods=QUICK)
    whole, truth = Adapt(domains, config).run()
    whole.save(tmp_path / "whole")
    with pytest.raises(StoppedError):
        Adapt(domains, config, work=tmp_path / "work", on_tried=stopping_after(2)).run()
    fitted = []
    observe = Adapt._observe_numbers
    monkeypatch.setattr(
        Adapt, "_observe_numbers", lambda self, name, *rest: fitted.append(name) or observe(self, name, *rest)
    )
    again, record = Adapt(domains, config, work=tmp_path / "work").run()
    assert fitted == ["subspace"]  # neither a pseudo-target nor the two methods that were done
    again.save(tmp_path / "again")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again")]
    assert files[0] == files[1]
    for key in ("decision", "sentence", "rule", "distance", "shift", "view"):
        assert json.dumps(record[key], default=float) == json.dumps(truth[key], default=float)
    other = Adapt(domains, AdaptConfig(budget=None, methods=QUICK, seed=1), work=tmp_path / "work")
    other.run()
    assert "source_only" in fitted[1:]  # another seed is another run


def test_a_trained_network_is_taken_up(tmp_path, monkeypatch):
    domains, _, _ = big_rotated(0.3, rows=100)
    config = AdaptConfig(budget=None, methods=("mcc",))
    made = Adapt._make
    monkeypatch.setattr(Adapt, "_make", lambda self, name: made(self, name).set_params(epochs=1))
    with pytest.raises(StoppedError):
        Adapt(domains, config, work=tmp_path, on_tried=stopping_after(2)).run()
    again = Adapt(domains, config, work=tmp_path)
    monkeypatch.setattr("graft.auto.adapt.Adapt._observe_network", None)
    again.run()
    assert set(again.networks) == {"network", "mcc"}


def test_a_damaged_part_is_done_again(tmp_path):
    domains, _, _ = big_rotated(0.9)
    config = AdaptConfig(budget=None, methods=("coral",))
    Adapt(domains, config, work=tmp_path).run()
    for path in tmp_path.rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:40])
    for path in tmp_path.rglob("shift-*.json"):
        path.write_text("{")
    _, record = Adapt(domains, config, work=tmp_path).run()
    assert all(not one["reason"] for one in record["tried"])


def test_the_words_of_the_shift_are_named():
    rng = np.random.default_rng(0)
    y = np.arange(240) % 2
    said = np.where(y == 1, "good", "bad")
    things = [[["plot", "author"], ["lid", "stove"]][i >= 120][rng.integers(2)] for i in range(240)]
    texts = [f"{word} {thing} {rng.integers(9)}" for word, thing in zip(said, things, strict=True)]
    source = load((texts[:120], [str(c) for c in y[:120]]))
    domains = pair(source, load(texts[120:], labelled=False, like=source))
    _, _, record = adapted(domains)
    named = [one["name"] for one in record["shift"]]
    assert {"plot", "author", "lid", "stove"} == set(named[:4])
    assert not {"good", "bad"} & set(named)


def test_networks_on_a_source_are_judged_by_small_ones_over_its_features(tiny_bert, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(480) % 2
    texts = [f"{['dull', 'great'][c]} {rng.choice(['film', 'plot', 'scene'])} {rng.integers(5)}" for c in y]
    source = load((texts[:300], [str(c) for c in y[:300]]))
    domains = pair(source, load(texts[300:], labelled=False, like=source))
    seen, learned = [], []
    small = Adapt._observe_small
    monkeypatch.setattr(
        Adapt, "_observe_small", lambda self, name, *rest: seen.append(name) or small(self, name, *rest)
    )
    monkeypatch.setattr("graft.auto.adapt.EPOCHS", 1)
    monkeypatch.setattr("graft.auto.adapt.learn", learned.extend)
    made = Adapt._make
    monkeypatch.setattr(
        Adapt,
        "_make",
        lambda self, name: made(self, name).set_params(**({"epochs": 0.2} if name in ("mcc", "network") else {})),
    )
    config = AdaptConfig(budget=None, methods=("coral", "mcc"), model=f"hf:{tiny_bert}")
    _, record = Adapt(domains, config, Store(tmp_path)).run()
    assert record["base"] == "network"
    assert set(seen) == {"network", "mcc"}
    assert {one.candidate for one in learned} == {"CORAL", "minimum class confusion"}
