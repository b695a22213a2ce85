"""The best of many: bias and coverage by simulation."""

import numpy as np
import pytest

from graft.core.errors import DataError, UsageError
from graft.core.task import Task
from graft.evaluate.metrics import score
from graft.evaluate.selection import selected_score

TWO = Task("classification", "text", ("a", "b"))
NUMBER = Task("regression", "table", metric="r2")


def guesses(rng, y, accuracy, count):
    right = rng.random((count, len(y))) < np.asarray(accuracy).reshape(-1, 1)
    return {f"c{i}": np.eye(2)[np.where(row, y, 1 - y)] for i, row in enumerate(right)}


def test_unbiased_and_covering_where_the_naive_score_is_neither():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    honest, naive, covered = [], [], []
    for trial in range(80):
        found = selected_score(TWO, y, guesses(rng, y, 0.7, 15), seed=trial, times=200)
        value, low, high = found.score
        honest.append(value)
        naive.append(value + found.optimism)
        covered.append(low <= 0.7 <= high)
    assert np.mean(honest) == pytest.approx(0.7, abs=0.01)
    assert np.mean(naive) > 0.75
    assert np.mean(covered) > 0.85


def test_a_clear_winner_costs_almost_nothing():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    found = selected_score(TWO, y, guesses(rng, y, [0.6, 0.95, 0.6], 3))
    assert found.name == "c1"
    assert found.wins["c1"] == 1.0
    assert abs(found.optimism) < 0.003


def test_one_configuration_has_no_optimism():
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    outputs = guesses(rng, y, 0.8, 1)
    found = selected_score(TWO, y, outputs)
    assert found.score[0] == score(TWO, y, outputs["c0"])
    assert found.optimism == 0
    width = found.score[2] - found.score[1]
    assert width == pytest.approx(2 * 1.645 * np.sqrt(0.8 * 0.2 / 100), rel=0.25)


def test_regression_and_a_metric_where_smaller_is_better():
    rng = np.random.default_rng(0)
    y = rng.normal(size=100)
    outputs = {f"c{i}": y + rng.normal(size=100) for i in range(10)}
    assert selected_score(NUMBER, y, outputs).optimism > 0
    found = selected_score(NUMBER, y, outputs, metric="rmse")
    assert found.optimism > 0
    assert found.name == min(outputs, key=lambda name: score(NUMBER, y, outputs[name], metric="rmse"))


def test_rows_that_were_not_predicted_do_not_count():
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    outputs = guesses(rng, y, [0.9, 0.5], 2)
    whole = selected_score(TWO, y[:50], {"c0": outputs["c0"][:50]})
    outputs["c0"][50:] = np.nan
    found = selected_score(TWO, y, outputs)
    assert found.name == "c0"
    assert found.score[0] == pytest.approx(whole.score[0], abs=0.02)
    with pytest.raises(DataError):
        selected_score(TWO, y, {"c0": np.full((100, 2), np.nan)})


def test_groups_are_left_out_whole():
    rng = np.random.default_rng(0)
    y = np.arange(30) % 2
    outputs = guesses(rng, y, 0.6, 10)
    alone = selected_score(TWO, y, outputs)
    copies = {name: value.repeat(10, axis=0) for name, value in outputs.items()}
    groups = np.arange(30).repeat(10)
    assert selected_score(TWO, y.repeat(10), copies, groups=groups).score == pytest.approx(alone.score)
    assert selected_score(TWO, y.repeat(10), copies).optimism < alone.optimism / 2  # copies leak


def test_nothing_and_a_single_row():
    with pytest.raises(UsageError):
        selected_score(TWO, np.array([0, 1]), {})
    assert selected_score(TWO, np.array([0]), {"c": np.eye(2)[:1]}).score[0] == 1.0
