"""``graft history``: what was done, what it suggests, and forgetting it."""

import json

import pytest
from cli.conftest import as_csv, sentences
from history.past_runs import past_run

from graft.core.types import Run
from graft.data.load import load
from graft.history.history import History
from graft.history.statistics import statistics


@pytest.fixture
def past(run, good, here):
    """A real run and two made-up ones on data like it."""
    record = Run.from_json(json.loads((here / run / "run.json").read_text()))
    data = load(good)
    history = History()
    history.add(record, statistics(data))
    facts = statistics(load(([text for text, _ in sentences(400, seed=1)], [y for _, y in sentences(400, seed=1)])))
    history.add(past_run("f1", {"classical": 0.7, "probe": 0.9}, name="trec"), facts)
    history.add(past_run("f2", {"classical": 0.8, "probe": 0.85}, name="[red]odd"), facts | {"size": 9.0})
    return history


def test_no_runs_are_one_friendly_line(graft):
    assert graft("history").works().out == "no finished runs yet; graft fit DATA adds the first one\n"
    assert json.loads(graft("history", "--json").works().out) == []
    graft("history", "--clear").works("forgot 0 runs")


def test_runs_are_listed_newest_first(graft, past):
    lines = graft("history").works().out.splitlines()
    assert len(lines) == 6
    assert [line.split()[0] for line in lines[::2]] == ["1", "2", "3"]
    for line, name, rows in zip(lines[::2], ("[red]odd", "trec", "good"), (100, 100, 40), strict=True):
        assert f" {name} " in line
        assert f"{rows} rows  text, 2 classes" in line
    assert lines[1] == "     probe: accuracy 0.850 [0.834, 0.866], 1 min 15 s"
    assert lines[5].startswith("     TF-IDF + linear SVM: accuracy ")
    listed = json.loads(graft("history", "--json").works().out)
    assert [entry["name"] for entry in listed] == ["[red]odd", "trec", "good"]
    assert [trial["transfer"] for trial in listed[2]["trials"]] == ["majority", "classical"]


def test_data_are_compared_with_the_past(graft, past, put):
    new = put("new.csv", as_csv(sentences(400, seed=2)))
    out = graft("history", new).works("The most similar tasks", "What graft fit would try first").out
    similar, first = out.split("What graft fit")
    assert similar.index("trec, 100 rows") < similar.index("good, 40 rows") < similar.index("[red]odd")
    assert "1  probe of hf:a" in first
    assert "won on 2 of the 2 most similar tasks that tried it: trec, [red]odd" in first
    assert "majority" not in first  # it is always tried
    found = json.loads(graft("history", new, "--json").works().out)
    assert found["statistics"]["modality"] == "text"
    assert [entry["name"] for entry in found["similar"]] == ["trec", "good", "[red]odd"]
    assert [one["transfer"] for one in found["suggestions"]] == ["probe", "classical"]


def test_the_past_of_the_same_data_does_not_count(graft, past, good):
    found = json.loads(graft("history", good, "--json").works().out)
    assert [entry["name"] for entry in found["similar"]] == ["trec", "[red]odd"]


def test_data_like_none_before_go_their_default_way(graft, past, put, pictures):
    graft("history", pictures).works("no other image classification in the history", "default order")
    for _ in range(2):
        graft("history", "--forget", "1").works()
    out = graft("history", put("new.csv", as_csv(sentences(60, seed=2)))).works("good, 40 rows").out
    assert "no run on these tasks compared two ways" in out


def test_runs_are_forgotten(graft, past):
    graft("history", "--forget", "2").works("forgot run 2: trec, 20")
    assert [entry.name for entry in past.entries()] == ["[red]odd", "good"]
    graft("history", "--forget", "3").fails(2, "there is no run 3", "lists 2 runs")
    graft("history", "--forget", "0").fails(2)
    graft("history", "--forget", "1", "--clear").fails(2, "exclude each other")
    graft("history", "--clear").works("forgot 2 runs", str(past.folder))
    assert past.entries() == []


def test_a_damaged_file_is_named_and_the_rest_is_shown(graft, past):
    (past.folder / "broken.json").write_text("{")
    done = graft("history")
    assert done.code == 0
    assert len(done.out.splitlines()) == 6
    assert done.err.startswith("graft: ")
    assert "broken.json is damaged" in done.err


def test_wrong_data_are_one_line(graft, put):
    graft("history", "nothing.csv").fails(3, "nothing.csv")
    graft("history", put("empty.csv", "")).fails(3)
