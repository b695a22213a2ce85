"""What all adaptations of numbers share."""

import numpy as np
import pytest
from adaptation.shifts import rotated, turned, two_domains

from graft.adaptation.domains import pair
from graft.adaptation.source_only import SourceOnly
from graft.core.errors import DataError
from graft.data.load import load
from graft.transfer.base import load_transfer


def accuracy(model, X, y):
    return float((model.predict(X).astype(int) == y).mean())


def test_source_only_is_a_classifier_of_the_source():
    domains, _ = rotated()
    model = SourceOnly().fit(domains)
    X, y = turned(0.0, seed=2)
    assert accuracy(model, X, y) > 0.97


def test_saved_and_opened_it_predicts_the_same(tmp_path):
    domains, _ = rotated()
    model = SourceOnly().fit(domains)
    model.save(tmp_path / "run")
    X, _ = turned(0.3, seed=3)
    assert np.array_equal(load_transfer(tmp_path / "run").predict_proba(X), model.predict_proba(X))


def test_sample_domain_divides_one_table():
    X, y = turned(0.0)
    model = SourceOnly().fit(X, y, sample_domain=[0] * 100 + [-1] * 20)
    assert accuracy(model, X, y) > 0.97


def test_labelled_target_rows_are_learned_from():
    X, few_y = turned(np.pi * 0.9, rows=20, seed=4)
    source = turned(0.0)
    labelled = load(source, task="classification")
    target, truth = turned(np.pi * 0.9, seed=5)
    few = load((X, few_y), like=labelled)
    both = pair(labelled, load(target, labelled=False, like=labelled), few=few)
    without = two_domains(source, target)
    assert accuracy(SourceOnly(C=1.0).fit(both), target, truth) > accuracy(
        SourceOnly(C=1.0).fit(without), target, truth
    )


def test_a_target_of_five_rows_is_refused():
    with pytest.raises(DataError, match="5 rows: too few"):
        two_domains(turned(0.0), turned(0.0)[0][:5])
