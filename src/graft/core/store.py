"""Content-addressed cache on disk: atomic, checksummed, size-capped.

An entry is a folder of npy, safetensors, json or arrow files with a manifest of their sizes and checksums; pickles
are neither written nor read.  An entry is written under a temporary name and renamed when it is complete, so what is
found under its key is whole.  What was damaged later is noticed on opening, dropped and made again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graft.core.errors import OutputError
from graft.core.runtime import parse_size

try:
    import fcntl
except ImportError:  # Windows: two processes may compute the same entry; the second loses gracefully
    fcntl = None  # type: ignore[assignment]

MANIFEST = "manifest.json"
KINDS_OF_FILE = (".npy", ".safetensors", ".json", ".arrow")
DEFAULT_SIZE = 20 * 10**9  # bytes kept before the least recently used entries go; GRAFT_CACHE_SIZE overrides
_BLOCK, _SAMPLES = 65536, 16  # the check on opening reads at most 16 blocks of 64 KiB of each file
_STALE = 24 * 3600  # seconds after which an unfinished entry of a dead process is removed
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class EntryFacts(NamedTuple):
    """One line of ``Store.entries``."""

    key: str
    kind: str
    bytes: int
    used: float


@dataclass(frozen=True)
class Entry:
    """A complete entry.

    Attributes:
        folder: Where its files lie.
        meta: What was noted when it was written.
    """

    folder: Path
    meta: dict[str, Any]

    def array(self, name: str) -> np.ndarray:
        """The named array, memory-mapped read-only."""
        mapped: np.ndarray = np.load(_inside(self.folder, f"{name}.npy"), mmap_mode="r", allow_pickle=False)
        return mapped

    def has(self, name: str) -> bool:
        """Whether there is an array of this name."""
        return (self.folder / f"{name}.npy").is_file()


class Draft:
    """An entry that is being written; ``meta`` is kept with it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.meta: dict[str, Any] = {}
        self._maps: list[np.memmap] = []

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A new array on disk, to be filled in place.

        Raises:
            OutputError: The disk is full.
        """
        path = _inside(self.folder, f"{name}.npy")
        dtype = np.dtype(dtype)
        if dtype.hasobject:
            raise OutputError(f"array {name!r} holds Python objects", hint="the store keeps plain numbers only")
        need = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        # A write to a mapped page of a full disk kills the process, so the room is taken before it is mapped.
        with writing(self.folder):
            room = shutil.disk_usage(self.folder).free
            if need > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            mapped = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
            if need:
                with path.open("r+b") as file:
                    _reserve(file.fileno(), path.stat().st_size)
        self._maps.append(mapped)
        return mapped

    def close(self) -> None:
        """Write what is in memory to disk."""
        for mapped in self._maps:
            mapped.flush()
        self._maps.clear()


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise


def _inside(folder: Path, name: str) -> Path:
    if not _NAME.fullmatch(name) or Path(name).suffix not in KINDS_OF_FILE:
        raise OutputError(f"{name!r} cannot be a file of the store", hint=f"files end in {', '.join(KINDS_OF_FILE)}")
    return folder / name


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the errors of a disk into one line."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space, or set GRAFT_CACHE to another disk" if full else "set GRAFT_CACHE to a folder of yours"
        what = "the disk is full" if full else f"cannot write: {error.strerror or error}"
        raise OutputError(what, where=str(folder), hint=hint) from error


def default_folder() -> Path:
    """``GRAFT_CACHE``, or the platform's folder for caches."""
    import platformdirs

    named = os.environ.get("GRAFT_CACHE")
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("graft", appauthor=False))


