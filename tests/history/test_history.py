"""The history of finished runs: what is kept of them, where, and that nothing else is lost or shown."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from history.past_runs import past_run, past_trial, task

from graft.auto import AutoFit, Config
from graft.core.errors import UsageError
from graft.core.store import Store
from graft.core.types import Run
from graft.history.history import History, Suggestion, settled
from graft.history.statistics import statistics
from graft.testing import toy_data

BOTH = {"classical": 0.7, "probe": 0.8}


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "history")


def names(history):
    return [entry.name for entry in history.entries()]


# -- what is kept ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tiny_bert, tmp_path_factory):
    """A real run with the three cheap ways, and its data."""
    data = toy_data("text")
    config = Config(budget=None, methods=("majority", "classical", "probe"), models=(f"hf:{tiny_bert}",))
    _, run = AutoFit(data, config, Store(tmp_path_factory.mktemp("store"))).run()
    return data, Run.from_json(json.loads(json.dumps(run.to_json(), default=float)))


def test_a_run_is_remembered_with_its_trials(finished, history, tiny_bert):
    data, run = finished
    path = history.add(run, statistics(data), weights={f"hf:{tiny_bert}": "abc"})
    (entry,) = history.entries()
    assert path == history.folder / f"{entry.key}.json"
    assert entry.fingerprint == data.fingerprint()
    assert (entry.rows, entry.metric, entry.best) == (48, "accuracy", run.answer["trial"])
    assert list(entry.score) == run.answer["score"]
    assert [trial.transfer for trial in entry.trials] == ["majority", "classical", "probe"]
    probe = entry.trials[2]
    assert (probe.source, probe.weights, probe.state, probe.folds) == (f"hf:{tiny_bert}", "abc", "done", 5)
    assert probe.value == run.trials[2]["score"][0]
    assert probe.seconds == run.trials[2]["seconds"] > 0
    assert 0 <= entry.statistics["classical"] <= 1
    assert entry.statistics["lead"] == pytest.approx(probe.value - entry.trials[1].value, abs=1e-6)


def test_nothing_of_the_rows_is_kept(finished, history):
    data, run = finished
    text = history.add(run, statistics(data)).read_text()
    assert "parcel" in data.take()[0]  # in the rows, and the name of a class
    for word in ("parcel", "lost", "card", "does not work"):
        assert word not in text
    assert len(text) < 5000


def test_settings_are_those_that_differ_from_the_default(history):
    tried = [
        past_trial("finetune", 0.9, seed=3, epochs=2.4719, lr=3.1234e-4),  # as many epochs as there was time for
        past_trial("finetune", 0.9, epochs=5.0),  # one of those that are searched
        past_trial("finetune", 0.8, seed=3, mixup=0.0),
        past_trial("from a plug-in", 0.8, depth=3, odd={"a": 1}),
    ]
    history.add(past_run(trials=tried), task())
    kept = [trial.settings for trial in history.entries()[0].trials]
    assert kept == [{}, {"lr": 3.1e-4}, {"epochs": 5.0}, {}, {"depth": 3}]


def test_the_standard_error_is_read_off_the_interval(history):
    history.add(past_run(scores=BOTH), task())
    history.add(past_run("g", trials=[past_trial("probe", None, state="failed")]), task())
    trials = {entry.name: entry.trials for entry in history.entries()}
    assert trials["f"][1].error == pytest.approx(0.01, rel=1e-4)
    assert (trials["g"][1].score, trials["g"][1].error, trials["g"][1].state) == (None, 0.0, "failed")


def test_only_a_finished_run_is_remembered(history):
    with pytest.raises(UsageError, match="only a finished run"):
        history.add(Run(), task())
    assert not history.folder.exists()


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_newer_run_of_the_same_data_and_configuration_takes_the_place_of_the_older(history):
    history.add(past_run(scores=BOTH), task())
    history.add(past_run(scores=BOTH | {"probe": 0.9}, version="0.2.0", command="graft fit again"), task())
    assert [entry.score[0] for entry in history.entries()] == [0.9]
    history.add(past_run(scores=BOTH, seed=1), task())
    history.add(past_run("other", scores=BOTH), task())
    assert names(history) == ["other", "f", "f"]


def test_the_oldest_runs_are_forgotten(tmp_path):
    history = History(tmp_path, most=3)
    for number in range(6):
        history.add(past_run(f"n{number}"), task())
    assert names(history) == ["n5", "n4", "n3"]


def test_runs_are_forgotten_by_key_or_all_together(history):
    assert history.entries() == []
    assert history.clear() == 0
    for name in "abc":
        history.add(past_run(name), task())
    assert history.remove(history.entries()[1].key, "nothing", "../other") == 1
    assert names(history) == ["c", "a"]
    (history.folder / "damaged.json").write_text("{")
    assert history.clear() == 3
    assert list(history.folder.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"{", b"[1]", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"format": 1}', b'{"format": "1", "trials": 3}',
        ("rows", "many"), ("rows", 1e400), ("statistics", [1]), ("statistics", {"rows": "x", "size": [1]}),
        ("trials", [{}]), ("trials", "none"), ("score", [1]), ("fingerprint", None), ("seconds", "long"),
    ],
    ids=lambda damage: str(damage)[:40],
)  # fmt: skip
def test_a_damaged_file_is_left_out_with_a_note(history, damage):
    history.add(past_run("good"), task())
    path = history.add(past_run("bad"), task())
    if isinstance(damage, tuple):
        damage = json.dumps(json.loads(path.read_text()) | dict([damage])).encode()
    path.write_bytes(damage)
    assert names(history) == ["good"]
    assert len(history.notes) == 1
    assert path.name in history.notes[0]
    assert "damaged" in history.notes[0]
    assert history.add(past_run("bad"), task()) == path  # the next fit repairs it
    assert names(history) == ["bad", "good"]
    assert history.notes == []


def test_numbers_that_are_not_finite_count_as_missing(history):
    path = history.add(past_run(), task())
    kept = json.loads(path.read_text())
    path.write_text(
        json.dumps(kept | {"statistics": task(rows=float("nan"), size=float("inf")), "seconds": float("nan")})
    )
    (entry,) = history.entries()
    assert (entry.statistics["rows"], entry.statistics["size"], entry.seconds) == (None, None, 0.0)


def test_a_file_of_a_newer_graft_is_left_out_with_a_note(history):
    path = history.add(past_run(), task())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    assert history.entries() == []
    assert "newer graft" in history.notes[0]


def test_a_folder_that_cannot_be_written_to_loses_no_model(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    history = History(tmp_path / "file")
    assert history.add(past_run(), task()) is None
    assert history.entries() == []
    assert (tmp_path / "file").read_text() == "not a folder"


def test_the_folder_lies_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAFT_CACHE", str(tmp_path / "elsewhere"))
    path = History().add(past_run(), task())
    assert path.parent == tmp_path / "elsewhere" / "history"


# -- processes ---------------------------------------------------------------------------------------------------------

ADD = """
import sys
sys.path.insert(0, {tests!r})
from history.past_runs import past_run, task
from graft.history.history import History
for number in range(15):
    assert History({folder!r}).add(past_run(sys.argv[1] + str(number)), task())
    assert History({folder!r}).add(past_run("shared"), task())
