"""How much memory this process may still take: the machine's, that of its control group, or that of its own limits."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import psutil

from graft.core.runtime import give_memory_back

GROUPS = (  # limit and use of the process's control group, version 2 and version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
LIMITS = (("RLIMIT_DATA", "data"), ("RLIMIT_AS", "vms"))  # ``ulimit -d`` and ``-v``, and what counts towards them
SHORTAGE = (
    "not enough memory", "out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc", "memoryerror",
    "could not create a primitive",
)  # fmt: skip


def memory_left(cap: int | None = None) -> int:
    """Bytes that can still be taken, the least of what any limit allows; 0 or more.

    Args:
        cap: Bytes that the process may take in all; None for no limit of its own.

    Example:
        >>> memory_left() > 0, memory_left(cap=1)
        (True, 0)
    """
    give_memory_back()
    process = psutil.Process().memory_info()
    left: list[int] = [psutil.virtual_memory().available]
    if cap is not None:
        left.append(cap - process.rss)
    for limit, use in GROUPS:
        most, taken = _number(limit), _number(use)
        if most is not None and taken is not None:
            left.append(most - taken)
    for name, used in LIMITS:
        most = _process_limit(name)
        if most is not None:  # what was freed counts until it is taken again
            left.append(most - getattr(process, used, process.rss) + _free_heap())
    return max(0, min(left))


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that there was no memory, in the words of Python, torch, oneDNN, CUDA or the C library.

    Example:
        >>> is_shortage(RuntimeError("DefaultCPUAllocator: can't allocate memory")), is_shortage(ValueError("no"))
        (True, False)
    """
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in SHORTAGE)


def _process_limit(name: str) -> int | None:
    """A soft limit of the process in bytes, by its name in ``resource``; None where there is none."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    limit = resource.getrlimit(getattr(resource, name))[0]
    return None if limit == resource.RLIM_INFINITY else int(limit)


def _number(path: str) -> int | None:
    """The number in a file; None where there is no file, or no limit in it."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < 1 << 60 else None


class _Heap(ctypes.Structure):
    """``struct mallinfo2`` of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


@functools.cache
def _mallinfo() -> Callable[[], _Heap] | None:
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):  # not glibc, or one before 2.33
        return None
    function.restype = _Heap
    return function


def _free_heap() -> int:
    """Bytes that the C library holds and nothing uses."""
    heap = _mallinfo()
    return int(heap().fordblks) if heap is not None else 0
