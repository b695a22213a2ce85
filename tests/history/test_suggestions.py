"""Similarity, and what it suggests: what won near comes first, and an order is only an order."""

import random

import pytest
from history.past_runs import past_run, past_trial, task

from graft.core.types import ModelSpec
from graft.evaluate.search import Candidate
from graft.history.history import History, Suggestion, order, similar, starts, suggest, way_of


@pytest.fixture
def history(tmp_path):
    return History(tmp_path)


def transfers(suggestions):
    return [one.transfer for one in suggestions if one.transfer != "majority"]


# -- similarity --------------------------------------------------------------------------------------------------------


def test_equal_statistics_are_at_distance_zero(history):
    for size in (0.0, 1.0, 4.0):
        history.add(past_run(f"size {size}"), task(size=size))
    distances = {entry.name: distance for distance, entry in history.similar(task(size=1.0))}
    assert list(distances) == ["size 1.0", "size 0.0", "size 4.0"]
    assert distances["size 1.0"] == 0.0


def test_only_the_same_kind_and_modality_are_compared(history):
    history.add(past_run("text"), task())
    history.add(past_run("image"), task("image"))
    history.add(past_run("value"), task() | {"kind": "regression"})
    assert [entry.name for _, entry in history.similar(task())] == ["text"]
    assert history.similar(task("audio")) == []
    assert history.similar(task(), exclude="text") == []


def test_one_run_is_enough_for_a_distance(history):
    history.add(past_run(), task(rows=5.0))
    ((distance, _),) = history.similar(task(rows=7.0))
    assert distance == pytest.approx(2 / 3)  # two units of rows, and nothing of classes and size


def test_what_varies_among_the_past_counts_less(history):
    for number, rows in enumerate((2.0, 6.0, 10.0, 14.0, 18.0)):
        history.add(past_run(f"n{number}"), task(rows=rows))
    distances = sorted(distance for distance, _ in history.similar(task(rows=8.0)))
    assert distances[0] == pytest.approx(2 / (1.4826 * 4) / 3)


def test_statistics_that_one_of_both_lacks_do_not_count(history):
    history.add(past_run(), task(entropy=None, linear=3.0))
    assert history.similar(task(entropy=0.2, linear=None))[0][0] == 0.0
    bare = {"kind": "classification", "modality": "text"}
    assert history.similar(bare) == []  # nothing to compare by


# -- suggestions -------------------------------------------------------------------------------------------------------


def test_what_won_near_and_lost_far_is_first_near_and_last_far(history):
    for number in range(3):
        history.add(
            past_run(f"small {number}", {"classical": 0.9, "probe": 0.8, "finetune": 0.7}), task(rows=number / 10)
        )
        history.add(past_run(f"large {number}", {"classical": 0.7, "probe": 0.8, "finetune": 0.9}), task(rows=9.0))
    small, large = history.suggest(task(rows=0.0)), history.suggest(task(rows=9.0))
    assert transfers(small) == ["classical", "probe", "finetune"]
    assert transfers(large) == ["finetune", "probe", "classical"]
    assert small[0].tasks == 6
    assert small[0].reason.startswith("won on 3 of the 4 most similar tasks that tried it: small")
    assert 0 < small[0].regret < 0.1 < small[2].regret < 0.2
    assert small[0].errors == pytest.approx(100 * small[0].regret, rel=1e-4)  # a standard error of one point


def test_the_formula_on_one_task(history):
    """Weight 1: half of the way from the middling regret to its own."""
    history.add(past_run("a", {"classical": 0.7, "probe": 0.8, "finetune": 0.9}), task())
    found = {one.transfer: one for one in history.suggest(task())}
    middling = 0.15  # of 0, 0.1, 0.2 and 0.4
    for name, own in (("finetune", 0.0), ("probe", 0.1), ("classical", 0.2), ("majority", 0.4)):
        assert found[name].regret == pytest.approx((own + middling) / 2)
    assert found["finetune"].reason == "won on the most similar task that tried it: a"
    assert found["classical"].reason == "20.0 points behind on the most similar task that tried it: a"


def test_a_win_far_away_counts_as_middling(history):
    history.add(past_run("near", {"classical": 0.8, "probe": 0.81, "finetune": 0.75}), task())
    history.add(past_run("far", {"scratch": 0.9, "probe": 0.5}), task(rows=40.0))
    found = history.suggest(task())
    assert transfers(found) == ["probe", "classical", "scratch", "finetune"]
    assert found[2].regret == pytest.approx(0.035, abs=1e-4)  # the median of 0, 0.01, 0.06 and 0.31


def test_equals_come_in_the_order_of_their_cost(history):
    tried = [
        past_trial("finetune", 0.901, seconds=50.0),
        past_trial("probe", 0.9, seconds=0.5),
        past_trial("scratch", 0.6),
    ]
    history.add(past_run("a", trials=tried), task())
    found = history.suggest(task())
    assert transfers(found) == ["probe", "finetune", "scratch"]
    assert [one.seconds for one in found[:2]] == [1.0, pytest.approx(100.0)]
    assert history.suggest(task(), exclude="a") == []


def test_times_are_geometric_means_and_may_be_missing(history):
    for name, seconds in (("a", 2.0), ("b", 8.0)):
        slow = past_trial("finetune", 0.9, seconds=seconds)
        history.add(past_run(name, {"probe": 0.8}, trials=[slow]), task())
    assert next(one for one in history.suggest(task()) if one.transfer == "finetune").seconds == pytest.approx(4.0)
    history.clear()
    history.add(past_run("no probe", {"classical": 0.8, "scratch": 0.9}), task())
    assert [one.seconds for one in history.suggest(task())] == [None] * 3


