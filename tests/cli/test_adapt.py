"""``graft adapt`` end to end."""

import csv
import json

import numpy as np
import pytest
from adaptation.shifts import turned

from graft.cli import main


def write(path, X, y=None):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*"abcde", *(["label"] if y is not None else [])])
        for i, row in enumerate(X):
            rows.writerow([*(f"{value:.4f}" for value in row), *([f"class {y[i]}"] if y is not None else [])])
    return str(path)


@pytest.fixture(autouse=True)
def few_shifts(monkeypatch):
    monkeypatch.setattr("graft.auto.adapt.SHIFTS", 4)


@pytest.fixture
def files(tmp_path):
    source, (target, y) = turned(0.0, rows=300), turned(0.9, rows=300, seed=1)
    return write(tmp_path / "here.csv", *source), write(tmp_path / "there.csv", target, y), (target, y)


def test_two_files_to_a_model_that_predicts(files, tmp_path, capsys):
    here, there, _ = files
    out = tmp_path / "run"
    assert main(["adapt", here, there, "--methods", "coral", "subspace", "--out", str(out), "--budget", "60s"]) == 0
    said = capsys.readouterr().out
    assert "veto" in said
    assert "300 target rows" in said
    record = json.loads((out / "adapt.json").read_text())
    assert set(record["scores"]["methods"]) == {"source_only", "coral", "subspace"}
    assert main(["predict", str(out), there, "--out", str(tmp_path / "p.csv")]) == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 301


def test_permuted_target_labels_give_the_same_bytes(files, tmp_path):
    here, _, (target, y) = files
    saved = []
    for number, labels in enumerate((y, np.random.default_rng(0).permutation(y))):
        there = write(tmp_path / f"there{number}.csv", target, labels)
        out = tmp_path / f"run{number}"
        assert main(["adapt", here, there, "--methods", "coral", "--out", str(out), "--budget", "60s", "--quiet"]) == 0
        saved.append((out / "model.safetensors").read_bytes())
    assert saved[0] == saved[1]


def test_another_form_is_one_clear_line(files, tmp_path, capsys):
    here, _, (target, _) = files
    other = tmp_path / "other.csv"
    other.write_text("x,y\n" + "\n".join(f"{a:.2f},{b:.2f}" for a, b in target[:, :2]))
    assert main(["adapt", here, str(other), "--out", str(tmp_path / "run")]) == 3
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) <= 2
    assert not (tmp_path / "run").exists()


def test_the_report_shows_both_domains_in_two_languages(files, tmp_path):
    here, there, _ = files
    out = tmp_path / "run"
    assert main(["adapt", here, there, "--methods", "coral", "--out", str(out), "--budget", "60s", "--quiet"]) == 0
    page = (out / "report.html").read_text()
    assert page.count("<circle") > 400
    assert "A-distance" in page
    assert main(["report", str(out), "--language", "zh"]) == 0
    assert "代理 A 距离" in (out / "report.html").read_text()


def test_an_interrupted_command_goes_on(files, tmp_path, capsys, monkeypatch):
    here, there, _ = files
    command = [
        "adapt",
        here,
        there,
        "--methods",
        "coral",
        "subspace",
        "--out",
        str(tmp_path / "run"),
        "--budget",
        "60s",
    ]
    with monkeypatch.context() as patched:
        patched.setattr("graft.report.write_adaptation", lambda *_: 1 / 0)
        assert main(command) != 0
    assert "--resume" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*command, "--resume", "--seed", "1"]) == 2
    assert "another seed" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert json.loads((tmp_path / "run" / "adapt.json").read_text())["scores"]


def test_the_words_of_counts_come_from_a_vocabulary(tmp_path):
    rng = np.random.default_rng(0)
    for name, often in (("here", 3), ("there", 5)):
        rows = []
        for i in range(80):
            counts = {i % 2, *np.flatnonzero(rng.random(2) < 0.5) + 2 * 3, *([often] if rng.random() < 0.8 else [])}
            rows.append(f"{i % 2} " + " ".join(f"{j}:1" for j in sorted(counts)))
        (tmp_path / f"{name}.svmlight").write_text("\n".join(rows))
    (tmp_path / "words.txt").write_text("good\nbad\nnever\nplot\nnone\nstove\nthe\na\n")
    command = ["adapt", *(str(tmp_path / f"{name}.svmlight") for name in ("here", "there")), "--methods", "coral"]
    command += ["--out", str(tmp_path / "run"), "--quiet", "--vocabulary"]
    assert main([*command, str(tmp_path / "words.txt")]) == 0
    record = json.loads((tmp_path / "run" / "adapt.json").read_text())
    assert {one["name"] for one in record["shift"]} == {"plot", "stove"}
    (tmp_path / "words.txt").write_text("good\nbad\n")
    assert main([*command, str(tmp_path / "words.txt"), "--overwrite"]) == 3
