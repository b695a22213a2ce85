import numpy as np
import pytest
from conftest import make_texts

from graft.core.errors import BudgetError, DataError
from graft.core.registry import TRANSFERS
from graft.core.runtime import Clock
from graft.core.types import ModelSpec
from graft.data.load import load
from graft.data.splits import folds as make_folds
from graft.evaluate.search import Candidate, TrialStore, try_candidate
from graft.transfer.base import BaseTransfer, Setting
from graft.transfer.classical import Classical

SPEC = ModelSpec("x:y", "a model", "text", weights_sha256="abc")


@pytest.fixture
def data():
    return load(make_texts(60))


@pytest.fixture
def folds(data):
    return make_folds(data, k=3, seed=0)


@pytest.fixture
def calls(monkeypatch):
    """A transfer that notes on which rows it is fitted and asked, and can be told to fail."""
    notes = []

    class Fake(BaseTransfer):
        name = label = "fake"
        error, value = None, 0.25

        def _fit(self, data, setting):
            notes.append(("fit", data.rows.tolist(), setting))
            if Fake.error and len(notes) > Fake.at:
                raise Fake.error

        def _outputs(self, data, store):
            notes.append(("ask", data.rows.tolist(), store))
            return np.tile([Fake.value, 1 - Fake.value], (len(data), 1))

        def _arrays(self):
            return {}, {}

        def _restore(self, state, arrays):
            raise AssertionError("a search opens no saved model")

    Fake.notes = notes
    monkeypatch.setitem(TRANSFERS._entries, "fake", Fake)
    TRANSFERS["fake"]
    return Fake


def run(data, folds, candidate=None, *, folder=None, clock=None, **options):
    candidate = candidate or Candidate("fake")
    setting = Setting(clock=clock or Clock())
    return try_candidate(candidate, data, folds, setting=setting, store=TrialStore(folder, "key"), **options)


def test_each_row_is_predicted_by_a_model_that_has_not_seen_it(data, folds, calls):
    trial = run(data, folds)
    assert trial.usable
    assert trial.folds == 3
    assert trial.rows.all()
    for fit, ask in zip(calls.notes[::2], calls.notes[1::2], strict=True):
        assert not set(fit[1]) & set(ask[1])
        assert len(fit[1]) + len(ask[1]) == len(data)


def test_outputs_are_those_of_fitting_by_hand(data, folds):
    trial = run(data, folds, Candidate("classical"))
    for train, test in folds:
        wanted = Classical().fit(data.select(train)).outputs(data.select(test))
        assert np.array_equal(trial.outputs[test], wanted)
    assert trial.seconds >= trial.fit_seconds > 0
    assert trial.ms_per_example > 0


def test_a_candidate_may_ask_for_fewer_folds(data, folds, calls):
    trial = run(data, folds, Candidate("fake", folds=1))
    assert trial.folds == 1
    assert np.array_equal(np.flatnonzero(trial.rows), folds[0][1])
    assert trial.usable


@pytest.mark.parametrize(
    "error",
    [
        DataError("bad rows"),
        RuntimeError("tensor\nsizes"),
        KeyError("col"),
        MemoryError(),
        AssertionError(),
        TypeError(),
    ],
)
def test_a_failure_is_a_row_with_its_reason(data, folds, calls, error):
    calls.error, calls.at = error, 0
    trial = run(data, folds)
    assert trial.state == "failed"
    assert not trial.usable
    assert trial.reason
    assert "\n" not in trial.reason
    assert trial.outputs is None


def test_a_person_who_interrupts_is_heard(data, folds, calls):
    calls.error, calls.at = KeyboardInterrupt(), 0
    with pytest.raises(KeyboardInterrupt):
        run(data, folds)


def test_time_that_runs_out_keeps_what_is_done(data, folds, calls):
    calls.error, calls.at = BudgetError("no time left"), 2
    trial = run(data, folds)
    assert (trial.state, trial.folds, trial.reason) == ("stopped", 1, "no time left")
    assert not trial.usable
    assert np.array_equal(np.flatnonzero(trial.rows), folds[0][1])


