"""The folder of a run: whole or not there; interrupted runs go on to the same bytes; nothing of the user's is lost."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli.conftest import QUICK, as_csv, files, finished, process, sentences

from graft.core.folder import RunFolder, free_name

LONG = ("--methods", "probe", "finetune", "--budget", "100h", "--out", "run", "--quiet")


def test_an_output_that_exists_is_kept_until_the_new_one_is_whole(graft, run, good, here, put):
    before = files(here / "run")
    graft("fit", good, "--out", "run", *QUICK).fails(6, "run exists", "--overwrite")
    put("empty.csv", "")
    graft("fit", "empty.csv", "--out", "run", "--overwrite", *QUICK).fails(3)
    (here / "empty.csv").unlink()
    assert files(here / "run") == before
    (here / "run" / "old.txt").write_text("old")
    graft("fit", good, "--out", "run", "--overwrite", *QUICK).works()
    assert "old.txt" not in files(here / "run")
    assert sorted(path.name for path in here.iterdir()) == ["good.csv", "run"]


def test_overwrite_never_removes_what_graft_did_not_write(graft, good, here):
    (here / "thesis").mkdir()
    (here / "thesis" / "chapter.txt").write_text("years of work")
    for out in ("thesis", ".", "..", "good.csv"):
        graft("fit", good, "--out", out, "--overwrite", *QUICK).fails(6, "is not a graft run")
    assert (here / "thesis" / "chapter.txt").read_text() == "years of work"
    graft("fit", good, "--out", "good.csv/run", *QUICK).fails(6, "cannot write good.csv/run", "choose another --out")
    (here / "empty").mkdir()
    graft("fit", good, "--out", "empty", "--overwrite", *QUICK).works()


def test_a_second_run_gets_a_name_of_its_own(graft, good, here):
    for _ in range(2):
        graft("fit", good, *QUICK).works()
    assert {path.name for path in (here / "runs").iterdir()} == {"good", "good-2"}
    graft("predict", "runs/good-2", good).works()


def test_a_run_holds_all_its_files_and_no_rubbish(graft, run, here):
    assert set(files(here / "run")) >= {"model.json", "model.safetensors", "run.json", "report.html", "MODEL_CARD.md"}
    assert not list(here.rglob("*.tmp"))
    assert not list(here.rglob(".*"))


def test_the_next_command_is_printed_ready_to_use(graft, good):
    out = graft("fit", good, "--out", "my run", *QUICK).works("graft predict 'my run' NEW_DATA").out
    assert out.splitlines()[1] == "Answer"


# -- interruption ------------------------------------------------------------------------------------------------------


def interrupted(how, good, here, tiny_bert, after=5, attempts=3):
    """Start a fit and send it a signal when some folds are done; what it said.

    An interrupt that falls into a destructor is lost, as Python cannot raise there: the fit ends, and is started again.
    """
    started = process("fit", good, *LONG, "--models", tiny_bert, cwd=here)
    end = time.monotonic() + 90
    while len(list((here / ".run.partial").glob("work/*.npz"))) < after:
        assert started.poll() is None, started.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)
    started.send_signal(how)
    done = finished(started)
    if (here / "run").exists() and attempts > 1:
        shutil.rmtree(here / "run")
        return interrupted(how, good, here, tiny_bert, after, attempts - 1)
    return done


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_an_interrupted_run_goes_on_to_the_same_bytes(graft, good, here, tiny_bert, how):
    done = interrupted(how, good, here, tiny_bert)
    assert not (here / "run").exists()
    if how == signal.SIGINT:
        done.fails(130, "interrupted", "--out run --resume")
        graft("fit", good, *LONG, "--models", tiny_bert, "--resume", "--seed", "1").fails(2, "had another seed")
        graft("fit", good, *LONG, "--resume").fails(2, "had another models")
    finished_before = {path: path.stat().st_mtime_ns for path in (here / ".run.partial").rglob("*.npz")}
    assert len(finished_before) >= 5
    graft("fit", good, *LONG, "--models", tiny_bert, "--resume").works("Answer")
    resumed = json.loads((here / "run" / "run.json").read_text())
    model = (here / "run" / "model.safetensors").read_bytes()
    graft("fit", good, *LONG, "--models", tiny_bert, "--overwrite").works()
    whole = json.loads((here / "run" / "run.json").read_text())
    assert resumed["answer"]["score"] == whole["answer"]["score"]
    assert [t["score"] for t in resumed["trials"]] == [t["score"] for t in whole["trials"]]
    assert model == (here / "run" / "model.safetensors").read_bytes()
    assert not (here / ".run.partial").exists()


def test_resume_finds_the_name_that_was_chosen(here):
    (here / "runs" / "a").mkdir(parents=True)
    interrupted = RunFolder(free_name(Path("runs/a")), {"x": 1})
    assert interrupted.out == Path("runs/a-2")
    assert free_name(Path("runs/a"), resume=True) == Path("runs/a-2")
    assert free_name(Path("runs/b"), resume=True) == Path("runs/b")


def test_two_runs_cannot_write_one_folder(graft, good, here):
    other = RunFolder(Path("run"), {"x": 1})
    graft("fit", good, "--out", "run", *QUICK).fails(6, "another graft fit is writing run")
    assert (other.partial / "started.json").is_file()
    other.leave(KeyboardInterrupt(), 0.0)
    graft("fit", good, "--out", "run", *QUICK).works()


def test_a_damaged_note_of_an_interrupted_run_starts_anew(graft, good, here):
    (here / ".run.partial").mkdir()
    (here / ".run.partial" / "started.json").write_text("{")
    graft("fit", good, "--out", "run", "--resume", *QUICK).works()


def test_killed_between_the_two_renames_of_an_overwrite(graft, run, good, here):
    partial = here / ".run.partial"
    partial.mkdir()
    (here / "run").rename(partial / "replaced")
    graft("fit", good, "--out", "run", *QUICK).fails(6, "run exists")
    assert (here / "run" / "model.json").is_file()


def test_what_is_worth_keeping_after_an_error(here):
    def fold(error, spent, *, work):
        folder = RunFolder(Path("deep/er/run"), {})
        if work:
            folder.work.mkdir()
            (folder.work / "fold.npz").write_bytes(b"x")
        folder.leave(error, spent)
        return Path("deep/er/.run.partial").exists()

    from graft.core.errors import OutputError, SourceError

    assert not fold(SourceError("typo"), 1.0, work=True)
    assert not fold(KeyboardInterrupt(), 1.0, work=False)
    assert not Path("deep").exists()
    full = OutputError("the disk is full")
    assert fold(full, 1.0, work=True)
    assert "--out deep/er/run --resume" in full.__notes__[0]
    assert fold(SourceError("late"), 100.0, work=True)


# -- disks -------------------------------------------------------------------------------------------------------------


@contextmanager
def limited(size):
    """No file may grow beyond this many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_model_keeps_the_old_run(graft, run, good, here):
    before = files(here / "run")
    with limited(8_000):
        done = graft("fit", good, "--out", "run", "--overwrite", *QUICK)
    done.fails(6, "free some space")
    assert files(here / "run") == before


