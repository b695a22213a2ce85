"""The classical way on sequences and series: strengths that are chosen, values, and both strands."""

import numpy as np
import pytest

from graft.data.letters import reverse_complement
from graft.data.load import load
from graft.testing import toy_data
from graft.transfer.classical import STRENGTHS, Classical
from graft.transfer.probe import Probe
from graft.transfer.scratch import Scratch

RNG = np.random.default_rng(0)
ROWS = ["".join(row) for row in RNG.choice(list("ACGT"), (60, 30))]


def test_the_strength_is_chosen_or_given():
    data = toy_data("sequence")
    assert Classical().fit(data)._strength in STRENGTHS
    assert Classical(C=0.7).fit(data)._strength == 0.7
    assert Classical().fit(toy_data("text"))._strength == 0.5


@pytest.mark.parametrize("modality", ["sequence", "series"])
def test_values_are_learned(modality):
    if modality == "sequence":
        data = load((ROWS, [row.count("A") + row.count("GT") / 3 for row in ROWS]))
    else:
        X = RNG.normal(size=(60, 25)).cumsum(axis=1)
        data = load((X, X.mean(axis=1)), modality="series")
    assert data.task.kind == "regression"
    train, test = data.split(np.arange(45), np.arange(45, 60))
    guess = Classical().fit(train).predict(test)
    assert np.corrcoef(guess, test.labels)[0, 1] > 0.6


@pytest.mark.parametrize("way", ["classical", "scratch", "probe"])
def test_both_strands_get_one_answer(way, tmp_path):
    rows = [row[:12] + ("TATAAT" if i % 2 else "GCCGAC") + row[18:] for i, row in enumerate(ROWS)]
    data = load((rows, ["ab"[i % 2] for i in range(60)]), strands="both")
    source = None
    if way == "probe":
        source = Scratch(epochs=1).fit(data).save(tmp_path / "source") / "source"
    made = {"classical": Classical, "scratch": lambda: Scratch(epochs=2), "probe": lambda: Probe(f"file:{source}")}[way]
    fitted = made().fit(data)
    assert len(fitted.outputs(data)) == 60
    one, two = fitted.predict_proba(rows[:9]), fitted.predict_proba([reverse_complement(row) for row in rows[:9]])
    np.testing.assert_allclose(one, two, atol=2e-2 if fitted.precision_ == "bf16" else 1e-5)


def test_one_strand_has_an_answer_of_its_own():
    rows = [row[:12] + ("TATAAT" if i % 2 else "GCCGAC") + row[18:] for i, row in enumerate(ROWS)]
    fitted = Classical().fit(load((rows, ["ab"[i % 2] for i in range(60)])))
    one, two = fitted.predict_proba(rows[:9]), fitted.predict_proba([reverse_complement(row) for row in rows[:9]])
    assert np.abs(one - two).max() > 0.05
