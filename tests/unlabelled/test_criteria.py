"""Every criterion: what it may read, and what must not matter to it."""

import dataclasses
import inspect

import numpy as np
import pytest
from scipy import sparse
from unlabelled.seen import model

from graft.core.errors import DataError, UsageError
from graft.core.registry import CRITERIA
from graft.unlabelled.observed import Observed, criteria, measure, reads

NAMES = sorted(CRITERIA)
EVERY = pytest.mark.parametrize("name", NAMES)


def value(name, seen):
    return criteria(seen, [name])[name]


@EVERY
def test_it_reads_fields_of_observed_and_no_label_of_the_target(name):
    fields = {field.name for field in dataclasses.fields(Observed)}
    assert set(reads(name)) <= fields
    assert not {key for key in inspect.signature(CRITERIA[name]).parameters if "target" in key} - {
        "target_outputs",
        "target_features",
    }
    assert CRITERIA[name].__doc__


@EVERY
def test_the_order_of_rows_does_not_matter(name):
    seen, _ = model()
    rng = np.random.default_rng(1)
    mixed = seen.drawn(rng.permutation(200), rng.permutation(300))
    assert value(name, mixed) == pytest.approx(value(name, seen), abs=0.02 if name == "reverse" else 1e-9)


@EVERY
def test_the_names_of_classes_do_not_matter(name):
    seen, _ = model()
    order = np.array([2, 0, 1])
    renamed = dataclasses.replace(
        seen,
        source_y=np.argsort(order)[seen.source_y],
        **{key: getattr(seen, key)[..., order] for key in ("target_outputs", "source_outputs", "runs", "consensus")},
    )
    assert value(name, renamed) == pytest.approx(value(name, seen), abs=0.02 if name == "reverse" else 1e-9)


@EVERY
def test_sparse_features_give_what_dense_ones_give(name):
    seen, _ = model()
    thin = dataclasses.replace(
        seen,
        target_features=sparse.csr_array(seen.target_features),
        source_features=sparse.csr_array(seen.source_features),
    )
    assert value(name, thin) == pytest.approx(value(name, seen), abs=1e-6)


@pytest.mark.parametrize("name", ["bnm", "infomax", "diversity", "atc", "agreement", "consensus", "silhouette"])
def test_a_better_model_scores_higher(name):
    good, bad = model(0.95, seed=3)[0], model(0.4, seed=3)[0]
    centres = dataclasses.replace(bad, consensus=good.consensus)
    if name in ("bnm", "infomax", "diversity", "atc"):  # these see how sure a model is, not whether it is right
        sure = good.target_outputs**3
        good = dataclasses.replace(good, target_outputs=sure / sure.sum(axis=1, keepdims=True))
        if name == "diversity":
            bad = dataclasses.replace(bad, target_outputs=np.tile([0.8, 0.1, 0.1], (300, 1)))
        assert value(name, good) > value(name, bad)
    else:
        assert value(name, good) > value(name, centres)


def test_accuracy_estimates_are_right_without_a_shift():
    seen, truth = model(0.85, rows=3000, held=3000)
    right = float((seen.target_outputs.argmax(axis=1) == truth).mean())
    found = criteria(seen, ["atc", "doc", "iwv", "dev"])
    assert all(abs(one - right) < 0.05 for one in found.values()), found


def test_intervals_hold_the_value_and_costly_criteria_have_none():
    found = measure(model()[0], times=40)
    assert set(found) == set(NAMES)
    for name, (point, low, high) in found.items():
        if name in ("snd", "silhouette", "calinski_harabasz", "davies_bouldin", "reverse"):
            assert np.isnan(low)
        else:
            assert low <= point <= high
            assert high > low
    assert measure(model()[0], ["atc"], times=40) == measure(model()[0], ["atc"], times=40)


def test_what_is_missing_is_left_out_or_named():
    seen = Observed(np.eye(3))
    assert set(criteria(seen)) == {"entropy", "diversity", "infomax", "bnm", "snd"}
    with pytest.raises(UsageError, match="the criterion atc reads source_outputs and source_y"):
        criteria(seen, ["atc"])
    with pytest.raises(UsageError, match="no criterion 'infomix'; did you mean 'infomax'"):
        criteria(seen, ["infomix"])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"target_outputs": np.ones(3)}, "target outputs have shape"),
        ({"target_outputs": np.ones((3, 2))}, "target_outputs are not probabilities"),
        ({"target_outputs": np.eye(2), "source_outputs": np.eye(2)}, "go together"),
        ({"target_outputs": np.eye(2), "consensus": np.eye(3)}, "consensus has 3 rows, 2 are expected"),
        ({"target_outputs": np.eye(2), "runs": np.ones((2, 1, 2)) / 2}, "runs has shape"),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays, words):
    with pytest.raises(DataError, match=words):
        Observed(**arrays)


def test_calibration_undoes_overconfidence():
    seen, _ = model()
    sharp = dataclasses.replace(
        seen,
        **{
            key: getattr(seen, key) ** 3 / (getattr(seen, key) ** 3).sum(axis=-1, keepdims=True)
            for key in ("target_outputs", "source_outputs", "runs")
        },
    )
    one, two = sharp.calibrated(), seen.calibrated()
    assert np.allclose(one.target_outputs, two.target_outputs, atol=1e-6)
    assert np.allclose(one.source_outputs, two.source_outputs, atol=1e-6)
