"""Strategies that look at no label."""

import numpy as np
import pytest
from active.pools import clouds, rng

from graft.active.coverage import core_set, kmeans, probcover, random, typiclust
from graft.active.strategies import BLIND


@pytest.mark.parametrize("name", BLIND)
@pytest.mark.parametrize("count", [1, 4, 17, 96])
def test_each_gives_free_rows_once_with_a_reason(name, count):
    _, pool = clouds(known=(3, 50, 80, 95))
    rows, reasons = BLIND[name](pool, count, rng())
    assert len(rows) == len(reasons) == count
    assert len(set(rows)) == count
    assert not set(rows) & set(pool.known.tolist())
    assert all(reasons)
    assert BLIND[name](pool, count, rng())[0] == rows


@pytest.mark.parametrize("strategy", [typiclust, kmeans, core_set, probcover])
def test_four_rows_come_from_four_clouds(strategy):
    cloud, pool = clouds()
    assert sorted(cloud[strategy(pool, 4, rng())[0]]) == [0, 1, 2, 3]


@pytest.mark.parametrize("strategy", [typiclust, core_set, probcover])
def test_what_is_labelled_is_not_covered_again(strategy):
    cloud, pool = clouds(known=(0, 41, 75))
    assert cloud[strategy(pool, 1, rng())[0]].tolist() == [3]


def test_typical_rows_of_large_clusters_come_first():
    cloud, pool = clouds()
    rows, reasons = typiclust(pool, 4, rng())
    assert cloud[rows].tolist() == [0, 1, 2, 3]
    assert reasons[0] == "typical of 40 similar rows, none of them labelled yet"
    middle = pool.space[cloud == 0].mean(axis=0)
    distance = np.linalg.norm(pool.space[cloud == 0] - middle, axis=1)
    assert distance[rows[0]] < np.median(distance)


def test_random_is_random():
    _, pool = clouds()
    assert random(pool, 10, rng(0))[0] != random(pool, 10, rng(1))[0]


def test_equal_rows_break_nothing():
    _, pool = clouds(spread=0.0)
    for name, strategy in BLIND.items():
        assert len(set(strategy(pool, 30, rng())[0])) == 30, name
