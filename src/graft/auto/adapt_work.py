"""What a killed adaptation takes up again: judged pseudo-targets, tried methods, trained networks."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graft import __version__
from graft.adaptation.base import BaseAdaptation
from graft.core.errors import GraftError, OutputError
from graft.transfer.base import load_transfer
from graft.unlabelled.learning import Trial
from graft.unlabelled.observed import Observed

OUTPUTS = ("target_outputs", "source_outputs", "runs")  # of ``Observed``; the rest follows from the rows


class AdaptWork:
    """A folder of finished parts, each written whole or not at all.

    Args:
        folder: Where; None keeps nothing.
        key: What must be equal for a part to be used again: rows, options.
    """

    def __init__(self, folder: Path | None, key: Sequence[Any]) -> None:
        digest = hashlib.sha256(json.dumps([__version__, *key], sort_keys=True, default=str).encode()).hexdigest()
        self.folder = None if folder is None else folder / digest[:24]

    # -- pseudo-targets ----------------------------------------------------------------------------------------------

    def trials(self, name: str) -> tuple[list[Trial], float] | None:
        """What came of a pseudo-target, and its seconds."""
        found = self._read(f"shift-{_safe(name)}.json")
        if found is None:
            return None
        return [Trial(**one) for one in found["trials"]], float(found["seconds"])

    def keep_trials(self, name: str, trials: Sequence[Trial], seconds: float) -> None:
        """Keep a pseudo-target."""
        plain = [dataclasses.asdict(one) for one in trials]
        self._write(f"shift-{_safe(name)}.json", json.dumps({"trials": plain, "seconds": seconds}).encode())

    # -- methods -----------------------------------------------------------------------------------------------------

    def observed(self, name: str, like: Observed | None) -> tuple[Observed | None, dict[str, Any]] | None:
        """What was seen of a method, and its facts: seconds, and the reason where it failed.

        Args:
            name: Of the method.
            like: Gives the fields that follow from the rows; None for a method that failed.
        """
        facts = self._read(f"method-{_safe(name)}.json")
        if facts is None:
            return None
        if facts["reason"]:
            return None, facts
        path = self._path(f"method-{_safe(name)}.npz")
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {key: file[key] for key in OUTPUTS if key in file}
            assert like is not None
            return dataclasses.replace(like, **arrays), facts
        except (OSError, ValueError, KeyError, EOFError, GraftError, zipfile.BadZipFile, zlib.error):
            return None  # half-written by something else: do it again

    def keep_observed(self, name: str, observed: Observed | None, seconds: float, reason: str) -> None:
        """Keep a method that was tried."""
        if self.folder is None:
            return
        if observed is not None:
            arrays = {key: getattr(observed, key) for key in OUTPUTS if getattr(observed, key) is not None}
            path, temporary = self._place(f"method-{_safe(name)}.npz")
            with _told(self.folder), temporary.open("wb") as file:
                np.savez(file, **arrays)
            temporary.replace(path)
        facts = json.dumps({"seconds": seconds, "reason": reason})
        self._write(f"method-{_safe(name)}.json", facts.encode())  # last: without it the arrays are not whole

    def network(self, name: str) -> BaseAdaptation | None:
        """A network as it was trained."""
        path = None if self.folder is None else self.folder / f"network-{_safe(name)}"
        if path is None or not path.is_dir():
            return None
        try:
            found = load_transfer(path)
        except (GraftError, OSError):
            shutil.rmtree(path, ignore_errors=True)
            return None
        return found if isinstance(found, BaseAdaptation) else None

    def keep_network(self, name: str, model: BaseAdaptation) -> None:
        """Keep a trained network."""
        if self.folder is None:
            return
        path, temporary = self._place(f"network-{_safe(name)}")
        shutil.rmtree(temporary, ignore_errors=True)
        model.save(temporary)
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)

    def checkpoint(self, name: str) -> Path | None:
        """Where a training that is under way is kept."""
        if self.folder is None:
            return None
        return self._place(f"training-{_safe(name)}")[0]

    # -- files -------------------------------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / name

    def _place(self, name: str) -> tuple[Path, Path]:
        path = self._path(name)
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path, path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def _read(self, name: str) -> dict[str, Any] | None:
        if self.folder is None:
            return None
        try:
            found: dict[str, Any] = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def _write(self, name: str, content: bytes) -> None:
        if self.folder is None:
            return
        path, temporary = self._place(name)
        with _told(path):
            temporary.write_bytes(content)
            temporary.replace(path)


@contextlib.contextmanager
def _told(place: Path) -> Iterator[None]:
    """A full or closed disk as graft's own error."""
    try:
        yield
    except OSError as error:
        what = f"cannot keep what is done: {error.strerror or error}"
        raise OutputError(what, where=str(place), hint="free some space, or choose another --out") from error


def _safe(name: str) -> str:
    """A file name that two names do not share."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]
