import resource
import subprocess
import sys

import psutil
import pytest

from graft.core import memory
from graft.core.memory import is_shortage, memory_left


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


@pytest.mark.parametrize("limit", ["RLIMIT_DATA", "RLIMIT_AS"])
def test_a_limit_of_the_process_counts(limit):
    code = (
        f"import resource; resource.setrlimit(resource.{limit}, (2 << 30, -1))\n"
        "from graft.core.memory import memory_left; print(memory_left())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 2 << 30
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_what_was_freed_can_be_taken_again():
    if memory._mallinfo() is None:
        pytest.skip("the C library is not glibc 2.33 or later")
    code = (
        "import ctypes, resource; resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, -1))\n"
        "from graft.core.memory import memory_left\n"
        "libc = ctypes.CDLL(None); libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]\n"
        "before = memory_left(); blocks = [libc.malloc(100_000) for _ in range(2_000)]; between = memory_left()\n"
        "for block in blocks[:-1]: libc.free(block)\n"
        "print(before, between, memory_left())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, between, after = map(int, done.stdout.split())
    assert before - between > 190e6
    assert after - between > 190e6


@pytest.mark.parametrize(("error", "short"), [
    (MemoryError(), True),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), True),
    (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
    (OSError(12, "Cannot allocate memory"), True),
    (RuntimeError("shapes do not fit"), False),
])  # fmt: skip
def test_shortage_is_told_from_other_errors(error, short):
    assert is_shortage(error) is short
