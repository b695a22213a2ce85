"""Several passes over the same rows: what they are worth, and that they do not count as more rows."""

import numpy as np
import pytest
from scipy.stats import binomtest

from graft.core.task import Task
from graft.evaluate.metrics import evaluate, score
from graft.evaluate.passes import stacked
from graft.evaluate.selection import selected_score
from graft.trust.guard import guard

TWO = Task("classification", "text", ("a", "b"))
FAIR = Task("classification", "text", ("a", "b"), "macro_f1")
NUMBER = Task("regression", "table", metric="r2")
Y = np.arange(80) % 2


def answers(right):
    """Sure outputs that are right in some rows."""
    return np.eye(2)[np.where(right, Y, 1 - Y)] * 0.8 + 0.1


def some(share, seed):
    return answers(np.random.default_rng(seed).random(80) < share)


def values(seed):
    return np.random.default_rng(seed).normal(size=80)


def models(task):
    """Targets, and the outputs of three models."""
    if task is NUMBER:
        return values(0), [values(0) + 0.5 * values(seed) for seed in (1, 2, 3)]
    return Y, [some(0.9, 1), some(0.8, 2), some(0.6, 3)]


# -- the same pass several times says nothing new ----------------------------------------------------------------------


@pytest.mark.parametrize("groups", [None, np.arange(80) // 2], ids=["rows", "groups"])
@pytest.mark.parametrize("task", [TWO, FAIR, NUMBER], ids=["accuracy", "macro F1", "values"])
def test_repeating_a_pass_changes_no_score_interval_or_verdict(task, groups):
    y, outputs = models(task)
    once = stacked(y, [[one] for one in outputs], groups)
    often = stacked(y, [[one] * 5 for one in outputs], groups)
    assert (once.count, often.count, len(often.y)) == (1, 5, 400)
    for found in (once, often):
        options = {"groups": found.groups, "repeats": found.count}
        scores = evaluate(task, found.y, found.outputs[0], **options)
        names = dict(zip("abc", found.outputs, strict=True))
        picked = selected_score(task, found.y, names, **options)
        verdict = guard(task, found.y, found.outputs[0], [("b", found.outputs[1]), ("c", found.outputs[2])], **options)
        facts = [
            *scores[task.metric],
            *picked.score,
            *(x for one in verdict.compared for x in (*one.difference, one.p)),
        ]
        if found is once:
            wanted, returned = facts, verdict.returned
    assert facts == pytest.approx(wanted, abs=1e-9)
    assert verdict.returned == returned


def test_what_was_predicted_once_is_compared_with_every_pass():
    one, passes = some(0.8, 1), [some(0.8, seed) for seed in (2, 3, 4)]
    found = stacked(Y, [[one], passes])
    assert score(TWO, found.y, found.outputs[0]) == score(TWO, Y, one)
    assert score(TWO, found.y, found.outputs[1]) == pytest.approx(np.mean([score(TWO, Y, each) for each in passes]))


def test_parts_of_rows_are_judged_like_whole_ones_and_on_the_safe_side():
    good, base = np.arange(80) >= 20, np.arange(80) >= 26
    whole = guard(TWO, Y, answers(good), [("b", answers(base))]).compared[0]
    assert whole.better
    assert whole.p == pytest.approx(binomtest(6, 6).pvalue)
    # of three passes each of the six rows is won in two: four rows in all, which decide nothing
    passes = [answers(good & ~((np.arange(80) - 20 == i) | (np.arange(80) - 23 == i))) for i in range(3)]
    found = stacked(Y, [passes, [answers(base)]])
    part = guard(TWO, found.y, found.outputs[0], [("b", found.outputs[1])], repeats=3).compared[0]
    assert part.difference[0] == pytest.approx(4 / 80)
    assert not part.better
    assert part.p > whole.p


# -- what repeats bring ------------------------------------------------------------------------------------------------


def ridge(X, y, strength):
    """Coefficients of ridge on four classes, its strength as a share of the mean variance."""
    gram = X @ X.T
    return X.T @ np.linalg.solve(gram + strength * np.trace(gram) / len(X) * np.eye(len(X)), np.eye(4)[y] - 0.25)


def drawn(rng, n, d=20):
    """Rows of four classes, told best by the first columns, which vary least."""
    y = np.arange(n) % 4
    means = np.random.default_rng(99).normal(size=(4, d)) * 0.45 * np.linspace(1, 0.2, d)
    return means[y] + rng.normal(size=(n, d)) * np.linspace(0.5, 2, d), y


def held_out(X, y, strengths, rng, k=5):
    """Share of rows that each strength gets right when they are held out."""
    part, right = rng.permutation(np.arange(len(y)) % k), np.zeros(len(strengths))
    for fold in range(k):
        train, test = part != fold, part == fold
        for i, strength in enumerate(strengths):
            right[i] += np.sum((X[test] @ ridge(X[train], y[train], strength)).argmax(axis=1) == y[test])
    return right / len(y)


def test_repeated_folds_choose_the_better_of_two_more_often():
    strengths, fresh = (0.01, 1.0), drawn(np.random.default_rng(1), 4000)
    right = {1: [], 5: []}
    for seed in range(120):
        rng = np.random.default_rng([seed, 7])
        X, y = drawn(rng, 100)
        truth = [np.mean((fresh[0] @ ridge(X, y, each)).argmax(axis=1) == fresh[1]) for each in strengths]
        passes = np.stack([held_out(X, y, strengths, rng) for _ in range(5)])
        for count, found in right.items():
            gap = np.subtract(*passes[:count].mean(axis=0))
            found.append(0.5 if gap == 0 else (gap > 0) == (truth[0] > truth[1]))
    assert np.mean(right[5]) > np.mean(right[1]) + 0.05


def test_the_score_of_the_best_of_many_stays_honest():
    """Rows differ in how often they are got right; passes over a row agree with each other more than rows do."""
    rng = np.random.default_rng(0)
    honest, naive, covered = [], [], []
    for trial in range(60):
        ability = rng.beta(1.4, 0.6, (12, 1, 80))  # 0.7 on average, for each of twelve equal models
        passes = rng.random((12, 5, 80)) < ability
        found = stacked(Y, [[answers(right) for right in one] for one in passes])
        names = {str(i): one for i, one in enumerate(found.outputs)}
        picked = selected_score(TWO, found.y, names, repeats=5, seed=trial, times=200)
        honest.append(picked.score[0])
        naive.append(picked.score[0] + picked.optimism)
        covered.append(picked.score[1] <= 0.7 <= picked.score[2])
    assert np.mean(honest) == pytest.approx(0.7, abs=0.012)
    assert np.mean(naive) > 0.74
    assert np.mean(covered) > 0.85
