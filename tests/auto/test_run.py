"""The whole run on tiny data: honest choice, budgets, equal bytes, interruptions, broken sources."""

import dataclasses
import json
import re
import shutil
import time
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
from conftest import make_pictures, make_table, make_texts
from history.past_runs import past_run, past_trial
from safetensors.numpy import load_file, save_file

from graft.auto import EFFORTS, AutoFit, Config, Listener, find_sources, tune
from graft.core.errors import BudgetError, DataError, SourceError, UsageError
from graft.core.ragged import flat
from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.types import Run
from graft.data.load import load
from graft.evaluate import cost
from graft.evaluate.search import Trial
from graft.history.history import History
from graft.history.statistics import statistics
from graft.testing import TOYS, toy_data
from graft.transfer.base import load_transfer
from graft.transfer.classical import Classical

METHODS = ("classical", "probe")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One cache for the runs of this file: features are made once."""
    return Store(tmp_path_factory.mktemp("store"))


def fit(data, store=None, work=None, listener=None, **options):
    config = Config(**({"budget": None, "methods": METHODS} | options))
    return AutoFit(data, config, store, listener or Listener(), work).run()


def states(run):
    return {(trial["transfer"], trial["source_name"]): trial["state"] for trial in run.trials}


# -- the choice --------------------------------------------------------------------------------------------------------


def hidden_signal(n=160, seed=0):
    """The class hangs on a letter inside words that never occur twice: pieces of words show it, words do not."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    texts = []
    for i in range(n):
        unique = "".join("abcdefghij"[int(digit)] for digit in f"{i:03d}")
        letters = "".join(rng.choice(list("abcdefgh"), 4))
        texts.append(unique + ("zzz" if y[i] else "qqq") + letters)
    return load((texts, np.where(y, "pos", "neg").tolist()), modality="text")


def test_a_transfer_that_helps_is_kept(tiny_bert, store, monkeypatch):
    """Words that never occur twice tell a count of words nothing; the source reads their letters."""
    data = hidden_signal()
    model, run = fit(data, store, models=(f"hf:{tiny_bert}",))
    assert run.answer["transfer"] == "probe"
    assert run.answer["decision"] == "transfer"
    assert run.answer["source"] == f"hf:{tiny_bert}"
    assert run.answer["score"][0] > 0.85
    assert run.answer["baseline"]["score"][0] < run.answer["score"][1]
    assert " points more than " in run.answer["sentence"]
    assert "better than" in run.guard["sentence"]
    assert np.mean(model.predict(data) == data.labels) > 0.85


def test_random_labels_get_the_simplest_model(tiny_bert, store):
    """Chance may favour something once in a while; a transfer that helps nobody is never kept."""
    returned = []
    for seed in range(1, 6):
        texts, _ = make_texts(120, signal=False, seed=seed)
        y = np.random.default_rng(seed).permutation(np.repeat(["a", "b"], 60)).tolist()
        methods = ("majority", *METHODS)
        model, run = fit(load((texts, y)), store, models=(f"hf:{tiny_bert}",), methods=methods)
        assert model.name == run.answer["transfer"]
        returned.append(model.name)
        assert run.answer["score"][1] <= 0.55
    assert "probe" not in returned
    assert returned.count("majority") >= 4


def test_what_words_tell_already_needs_no_source(tiny_bert, store):
    model, run = fit(load(make_texts(100)), store, models=(f"hf:{tiny_bert}",))
    assert run.answer["transfer"] == "classical"
    assert run.answer["source"] is None
    assert model.backbone_ is None
    assert run.answer["score"][0] > 0.95


def test_the_score_allows_for_having_been_the_best_of_several(tiny_bert, store):
    texts, _ = make_texts(80, signal=False)
    y = np.random.default_rng(1).permutation(np.repeat(["a", "b"], 40)).tolist()
    _, run = fit(load((texts, y)), store, models=(f"hf:{tiny_bert}",))
    own = next(trial["score"][0] for trial in run.trials if trial["name"] == run.answer["trial"])
    assert run.answer["optimism"] >= 0
    assert run.answer["score"][0] == pytest.approx(own - run.answer["optimism"])


