"""``graft`` as a person types it, in this process: a folder of its own, small data, one clear line for every error."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from graft.cli import main

WORDS = ["where", "is", "my", "parcel", "card", "lost", "order", "refund", "please", "help", "cancel"]
QUICK = ("--methods", "classical", "--quiet", "--budget", "1h")


def sentences(n=40, classes=("bad", "good"), seed=0):
    """Rows (text, class); the text names the class."""
    rng = np.random.default_rng(seed)
    return [
        (" ".join([*rng.choice(WORDS, 3), classes[i % len(classes)], f"n{i}"]), classes[i % len(classes)])
        for i in range(n)
    ]


def as_csv(rows, header="text,label"):
    return header + "\n" + "".join(",".join(row) + "\n" for row in rows)


@dataclass
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    def fails(self, code, *parts):
        """It failed with this code and one line that holds these parts."""
        assert self.code == code, (self.code, self.err, self.out)
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("graft: ")
        assert "internal error" not in self.err
        for part in parts:
            assert part in lines[0], (part, lines[0])
        return self

    def works(self, *parts):
        """It went well, said nothing on standard error, and printed these parts."""
        assert self.code == 0, self.err
        assert self.err == ""
        for part in parts:
            assert part in self.out, (part, self.out)
        return self


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def graft(here, capsys):
    """Run a command in the working folder."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def put(here):
    """Write a file into the working folder; its name."""

    def write(name, content):
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return write


@pytest.fixture
def good(put):
    """A correct small file."""
    return put("good.csv", as_csv(sentences()))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A run of the classical baseline, made once."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "good.csv").write_text(as_csv(sentences()))
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        assert main(["fit", "good.csv", "--out", "run", *QUICK]) == 0
    return folder / "run"


@pytest.fixture
def run(here, good, finished_run):
    """A finished run of the classical baseline on the correct small file."""
    shutil.copytree(finished_run, here / "run")
    return "run"


@pytest.fixture
def pictures(here):
    """Two classes of ten pictures."""
    for i in range(20):
        save_picture(here / "pictures" / ("left" if i % 2 else "right") / f"{i:02d}.png", seed=i)
    return "pictures"


def save_picture(path, *, seed=0, size=(16, 16), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 120, (size[1], size[0], 3), dtype=np.uint8)
    values[:, : size[0] // 2 if seed % 2 else size[0]] += 100
    Image.fromarray(values).save(path, **options)


def files(folder):
    """Everything below a folder except the cache, with its size."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}


def process(*arguments, cwd, env=None, program=("-m", "graft"), **options):
    """Start ``graft`` as a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | (env or {})
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        cwd=cwd, env=environment, **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options),
    )  # fmt: skip


def finished(started, timeout=120):
    out, err = started.communicate(timeout=timeout)
    return Done(started.returncode, out, err)
