"""Algorithm transfer: finished runs are remembered, and a new task starts from what won on tasks like it.

One small JSON file per run.  It holds statistics of the task (``statistics.py``) and, of every trial, the transfer, the
settings that differ from the default, the URI of the source, score, time and folds; and the name of the data and the time.
No rows, no text of rows, no names of classes or columns, no predictions.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from graft.core.errors import UsageError
from graft.core.store import default_folder, writing
from graft.core.types import Run
from graft.history.entries import DAMAGE, FORMAT, Entry, PastTrial, from_json, to_json
from graft.history.similarity import similar
from graft.history.statistics import Statistics
from graft.history.suggestions import Suggestion, order, starts, suggest, way_of

__all__ = [
    "Entry", "History", "PastTrial", "Suggestion", "order", "settled", "similar", "starts", "suggest", "way_of",
]  # fmt: skip

MOST = 300  # runs kept; the oldest are forgotten
UNSEEN = {"budget_seconds", "command", "data", "version"}  # parts of the configuration that ask for nothing else
_STALE = 24 * 3600  # seconds after which the unfinished file of a dead process is removed


class History:
    """The finished runs on this machine.

    Args:
        folder: Where their files lie; ``history`` in the folder named by ``GRAFT_CACHE``, or in the platform's cache
            folder, by default.
        most: Runs kept at most.

    Attributes:
        notes: What was left out when the files were last read, one sentence each.

    Example:
        >>> import tempfile
        >>> from graft.data.load import load
        >>> from graft.history.statistics import statistics
        >>> data = load((["yes", "no", "yes", "no"], ["+", "-", "+", "-"]))
        >>> History(tempfile.mkdtemp()).suggest(statistics(data))  # nothing is known yet
        []
    """

    def __init__(self, folder: str | Path | None = None, most: int = MOST) -> None:
        self.folder = Path(folder) if folder is not None else default_folder() / "history"
        self.most = most
        self.notes: list[str] = []

    def add(self, run: Run, statistics: Statistics, *, weights: Mapping[str, str] | None = None) -> Path | None:
        """Remember a finished run; a newer one of the same data and configuration takes the place of the older.

        The file appears whole or not at all.  A folder that cannot be written to forgets the run: it is no reason to
        lose the model.

        Args:
            run: The record.
            statistics: Of its data; what its scores say is filled in here.
            weights: SHA-256 of the weights by URI of the source.

        Returns:
            The file, or None where it could not be written.

        Raises:
            UsageError: The run has not finished.
        """
        if not run.answer or "fingerprint" not in run.data:
            raise UsageError("only a finished run can be remembered")
        asked = {key: value for key, value in run.config.items() if key not in UNSEEN}
        facts = json.dumps([run.data["fingerprint"], asked], sort_keys=True, default=str)
        path = self.folder / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}.json"
        text = json.dumps(to_json(run, statistics, weights or {}), allow_nan=False, indent=1)
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=self.folder)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except OSError:
            return None
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink(missing_ok=True)
        self._forget_oldest()
        return path

    def entries(self) -> list[Entry]:
        """The runs, newest first; a damaged file is left out with a note."""
        self.notes = []
        found = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []:
            try:
                kept = json.loads(path.read_bytes())
                if isinstance(kept, dict) and isinstance(kept.get("format"), int) and kept["format"] > FORMAT:
                    self.notes.append(f"{path.name} was written by a newer graft and is left out")
                    continue
                found.append(from_json(path.stem, kept))
            except FileNotFoundError:
                continue  # another process has just forgotten it
            except (OSError, *DAMAGE):
                self.notes.append(f"{path} is damaged and is left out; remove the file, or run graft fit again")
        return sorted(found, key=lambda entry: (entry.finished, entry.key), reverse=True)

    def remove(self, *keys: str) -> int:
        """Forget the runs with these keys; how many there were."""
        return sum(self._unlink(self.folder / f"{Path(key).name}.json") for key in keys)

    def clear(self) -> int:
        """Forget all runs, damaged files too; how many there were."""
        return sum(map(self._unlink, sorted(self.folder.glob("*.json")))) if self.folder.is_dir() else 0

    def similar(self, statistics: Statistics, *, exclude: str = "") -> list[tuple[float, Entry]]:
        """Past runs with their distance to a task, nearest first; see ``similarity.py``."""
        return similar(self.entries(), statistics, exclude=exclude)

    def suggest(self, statistics: Statistics, *, exclude: str = "") -> list[Suggestion]:
        """What to try first on a task; see ``suggestions.py``.

        Args:
            statistics: Of the new task.
            exclude: Its fingerprint: runs on the same data do not count, so that a fit done twice does the same twice.
        """
        return suggest(self.similar(statistics, exclude=exclude))

    @staticmethod
    def _unlink(path: Path) -> bool:
        try:
            path.unlink()
        except OSError:
            return False
        return True

    def _forget_oldest(self) -> None:
        for entry in self.entries()[self.most :]:
            self.remove(entry.key)
        with contextlib.suppress(OSError):
            for path in self.folder.glob(".*.tmp"):
                if time.time() - path.stat().st_mtime > _STALE:
                    path.unlink(missing_ok=True)


def settled(path: Path | None, make: Callable[[], list[Suggestion]]) -> list[Suggestion]:
    """The suggestions kept at ``path``, else those that ``make`` gives, which are then kept there.

    A run that is interrupted and taken up again goes on in the order it began with, whatever ended in between.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8")) if path else None
        if kept is not None:
            return [Suggestion(**one) for one in kept]
    except (OSError, ValueError, TypeError):
        pass  # not there, or written by another version
    found = make()
    if path is not None:
        temporary = path.with_suffix(".tmp")
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps([asdict(one) for one in found], default=str), encoding="utf-8")
            temporary.replace(path)
    return found
