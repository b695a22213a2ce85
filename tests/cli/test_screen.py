"""What a terminal shows: nothing wider than it is, bars that say what is left, and lines in the file they belong to."""

import io
import os
import pty
import re
import sys

import pytest
from cli.conftest import finished, process
from rich.cells import cell_len

from graft.core.runtime import Clock
from graft.screen import ASCII, Screen, duration, interval, prepare_streams

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def terminal(monkeypatch):
    """Standard output is a terminal of so many columns."""

    def make(columns):
        for name, value in {
            "TTY_COMPATIBLE": "1",
            "TERM": "xterm-256color",
            "COLUMNS": str(columns),
            "LINES": "50",
        }.items():
            monkeypatch.setenv(name, value)

    return make


def drawn(text):
    return ESCAPES.sub("", text).replace("\r", "\n").split("\n")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_run_fits_into_the_terminal_and_shows_bars(graft, good, terminal, tiny_bert, columns):
    terminal(columns)
    options = ("--methods", "classical", "probe", "finetune", "--models", tiny_bert, "--budget", "1h", "--folds", "1")
    done = graft("fit", good, *options, "--out", "run")
    assert done.code == 0, done.err
    lines = drawn(done.out)
    assert max(map(cell_len, lines)) <= columns
    for heading in ("Data", "Baselines", "Sources", "Plan", "Ranking of sources", "Trials", "Answer"):
        assert sum(line.strip() == heading for line in lines) == 1, heading
    assert any(line.startswith("  ✓ probe of tiny-bert") for line in lines)
    bars = [line for line in lines if "━" in line]
    assert any("budget" in line and "min" in line and "left" in line for line in bars)


def test_bars_of_steps_and_of_the_budget(terminal, capsys):
    terminal(100)
    with Screen(clock=Clock(100.0, spent=25.0)) as screen:
        assert not screen.bar.disable
        for fold in range(2):
            for step in range(5):
                screen.progress("fine-tuning", step / 10, f"fold {fold}")
        tasks = {task.description: task for task in screen.bar.tasks}
        assert set(tasks) == {"budget", "fine-tuning"}
        assert tasks["fine-tuning"].completed == 0.4
        assert tasks["fine-tuning"].fields["note"] == "fold 1"
        screen.progress("fine-tuning", 1.0)
        assert not tasks["fine-tuning"].visible
        screen.bar.refresh()
        assert tasks["budget"].percentage == pytest.approx(25, abs=2)
    assert "left" in capsys.readouterr().out


def test_no_bars_where_nobody_looks(capsys):
    with Screen(clock=Clock(10.0)) as screen:
        screen.progress("a", 0.5)
        screen.progress("b", 0.0, "the disk is full: features stay in memory")
        assert screen.bar.disable
    assert capsys.readouterr().out == "  b: the disk is full: features stay in memory\n"


@pytest.mark.slow
def test_lines_go_to_the_file_while_bars_go_to_the_terminal(good, here):
    """graft fit … > log: the bars on the terminal must not swallow the lines."""
    leader, follower = pty.openpty()
    environment = {"TERM": "xterm", "COLUMNS": "80"}
    started = process("fit", good, "--methods", "classical", "--out", "run", cwd=here, env=environment, stderr=follower)
    os.close(follower)
    done = finished(started)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert done.code == 0
    assert "Baselines" in done.out
    assert "Answer" in done.out
    assert "\x1b" not in done.out
    assert "budget" in shown
    assert "Baselines" not in shown


def test_a_terminal_of_ascii_gets_plain_signs(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    prepare_streams()
    sys.stdout.write("".join(ASCII) + " 文\n")
    sys.stdout.write("\udce6\n")
    sys.stdout.flush()
    assert raw.getvalue().decode() == "".join(ASCII.values()) + " \\u6587\n\\udce6\n"


def test_numbers_in_words():
    assert interval((0.9621, 0.9512, 0.9718)) == "0.962 [0.951, 0.972]"
    assert interval(None) == "–"
    assert [duration(s) for s in (0.21, 9.96, 59, 75, 3600, 36_610, None)] == [
        "0.2 s", "10.0 s", "59 s", "1 min 15 s", "1 h 0 min", "10 h 10 min", "no limit",
    ]  # fmt: skip