assert "torch" not in sys.modules  # a list of runs must not wait for it
"""
TESTS = str(Path(__file__).parents[1])


def test_processes_that_add_at_once_lose_nothing(history):
    code = ADD.format(tests=TESTS, folder=str(history.folder))
    started = [subprocess.Popen([sys.executable, "-c", code, name], stderr=subprocess.PIPE) for name in "ab"]
    for process in started:
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 0
    assert sorted(names(history)) == sorted(["shared", *(f"{name}{i}" for name in "ab" for i in range(15))])
    assert history.notes == []
    assert len(list(history.folder.iterdir())) == 31


def test_a_process_killed_before_the_rename_leaves_no_half_file(history):
    code = f"""
import os, signal, sys
sys.path.insert(0, {TESTS!r})
from history.past_runs import past_run, task
from graft.history.history import History
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
History({str(history.folder)!r}).add(past_run(), task())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert history.entries() == history.notes == []
    (rest,) = history.folder.iterdir()
    assert rest.suffix == ".tmp"
    history.add(past_run(), task())
    assert rest.exists()  # it might be another process that is still writing
    os.utime(rest, (0, 0))
    history.add(past_run(), task())
    assert not rest.exists()


def test_readers_see_whole_files_while_others_write(history):
    done = threading.Event()

    def write():
        for number in range(40):
            history.add(past_run(f"n{number % 4}", scores=BOTH), task())
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reader = History(history.folder)
    while not done.is_set():
        assert all(len(entry.trials) == 3 for entry in reader.entries())
        assert reader.notes == []
    writer.join()


# -- use ---------------------------------------------------------------------------------------------------------------


def test_a_fit_done_twice_does_the_same_twice(finished, history):
    """Its own past does not count."""
    data, run = finished
    facts = statistics(data)
    history.add(past_run("other", scores=BOTH), facts)
    before = history.suggest(facts, exclude=data.fingerprint())
    history.add(run, facts)
    assert history.suggest(facts, exclude=data.fingerprint()) == before != []
    assert [entry.name for _, entry in history.similar(facts, exclude="other")] == [run.data["name"]]
    assert history.similar(facts)[0][0] == 0.0


def test_an_interrupted_run_goes_on_in_the_order_it_began_with(history, tmp_path):
    path = tmp_path / "work" / "suggestions.json"
    history.add(past_run("a", scores=BOTH), task())

    def make():
        return history.suggest(task())

    first = settled(path, make)
    assert [one.transfer for one in first] == ["probe", "classical", "majority"]
    history.clear()
    assert settled(path, make) == first
    assert settled(None, make) == []
    path.write_text("[{")
    assert settled(path, make) == []
    assert settled(path, lambda: [Suggestion("probe")]) == []  # nothing is an answer too


def test_features_of_a_run_are_compared_only_with_those_of_the_same_source(finished, history):
    data, run = finished
    facts = statistics(data) | {"dimension": 1.0, "between": 0.1, "linear": 0.2, "features_of": "abc"}
    history.add(run, facts)
    same = history.similar(facts | {"linear": 0.8})[0][0]
    other = history.similar(facts | {"linear": 0.8, "features_of": "xyz"})[0][0]
    assert same > other == 0.0
    assert np.isfinite(same)
