"""How much memory this process may still take: the machine's, that of its control group, or that of its own limit."""

from __future__ import annotations

from pathlib import Path

import psutil

GROUPS = (  # limit and use of the process's control group, version 2 and version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def memory_left(cap: int | None = None) -> int:
    """Bytes that can still be taken, the least of what any limit allows; 0 or more.

    Args:
        cap: Bytes that the process may take in all; None for no limit of its own.

    Example:
        >>> memory_left() > 0, memory_left(cap=1)
        (True, 0)
    """
    process = psutil.Process().memory_info()
    left: list[int] = [psutil.virtual_memory().available]
    if cap is not None:
        left.append(cap - process.rss)
    for limit, use in GROUPS:
        most, taken = _number(limit), _number(use)
        if most is not None and taken is not None:
            left.append(most - taken)
    data = _data_limit()
    if data is not None:
        left.append(data - getattr(process, "data", process.rss))
    return max(0, min(left))


def _number(path: str) -> int | None:
    """The number in a file; None where there is no file, or no limit in it."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < 1 << 60 else None


def _data_limit() -> int | None:
    """The soft limit on private memory (``ulimit -d``); None where there is none."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None if limit == resource.RLIM_INFINITY else int(limit)
