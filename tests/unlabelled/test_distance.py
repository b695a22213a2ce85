"""Distances of domains: nothing where there is nothing, and where it is."""

import numpy as np
import pytest
from scipy import sparse

from graft.core.errors import DataError, UsageError
from graft.unlabelled.distance import a_distance, mmd, where_shift
from graft.unlabelled.ratio import density_ratio, domain_odds, effective_rows


def rows(shift=0.0, *, seed=0, size=200, width=6):
    X = np.random.default_rng(seed).normal(size=(size, width))
    X[:, 2] += shift
    return X


def test_a_distance_of_one_domain_is_about_zero_and_grows_with_the_shift():
    found = [a_distance(rows(), rows(shift, seed=3)) for shift in (0.0, 1.0, 6.0)]
    values = [one[0] for one in found]
    assert values[0] < 0.3
    assert values == sorted(values)
    assert values[2] > 1.9
    assert all(low <= value <= high for value, low, high in found)
    assert found[0][1] < 0.1 < found[1][1]
    assert a_distance(np.zeros((60, 1)), np.ones((60, 1)))[1] > 1.8


def test_a_distance_does_not_see_units():
    one, two = rows(), rows(1.0, seed=3)
    assert a_distance(1e4 * one, 1e4 * two)[0] == pytest.approx(a_distance(one, two)[0], abs=0.02)


def test_mmd_is_unbiased_and_its_test_keeps_its_level():
    found = [mmd(rows(seed=2 * i, size=60), rows(seed=2 * i + 1, size=60), times=50) for i in range(40)]
    assert abs(np.mean([one.value for one in found])) < 0.003
    assert sum(one.p <= 0.1 for one in found) <= 10
    assert mmd(rows(), rows(1.0, seed=3)).p < 0.02


def test_mmd_is_the_u_statistic_of_its_own_kernel():
    from graft.unlabelled import distance

    X, Z = rows(size=20), rows(0.5, seed=1, size=15)
    rng = np.random.default_rng(0)
    bandwidth = distance._median_distance(np.concatenate([X, Z]), rng)
    waves = rng.standard_normal((6, distance.WAVES)) / bandwidth

    def kernel(one, two):
        gaps = (one[:, None] - two[None]) @ waves
        return np.cos(gaps).mean(axis=2)

    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(X, X), kernel(Z, Z))]
    found = mmd(X, Z, times=5)
    assert found.value == pytest.approx(sum(within) - 2 * kernel(X, Z).mean())
    exact = np.exp(-np.square(X[:, None] - Z[None]).sum(axis=2) / (2 * bandwidth**2))
    assert kernel(X, Z) == pytest.approx(exact, abs=0.25)


def test_the_shifted_column_is_found_and_no_other():
    found = where_shift(rows(), rows(1.0, seed=3), list("abcdef"))
    assert found[0].name == "c"
    assert found[0].difference[1] < 1.0 < found[0].difference[2]
    assert found[0].target - found[0].source == pytest.approx(1.0, abs=0.3)
    assert where_shift(rows(), rows(1.0, seed=3), top=1) == where_shift(rows(), rows(1.0, seed=3))[:1]


def test_false_discoveries_are_few():
    listed = [len(where_shift(rows(seed=2 * i, width=300), rows(seed=2 * i + 1, width=300))) for i in range(10)]
    assert sum(count > 0 for count in listed) <= 4


def test_sparse_rows_stay_sparse_and_give_the_same(monkeypatch):
    one, two = (np.where(np.abs(X) > 1, X, 0.0) for X in (rows(), rows(1.0, seed=3)))
    thin = sparse.csr_array(one), sparse.csr_array(two)
    monkeypatch.setattr(sparse.csr_array, "toarray", None)
    assert where_shift(*thin)[0].difference == pytest.approx(where_shift(one, two)[0].difference)
    assert mmd(*thin).value == pytest.approx(mmd(one, two).value)
    assert a_distance(*thin)[0] > 0.3


def test_columns_that_never_vary_are_no_trouble():
    X = np.zeros((30, 3))
    Z = np.column_stack([np.zeros(30), np.ones(30), np.zeros(30)])
    found = where_shift(X, Z)
    assert [column.name for column in found] == ["1"]


def test_many_rows_are_looked_at_in_part():
    X, Z = rows(size=500), rows(1.0, seed=1, size=400)
    assert a_distance(X, Z, most=100) != a_distance(X, Z)


def test_forms_that_differ_are_refused():
    with pytest.raises(DataError, match="3 columns, the target 2"):
        where_shift(np.zeros((5, 3)), np.zeros((5, 2)))
    with pytest.raises(DataError, match="shapes"):
        mmd(np.zeros((5, 3)), np.zeros((5, 2)))
    with pytest.raises(UsageError, match="2 names for 3 columns"):
        where_shift(np.zeros((5, 3)), np.zeros((5, 3)), ["a", "b"])
    with pytest.raises(DataError, match="3 rows of a domain are too few"):
        a_distance(np.zeros((3, 1)), np.zeros((9, 1)))


def test_the_density_ratio_is_that_of_the_densities():
    source, target = rows(size=3000), rows(1.0, seed=1, size=3000)
    ratio = density_ratio(source, target)
    true = np.exp(source[:, 2] - 0.5)
    assert np.corrcoef(np.log(ratio), np.log(true))[0, 1] > 0.95
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.1)
    assert effective_rows(ratio) < 3000
    assert np.mean(ratio * source[:, 2]) == pytest.approx(1.0, abs=0.2)


def test_odds_do_not_see_which_domain_is_larger():
    odds = domain_odds(rows(size=100), rows(seed=3, size=900))
    assert abs(np.median(odds)) < 0.3
