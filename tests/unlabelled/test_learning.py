"""The rule: it finds the criterion that tells, is honest on shifts left out, and is silent where nothing tells."""

import numpy as np
import pytest
from unlabelled.seen import model

from graft.core.errors import DataError
from graft.unlabelled.learning import Trial, learn, trials_on


def trials(noise=0.02, *, shifts=12, ways=8, lean=-0.03, seed=0):
    """Gains, a criterion that tells them up to noise, one that lies, and one of pure noise."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(shifts):
        for j in range(ways):
            gain = rng.normal(lean, 0.08)
            told = {"tells": 3 * gain + rng.normal(0, 3 * noise), "lies": -gain, "noise": rng.normal()}
            found.append(Trial(f"shift {i}", f"way {j}", told if noise < 1 else told | {"lies": rng.normal()}, gain))
    return found


def test_it_predicts_gains_of_shifts_that_it_has_not_seen():
    rule = learn(trials())
    fresh = trials(seed=1)
    predicted = np.array([rule.gain(trial.evidence, trial.candidate) for trial in fresh])
    truth = np.array([trial.gain for trial in fresh])
    assert np.corrcoef(predicted, truth)[0, 1] > 0.9
    assert rule.rank > 0.8
    assert rule.harmful <= 0.1
    assert rule.kept > 0.9
    assert rule.error < 0.03


def test_the_unit_of_a_criterion_does_not_matter():
    scaled = [Trial(t.shift, t.candidate, {k: 1e6 * v for k, v in t.evidence.items()}, t.gain) for t in trials()]
    one, two = learn(trials()), learn(scaled)
    fresh = trials(seed=1)[0].evidence
    assert one.gain(fresh) == pytest.approx(two.gain({key: 1e6 * value for key, value in fresh.items()}))
    assert one.gain(dict.fromkeys(one.names, 0.0)) == 0


def test_what_helped_on_every_shift_is_believed_a_little_more():
    usual = trials()
    good = [
        Trial(f"shift {i}", "good", {"tells": 0.0, "lies": 0.0, "noise": 0.0, "differ": 0.2}, 0.06) for i in range(12)
    ]
    rule = learn(usual + good)
    nothing = dict.fromkeys(rule.names, 0.0)
    assert 0.01 < rule.gain(nothing, "good") < 0.06
    assert rule.gain(nothing, "unknown") == rule.gain(nothing) == 0
    assert rule.gain(nothing | {"differ": 0.005}, "good") == 0.005


def test_one_wild_criterion_counts_three_units_at_most():
    rule = learn(trials())
    tame = dict.fromkeys(rule.names, 0.0) | {"noise": 3 * rule.scale[rule.names.index("noise")]}
    assert rule.gain(tame | {"noise": 1e9}) == pytest.approx(rule.gain(tame))


def test_where_nothing_tells_nothing_is_recommended():
    silent = [learn(trials(noise=100.0, seed=seed, shifts=20)) for seed in range(5)]
    assert sum(rule.kept > 0.3 for rule in silent) <= 1
    assert np.mean([rule.threshold > 0.005 for rule in silent]) >= 0.6


def test_few_shifts_or_nothing_in_common_are_refused():
    with pytest.raises(DataError, match="2 pseudo-targets are too few"):
        learn(trials(shifts=2))
    with pytest.raises(DataError, match="no criteria in common"):
        learn([Trial(str(i), "way", {str(i): 1.0}, 0.0) for i in range(4)])
    with pytest.raises(DataError, match="the rule reads noise"):
        learn(trials()).gain({"tells": 1.0, "lies": 0.0})


def test_trials_compare_with_source_only():
    base, y = model(0.6)
    better, _ = model(0.9)
    found = {trial.candidate: trial for trial in trials_on("a shift", y, base, {"better": better, "same": base})}
    assert found["same"].gain == 0
    assert set(found["same"].evidence.values()) == {0.0}
    assert found["better"].evidence["differ"] >= found["better"].gain
    assert found["better"].gain > 0.2
    assert found["better"].evidence["agreement"] > 0