def test_a_cache_that_cannot_be_written_costs_only_time(graft, good, here, tiny_bert, monkeypatch):
    (here / "file").write_text("")
    monkeypatch.setenv("GRAFT_CACHE", str(here / "file" / "cache"))
    done = graft("fit", good, "--methods", "probe", "--models", tiny_bert, "--out", "run", "--budget", "1h")
    assert done.code == 0, done.err
    assert "probe of tiny-bert" in done.out
    assert "features stay in memory" in done.out


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder, leave):
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    (folder / "filler").write_bytes(b"x" * (free - leave))


def test_a_full_disk_for_the_output(graft, good, here, small_disk):
    fill(small_disk, 20_000)
    graft("fit", good, "--out", small_disk / "run", *QUICK).fails(6, "free some space")
    assert not (small_disk / "run").exists()
    (small_disk / "filler").unlink()
    graft("fit", good, "--out", small_disk / "run", *QUICK, "--resume").works()


def test_a_full_disk_for_the_cache(graft, put, here, small_disk, tiny_bert, monkeypatch):
    put("good.csv", as_csv(sentences(200)))
    fill(small_disk, 4_000)
    monkeypatch.setenv("GRAFT_CACHE", str(small_disk / "cache"))
    done = graft("fit", "good.csv", "--methods", "probe", "--models", tiny_bert, "--out", "run", "--budget", "1h")
    assert done.code == 0, done.err
    assert "features stay in memory" in done.out


def test_a_full_disk_for_predictions(graft, run, put, here, small_disk):
    put("new.csv", "text\n" + "good parcel\n" * 5000)
    (small_disk / "p.csv").write_text("mine")
    fill(small_disk, 8_000)
    graft("predict", run, "new.csv", "--out", small_disk / "p.csv", "--overwrite").fails(
        6, "cannot write", "free some space"
    )
    assert (small_disk / "p.csv").read_text() == "mine"
    assert {path.name for path in small_disk.iterdir()} == {"p.csv", "filler"}


# -- one cache ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_fits_at_once_share_one_cache(good, here, tiny_bert):
    options = ("--methods", "probe", "--models", tiny_bert, "--budget", "1h")
    both = [process("fit", good, *options, "--out", f"run{i}", cwd=here) for i in range(2)]
    for started in both:
        finished(started).works("probe of tiny-bert")
    models = [(here / f"run{i}" / "model.safetensors").read_bytes() for i in range(2)]
    assert models[0] == models[1]
