"""Plug-in registries: a plug-in is one file in one folder, found by scanning, imported by name by nobody."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from graft.core.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Plug-ins of one kind by name.

    The folder of ``package`` is scanned on first use; installed distributions add to it with an entry point in the
    group ``package`` (for example ``graft.transfer``).

    Args:
        kind: What one entry is called in messages, for example ``"transfer"``.
        package: The package whose modules register entries, for example ``"graft.transfer"``.

    Example:
        >>> from graft.core.registry import Registry
        >>> fruit = Registry("fruit", package=None)
        >>> @fruit.register("apple")
        ... def apple():
        ...     return 1
        >>> fruit["apple"]()
        1
        >>> fruit["aple"]
        Traceback (most recent call last):
        ...
        graft.core.errors.UsageError: no fruit 'aple'; did you mean 'apple'?
    """

    def __init__(self, kind: str, package: str | None) -> None:
        self.kind, self.package = kind, package
        self._entries: dict[str, T] = {}
        self._scanned = package is None

    def register(self, name: str) -> Callable[[T], T]:
        """Add the decorated object under ``name``; a name can be taken once."""

        def add(entry: T) -> T:
            if self._entries.get(name, entry) is not entry:
                raise UsageError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def _scan(self) -> dict[str, T]:
        if not self._scanned and self.package is not None:
            self._scanned = True  # a plug-in may ask the registry while it is imported
            try:
                self._import(self.package)
            except BaseException:
                self._scanned = False  # the next question must fail too, not find half of the plug-ins
                raise
        return self._entries

    def _import(self, package: str) -> None:
        folder = importlib.import_module(package)
        for module in pkgutil.iter_modules(folder.__path__):
            importlib.import_module(f"{package}.{module.name}")
        for point in entry_points(group=package):
            self.register(point.name)(point.load())

    def __getitem__(self, name: str) -> T:
        entries = self._scan()
        if name in entries:
            return entries[name]
        near = difflib.get_close_matches(name, entries, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(entries)) or 'none'}"
        raise UsageError(f"no {self.kind} {name!r}", hint=hint)

    def __contains__(self, name: object) -> bool:
        return name in self._scan()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._scan()))

    def __len__(self) -> int:
        return len(self._scan())

    def items(self) -> list[tuple[str, T]]:
        """All entries, sorted by name."""
        return sorted(self._scan().items())


MODALITIES: Registry = Registry("modality", "graft.data")
SOURCES: Registry = Registry("source scheme", "graft.sources")
SCORES: Registry = Registry("score", "graft.ranking")
TRANSFERS: Registry = Registry("transfer", "graft.transfer")
OBJECTIVES: Registry = Registry("objective", "graft.pretrain")
ADAPTATIONS: Registry = Registry("adaptation", "graft.adaptation")
ZERO_SHOTS: Registry = Registry("zero-shot method", "graft.zero_shot")
CRITERIA: Registry = Registry("criterion", "graft.unlabelled")
