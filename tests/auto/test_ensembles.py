"""Ensembles of a run: proposed where they are allowed, kept where they are better, whole or in parts, on disk as in memory."""

import dataclasses
import json

import numpy as np
import pytest

from graft.auto import AutoFit, Config, Listener
from graft.auto.ensembles import MEMBERS, propose
from graft.core.errors import BudgetError
from graft.core.registry import TRANSFERS
from graft.data.load import load
from graft.evaluate.search import Candidate, Trial
from graft.report import render_card, render_html
from graft.transfer.base import BaseTransfer, load_transfer

COLUMNS = {"front": [0, 1], "middle": [2, 3], "back": [4, 5]}


class Part(BaseTransfer):
    """Logistic regression on some of the columns of a table."""

    simplicity = 2
    late = ()  # ways that find no time to be fitted on all rows
    rows = 0

    def _columns(self, data):
        columns = list(data.take().values())
        return np.column_stack([np.asarray(columns[place], float) for place in COLUMNS[self.name]])

    def _fit(self, data, setting):
        from sklearn.linear_model import LogisticRegression

        if self.name in Part.late and len(data) == Part.rows:
            raise BudgetError("no time was left")
        model = LogisticRegression().fit(self._columns(data), data.y)
        self.coef_, self.intercept_ = model.coef_, model.intercept_

    def _outputs(self, data, store):
        chance = 1 / (1 + np.exp(-(self._columns(data) @ self.coef_[0] + self.intercept_[0])))
        return np.stack([1 - chance, chance], axis=1)

    def _arrays(self):
        return {}, {"coef": self.coef_, "intercept": self.intercept_}

    def _restore(self, state, arrays):
        self.coef_, self.intercept_ = arrays["coef"], arrays["intercept"]


@pytest.fixture(autouse=True)
def _ways(monkeypatch):
    """Three ways, each of which sees a third of the columns."""
    len(TRANSFERS)  # scanned before it is added to
    for name in COLUMNS:
        monkeypatch.setitem(TRANSFERS._entries, name, type(name, (Part,), {"name": name, "label": name}))
        TRANSFERS[name]
    monkeypatch.setattr(Part, "late", ())


