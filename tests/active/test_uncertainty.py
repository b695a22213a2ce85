"""Strategies that ask the probe, and the choice of one."""

import dataclasses

import numpy as np
import pytest
from active.pools import clouds, rng

from graft.active.strategies import FOR_CLASSES, STRATEGIES, choose
from graft.active.uncertainty import badge, diverse_margin, entropy, greedy_values, margin
from graft.core.errors import DataError, UsageError


@pytest.fixture
def doubtful():
    """Sure everywhere but on ten rows of the first cloud and ten of the second."""
    cloud, pool = clouds(known=(39, 69, 89, 99))
    outputs = np.full((100, 4), 0.01)
    outputs[np.arange(100), cloud] = 0.97
    outputs[0:10] = [0.41, 0.39, 0.1, 0.1]
    outputs[40:50] = [0.3, 0.36, 0.17, 0.17]
    return cloud, dataclasses.replace(pool, outputs=outputs)


@pytest.mark.parametrize("name", FOR_CLASSES)
@pytest.mark.parametrize("count", [1, 6, 96])
def test_each_gives_free_rows_once_with_a_reason(doubtful, name, count):
    _, pool = doubtful
    rows, reasons = STRATEGIES[name](pool, count, rng())
    assert len(rows) == len(reasons) == len(set(rows)) == count
    assert not set(rows) & set(pool.known.tolist())
    assert all(reason.startswith("undecided between") for reason in reasons)


def test_margin_takes_the_smallest_and_entropy_the_largest(doubtful):
    _, pool = doubtful
    assert set(margin(pool, 10, rng())[0]) == set(range(10))
    assert set(entropy(pool, 10, rng())[0]) == set(range(40, 50))
    assert margin(pool, 1, rng())[1] == ["undecided between a (0.41) and b (0.39)"]


@pytest.mark.parametrize(("strategy", "count"), [(badge, 2), (diverse_margin, 6)])
def test_diversity_looks_at_both_kinds_of_doubt(doubtful, strategy, count):
    cloud, pool = doubtful
    rows = strategy(pool, count, rng(1))[0]
    assert set(rows) <= {*range(10), *range(40, 50)}
    assert set(cloud[rows]) == {0, 1}


def test_the_distances_of_badge_are_those_of_the_gradients(doubtful):
    _, pool = doubtful
    chances, space = pool.chances(), pool.space[pool.free]
    rest = chances - np.eye(4)[chances.argmax(1)]
    written = (rest[:, :, None] * space[:, None, :]).reshape(len(space), -1)
    size = np.square(written).sum(1)
    place = np.searchsorted(pool.free, badge(pool, 1, rng())[0][0])
    assert size[place] == pytest.approx(size.max())


def test_greedy_values_looks_at_rows_and_values():
    _, pool = clouds(known=(0,), kind="regression")
    values = np.zeros(100)
    values[95], values[20] = 3.0, 3.0  # one far in the space, one near it
    chosen = greedy_values(dataclasses.replace(pool, outputs=values), 2, rng())[0]
    assert chosen[0] == 95


def test_without_a_probe_doubts_are_refused():
    _, pool = clouds()
    with pytest.raises(DataError, match="too few labels to be uncertain"):
        margin(pool, 3, rng())


def test_the_default_covers_first_and_doubts_later(doubtful):
    _, pool = clouds()
    assert choose("auto", pool)[0] == "typiclust"
    assert choose("auto", doubtful[1])[0] == "typiclust"
    many = np.arange(60)
    _, more = clouds(known=many, outputs=doubtful[1].outputs)
    assert choose("auto", more)[0] == "diverse_margin"
    assert "30 labels per class" in choose("auto", more)[1]
    _, values = clouds(known=many, kind="regression", outputs=np.zeros(100))
    assert choose("auto", values)[0] == "greedy_values"


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("margins", "classification", "no strategy 'margins'"),
        ("greedy_values", "classification", "is for values, these are classes"),
        ("margin", "regression", "is for classes, these are values"),
    ],
)
def test_what_does_not_fit_is_refused(name, kind, line):
    with pytest.raises(UsageError, match=line):
        choose(name, clouds(kind=kind)[1])
