import ctypes

import psutil
import pytest

from graft.core import runtime


def test_freed_memory_goes_back_to_the_system():
    if runtime._malloc_trim() is None:
        pytest.skip("the C library is not glibc")
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    memset = ctypes.memset
    blocks = [libc.malloc(100_000) for _ in range(2_000)]  # below the threshold from which blocks are mapped one by one
    for block in blocks:
        memset(block, 1, 100_000)
    full = psutil.Process().memory_info().rss
    for block in blocks[:-1]:
        libc.free(block)  # the last one stays on top: nothing is given back by itself
    runtime.give_memory_back()
    assert full - psutil.Process().memory_info().rss > 100e6
    libc.free(blocks[-1])


def test_other_systems_have_nothing_to_give(monkeypatch):
    monkeypatch.setattr(runtime, "_malloc_trim", lambda: None)
    runtime.give_memory_back()
