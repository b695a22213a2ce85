"""Boosted trees: what a line cannot say, missing and unseen categories, the rounds that held-out rows choose, and the clock."""

import numpy as np
import pytest

from graft.auto import AutoFit, Config
from graft.core.errors import UsageError
from graft.core.runtime import Clock
from graft.core.task import Task
from graft.data.load import load
from graft.testing import check_transfer, toy_data
from graft.transfer.base import Setting, load_transfer
from graft.transfer.boosting import PATIENCE, Boosting


def table(rows=300, seed=0, kind="or"):
    """A product of two columns beside a town that turns it round, one cell of ten missing."""
    rng = np.random.default_rng(seed)
    a, b, town = rng.normal(size=rows), rng.normal(size=rows), rng.integers(0, 3, rows)
    value = a * b * np.where(town == 1, -1, 1)
    a[rng.random(rows) < 0.1] = np.nan
    names = np.array(["L", "P", "M"])[town].astype(object)
    curve = np.sin(2 * np.nan_to_num(a)) + np.where(b > 0, 1, -1) * (town == 1)
    label = curve + 0.05 * rng.normal(size=rows) if kind == "value" else np.where(value > 0, "up", "down")
    return load({"a": a, "b": b, "town": names, "label": label.tolist()})


@pytest.fixture(scope="module")
def fitted():
    return Boosting().fit(table())


def test_what_no_line_can_say(fitted):
    new = table(200, seed=1)
    assert np.mean(fitted.outputs(new).argmax(axis=1) == new.y) > 0.75
    values = Boosting().fit(table(kind="value"))
    test = table(200, seed=1, kind="value")
    y = values.task_.encode(test.labels)
    assert 1 - np.mean((values.outputs(test) - y) ** 2) / y.var() > 0.4


def test_an_unseen_town_and_a_row_without_values_are_answered(fitted, tmp_path):
    new = load({"a": [np.nan, 1.0], "b": [1.0, np.nan], "town": ["Rome", None]}, like=table(), labelled=False)
    chances = fitted.predict_proba(new)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    np.testing.assert_array_equal(load_transfer(fitted.save(tmp_path / "run")).predict_proba(new), chances)


def test_held_out_rows_choose_the_rounds_and_the_clock_ends_the_search():
    rng = np.random.default_rng(0)
    noise = load({"a": rng.normal(size=300), "b": rng.normal(size=300), "label": rng.choice(["x", "y"], 300)})
    few = len(Boosting().fit(noise).forest_.roots)
    assert few < PATIENCE
    late = Boosting().fit(table(kind="value"), setting=Setting(clock=Clock(0.0)))
    assert len(late.forest_.roots) <= PATIENCE < len(Boosting().fit(table(kind="value")).forest_.roots)


def test_one_class_and_columns_without_a_value():
    data = load({"a": [1.0, 2.0, 3.0, 4.0], "label": list("xyxy")})
    one = data.select(data.y == 0)
    assert Boosting().fit(one).predict(data).tolist() == ["x"] * 4


def test_only_tables():
    with pytest.raises(UsageError, match="boosted trees: for table data alone, not text"):
        Boosting().fit(toy_data("text"))


def test_ordered_classes_and_contract():
    check_transfer("boosting", toy_data("ordinal", rows=40))
    assert toy_data("ordinal").task == Task("ordinal", "table", ("low", "middle", "high"), "quadratic_kappa")


def test_graft_fit_always_compares_tables_with_boosted_trees():
    model, run = AutoFit(table(300), Config(methods=("classical", "boosting"), folds=2)).run()
    names = [trial["name"] for trial in run.trials]
    assert names == ["majority class", "columns + linear model", "boosted trees"]
    assert all(trial["baseline"] for trial in run.trials)
    assert run.answer["trial"] == "boosted trees"  # a line knows nothing of a product
    assert isinstance(model, Boosting)
    assert "boosted trees is better than" in run.guard["sentence"]
    text = AutoFit(toy_data("text"), Config(methods=("classical", "boosting"), folds=2)).run()[1]
    assert [trial["name"] for trial in text.trials] == ["majority class", "TF-IDF + linear SVM"]