def sampled_digest(path: Path) -> str:
    """SHA-256 over the size and evenly spaced blocks of a file: cheap for any size, whole for small files."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _BLOCK * _SAMPLES:
            digest.update(file.read())
        else:
            for index in range(_SAMPLES):
                file.seek(index * (size - _BLOCK) // (_SAMPLES - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _full_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """The cache.

    Args:
        folder: Where it lies; the variable ``GRAFT_CACHE`` or the platform's cache folder by default.
        max_bytes: Size above which the least recently used entries go; ``GRAFT_CACHE_SIZE`` or 20 GB by default.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> with store.create("k1", kind="features") as entry:
        ...     entry.array("values", (2, 3), "float16")[:] = 1
        >>> store.open("k1").array("values").sum().item()
        6.0
        >>> store.open("k2") is None
        True
    """

    def __init__(self, folder: str | Path | None = None, max_bytes: int | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        if max_bytes is None:
            max_bytes = parse_size(os.environ.get("GRAFT_CACHE_SIZE", DEFAULT_SIZE))
        self.max_bytes = max_bytes

    def _path(self, key: str) -> Path:
        if not _NAME.fullmatch(key):
            raise OutputError(f"{key!r} cannot be a key", hint="letters, digits, dot, dash and underscore")
        return self.folder / "entries" / key

    def open(self, key: str) -> Entry | None:
        """The entry under ``key``, or None; a damaged one is removed."""
        path = self._path(key)
        manifest = self._manifest(path)
        if manifest is None:
            return None
        if not _intact(path, manifest, full=False):
            self._drop(path)
            return None
        with contextlib.suppress(OSError):  # a cache that may only be read is still a cache
            os.utime(path / MANIFEST)
        return Entry(path, manifest["meta"])

    @contextlib.contextmanager
    def create(self, key: str, *, kind: str = "features") -> Iterator[Draft]:
        """Write an entry: it appears under ``key`` when the block ends well, and not at all when it raises.

        If another process was first, its entry stays: the content is the same, since the key is a digest of it.

        Raises:
            OutputError: The disk is full or the folder may not be written.
        """
        path = self._path(key)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "entries").mkdir(exist_ok=True)
            draft = Draft(Path(tempfile.mkdtemp(prefix=f".{os.getpid()}-", dir=self.folder / "entries")), kind)
        try:
            yield draft
            with writing(self.folder):
                draft.close()
                _seal(draft, key)
                try:
                    draft.folder.replace(path)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                _sync_folder(path.parent)
        finally:
            draft._maps.clear()  # noqa: SLF001  (same file; open maps would keep the disk space of a removed file)
            shutil.rmtree(draft.folder, ignore_errors=True)
        self.trim(keep=key)

    @contextlib.contextmanager
    def lock(self, key: str, *, wait: float = 3600.0) -> Iterator[bool]:
        """Hold the lock of ``key`` so that two processes do not make the same entry; yields whether it was got.

        The lock dies with its process.  After ``wait`` seconds, or where the file system has no locks, the block runs
        without it: the worst that happens is that the entry is computed twice.
        """
        try:
            (self.folder / "locks").mkdir(parents=True, exist_ok=True)
            file = (self.folder / "locks" / self._path(key).name).open("a+b")
        except OSError:
            yield False
            return
        with file:
            end = time.monotonic() + wait
            got = _try_lock(file.fileno())
            while not got and time.monotonic() < end:
                time.sleep(0.05)
                got = _try_lock(file.fileno())
            yield got

    def remember(self, key: str, value: dict[str, Any], *, kind: str) -> None:
        """Keep a small JSON value; a cache that cannot be written forgets it."""
        with contextlib.suppress(OutputError), self.create(key, kind=kind) as draft:
            draft.meta = value

    def recall(self, key: str) -> dict[str, Any] | None:
        """The JSON value kept under ``key``, or None."""
        entry = self.open(key)
        return None if entry is None else entry.meta

    def entries(self) -> list[EntryFacts]:
        """What is kept, least recently used first."""
        found = []
        root = self.folder / "entries"
        for path in sorted(root.iterdir()) if root.is_dir() else []:
            if not path.name.startswith("."):
                manifest = self._manifest(path)
                if manifest is None:
                    continue
                size = sum(int(facts["bytes"]) for facts in manifest["files"].values())
                with contextlib.suppress(OSError):  # another process may have removed it meanwhile
                    found.append(EntryFacts(path.name, manifest["kind"], size, (path / MANIFEST).stat().st_mtime))
        return sorted(found, key=lambda facts: facts.used)

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(facts.bytes for facts in self.entries())

    def clear(self, kind: str | None = None) -> int:
        """Remove all entries, or those of one kind; the number of bytes freed."""
        freed = 0
        for facts in self.entries():
            if kind in (None, facts.kind):
                self._drop(self._path(facts.key))
                freed += facts.bytes
        return freed

    def verify(self) -> list[str]:
        """Read every byte; the keys of damaged entries, which are removed."""
        damaged = []
        root = self.folder / "entries"
        for path in sorted(root.iterdir()) if root.is_dir() else []:
            if path.name.startswith("."):
                continue
            manifest = self._manifest(path)
            if manifest is None or not _intact(path, manifest, full=True):
                damaged.append(path.name)
                self._drop(path)
        return damaged

    def trim(self, *, keep: str = "") -> None:
        """Remove the least recently used entries above the size limit, and drafts of dead processes."""
        entries = self.entries()
        excess = sum(facts.bytes for facts in entries) - self.max_bytes
        for facts in entries:
            if excess <= 0:
                break
            if facts.key != keep:
                self._drop(self._path(facts.key))
                excess -= facts.bytes
        with contextlib.suppress(OSError):
            for path in (self.folder / "entries").glob(".*"):
                if time.time() - path.stat().st_mtime > _STALE:
                    shutil.rmtree(path, ignore_errors=True)

    def _drop(self, path: Path) -> None:
        """Remove an entry at once: it is renamed first, so nobody finds half of it."""
        gone = path.with_name(f".gone-{os.getpid()}-{time.monotonic_ns()}")
        with contextlib.suppress(OSError):
            path.replace(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _manifest(self, path: Path) -> dict[str, Any] | None:
        try:
            manifest = json.loads((path / MANIFEST).read_bytes())
            sound = isinstance(manifest["files"], dict) and isinstance(manifest["meta"], dict) and manifest["kind"]
        except FileNotFoundError:
            if path.is_dir():  # a rename is whole, so a folder without manifest was damaged
                self._drop(path)
            return None
        except (OSError, ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            self._drop(path)
            return None
        return manifest  # type: ignore[no-any-return]


def _seal(draft: Draft, key: str) -> None:
    files = {}
    for path in sorted(draft.folder.iterdir()):
        _inside(draft.folder, path.name)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.name] = {
            "bytes": path.stat().st_size,
            "sha256": _full_digest(path),
            "sampled": sampled_digest(path),
        }
    manifest = {"format": 1, "key": key, "kind": draft.kind, "meta": draft.meta, "files": files}
    with (draft.folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(manifest, file)
        file.flush()
        os.fsync(file.fileno())


def _intact(path: Path, manifest: dict[str, Any], *, full: bool) -> bool:
    """Whether the files are those of the manifest: size and sampled blocks, or every byte."""
    try:
        for name, facts in manifest["files"].items():
            file = _inside(path, name)
            if file.stat().st_size != facts["bytes"] or sampled_digest(file) != facts["sampled"]:
                return False
            if full and _full_digest(file) != facts["sha256"]:
                return False
    except (OSError, KeyError, TypeError):
        return False
    return True


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
