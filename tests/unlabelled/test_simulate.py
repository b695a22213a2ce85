"""Simulated shifts: two disjoint sides, the classes on both, and the shift that was asked for."""

import numpy as np
import pytest
from scipy import sparse

from graft.core.errors import DataError, UsageError
from graft.unlabelled.distance import a_distance
from graft.unlabelled.simulate import KINDS, across, simulated


def rows(size=240):
    rng = np.random.default_rng(0)
    y = np.arange(size) % 3
    return rng.normal(size=(size, 8)) * np.arange(1, 9) + 4 * np.eye(3, 8)[y], y


def words(size=240):
    rng = np.random.default_rng(0)
    y = np.arange(size) % 2
    often = 0.05 + 0.4 * rng.random(50) ** 3 + 0.3 * (np.arange(50) % 2 == y[:, None]) * (np.arange(50) < 6)
    return sparse.csr_array((rng.random((size, 50)) < often).astype(np.float64)), y


DENSE, SPARSE = rows(), words()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_divides_the_rows(kind):
    X, y = DENSE
    for shift in simulated(X, y, kinds=[kind], count=3):
        assert not set(shift.source) & set(shift.target)
        assert len(shift.source) + len(shift.target) == len(y)
        assert len(shift.target) >= 60
        assert set(y[shift.source]) == {0, 1, 2}
        source, target = shift.of(X)
        assert np.array_equal(source, X[shift.source])
        assert target.shape == (len(shift.target), 8)
        assert np.isfinite(target).all()
        changed = not np.array_equal(target, X[shift.target])
        assert changed == (kind in ("lost", "noise", "moved", "turned", "mixed"))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"turned"}))
def test_sparse_rows_stay_sparse(kind):
    X, y = SPARSE
    source, target = simulated(X, y, kinds=[kind], count=1)[0].of(X)
    assert sparse.issparse(source)
    assert sparse.issparse(target)
    assert target.format == "csr"
    if kind == "noise":
        assert 0.2 < target.nnz / X[simulated(X, y, kinds=[kind], count=1)[0].target].nnz < 0.9
    if kind == "moved":
        assert target.nnz == X[simulated(X, y, kinds=[kind], count=1)[0].target].nnz


def test_the_same_seed_gives_the_same_shifts_and_another_one_others():
    X, y = DENSE
    first, again, other = (simulated(X, y, count=9, seed=seed) for seed in (0, 0, 1))
    assert [one.name for one in first] == [one.name for one in again]
    assert all(np.array_equal(a.of(X)[1], b.of(X)[1]) for a, b in zip(first, again, strict=True))
    assert [one.name for one in first] != [one.name for one in other]
    assert len({one.name for one in simulated(X, y, kinds=["none"], count=3)}) == 3
    assert len({one.name for one in first}) == 9


def test_shifted_domains_can_be_told_apart_and_unshifted_ones_cannot():
    X, y = DENSE
    apart = {
        kind: np.mean([a_distance(*shift.of(X))[0] for shift in simulated(X, y, kinds=[kind], count=3)])
        for kind in ("none", "direction", "cluster", "moved")
    }
    assert apart["none"] < 0.4
    assert min(apart["direction"], apart["cluster"], apart["moved"]) > apart["none"] + 0.3


def test_turning_keeps_distances_in_standard_units():
    X, y = DENSE
    shift = simulated(X, y, kinds=["turned"], count=1)[0]
    scaled = [(Z - X.mean(axis=0)) / X.std(axis=0) for Z in (X[shift.target], shift.of(X)[1])]
    assert np.linalg.norm(scaled[0], axis=1) == pytest.approx(np.linalg.norm(scaled[1], axis=1))


def test_source_domains_are_left_out_in_turn():
    shifts = across(np.array([3, 5, 3, 7]))
    assert [shift.target.tolist() for shift in shifts] == [[0, 2], [1], [3]]
    assert [shift.source.tolist() for shift in shifts] == [[1, 3], [0, 2, 3], [0, 1, 2]]
    assert across(np.zeros(4)) == []


def test_what_cannot_be_simulated_is_said():
    X, y = DENSE
    with pytest.raises(DataError, match="30 rows of 3 classes are too few"):
        simulated(X[:30], y[:30])
    with pytest.raises(UsageError, match="no simulated shift 'turned' for such rows"):
        simulated(*SPARSE, kinds=["turned"])