def test_values_that_are_not_finite_are_a_failure(data, folds, calls):
    calls.value = float("nan")
    trial = run(data, folds)
    assert trial.state == "failed"
    assert "not finite" in trial.reason


def test_no_time_at_all(data, folds, calls):
    trial = run(data, folds, clock=Clock(0.0))
    assert (trial.state, trial.folds, trial.reason) == ("stopped", 0, "no time was left")
    assert calls.notes == []


def test_each_fold_gets_its_part_of_the_share(data, folds, calls):
    run(data, folds, clock=Clock(90.0), share=0.5)
    clocks = [note[2].clock for note in calls.notes if note[0] == "fit"]
    assert [round(clock.budget) for clock in clocks] == [15, 22, 45]  # of 45: a third, then half of what is left …


def test_hopeless_candidates_stop(data, folds, calls):
    seen = []

    def hopeless(trial):
        seen.append(int(trial.rows.sum()))
        return "clearly worse" if len(seen) == 2 else ""

    trial = run(data, folds, hopeless=hopeless)
    assert (trial.state, trial.reason, trial.folds) == ("stopped", "clearly worse", 2)
    assert seen == [20, 40]
    assert run(data, folds, hopeless=lambda trial: "" if trial.folds < 3 else "too late").state == "done"


# -- finished folds on disk --------------------------------------------------------------------------------------------


def test_an_interrupted_search_goes_on_where_it_stood(data, folds, calls, tmp_path):
    straight = run(data, folds)
    calls.error, calls.at = KeyboardInterrupt(), 4
    calls.notes.clear()
    with pytest.raises(KeyboardInterrupt):
        run(data, folds, folder=tmp_path)
    calls.error = None
    calls.notes.clear()
    trial = run(data, folds, folder=tmp_path)
    assert [note[0] for note in calls.notes] == ["fit", "ask"]  # the third fold alone
    assert np.array_equal(trial.outputs, straight.outputs)
    calls.notes.clear()
    again = run(data, folds, folder=tmp_path)
    assert calls.notes == []
    assert np.array_equal(again.outputs, straight.outputs)
    assert again.seconds == trial.seconds


def test_what_differs_is_not_taken_for_the_same(tmp_path):
    store = TrialStore(tmp_path, "key")
    paths = {
        store.path(candidate, fold)
        for candidate in (
            Candidate("a"), Candidate("b"), Candidate("a", {"lr": 1}), Candidate("a", {"lr": 2}), Candidate("a", spec=SPEC),
            Candidate("a", spec=ModelSpec("x:z", "another", "text", weights_sha256="def")),
        )
        for fold in (0, 1)
    } | {TrialStore(tmp_path, "other").path(Candidate("a"), 0)}  # fmt: skip
    assert len(paths) == 13
    assert store.path(Candidate("a", label="x"), 0) == store.path(Candidate("a", seconds=lambda rows: 9), 0)
    assert TrialStore(None, "key").path(Candidate("a"), 0) is None


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", b"text", None])
def test_a_damaged_fold_is_done_again(data, folds, calls, tmp_path, damage):
    wanted = run(data, folds, folder=tmp_path).outputs
    for path in tmp_path.glob("*.npz"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] + content[-200:] if damage is None else damage)
    calls.notes.clear()
    assert np.array_equal(run(data, folds, folder=tmp_path).outputs, wanted)
    assert len(calls.notes) == 6


def test_names_say_source_and_way():
    assert Candidate("classical").name == "classical baseline"
    assert Candidate("classical", label="TF-IDF").name == "TF-IDF"
    assert Candidate("probe", {"layers": "last", "seed": 1}, SPEC).name == "probe of a model (layers=last)"


def test_sources_are_handed_to_those_that_need_one():
    assert Candidate("probe", spec=SPEC).make().source is SPEC
    assert Candidate("probe", spec=SPEC, source="hf:x").make().source == "hf:x"
    assert not hasattr(Candidate("classical", {"C": 3.0}, SPEC).make(), "source")
