import numpy as np
import pytest

from graft.auto.race import behind, promoted, rungs
from graft.core.task import Task
from graft.evaluate.search import Candidate, Trial

TASK = Task("classification", "text", ("a", "b"))
Y = np.arange(200) % 2


def trial(name, right, *, rows=200, seed=0):
    """A trial that is right on a share of the rows."""
    wrong = np.random.default_rng(seed).permutation(200) >= right * 200
    outputs = np.eye(2)[np.where(wrong, 1 - Y, Y)] * 0.8 + 0.1
    outputs[rows:] = np.nan
    return Trial(Candidate("probe", label=name), state="waiting", outputs=outputs, folds=1)


def promote(trials, finished=(), *, left=float("inf"), seconds=1.0):
    return promoted(trials, list(finished), TASK, Y, of="1 of 5 folds", seconds=lambda _: seconds, left=left, seed=0)


@pytest.mark.parametrize("folds", range(1, 12))
def test_rungs_begin_with_one_fold_and_end_with_all(folds):
    found = rungs(folds)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (1, folds)


def test_what_is_far_behind_stops_and_says_behind_whom():
    good, fair, poor = trial("good", 0.9), trial("fair", 0.88, seed=1), trial("poor", 0.6, seed=2)
    assert promote([poor, fair, good]) == [fair, good]
    assert (poor.state, poor.reason) == ("stopped", "behind good after 1 of 5 folds")
    assert good.state == fair.state == "waiting"


def test_a_finished_rival_counts_too():
    poor = trial("poor", 0.6)
    done = trial("probe", 0.95, seed=1)
    done.state = "done"
    assert promote([poor], [done]) == []
    assert "behind probe" in poor.reason


def test_few_rows_drop_nobody():
    trials = [trial("good", 0.95, rows=40), trial("poor", 0.4, rows=40, seed=1)]
    assert promote(trials) == trials


def test_where_time_is_short_the_best_go_on():
    trials = [trial(str(i), right, rows=45, seed=i) for i, right in enumerate((0.5, 0.9, 0.7))]
    assert promote(trials, seconds=10.0, left=25.0) == [trials[1], trials[2]]
    assert "no time for more than 1 of 5 folds" in trials[0].reason
    assert promote(trials[1:], seconds=10.0, left=0.0) == [trials[1]]  # one always goes on; the clock has the last word


def test_rivals_without_these_rows_are_no_rivals():
    whole, part = trial("whole", 0.6), trial("part", 0.99, rows=100, seed=1)
    assert behind(whole, [part], TASK, Y, level=0.68, seed=0) == ""
    assert behind(part, [whole], TASK, Y, level=0.68, seed=0) == ""
