import resource
import subprocess
import sys

import psutil
import pytest

from graft.core import memory
from graft.core.memory import memory_left


def test_a_cap_counts_what_is_taken():
    taken = psutil.Process().memory_info().rss
    assert memory_left(cap=taken + (64 << 20)) == pytest.approx(64 << 20, abs=16 << 20)
    assert memory_left(cap=1) == 0


def test_the_group_of_processes_limits(tmp_path, monkeypatch):
    most, now = tmp_path / "max", tmp_path / "now"
    monkeypatch.setattr(memory, "GROUPS", ((str(most), str(now)),))
    free = memory_left()
    most.write_text("max\n")
    now.write_text("1000\n")
    assert memory_left() == pytest.approx(free, rel=0.2)
    most.write_text("6000\n")
    assert memory_left() == 5000


def test_the_limit_on_private_memory_counts():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, -1))\n"
        "from graft.core.memory import memory_left; print(memory_left())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 2 << 30
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