def make(n=400, seed=0, weights=(1, 1, 1, 1, 1, 1)):
    """Rows whose class hangs on all columns."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    return X, np.where(X @ np.array(weights, float) + 0.3 * rng.normal(size=n) > 0, "yes", "no").tolist()


def fit(data, work=None, listener=None, **options):
    config = Config(**{"budget": None, "methods": tuple(COLUMNS), "ensemble": True, "folds": 3} | options)
    auto = AutoFit(data, config, None, listener or Listener(), work)
    return auto, *auto.run()


@pytest.fixture(scope="module")
def data():
    return load(make())


# -- the choice --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folds", [3, 1], ids=["folds", "one part held out"])
def test_a_mean_that_is_better_than_the_best_is_returned(data, folds):
    _, model, run = fit(data, folds=folds)
    answer = run.answer
    assert (answer["transfer"], answer["trial"]) == ("ensemble", "ensemble of 3")
    assert sorted(one["name"] for one in answer["members"]) == sorted(COLUMNS)
    assert sum(one["weight"] for one in answer["members"]) == pytest.approx(1)
    best = max(trial["score"][0] for trial in run.trials if trial["transfer"] in COLUMNS)
    assert answer["score"][0] > best + 0.03
    assert "ensemble of 3 is better than" in run.guard["sentence"]
    fresh, y = make(1000, seed=9)
    right = np.mean(model.predict(fresh) == y)
    assert answer["score"][1] - 0.03 < right < answer["score"][2] + 0.03  # what it promised
    assert right > max(np.mean(member.predict(fresh) == y) for member in model.members_) + 0.03


def test_it_is_not_proposed_unless_asked_for(data):
    _, _, run = fit(data, ensemble=False)
    assert "ensemble" not in {trial["transfer"] for trial in run.trials}
    assert run.answer["members"] == []


def test_a_mean_that_is_no_better_is_not_returned_and_the_reason_is_said():
    _, model, run = fit(load(make(weights=(1, 1, 0.15, 0.15, 0, 0))))
    assert model.name == "front"
    row = run.trials[-1]
    assert row["transfer"] == "ensemble"
    if row["state"] == "done":
        assert "the ensemble of" in run.guard["sentence"]
        assert "is not better than front beyond noise (" in run.guard["sentence"]
    else:
        assert row["reason"] in (
            "no mean of several is better than front alone",
            "fewer than two ways came to their end",
        )
    _, _, alone = fit(load(make(weights=(1, 1, 0.15, 0.15, 0, 0))), ensemble=False)
    assert run.answer["score"] == alone.answer["score"]  # what was not returned changes nothing


def test_what_is_no_class_or_number_has_no_mean(data):
    auto, _, _ = fit(data, ensemble=False)
    auto.data = dataclasses.replace(data, task=dataclasses.replace(data.task, kind="tagging"))
    assert "no mean of the outputs of a tagging" in propose(auto, auto.runner, auto.trials).reason


# -- limits ------------------------------------------------------------------------------------------------------------


def test_members_stay_within_the_limits_together(data):
    auto, _, run = fit(data, max_size=1.0)
    assert len(run.answer["members"]) == 3
    each = max(trial.use.bytes for trial in auto.trials)
    assert each > 0
    _, _, run = fit(data, max_size=2.5 * each / 1e6)
    assert len(run.answer["members"]) == 2
    _, model, run = fit(data, max_size=1.5 * each / 1e6)
    assert model.name in COLUMNS
    assert "no mean of several is better than" in run.trials[-1]["reason"]
    auto.config = dataclasses.replace(auto.config, max_latency=1.0)
    for trial in auto.trials:
        trial.use = trial.use._replace(ms=0.6)
    singles = [trial for trial in auto.trials if not trial.candidate.members]
    assert len(propose(auto, auto.runner, singles).candidate.members) == 0
    auto.config = dataclasses.replace(auto.config, max_latency=1.3)
    assert len(propose(auto, auto.runner, singles).candidate.members) == 2


def test_what_it_takes_is_the_sum_over_its_members(data):
    auto, _, _ = fit(data)
    singles = {trial.candidate.name: trial for trial in auto.trials}
    mean = singles.pop("ensemble of 3")
    members = [singles[one.name] for one in mean.candidate.members]
    assert mean.ms_per_example == pytest.approx(sum(one.ms_per_example for one in members))
    assert mean.candidate.seconds(100) == sum(auto.runner.predicted(one.candidate, 100) for one in members)
    assert len(members) <= MEMBERS


# -- the fit on all rows -----------------------------------------------------------------------------------------------


def test_a_member_without_time_is_left_out_and_the_weights_are_chosen_again(data, monkeypatch):
    monkeypatch.setattr(Part, "rows", len(data))
    monkeypatch.setattr(Part, "late", ("back",))
    _, model, run = fit(data)
    assert run.answer["trial"] == "ensemble of 2"
    assert sorted(one["name"] for one in run.answer["members"]) == ["front", "middle"]
    assert sum(model.shares_) == pytest.approx(1)
    assert "no time to fit all members on all rows: ensemble of 2 is returned" in run.guard["sentence"]
    assert any(trial["name"] == "ensemble of 2" for trial in run.trials)  # the score is that of what is returned
    fresh, y = make(1000, seed=9)
    assert run.answer["score"][1] - 0.03 < np.mean(model.predict(fresh) == y) < run.answer["score"][2] + 0.03
    monkeypatch.setattr(Part, "late", ("back", "front"))
    _, model, run = fit(data)
    assert model.name == run.answer["trial"] == "middle"
    assert run.answer["members"] == []


# -- on disk -----------------------------------------------------------------------------------------------------------


def test_it_is_saved_opened_and_shown(data, tmp_path):
    _, model, run = fit(data)
    again = load_transfer(model.save(tmp_path / "run"))
    assert np.array_equal(again.outputs(data), model.outputs(data))
    facts = json.loads(json.dumps(run.to_json(), allow_nan=False, default=float))
    assert facts["answer"]["settings"]["weights"] == [one["weight"] for one in facts["answer"]["members"]]
    for lang, word in (("en", "Members"), ("zh", "成员")):
        page = render_html(type(run).from_json(facts), lang=lang)
        assert word in page
        for member in facts["answer"]["members"]:
            assert f"{member['weight']:.1%} · {member['name']}" in page
    assert "% front" in render_card(run)


def test_an_interrupted_run_goes_on_to_the_same_mean(data, tmp_path):
    _, straight, wanted = fit(data, tmp_path / "straight")

    class Impatient(Listener):
        def on_trial(self, trial, score):
            if trial.candidate.transfer == "ensemble":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(data, tmp_path / "work", Impatient())
    _, resumed, run = fit(data, tmp_path / "work")
    assert run.answer["members"] == wanted.answer["members"]
    assert run.answer["score"] == wanted.answer["score"]
    assert np.array_equal(resumed.outputs(data), straight.outputs(data))


def test_values_are_averaged_too():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(300, 6)), rng.normal(size=300)
    auto, _, _ = fit(load((X, y)), methods=("classical",), ensemble=False, folds=2)
    y = auto.search.y
    singles = [
        Trial(Candidate(name), outputs=y + 0.5 * rng.normal(size=300), folds=2) for name in ("classical", "scratch")
    ]
    mean = propose(auto, auto.runner, singles)
    assert mean.outputs.shape == (300,)
    assert auto.runner.value(mean) > max(map(auto.runner.value, singles)) + 0.05
    assert [one["transfer"] for one in mean.candidate.settings["members"]] == [
        "scratch",
        "classical",
    ]  # the better first
