"""Seeds, threads, device, precision, the budget clock, progress and optional packages."""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from graft.core.errors import MissingExtraError, UsageError

Progress = Callable[[str, float, str], None]
"""``progress(step, done, note)``: the named step is ``done`` (0 to 1) with a short note; must be cheap and not raise."""


def silent(step: str, done: float, note: str = "") -> None:
    """Ignore progress."""


class Clock:
    """The budget: seconds since the start, seconds left.

    Args:
        budget: Seconds allowed; None for no limit.
        spent: Seconds already used by an earlier, interrupted part of the run.

    Example:
        >>> clock = Clock(60, spent=59.5)
        >>> clock.left() <= 0.5, clock.expired
        (True, False)
    """

    def __init__(self, budget: float | None = None, *, spent: float = 0.0) -> None:
        self.budget = budget
        self._start = time.monotonic() - spent

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def left(self) -> float:
        """Seconds left; infinite without a budget."""
        return float("inf") if self.budget is None else self.budget - self.elapsed()

    @property
    def share(self) -> float:
        """Share of the budget that is used; 0 without a budget."""
        if self.budget is None:
            return 0.0
        return self.elapsed() / self.budget if self.budget > 0 else 1.0

    @property
    def expired(self) -> bool:
        """Whether the budget is used up."""
        return self.left() <= 0

    def part(self, seconds: float) -> Clock:
        """A clock for one step: at most ``seconds`` and never more than what is left here."""
        return Clock(max(0.0, min(seconds, self.left())))


def parse_budget(text: str | float | None) -> float | None:
    """Read a duration: ``90``, ``90s``, ``2m``, ``1.5h``, ``1h30m``; seconds.

    Example:
        >>> parse_budget("2m"), parse_budget("1h30m"), parse_budget(45)
        (120.0, 5400.0, 45.0)
    """
    if text is None:
        return None
    if isinstance(text, (int, float)):
        seconds = float(text)
    else:
        seconds, number = 0.0, ""
        try:
            for letter in text.strip().lower():
                if letter in "smhd":
                    seconds += float(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[letter]
                    number = ""
                else:
                    number += letter
            seconds += float(number) if number else 0.0
            seconds = -1.0 if "-" in text else seconds
        except ValueError:
            seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"budget {text!r} is not a duration", hint="write 90s, 2m or 1h30m")
    return seconds


def parse_size(text: str | float) -> int:
    """Read a size in bytes: ``500MB``, ``2 GiB``, ``1e9``.

    Example:
        >>> parse_size("2GiB"), parse_size("500 MB")
        (2147483648, 500000000)
    """
    units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
    units |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "k": 2**10, "m": 2**20, "g": 2**30}
    cleaned = str(text).strip().lower().replace(" ", "")
    number = cleaned.rstrip("bkmgti")
    try:
        size = float(number) * units[cleaned[len(number) :]]
    except (KeyError, ValueError):
        size = -1.0
    if not 0 <= size < float("inf"):
        raise UsageError(f"{text!r} is not a size", hint="write 500MB or 2GiB")
    return int(size)


def seed_everything(seed: int) -> np.random.Generator:
    """Seed torch (its global state drives dropout and initialisation); return a numpy generator of its own."""
    import torch

    torch.manual_seed(seed)
    return np.random.default_rng(seed)


@contextmanager
def seeded(seed: int) -> Iterator[np.random.Generator]:
    """Seed inside the block and give the caller's torch random state back afterwards."""
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield seed_everything(seed)


def device() -> str:
    """``"cuda"``, ``"mps"`` or ``"cpu"``; ``GRAFT_DEVICE`` overrides."""
    import torch

    asked = os.environ.get("GRAFT_DEVICE")
    if asked:
        return asked
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc
        return None
    return trim


def give_memory_back() -> None:
    """Hand freed memory back to the system, where the C library keeps it (glibc does).

    Batches of many sizes leave holes in its heap: without this, a pass over a hundred thousand rows ends a quarter of a
    gigabyte above where it began.  Takes about a millisecond.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def bf16_is_faster() -> bool:
    """Whether bfloat16 matrix products run at least 1.5 times as fast as float32 here (a probe of some milliseconds)."""
    import torch

    if device() == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device() != "cpu":
        return False

    def seconds(dtype: torch.dtype) -> float:
        left, right = torch.ones(512, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
        times = []
        for _ in range(7):
            start = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.float32) > 1.5 * seconds(torch.bfloat16)


def require(module: str, *, extra: str) -> Any:
    """Import an optional package.

    Raises:
        MissingExtraError: It is not installed; the line says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = f"pip install 'graft-learn[{extra}]'"
        raise MissingExtraError(f"this needs the package {module!r}, which is not installed", hint=hint) from error


def environment() -> dict[str, Any]:
    """Machine and versions, for the record of a run."""
    import psutil

    packages = {}
    for name in ("graft-learn", "torch", "transformers", "scikit-learn", "numpy", "pyarrow", "safetensors"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    facts = {
        "python": platform.python_version(),
        "os": platform.platform(),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "packages": packages,
    }
    if "torch" in sys.modules:
        import torch

        facts |= {"threads": torch.get_num_threads(), "device": device()}
        facts["precision"] = "bf16 where it agrees with fp32" if bf16_is_faster() else "fp32"
    return facts


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
