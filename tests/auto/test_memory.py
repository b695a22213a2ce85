"""The command under a cap of private memory: it ends with a model, or beforehand with one line; it never breaks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

resource = pytest.importorskip("resource")  # not on Windows
if not sys.platform.startswith("linux"):
    pytest.skip("no other system counts private memory", allow_module_level=True)

MESSAGES = Path(__file__).parents[2] / "examples" / "support" / "messages_en.csv"


def fit(folder, megabytes, *options):
    """Exit code and what was said of ``graft fit`` under a cap."""
    limit = (megabytes * 10**6, megabytes * 10**6)
    return subprocess.run(
        [sys.executable, "-m", "graft", "fit", str(MESSAGES), "--models", "sbert:all-MiniLM-L6-v2", "--budget", "20s",
         "--out", str(folder), "--no-history", "--quiet", *options],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, limit),
    )  # fmt: skip


def test_too_little_for_anything_is_one_line(tmp_path):
    done = fit(tmp_path / "run", 400)
    assert done.returncode == 7
    assert done.stderr.count("\n") == 1
    assert "MiB of memory beside what it holds" in done.stderr
    assert "raise --memory" in done.stderr


def test_too_little_for_a_source_is_enough_for_a_model(tmp_path):
    done = fit(tmp_path / "run", 620, "--methods", "classical", "probe", "--folds", "2")
    assert (done.returncode, done.stderr) == (0, "")
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["answer"]["transfer"] == "classical"
    assert any("MiB of memory to be read" in line for line in run["data"]["ranking_sentences"])
