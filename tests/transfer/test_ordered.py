"""Proportional odds as a way and as a head: better than unordered classes on few rows of an order, with a true round trip."""

import numpy as np
import pytest

from graft.core.errors import DataError, UsageError
from graft.data.load import load
from graft.evaluate.metrics import score
from graft.testing import check_transfer, toy_data, toy_sources
from graft.transfer.classical import Classical
from graft.transfer.ordered import Ordered
from graft.transfer.probe import Probe

GRADES = ("poor", "fair", "good", "very good", "excellent")


def graded(rows, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 8))
    return load(
        (X, np.array(GRADES)[np.digitize(X[:, 0] + X[:, 1] + 0.5 * rng.normal(size=rows), [-2, -0.7, 0.7, 2])]),
        order=GRADES,
    )


def test_an_order_helps_where_rows_are_few():
    train, test = graded(40), graded(400, seed=1)
    found = [score(test.task, test.y, way.fit(train).outputs(test)) for way in (Ordered(), Classical())]
    assert found[0] > 0.7
    assert found[0] > found[1] + 0.02


def test_contracts():
    data = toy_data("ordinal", rows=40)
    check_transfer("ordered", data)
    check_transfer("probe", data, head="ordinal")


def test_texts_with_an_order():
    words = {"bad": "awful", "fair": "decent", "good": "superb"}
    texts = [f"{words[name]} thing {i}" for i in range(10) for name in words]
    data = load((texts, list(words) * 10), order=tuple(words))
    assert Ordered().fit(data).predict(["an awful thing", "superb"]).tolist() == ["bad", "good"]


def test_what_has_no_order_is_refused():
    plain = toy_data("table")
    with pytest.raises(UsageError, match="proportional odds is for ordinal, not classification"):
        Ordered().fit(plain)
    with pytest.raises(UsageError, match="need classes with an order"):
        Probe(toy_sources(plain)[0], head="ordinal").fit(plain)
    with pytest.raises(DataError, match="have no order of their own"):
        load((np.eye(2), ["low", "high"]), task="ordinal")
