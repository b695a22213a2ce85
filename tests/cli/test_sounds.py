"""Sounds from the command line: a fit, its report, new files, a source made of them, and real speech."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli.conftest import QUICK
from conftest import save_tones
from sources import tiny_models as tiny

from graft.data.load import load
from graft.transfer.classical import Classical


@pytest.fixture
def sounds(here):
    save_tones(here / "sounds", 30)
    return "sounds"


@pytest.mark.usefixtures("short_trainings")
def test_a_fit_on_sounds_goes_all_the_way(graft, here):
    save_tones(here / "sounds", 16, seconds=0.1)
    (here / "sounds" / "low" / "00.wav").rename(here / "sounds" / "high" / "low.wav")  # a wrong label
    shown = graft(
        "fit", "sounds", "--methods", "classical", "scratch", "--folds", 1, "--budget", "1h", "--out", "run"
    ).out
    assert "16 rows, audio → 2 classes" in shown
    assert "sounds: 0.10 to 0.10 s, median 0.10 s, 1.6 s in all; 8000 Hz; mono; WAV" in shown
    assert "log-mel statistics + logistic regression" in shown
    assert "training from scratch" in shown
    run = json.loads((here / "run" / "run.json").read_text())
    assert run["guard"]["decision"]
    assert {trial["state"] for trial in run["trials"]} == {"done"}
    assert run["metrics"]["hardest"][0]["thumbnail"].startswith("data:image/")
    assert run["metrics"]["hardest"][0]["input"].endswith(".wav")
    page = (here / "run" / "report.html").read_text()
    assert "8000 Hz" in page
    assert "sounds" in page


@pytest.mark.parametrize("method", ["classical", "scratch"])
def test_new_files_that_cannot_be_read_keep_their_row(graft, here, method, monkeypatch):
    monkeypatch.setattr("graft.transfer.scratch.MIN_STEPS", 60)
    save_tones(here / "sounds", 16, seconds=0.1)
    graft("fit", "sounds", "--methods", method, "--folds", 1, "--quiet", "--budget", "1h", "--out", "run").works()
    folder = save_tones(here / "new", 6, seed=1, seconds=0.1)
    (folder / "low" / "zero.wav").write_bytes(b"")
    (folder / "low" / "text.wav").write_text("no sound")
    soundfile.write(folder / "high" / "silent.flac", np.zeros(4000), 16_000)
    done = graft("predict", "run", "new", "--out", "p.csv")
    assert done.code == 0
    rows = list(csv.DictReader((here / "p.csv").read_text().splitlines()))
    paths = sorted(path for path in folder.rglob("*.*"))
    assert len(rows) == len(paths) == 9
    found = {path.name: row["prediction"] for path, row in zip(paths, rows, strict=True)}
    assert {name for name, label in found.items() if not label} == {"zero.wav", "text.wav", "silent.flac"}
    right = [found[path.name] == path.parent.name for path in paths if found[path.name]]
    assert np.mean(right) > 0.8
    said = done.err.strip().splitlines()
    assert len(said) == 3
    assert all(line.endswith("its prediction is empty") for line in said)


def test_sounds_alone_need_classes(graft, sounds):
    graft("fit", "sounds/low", *QUICK).fails(3, "the sounds have no labels", "one folder per class")


def test_sounds_for_a_model_of_texts(graft, run, sounds):
    graft("predict", run, sounds).fails(3, "sounds cannot be read by a model of text")


@pytest.mark.parametrize(("objective", "name"), [("masked", "masked-audio"), ("next", "next-audio")])
def test_a_source_made_of_sounds_is_ranked(graft, sounds, here, objective, name):
    options = ("--size", "tiny", "--epochs", "1", "--quiet", "--out", "source")
    done = graft("pretrain", sounds, "--objective", objective, *options)
    assert done.code == 0, done.err
    record = json.loads((here / "source" / "pretrain.json").read_text())
    assert record["objective"] == name
    assert "data:image/png" in (here / "source" / "report.html").read_text()
    graft("rank", sounds, "--models", "source").works("sounds-" + name)


@pytest.mark.usefixtures("short_trainings")
def test_a_source_of_pictures_is_ranked_fitted_and_used_on_sounds(graft, here, monkeypatch):
    save_tones(here / "sounds", 16, seconds=0.1)
    tiny.image(here / "many" / "vit", "vit")
    monkeypatch.setenv("GRAFT_MODELS", str(here / "many"))
    graft("rank", "sounds").works("vit on spectrograms")
    graft("models", "--modality", "audio").works("spectrogram:hf:")
    done = graft("fit", "sounds", "--methods", "probe", "--folds", 1, "--quiet", "--budget", "1h", "--out", "run")
    assert done.code == 0, done.err
    run = json.loads((here / "run" / "run.json").read_text())
    assert "vit on spectrograms" in run["answer"]["trial"]
    graft("predict", "run", "sounds", "--out", "p.csv").works()
    assert len((here / "p.csv").read_text().splitlines()) == 17


@pytest.mark.data
def test_spoken_digits(here):
    """The classical baseline on spoken digits of three speakers: 450 recordings to train on, 150 to test."""
    root = Path(os.environ.get("GRAFT_DATA") or ".") / "image" / "fsdd"
    if not root.is_dir():
        pytest.skip("needs image/fsdd in GRAFT_DATA")
    parts = []
    for part in ("train", "test"):
        lines = [f"{path},{path.name[0]}" for path in sorted((root / part).glob("*.flac"))]
        (here / f"{part}.csv").write_text("\n".join(["file,label", *lines]))
        parts.append(load(here / f"{part}.csv", task="classification"))
    train, test = parts
    assert (len(train), len(test)) == (450, 150)
    assert np.mean(Classical().fit(train).predict(test) == test.labels) > 0.95
