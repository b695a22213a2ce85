"""The guard: what it keeps, what it refuses, and how often it is wrong."""

import numpy as np
import pytest
from scipy.stats import binomtest

from graft.core.errors import DataError
from graft.core.task import Task
from graft.trust.guard import FEW, guard

TWO = Task("classification", "text", ("a", "b"))
FAIR = Task("classification", "text", ("a", "b"), metric="macro_f1")
NUMBER = Task("regression", "table", metric="r2")


def right_in(y, correct):
    return np.eye(2)[np.where(correct, y, 1 - y)]


def first(y, count):
    return right_in(y, np.arange(len(y)) < count)


Y = np.arange(400) % 2


@pytest.mark.parametrize("task", [TWO, FAIR])
def test_keeps_what_is_better_than_all_and_names_the_strongest_rival(task):
    verdict = guard(
        task, Y, first(Y, 380), [("majority", first(Y, 200)), ("TF-IDF", first(Y, 340))], chosen_name="fine-tuning"
    )
    assert (verdict.returned, verdict.decision) == ("fine-tuning", "transfer")
    assert verdict.sentence.startswith("fine-tuning is better than TF-IDF by 10.0 points [")
    assert verdict.sentence.endswith("; kept")
    assert [one.name for one in verdict.compared] == ["majority", "TF-IDF"]
    value, low, high = verdict.compared[1].difference
    assert value == pytest.approx(0.1)
    assert 0 < low < value < high
    assert verdict.compared[1].p < 0.01


@pytest.mark.parametrize("task", [TWO, FAIR])
def test_returns_the_simpler_of_equals(task):
    verdict = guard(
        task, Y, first(Y, 361), [("majority", first(Y, 200)), ("TF-IDF", first(Y, 360)), ("probe", first(Y, 359))]
    )
    assert (verdict.returned, verdict.decision) == ("TF-IDF", "simpler")
    assert "not better than TF-IDF beyond noise: 0." in verdict.sentence


def test_refuses_what_is_worse():
    verdict = guard(TWO, Y, first(Y, 300), [("TF-IDF", first(Y, 340))], chosen_name="tuning")
    assert verdict.returned == "TF-IDF"
    assert verdict.sentence.startswith("tuning is worse than TF-IDF by 10.0 points [")
    assert "refused" in verdict.sentence
    assert verdict.compared[0].worse


def test_does_not_return_a_simple_model_that_another_simple_model_beats():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    base = np.arange(120) < 70
    better = base | (np.arange(120) >= 105)  # 15 rows more, none lost: clear
    noisy = rng.permutation(120) < 78  # 8 rows more, at other rows: not clear
    verdict = guard(TWO, y, right_in(y, noisy), [("majority", right_in(y, base)), ("TF-IDF", right_in(y, better))])
    assert not verdict.compared[0].better
    assert verdict.returned == "TF-IDF"


def test_nothing_simpler_and_identical_predictions():
    assert guard(TWO, Y, first(Y, 9), []).decision == "transfer"
    verdict = guard(TWO, Y, first(Y, 350), [("twin", first(Y, 350))])
    assert verdict.returned == "twin"
    assert verdict.compared[0].difference == (0, 0, 0)
    assert verdict.compared[0].p == 1


@pytest.mark.parametrize(("wins", "losses"), [(5, 0), (4, 0), (10, 3), (9, 4), (0, 6), (13, 12)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_few_disagreements_are_judged_exactly(wins, losses, level):
    correct = np.ones((2, 100), bool)
    correct[1, :wins] = False
    correct[0, 50 : 50 + losses] = False
    y = np.arange(100) % 2
    (one,) = guard(TWO, y, right_in(y, correct[0]), [("b", right_in(y, correct[1]))], level=level).compared
    p = binomtest(wins, wins + losses).pvalue
    assert wins + losses <= FEW
    assert one.p == pytest.approx(p)
    assert (one.better or one.worse) == (p < 1 - level)
    assert one.difference[0] == pytest.approx((wins - losses) / 100)
    assert one.difference[1] <= one.difference[0] <= one.difference[2]


def test_regression_counts_in_r2():
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    good, bad = y + 0.3 * rng.normal(size=200), np.zeros(200)
    verdict = guard(NUMBER, y, good, [("mean", bad)])
    assert verdict.decision == "transfer"
    assert "R²" in verdict.sentence


@pytest.mark.parametrize(("n", "task"), [(40, TWO), (300, TWO), (300, FAIR)])
def test_an_equal_is_seldom_called_better(n, task):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    kept = [
        guard(task, y, right_in(y, rng.random(n) < 0.8), [("b", right_in(y, rng.random(n) < 0.8))], seed=trial).decision
        for trial in range(150)
    ]
    assert kept.count("transfer") / 150 <= 0.09  # 0.05 is asked for


def test_the_best_of_many_equals_is_seldom_called_better():
    rng = np.random.default_rng(0)
    kept = {1: 0, 8: 0}
    for trial in range(100):
        correct = rng.random((9, 300)) < 0.8
        best = 1 + int(correct[1:].mean(axis=1).argmax())
        for tried in kept:
            verdict = guard(
                TWO,
                Y[:300],
                right_in(Y[:300], correct[best]),
                [("b", right_in(Y[:300], correct[0]))],
                tried=tried,
                seed=trial,
            )
            kept[tried] += verdict.decision == "transfer"
    assert kept[8] <= 10
    assert kept[1] > 15  # why it is asked how many were tried


def test_groups_make_copies_worth_one_row():
    y = np.arange(60) % 2
    a, b = np.arange(60) < 50, np.arange(60) < 48
    rows = np.arange(60).repeat(30)
    copied = right_in(y[rows], a[rows]), [("b", right_in(y[rows], b[rows]))]
    assert guard(TWO, y[rows], *copied).decision == "transfer"
    assert guard(TWO, y[rows], *copied, groups=rows).decision == "simpler"


def test_outputs_must_fit():
    with pytest.raises(DataError):
        guard(TWO, Y, first(Y, 3), [("b", np.ones((400, 3)))])
