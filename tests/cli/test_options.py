"""What is typed: help that teaches, near-misses, and configuration files."""

import inspect
import json
import os
import subprocess
import sys
import time

import pytest
from cli.conftest import QUICK

from graft.cli import app

COMMANDS = ("fit", "predict", "evaluate", "rank", "models", "show", "report", "cache")


def test_graft_alone_prints_help(graft):
    shown = graft().works("Usage: graft COMMAND", "graft fit reviews.csv").out
    assert shown == graft("--help").works().out
    assert all(f" {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is(graft, command):
    graft(command, "--help").works(f"Usage: graft {command}")
    function = app[command].default_command
    lines = [" ".join(line.split()) for line in inspect.getdoc(function).splitlines()]
    for name in inspect.signature(function).parameters:
        assert name in lines, f"{name} is not described"
        assert lines[lines.index(name) + 1].endswith((".", "…")), name
        assert f"--{name.replace('_', '-')}" in graft(command, "--help").out


def test_help_of_fit_shows_defaults_and_choices(graft):
    shown = " ".join(graft("fit", "--help").out.replace("│", " ").split())
    for part in (
        "[default: auto]",
        "[default: utf-8]",
        "[choices: text, image, audio, sequence, series, table]",
        "90s, 2m, 1h30m",
        "[required]",
    ):
        assert part in shown
    assert "default: ()" not in shown


def test_memory_that_is_no_size_is_refused_before_anything_is_written(graft, tmp_path):
    done = graft("fit", str(tmp_path / "none.csv"), "--memory", "much", "--out", str(tmp_path / "run"))
    assert done.code == 2
    assert "'much'" in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], []])
def test_help_answers_at_once(arguments):
    def seconds():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "graft", *arguments], capture_output=True, check=True)
        return time.perf_counter() - start

    assert any(seconds() < 0.5 for _ in range(6))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["fitt", "x"], ['"fitt"', 'did you mean "fit"?']),
        (["fit", "good.csv", "--labl", "x"], ["--labl", "did you mean --label?"]),
        (["fit"], ["DATA is missing", "graft fit --help"]),
        (["predict", "run"], ["DATA is missing", "graft predict --help"]),
        (["fit", "good.csv", "more.csv"], ["'more.csv' is one argument too many"]),
        (["fit", "good.csv", "--task", "regresion"], ['did you mean "regression"?']),
        (["fit", "good.csv", "--methods", "majority,clasical"], ["'clasical'", "did you mean 'classical'?"]),
        (["fit", "good.csv", "--methods", "clasical"], ["'clasical'", "did you mean 'classical'?"]),
        (["fit", "good.csv", "--budget", "abc"], ["budget 'abc' is not a duration", "1h30m"]),
        (["fit", "good.csv", "--budget", "-3s"], ["budget '-3s' is not a duration"]),
        (["fit", "good.csv", "--budget=0"], ["budget '0' is not a duration"]),
        (["fit", "good.csv", "--level", "90"], ["--level", "must be < 1"]),
        (["fit", "good.csv", "--folds", "-1"], ["--folds", "must be >= 0"]),
        (["fit", "good.csv", "--seed", "-1"], ["--seed", "must be >= 0"]),
        (["fit", "good.csv", "--seed", "x"], ["--seed", '"x"']),
        (["fit", "good.csv", "--label"], ["--label requires an argument"]),
        (["cache", "burn"], ['"burn"', '"clear"']),
        (["report", "run", "--language", "fr"], ['"fr"', '"zh"']),
    ],
)
def test_what_cannot_be_meant(graft, good, here, arguments, parts):
    graft(*arguments).fails(2, *parts)
    assert [path.name for path in here.iterdir()] == ["good.csv"]


def test_a_budget_too_small_for_anything(graft, good, here):
    graft("fit", good, "--methods", "classical", "--budget", "1s").fails(
        7, "nothing could be fitted", "larger --budget"
    )
    assert [path.name for path in here.iterdir()] == ["good.csv"]


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        (None, ["no.toml", "--config takes a TOML file"]),
        ("[fit\nseed = 1", ["not valid TOML", "line 1"]),
        ("[fit]\nbugdet = '2m'", ["bugdet", "did you mean --budget?"]),
        ("[fti]\nbudget = '2m'", ["no command 'fti'", "did you mean [fit]?"]),
        ("budget = '2m'", ["'budget' stands in no table", "[fit]"]),
        ("[fit]\nfolds = 'x'", ["folds", '"x"']),
        ("[fit]\nlevel = 7", ["level", "must be < 1"]),
    ],
)
def test_bad_configuration(graft, good, put, toml, parts):
    name = put("my.toml", toml) if toml else "no.toml"
    graft("fit", good, "--config", name, *QUICK).fails(2, *parts)


def config_of(folder):
    return json.loads((folder / "run" / "run.json").read_text())["config"]


def test_command_line_before_file_before_default(graft, good, put, here):
    name = put(
        "my.toml",
        '[fit]\nseed = 3\nlevel = 0.8\nmethods = ["classical"]\nout = "run"\nquiet = true\n[rank]\nseed = 9\n',
    )
    graft("fit", good, "--config", name, "--seed", "4").works("80% interval")
    assert config_of(here).items() >= {"seed": 4, "level": 0.8, "folds": 0, "methods": ["classical"]}.items()
    graft("fit", good, *QUICK, "--out", "run", "--overwrite").works("90% interval")  # the file is forgotten
    assert config_of(here)["seed"] == 0


def test_the_command_is_kept_as_typed(graft, good, here):
    graft("fit", good, "--out", "run", *QUICK).works()
    assert config_of(here)["command"] == "graft fit good.csv --out run --methods classical --quiet --budget 1h"
    assert config_of(here)["data"] == "good.csv"


def test_an_error_of_ours_is_one_line_too(graft, good, monkeypatch):
    monkeypatch.setattr("graft.auto.AutoFit.run", lambda self: 1 / 0)
    done = graft("fit", good)
    assert done.code == 1
    assert (
        done.err
        == "graft: internal error, please report it: ZeroDivisionError: division by zero; GRAFT_DEBUG=1 shows where\n"
    )
    monkeypatch.setitem(os.environ, "GRAFT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        graft("fit", good)