def test_naming_the_methods_does_not_hide_that_one_is_useless(store):
    texts, _ = make_texts(120, signal=False, seed=2)
    y = np.random.default_rng(2).permutation(np.repeat(["a", "b"], 60)).tolist()
    model, run = fit(load((texts, y)), store, methods=("classical",))
    assert model.name == "classical"
    assert run.guard["sentence"].endswith("as --methods asks for it")


@pytest.mark.parametrize("kind", ["table", "regression", "image"])
def test_other_inputs(kind, store):
    made = {"table": lambda: make_table(100), "regression": lambda: make_table(100, kind="regression"),
            "image": lambda: make_pictures(60)}[kind]()  # fmt: skip
    model, run = fit(load(made), store, methods=("classical",))
    assert run.answer["transfer"] == "classical"
    assert run.answer["score"][0] > 0.85
    assert len(model.predict(made[0])) == len(made[0])
    assert ("scatter" in run.metrics) == (kind == "regression")


def test_groups_are_never_split(store):
    X, y = make_table(90)
    data = dataclasses.replace(load((X, y)), groups=np.arange(90) // 3)
    auto = AutoFit(data, Config(budget=None, methods=("classical",)), store)
    _, run = auto.run()
    for train, test in auto.folds:
        assert not set(data.groups[train]) & set(data.groups[test])
    assert run.data["split"]["grouped"]


def test_a_class_too_rare_to_be_tested_does_no_harm(store):
    texts, y = make_texts(60)
    model, run = fit(load((texts, ["odd", "odd", *y[2:]])), store, methods=("classical",))
    assert run.answer["score"]
    assert model.classes_.tolist() == ["bad", "good", "odd"]


@pytest.mark.parametrize("made", [make_texts, make_table])
def test_scratch_can_win_and_is_a_source(tmp_path, store, made, monkeypatch):
    monkeypatch.setattr("graft.transfer.scratch.MIN_STEPS", 100)
    data = load(made(40))
    model, run = fit(data, store, methods=("scratch",), folds=2)
    assert run.answer["transfer"] == "scratch"
    model.save(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps(run.to_json()))
    _, run = fit(data, store, methods=("probe",), models=(str(tmp_path / "run"),), folds=2)
    assert states(run)["probe", run.ranking[0]["name"]] == "done"


# -- budgets -----------------------------------------------------------------------------------------------------------


def test_the_budget_is_kept(tiny_bert, store):
    data, budget = hidden_signal(400), 5.0
    start = time.monotonic()
    _, run = fit(data, store, models=(f"hf:{tiny_bert}",), methods=(), budget=budget)
    elapsed = time.monotonic() - start
    assert elapsed <= budget * 1.05 + 1
    assert run.answer["budget_seconds"] == budget
    assert run.answer["seconds"] == pytest.approx(elapsed, abs=0.5)


def test_a_budget_too_small_for_anything_says_so(store):
    with pytest.raises(BudgetError, match=r"nothing could be fitted.*give a larger --budget"):
        fit(load(make_texts(60)), store, budget=0.5)


def test_time_that_is_spent_counts(store):
    auto = AutoFit(load(make_texts(60)), Config(budget=30, methods=("classical",)), store, spent=25.0)
    _, run = auto.run()
    assert 25 <= run.answer["seconds"] <= 30


# -- equal seeds, equal bytes ------------------------------------------------------------------------------------------


def trimmed(run):
    """A run without what the clock says."""
    text = json.dumps(run.to_json())
    return re.sub(
        r'"(predicted_seconds|seconds|ms_per_example|cost_ms|fit_seconds|budget_seconds|spent)": [-0-9.e]+', "", text
    )


@pytest.mark.usefixtures("short_trainings")
@pytest.mark.parametrize("methods", [("classical", "probe"), ("finetune",), ("scratch",)], ids="+".join)
def test_equal_seeds_give_equal_files(tiny_bert, tmp_path, methods):
    data = load(make_table(60)) if methods == ("scratch",) else hidden_signal(80)
    files, runs = [], []
    for name in ("one", "two"):
        model, run = fit(data, Store(tmp_path / f"store-{name}"), models=(f"hf:{tiny_bert}",), methods=methods, folds=2)
        model.save(tmp_path / name)
        files.append(
            {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        )
        runs.append(trimmed(run))
    assert files[0] == files[1]
    assert runs[0] == runs[1]


def test_another_order_of_the_rows_gives_the_same_answer(store):
    """Folds differ, so scores may, but no more than by noise; the model fitted on all rows is nearly the same."""
    texts, y = make_texts(120)
    y = [("good" if label == "bad" else "bad") if i % 7 == 0 else label for i, label in enumerate(y)]
    order = np.random.default_rng(0).permutation(120)
    one, first = fit(load((texts, y)), store, methods=("classical",))
    other, second = fit(load(([texts[i] for i in order], [y[i] for i in order])), store, methods=("classical",))
    assert first.answer["transfer"] == second.answer["transfer"]
    low, high = first.answer["score"][1:]
    assert low <= second.answer["score"][0] <= high
    np.testing.assert_allclose(one.coef_, other.coef_, atol=1e-4)


def test_no_cache_gives_the_same(tiny_bert, store, tmp_path):
    data = hidden_signal(80)
    one, first = fit(data, Store(tmp_path / "cache"), models=(f"hf:{tiny_bert}",))
    other, second = fit(data, None, models=(f"hf:{tiny_bert}",))
    assert first.answer["trial"] == second.answer["trial"]
    assert first.answer["score"] == second.answer["score"]
    np.testing.assert_allclose(one.outputs(data), other.outputs(data), atol=1e-6)


# -- interruptions -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_trainings")
def test_an_interrupted_run_goes_on_to_the_same_result(tiny_bert, tmp_path):
    data = hidden_signal(80)
    options = {"models": (f"hf:{tiny_bert}",), "methods": ("classical", "probe", "finetune"), "folds": 2}
    straight, wanted = fit(data, Store(tmp_path / "store"), tmp_path / "straight", **options)

    class Impatient(Listener):
        def on_trial(self, trial: Trial, score):
            if trial.candidate.transfer == "probe":
                raise KeyboardInterrupt

    work = tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        fit(data, Store(tmp_path / "store"), work, Impatient(), **options)
    done = {path.name: path.read_bytes() for path in work.glob("*.npz")}
    assert len(done) >= 4  # majority, classical and perhaps the probe, on two folds each
    fitted = []
    original = Classical._fit

    def counting(self, data, setting):
        fitted.append(len(data))
        original(self, data, setting)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classical, "_fit", counting)
        resumed, run = fit(data, Store(tmp_path / "store"), work, **options)
    assert 40 not in fitted  # no fold is done twice
    assert {path.name: path.read_bytes() for path in work.glob("*.npz") if path.name in done} == done
    assert [(t["name"], t["score"]) for t in run.trials] == [(t["name"], t["score"]) for t in wanted.trials]
    assert run.answer["score"] == wanted.answer["score"]
    assert np.array_equal(straight.outputs(data), resumed.outputs(data))


@pytest.mark.parametrize("kind", TOYS)
def test_runs_on_every_kind_of_data_go_on_after_an_interruption(kind, tmp_path):
    data, options = toy_data(kind), {"methods": ("classical",), "folds": 2}
    straight, wanted = fit(data, **options)

    class Impatient(Listener):
        def on_trial(self, trial: Trial, score):
            if trial.candidate.transfer == "majority":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(data, None, tmp_path, Impatient(), **options)
    assert list(tmp_path.glob("*.npz"))
    resumed, run = fit(data, None, tmp_path, **options)
    assert [(t["name"], t["score"]) for t in run.trials] == [(t["name"], t["score"]) for t in wanted.trials]
    assert np.array_equal(flat(straight.outputs(data)), flat(resumed.outputs(data)))


# -- what is broken ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tiny_bert, tmp_path):
    """A folder with an intact source and copies to break."""
    for name in ("good", "bad"):
        shutil.copytree(tiny_bert, tmp_path / "shelf" / name)
    return tmp_path / "shelf"


def test_a_broken_source_is_a_row_with_its_reason(shelf, store):
    weights = shelf / "bad" / "model.safetensors"
    save_file({key: np.full_like(value, np.nan) for key, value in load_file(weights).items()}, weights)
    _, run = fit(hidden_signal(80), store, models=(f"hf:{shelf / 'bad'}", f"hf:{shelf / 'good'}"), folds=2)
    rows = {row["name"]: row["failure"] for row in run.ranking}
    assert rows["good"] == ""
    assert "not finite" in rows["bad"]
    assert run.answer["score"]


@pytest.mark.usefixtures("short_trainings")
def test_a_damaged_source_nearby_does_not_stop_the_run(shelf, store, monkeypatch):
    weights = shelf / "bad" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    monkeypatch.setenv("GRAFT_MODELS", str(shelf))
    _, run = fit(hidden_signal(80), store, folds=2)
    assert "good" in {row["name"] for row in run.ranking if not row["failure"]}
    with pytest.raises(SourceError, match="is cut off or not a safetensors file"):
        fit(hidden_signal(80), store, models=(f"hf:{shelf / 'bad'}",), folds=2)  # asked for by name: say it at once


def test_a_method_that_fails_is_a_row(store, monkeypatch):
    def fail(self, data, setting):
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(Classical, "_fit", fail)
    _, run = fit(load(make_texts(60)), store, methods=("majority", "classical"))
    assert states(run) == {("majority", None): "done", ("classical", None): "failed"}
    assert run.trials[1]["reason"] == "float division by zero"
    assert run.answer["transfer"] == "majority"


def test_a_source_that_cannot_read_the_data_is_not_taken(tiny_vit, tiny_bert, store):
    with pytest.raises(SourceError, match="reads image, the data are text"):
        fit(load(make_texts(60)), store, models=(f"hf:{tiny_vit}",))
    assert find_sources("text", (f"hf:{tiny_bert}",))[0].modality == "text"


def test_what_is_asked_for_wrongly_is_said_before_work_begins(store):
    data = load(make_texts(60))
    with pytest.raises(UsageError, match="no transfer 'probs'; did you mean 'probe'"):
        fit(data, store, methods=("probs",))
    with pytest.raises(UsageError, match="is not a duration"):
        fit(data, store, budget="soon")
    with pytest.raises(DataError, match="cannot be cut into 70 folds"):
        fit(data, store, folds=70)


# -- the record --------------------------------------------------------------------------------------------------------


def test_the_listener_hears_every_step(tiny_bert, store):
    heard = []

    class Ear(Listener):
        def __getattribute__(self, name):
            if name.startswith("on_"):
                heard.append(name)
            return super().__getattribute__(name)

    fit(load(make_texts(60)), store, listener=Ear(), models=(f"hf:{tiny_bert}",))
    assert heard[0] == "on_data"
    assert heard[-1] == "on_answer"
    assert {"on_sources", "on_plan", "on_ranking", "on_trial"} <= set(heard)


def test_the_run_is_json_and_comes_back(tiny_bert, store):
    _, run = fit(load(make_texts(60)), store, models=(f"hf:{tiny_bert}",))
    text = json.dumps(run.to_json(), allow_nan=False)
    assert Run.from_json(json.loads(text)).to_json() == json.loads(text)


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "run.md"


ELSEWHERE = {  # documented, but not of every run
    "config": {"data", "label", "command"},  # from the command line
    "answer": {"licence", "folder", "size_bytes"},  # of a saved run
    "ranking": {"coverage"},
    "data": {"target_quantiles"},  # regression
    "metrics": {"scatter", "residuals", "ece"},
}


def documented():
    """Keys of each section: the names in the first column of the table under its heading."""
    keys, section = {}, None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = (re.findall(r"^## `(\w+)`", line) or [None])[0]
        elif section and line.startswith("| `"):
            keys.setdefault(section, set()).update(re.findall(r"`(\w+)`", line.split("|")[1]))
    return keys


def test_the_reference_page_and_a_run_have_the_same_fields(tiny_bert, store):
    _, run = fit(hidden_signal(80), store, models=(f"hf:{tiny_bert}",), folds=2)
    facts, page = json.loads(json.dumps(run.to_json())), documented()
    assert set(page) <= set(facts)
    assert {"answer", "trials", "ranking", "guard", "data"} <= set(page)
    for section, keys in page.items():
        found = set().union(*facts[section]) if isinstance(facts[section], list) else set(facts[section])
        missing = keys - found - ELSEWHERE.get(section, set())
        assert not missing, f"run.md documents {missing} of {section}; a run has {sorted(found)}"
        if section not in ("metrics", "config", "data"):  # these hold names that depend on the task
            assert not found - keys - {"name"}, f"run.md does not document {found - keys} of {section}"


def test_residuals_are_predicted_minus_true(store):
    X, y = make_table(100, kind="regression")
    _, run = fit(load((X, np.exp(2 * y))), store, methods=("classical",))
    pairs = np.asarray(run.metrics["scatter"])
    assert run.metrics["residuals"]["q50"] == pytest.approx(np.median(pairs[:, 1] - pairs[:, 0]))


@pytest.mark.usefixtures("short_trainings")
@pytest.mark.parametrize("effort", ["probe", "fast"])
def test_every_way_of_the_effort_is_tried(tiny_bert, store, effort):
    _, run = fit(hidden_signal(60), store, models=(f"hf:{tiny_bert}",), methods=(), folds=2, effort=effort)
    wanted = {"majority", "classical", "probe"}
    if effort == "fast":
        wanted |= {"finetune", "scratch", "contrastive"}
    assert {transfer for transfer, _ in states(run)} == wanted
    assert set(states(run).values()) <= {"done", "stopped"}


@pytest.mark.usefixtures("short_trainings")
def test_many_rows_per_class_need_no_contrast(tiny_bert, store):
    _, run = fit(hidden_signal(140), store, models=(f"hf:{tiny_bert}",), methods=(), folds=2)
    assert "contrastive" not in {transfer for transfer, _ in states(run)}
    assert "finetune" in {transfer for transfer, _ in states(run)}


@pytest.mark.usefixtures("short_trainings")
def test_thorough_tries_everything_and_searches_settings(tiny_bert, store, monkeypatch):
    monkeypatch.setattr(tune, "MOST", 3)
    _, run = fit(load(make_texts(24)), store, models=(f"hf:{tiny_bert}",), methods=(), folds=2, effort="thorough")
    tried = [trial["transfer"] for trial in run.trials]
    assert {name for name, transfer in TRANSFERS.items() if transfer.effort == "thorough" and not transfer.semi} <= set(
        tried
    )
    assert [t["settings"].get("head") for t in run.trials if t["transfer"] == "probe"][-2:] == ["knn", "lda"]
    best = max(len(list(group)) for _, group in groupby(tried))
    assert best >= 3  # one way after the other, with other settings


def test_a_limit_leaves_out_what_is_beyond_it(tiny_bert, store):
    data, uri = hidden_signal(80), f"hf:{tiny_bert}"
    _, free = fit(data, store, models=(uri,), methods=("classical", "probe"))
    assert free.answer["transfer"] == "probe"
    assert free.answer["ms_per_example"] > 0
    _, small = fit(data, store, models=(uri,), methods=("classical", "probe"), max_size=0.01)
    assert small.answer["transfer"] == "classical"
    assert any("MB, 0.01 MB are allowed" in line for line in small.data["ranking_sentences"])
    with pytest.raises(BudgetError, match="ms are allowed"):
        fit(data, store, models=(uri,), methods=("classical", "probe"), max_latency=1e-6)


def test_what_needs_more_memory_than_there_is_is_left_out(tiny_bert, store, monkeypatch):
    monkeypatch.setattr(cost, "TRAINING", 1 << 40)
    _, run = fit(hidden_signal(80), store, models=(f"hf:{tiny_bert}",), methods=("probe", "finetune"), memory="900GB")
    reasons = {trial["transfer"]: trial["reason"] for trial in run.trials}
    assert "MiB of memory" in reasons["finetune"]
    assert reasons["probe"] == ""
    with pytest.raises(BudgetError, match=r"needs about 160 MiB of memory.*raise --memory"):
        fit(hidden_signal(80), store, methods=("classical",), memory="1MB")


def test_a_source_that_cannot_be_read_for_want_of_memory_is_left_out(tiny_bert, store, monkeypatch):
    monkeypatch.setattr("graft.auto.run.LIBRARIES", 1 << 60)
    options = {"models": (f"hf:{tiny_bert}",), "folds": 2}
    model, run = fit(hidden_signal(80), store, **options)
    assert model.name in ("classical", "majority")
    assert any("MiB of memory to be read" in line for line in run.data["ranking_sentences"])
    with pytest.raises(BudgetError, match=r"nothing could be fitted.*of memory to be read.*raise --memory"):
        fit(hidden_signal(80), store, **options | {"methods": ("probe",)})


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_an_allocation_that_fails_is_one_line(store, monkeypatch, error):
    def fail(self, chosen, verdict):
        raise error

    monkeypatch.setattr(AutoFit, "_refit", fail)
    with pytest.raises(BudgetError, match=r"^out of memory; raise --memory"):
        fit(load(make_texts(60)), store, methods=("classical",))


def test_what_had_no_time_names_the_budget_that_leaves_it(tiny_bert, store, monkeypatch):
    monkeypatch.setattr(cost.Cost, "seconds", lambda self, work: 1000.0)
    methods = ("classical", "contrastive")
    _, run = fit(hidden_signal(60), store, models=(f"hf:{tiny_bert}",), methods=methods, budget=20, folds=2)
    assert re.fullmatch(r"--budget 5[67]m leaves time for contrastive tuning of .*", run.answer["advice"])
    _, run = fit(hidden_signal(60), store, methods=("classical",), folds=2)
    assert run.answer["advice"] == ""


def test_features_that_left_the_cache_are_done_without(tiny_bert, tmp_path):
    class Forgetful(Listener):
        def on_ranking(self, ranking):
            store.clear("features")

    store = Store(tmp_path / "store")
    config = Config(60, (f"hf:{tiny_bert}",), ("classical", "probe"), folds=2)
    auto = AutoFit(hidden_signal(60), config, store, Forgetful(), history=History(tmp_path / "history"))
    _, run = auto.run()
    assert auto.facts["dimension"] is None
    assert auto.facts["classical"] is not None
    assert states(run)["probe", run.ranking[0]["name"]] == "done"


def test_a_handful_of_rows_per_class_is_cut_into_fewer_folds(store):
    texts, y = make_texts(8)
    _, run = fit(load((texts, y)), store, methods=("majority", "classical"))
    assert run.data["split"]["folds"] == 4
    _, run = fit(load((texts[:6], y[:6])), store, methods=("majority", "classical"))
    assert run.data["split"]["folds"] == 3


@pytest.mark.usefixtures("short_trainings")
def test_what_won_on_a_similar_task_comes_first(tiny_bert, store, tmp_path):
    past, uri = History(tmp_path), f"hf:{tiny_bert}"

    def tried(data):
        config = Config(None, (uri,), ("classical", "probe", "scratch", "finetune"), folds=2)
        _, run = AutoFit(data, config, store, history=past).run()
        return [trial["transfer"] for trial in run.trials]

    names = tried(hidden_signal(60))
    assert names.index("finetune") < names.index("scratch")  # the order where nothing is known
    assert len(past.entries()) == 1
    tried(hidden_signal(60))
    assert len(past.entries()) == 1  # the same data and settings take the place of the earlier run
    data = hidden_signal(80, seed=1)
    for number in range(4):  # on tasks like this one training from scratch did best
        won = past_trial("scratch", 0.95, source=None)
        past.add(past_run(f"task {number}", trials=[past_trial("finetune", 0.6, source=uri), won]), statistics(data))
    names = tried(data)
    assert names.index("scratch") < names.index("finetune")


def test_an_effort_is_a_budget_unless_one_is_given():
    assert [Config(effort=name).seconds for name in EFFORTS] == [30.0, 120.0, 900.0]
    assert Config("5m", effort="probe").seconds == 300.0
    assert Config(None).seconds is None
    with pytest.raises(UsageError, match=r"no effort 'much'.*use probe, fast, thorough"):
        _ = Config(effort="much").seconds


def test_what_is_returned_is_what_is_saved(store, tmp_path):
    data = load(make_texts(60))
    model, run = fit(data, store, methods=("classical",))
    model.save(tmp_path)
    assert np.array_equal(load_transfer(tmp_path).outputs(data), model.outputs(data))
    assert run.answer["fitted_rows"] == 60


def test_many_classes_get_a_logistic_probe_too(tiny_bert, store):
    texts = [
        f"{word} {word} {index}" for index in range(6) for word in ("".join(pair) for pair in product("bdgkr", "aeiou"))
    ]
    data = load((texts, [text.split()[0] for text in texts]), modality="text")
    _, run = fit(data, store, models=(str(tiny_bert),), methods=("probe",))
    assert [trial["name"].endswith("(loss=logistic)") for trial in run.trials if trial["transfer"] == "probe"] == [
        False,
        True,
    ]
