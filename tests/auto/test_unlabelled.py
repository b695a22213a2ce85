"""Rows without a label in a run: set apart, learned from, and what they brought."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import make_table, make_texts

from graft.auto import AutoFit, Config
from graft.auto.trials import Runner
from graft.auto.unlabelled import apart, gain
from graft.auto.ways import RESERVE, Ways
from graft.core.registry import TRANSFERS
from graft.core.runtime import Clock
from graft.core.store import Store
from graft.core.types import Ranking, RankRow
from graft.data.load import load
from graft.evaluate.search import Candidate, Trial
from graft.sources.base import describe_model

SEMI = ("propagation", "pseudo_labels")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def partly(n=60, every=3, seed=0):
    """Texts of which one in ``every`` has a label."""
    texts, y = make_texts(n, seed=seed)
    texts = [f"{text} {number}" for number, text in enumerate(texts)]  # none says the same as another
    return load((texts, [label if i % every == 0 else None for i, label in enumerate(y)]), partly=True)


def fit(data, store, tiny_bert, **options):
    config = Config(
        **{"budget": None, "models": (f"hf:{tiny_bert}",), "methods": ("classical", "probe", *SEMI)} | options
    )
    auto = AutoFit(data, config, store)
    return auto, *auto.run()


# -- set apart ---------------------------------------------------------------------------------------------------------


def test_rows_without_a_label_are_set_apart():
    data = partly()
    labelled, (others,) = apart(data)
    assert (len(labelled), len(others)) == (20, 40)
    assert (labelled.y >= 0).all()
    assert others.y is None
    assert not set(labelled.rows) & set(others.rows)
    whole = load(make_texts(20))
    assert apart(whole)[0].rows.tolist() == whole.rows.tolist()
    assert apart(whole)[1] == ()


def test_values_that_are_missing_are_no_labels():
    X, y = make_table(30, kind="regression")
    labelled, (others,) = apart(load((X, [None if i % 2 else float(v) for i, v in enumerate(y)]), partly=True))
    assert (len(labelled), len(others)) == (15, 15)
    assert np.isfinite(labelled.y).all()


def test_copies_of_labelled_rows_and_of_their_groups_are_left_out():
    data = load((["one", "two", "One ", "three", "four"], ["a", "b", None, None, None]), partly=True)
    _, (others,) = apart(data)
    assert others.take() == ["three", "four"]
    data = dataclasses.replace(data, groups=np.array([0, 1, 2, 0, 3]))
    assert apart(data)[1][0].take() == ["four"]
    more = load(["TWO", "five"], labelled=False, like=data)
    assert [part.take() for part in apart(data, (more,))[1]] == [["four"], ["five"]]


# -- which ways learn from them ----------------------------------------------------------------------------------------


def ways(row, unlabelled=(), budget=None, **options):
    data = load(make_texts(40))
    folds = [(np.arange(8, 40), np.arange(8))]
    state = SimpleNamespace(
        config=Config(budget, **options), data=data, search=data, folds=folds, clock=Clock(budget),
        ranking=Ranking((row,)), left_out=[], unlabelled=unlabelled,
    )  # fmt: skip
    return Ways(state)


@pytest.fixture
def row(tiny_bert):
    return RankRow(describe_model(f"hf:{tiny_bert}"), cost=0.001)


def test_they_are_tried_where_there_are_such_rows_only(row):
    others = (load([f"row {i}" for i in range(8)], labelled=False),)
    for effort, wanted in (("probe", set()), ("fast", set(SEMI)), ("thorough", {*SEMI, "consistency"})):
        with_rows = {one.transfer for one in ways(row, others, effort=effort).trained()}
        without = {one.transfer for one in ways(row, effort=effort).trained()}
        assert with_rows - without == wanted
        assert not any(TRANSFERS[name].semi for name in without)
    few = (load(["more", "of it"], labelled=False),)  # beside forty labelled ones: not worth the time
    assert not any(TRANSFERS[one.transfer].semi for one in ways(row, few).trained())
    assert [one.transfer for one in ways(row, methods=("propagation",)).trained()] == ["propagation"]


def test_many_such_rows_cost_time_and_are_thinned_to_fit(row):
    others = (load([f"row {i}" for i in range(6000)], labelled=False),)
    free = {one.transfer: one for one in ways(row, others).trained()}["propagation"]
    assert "max_rows" not in free.settings
    assert free.seconds(32) > 6000 * 0.001 / 2  # half of their pass
    short = {one.transfer: one for one in ways(row, others, budget=30 + RESERVE).trained()}["propagation"]
    assert 500 <= short.settings["max_rows"] < 6000
    assert short.seconds(32) + short.seconds(40) < 30 * 0.3


# -- what they brought -------------------------------------------------------------------------------------------------


def trial(way, right, seed, n=300, spec=None):
    y = np.arange(n) % 2
    wrong = np.random.default_rng(seed).permutation(n) >= right * n
    outputs = np.eye(2)[np.where(wrong, 1 - y, y)] * 0.8 + 0.1
    return Trial(Candidate(way, spec=spec), outputs=outputs)


@pytest.mark.parametrize(
    ("semi", "effect", "words"),
    [
        (0.95, "better", "helped: label propagation of tiny is better than probe of tiny by 10.0 points ["),
        (0.70, "worse", "did harm: label propagation of tiny is worse than probe of tiny by 15.0 points ["),
        (
            0.853,
            "not beyond noise",
            "no difference beyond noise: label propagation of tiny minus probe of tiny is 0.3 points",
        ),
    ],
)
def test_what_they_brought_is_said_with_an_interval(row, semi, effect, words):
    spec = dataclasses.replace(row.spec, name="tiny")
    texts, y = make_texts(300)
    data = load((texts, y))
    trials = [trial("classical", 0.99, 1), trial("probe", 0.85, 2, spec=spec), trial("propagation", semi, 3, spec=spec)]
    state = SimpleNamespace(
        search=data, config=Config(None), trials=trials, unlabelled=(load(["a", "b"], labelled=False),)
    )
    state.runner = Runner(state)
    found = gain(state, trials[2])
    assert found["effect"] == effect
    assert words in found["sentence"]
    assert found["sentence"].startswith("the 2 rows without a label ")
    assert found["used"] is True
    low, high = found["difference"][1:]
    assert {"better": low > 0, "worse": high < 0}.get(effect, low <= 0 <= high)
    late = Trial(Candidate("propagation", spec=spec), state="skipped", reason="needs about 90 s, 3 s are left")
    state.trials = [*trials[:2], late]
    sentence = gain(state, trials[1])["sentence"]
    assert sentence.startswith(
        "the 2 rows without a label were used by nothing: label propagation of tiny skipped (needs"
    )
    state.trials = trials[:2]
    assert gain(state, trials[1]) is None
    state.trials, state.unlabelled = trials, ()
    assert gain(state, trials[1]) is None


def test_a_run_says_what_became_of_them(tiny_bert, store, tmp_path):
    data = partly(90)
    auto, model, run = fit(data, store, tiny_bert)
    assert run.data["rows"] == 30
    assert run.data["unlabelled"] == run.answer["unlabelled"]["rows"] == 60
    said = "60 row(s) without a label may help: label propagation, self-training with pseudo-labels learn from them too"
    assert any(said in note for note in run.data["notes"])
    assert {trial["transfer"] for trial in run.trials} >= set(SEMI)
    assert all(trial["state"] in ("done", "stopped") for trial in run.trials)
    assert len(model.predict(["bad card", "good card"])) == 2
    assert auto.setting().unlabelled == auto.unlabelled
    # other rows without a label are another search: nothing of it may be taken for this one
    other = AutoFit(partly(120), auto.config, store)
    other.data, other.unlabelled = apart(other.data)
    other._split()
    assert other.trial_store.key != auto.trial_store.key


def test_the_best_way_without_them_stands_against_one_with_them(row):
    """Whatever its simplicity: what learned from them is returned only if it beats it."""
    auto = AutoFit(load(make_texts(300)), Config(None))
    auto.search, auto.unlabelled = auto.data, (load([f"row {i}" for i in range(40)], labelled=False),)
    auto.ways, auto.runner = Ways(auto), Runner(auto)
    one = {"spec": row.spec}
    auto.trials = [trial("majority", 0.5, 1), trial("probe", 0.7, 2, **one), trial("finetune", 0.9, 3, **one)]
    auto.trials.append(trial("propagation", 0.906, 4, **one))
    assert TRANSFERS["finetune"].simplicity >= TRANSFERS["propagation"].simplicity
    chosen, verdict = auto._choose()
    assert chosen.candidate.transfer == "finetune"
    assert [name.split(" of ")[0] for name in (found.name for found in verdict.compared)][-1] == "fine-tuning"
    auto.trials[-1] = trial("propagation", 0.97, 4, **one)
    assert auto._choose()[0].candidate.transfer == "propagation"


def test_values_have_no_way_that_learns_from_them(store):
    X, y = make_table(60, kind="regression")
    data = load((X, [None if i % 3 else float(v) for i, v in enumerate(y)]), partly=True)
    _, run = AutoFit(data, Config(None, methods=("classical",)), store).run()
    assert any("40 row(s) without a label left out (" in note for note in run.data["notes"])
    more = (load(X[:5] + 1, labelled=False, like=data),)
    _, run = AutoFit(load((X, y)), Config(None, methods=("classical",)), store, unlabelled=more).run()
    assert run.data["notes"][-1].startswith("5 row(s) without a label are left aside")
    assert run.answer["unlabelled"] is None