def test_a_run_that_compared_nothing_tells_nothing(history):
    history.add(past_run("only classical", {"classical": 0.9}), task())
    assert history.suggest(task()) == []
    history.add(past_run("only classical", {"probe": 0.95}, seed=1), task())  # the same data with another way
    assert transfers(history.suggest(task())) == ["probe", "classical"]


def test_many_runs_on_one_data_set_are_one_task(history):
    for seed in range(5):
        history.add(past_run("a", {"classical": 0.9, "probe": 0.8}, seed=seed), task())
    once = history.suggest(task())
    assert [one.tasks for one in once] == [1, 1, 1]
    for _ in range(4):
        history.remove(history.entries()[-1].key)
    assert history.suggest(task()) == once


def test_failed_trials_have_no_regret_and_stopped_ones_never_win(history):
    tried = [
        past_trial("scratch", None, state="failed"),
        past_trial("finetune", 0.95, state="stopped"),  # on some folds only
        past_trial("soup", None, state="skipped"),
    ]
    history.add(past_run("a", {"classical": 0.7, "probe": 0.9}, trials=tried), task())
    found = {one.transfer: one for one in history.suggest(task())}
    assert set(found) == {"majority", "classical", "probe", "finetune"}
    assert found["probe"].reason.startswith("won")
    assert "won" not in found["finetune"].reason


def test_settings_and_sources_are_ways_of_their_own(history):
    tried = [
        past_trial("probe", 0.9, source="hf:b", loss="logistic"),
        past_trial("probe", 0.7, source="hf:b"),
        past_trial("probe", 0.8, source="hf:a"),
    ]
    history.add(past_run("a", trials=tried), task())
    found = [(one.settings, one.source) for one in history.suggest(task()) if one.transfer == "probe"]
    assert found == [({"loss": "logistic"}, "hf:b"), ({}, "hf:a"), ({}, "hf:b")]


def test_a_source_that_moved_is_the_same_and_one_that_was_trained_anew_is_not(history):
    def remember(name, uri, weights):
        tried = [past_trial("probe", 0.9, source=uri)]
        history.add(past_run(name, {"classical": 0.8}, trials=tried), task(), weights={uri: weights} if weights else {})

    remember("first", "file:/old/place", "abc")
    remember("second", "file:/new/place", "abc")
    remember("third", "file:runs/mine", "v1 weights")
    remember("fourth", "file:runs/mine", "v2 weights")
    found = {one.source: one.tasks for one in history.suggest(task()) if one.transfer == "probe"}
    assert found == {"file:/new/place": 2, "file:runs/mine": 1, "file:runs/mine (v1 weigh)": 1}


def test_the_functions_are_those_of_the_history(history):
    history.add(past_run("a", {"classical": 0.9, "probe": 0.8}), task())
    near = similar(history.entries(), task(rows=1.0))
    assert suggest(near) == history.suggest(task(rows=1.0))
    assert suggest([]) == []


# -- order -------------------------------------------------------------------------------------------------------------


def test_an_order_is_a_permutation_and_stable():
    ways = [(name, {"depth": depth}, source) for name in "abc" for depth in (1, 2) for source in (None, "hf:a")]
    for seed in range(50):
        chance = random.Random(seed)
        candidates = [chance.choice(ways) for _ in range(10)]  # some occur twice
        named = chance.sample(ways, 6)
        found = order(candidates, [Suggestion(*way) for way in named])
        assert sorted(map(repr, found)) == sorted(map(repr, candidates))
        assert [way for way in found if way in named] == sorted((w for w in candidates if w in named), key=named.index)
        for before, after in zip(candidates, found, strict=True):
            assert (before in named) == (after in named)  # the unknown keep their place
            assert before in named or before == after
        assert order(found, [Suggestion(*way) for way in named]) == found


def test_no_suggestions_change_nothing():
    ways = [("probe", {}, "hf:a"), ("classical", {}, None)]
    assert order(ways, []) == ways
    assert order([], [Suggestion("probe")]) == []


def test_seed_and_defaults_do_not_make_another_way():
    spec = ModelSpec("hf:a", "a", "text")
    first = Candidate("finetune", {"seed": 4, "epochs": 2.4719, "lr": 3.1234e-4}, spec)
    second = Candidate("probe", {"loss": "squared"}, spec)
    suggestions = [Suggestion("probe", {}, "hf:a"), Suggestion("finetune", {"lr": 3.1e-4}, "hf:a")]
    found = order(iter([first, second]), suggestions, way_of)
    assert found[0] is second  # handed back as they came
    assert found[1] is first
    assert way_of(Candidate("scratch")) == ("scratch", {}, None)


def test_a_search_of_settings_starts_from_those_that_won(history):
    for name, lr in (("a", 3e-4), ("b", 3e-4), ("c", 6e-4)):
        tried = [past_trial("finetune", 0.9, lr=lr), past_trial("finetune", 0.8), past_trial("probe", 0.7)]
        history.add(past_run(name, trials=tried), task())
    assert starts(history.suggest(task()), "finetune") == [{"lr": 3e-4}, {"lr": 6e-4}, {}]
    assert starts(history.suggest(task()), "finetune", most=1) == [{"lr": 3e-4}]
    assert starts(history.suggest(task()), "bias") == []
