"""Adaptation of a fitted model without its source rows."""

import numpy as np
import pytest
import torch
from adaptation.networks import QUICK, accuracy, fitted, learns, picture_domains, tiny, tiny_batch
from adaptation.shifts import rotated, turned

from graft.adaptation.source_only import SourceOnly
from graft.core.errors import DataError, SourceError, UsageError
from graft.core.registry import ADAPTATIONS
from graft.features import encode
from graft.nn.heads import fit_probe
from graft.transfer.base import load_transfer

SourceFree = ADAPTATIONS["source_free"]


def test_it_learns():
    learns("source_free", epochs=20)


def test_a_saved_run_and_rows_are_enough(tmp_path):
    domains, y = picture_domains(0.6)
    run = fitted("network", domains, augment=False)
    folder = run.save(tmp_path / "run")
    before = run.outputs(domains.target)
    model = SourceFree(run=folder, **QUICK).fit(domains.target)
    assert accuracy(run, domains.target, y) < 0.8
    assert accuracy(model, domains.target, y) > 0.9
    assert np.array_equal(run.outputs(domains.target), before)  # it stays as it is
    assert np.array_equal(model.head_.coef, load_transfer(folder).head_.coef)
    again = load_transfer(model.save(tmp_path / "adapted"))
    assert np.array_equal(again.outputs(domains.target), model.outputs(domains.target))
    assert again.run == str(folder)


def test_raw_rows_and_an_open_model_do_as_well():
    source = fitted("network", rotated()[0])
    X, y = turned(np.pi / 3, seed=1)
    model = SourceFree(run=source, **QUICK).fit(X)
    assert model.predict(X).astype(int).tolist() == model.outputs(X).argmax(1).tolist()
    assert accuracy(model, X, y) > 0.7
    assert model.settings()["run"] is None


def test_source_rows_do_not_matter_where_there_is_a_run():
    run = fitted("network", rotated()[0])
    X, _ = turned(1.0, seed=2)
    rows = np.concatenate([turned(0.0)[0], X])
    one = SourceFree(run=run, **QUICK).fit(X).outputs(X)
    two = SourceFree(run=run, **QUICK).fit(rows, sample_domain=[0] * 120 + [-1] * len(X)).outputs(X)
    assert np.array_equal(one, two)


def test_the_head_does_not_move_after_the_source():
    game = tiny("source_free")
    game.loss(tiny_batch(), "model").total().backward()
    assert game.head.weight.grad is not None
    game.zero_grad()
    game.on_step(0.5)
    assert (game.labels >= 0).all()
    game.loss({key: value for key, value in tiny_batch().items() if "source" not in key}, "model").total().backward()
    assert game.head.weight.grad is None
    assert torch.isfinite(game.backbone.body.layers[0][0].weight.grad).all()


def test_what_cannot_be_adapted_is_refused(tmp_path):
    domains, _ = rotated()
    with pytest.raises(UsageError, match="no network with a linear head"):
        SourceFree(run=SourceOnly().fit(domains)).fit(domains.target)
    with pytest.raises(SourceError):
        SourceFree(run=tmp_path).fit(domains.target)
    with pytest.raises(DataError, match="too few"):
        SourceFree(run=fitted("network", domains, epochs=1)).fit(turned(0.0)[0][:5])


def test_a_head_on_several_layers_is_adapted_too():
    domains, y = rotated()
    run = fitted("network", domains)
    some = encode(run.backbone_, domains.source.take())
    run.head_ = fit_probe(some, domains.source.y, run.task_, layers="concatenated")
    assert len(run.head_.layers) == 2
    model = SourceFree(run=run, **QUICK).fit(domains.target)
    assert accuracy(model, domains.target, y) >= accuracy(run, domains.target, y)
