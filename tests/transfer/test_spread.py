"""Quantiles beside a regression: intervals as wide as the noise, that hold as often as asked, and come back from disk."""

import numpy as np
import pytest

from graft.core.errors import UsageError
from graft.data.load import load
from graft.testing import toy_data, toy_sources
from graft.transfer.base import load_transfer
from graft.transfer.classical import Classical
from graft.transfer.probe import Probe
from graft.transfer.spread import Spread, parse_quantiles

TAUS = (0.05, 0.5, 0.95)


def noisy(rows, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (rows, 3))
    return load((X, 10 + 3 * X[:, 0] + rng.normal(size=rows) * (0.2 + np.abs(X[:, 1]))))


def held_out(way, data, parts=4):
    fold, outputs = np.arange(len(data)) % parts, np.zeros(len(data))
    for part in range(parts):
        outputs[fold == part] = way().fit(data.select(fold != part)).outputs(data.select(fold == part))
    return outputs


@pytest.fixture(scope="module")
def fitted():
    data = noisy(500)
    model, outputs = Classical().fit(data), held_out(Classical, data)
    model.calibrate(outputs, data.y)
    model.spread_ = Spread.fit(model, data, outputs, TAUS)
    return model


def test_intervals_hold_and_follow_the_noise(fitted, tmp_path):
    rng = np.random.default_rng(3)
    X = rng.uniform(-2, 2, (2000, 3))
    y = 10 + 3 * X[:, 0] + rng.normal(size=2000) * (0.2 + np.abs(X[:, 1]))
    for coverage in (0.8, 0.9):
        low, high = fitted.predict_interval(X, coverage=coverage).T
        assert np.mean((low <= y) & (y <= high)) == pytest.approx(coverage, abs=0.04)
        assert np.corrcoef(high - low, np.abs(X[:, 1]))[0, 1] > 0.7
    quantiles = fitted.predict_quantiles(X)
    np.testing.assert_allclose((y[:, None] < quantiles).mean(axis=0), TAUS, atol=0.05)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert fitted.spread_.measured["coverage"] == pytest.approx(0.9, abs=0.03)
    again = load_transfer(fitted.save(tmp_path / "run"))
    np.testing.assert_array_equal(again.predict_quantiles(X), quantiles)
    np.testing.assert_array_equal(again.predict_interval(X, coverage=0.8), fitted.predict_interval(X, coverage=0.8))


def test_few_rows_and_a_source_take_a_line(tmp_path):
    data = toy_data("regression", rows=60)
    source = toy_sources(data)[0]
    model = Probe(source).fit(data)
    model.spread_ = Spread.fit(model, data, held_out(lambda: Probe(source), data), (0.9, 0.1))
    assert model.spread_.codes is None
    assert model.spread_.basis is not None
    found = model.predict_quantiles(data)
    assert found.shape == (60, 2)
    np.testing.assert_allclose(load_transfer(model.save(tmp_path / "run")).predict_quantiles(data), found, atol=1e-6)
    assert model.spread_.values(model, data.select(np.arange(0)), np.zeros(0)).shape == (0, 2)


def test_what_cannot_be():
    data = toy_data("table")
    model = Classical().fit(data)
    with pytest.raises(UsageError, match="quantiles are for a regression, not for classification"):
        Spread.fit(model, data, np.zeros(len(data)), TAUS)
    with pytest.raises(UsageError, match="fitted without quantiles"):
        Classical().fit(toy_data("regression")).predict_quantiles(np.zeros((1, 4)))
    for text in ("0.5,2", "0.5,0.5", "a"):
        with pytest.raises(UsageError, match="no quantiles"):
            parse_quantiles(text)
