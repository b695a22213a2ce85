"""The folder of a run: complete or not there.  Work in progress sits beside it and can be taken up again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from graft.core.errors import GraftError, OutputError, UsageError

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two runs from writing to one folder
    fcntl = None  # type: ignore[assignment]

KEPT = 60.0  # seconds of work that are worth keeping even when the command itself was wrong
# a folder that holds one of these was written by graft
MARKS = ("run.json", "model.json", "pretrain.json", "reshape.json")


class RunFolder:
    """``runs/x`` appears only when everything in it is written; until then ``runs/.x.partial`` holds what is done.

    Args:
        out: The folder to make.
        facts: What the run depends on (data, options); a resumed run must have the same.
        resume: Go on with the work of an interrupted run.
        overwrite: Replace an existing run (only at the end, when the new one is complete).

    Raises:
        OutputError: The folder exists, cannot be written, or another run is writing it.
        UsageError: ``resume`` finds the work of a different run.
    """

    def __init__(self, out: Path, facts: dict[str, Any], *, resume: bool = False, overwrite: bool = False) -> None:
        self.out = Path(out)
        place = self.out.resolve() if self.out.name in ("", "..") else self.out
        self.overwrite = overwrite
        self.partial = place.parent / f".{place.name}.partial"
        self.spent, self.resumed = 0.0, False
        self._made: list[Path] = []
        self._lock = -1
        if self.out.exists():
            self._may_replace()
        try:
            self._claim(json.loads(json.dumps(facts, default=str)), resume=resume)
        except BaseException:
            self._release()
            raise

    def _may_replace(self) -> None:
        if not self.overwrite:
            raise OutputError(f"{self.out} exists", hint="choose another --out, or pass --overwrite")
        ours = self.out.is_dir() and any((self.out / mark).is_file() for mark in MARKS)
        if not ours and not (self.out.is_dir() and not any(self.out.iterdir())):
            hint = "--overwrite replaces only runs; choose another --out"
            raise OutputError(f"{self.out} is not a graft run", hint=hint)

    def _claim(self, facts: dict[str, Any], *, resume: bool) -> None:
        record = self.partial / "started.json"
        try:
            self._make()
            self._hold()
            if self._put_back():
                self._may_replace()
            earlier = _read(record) if resume else None
            if earlier is not None:
                changed = [key for key in facts if earlier["facts"].get(key) != facts[key]]
                if changed:
                    raise UsageError(
                        f"the interrupted run {self.out} had another {', '.join(changed)}",
                        hint="repeat its command with --resume, or start anew without --resume",
                    )
                self.spent, self.resumed = float(earlier.get("spent", 0.0)), True
                shutil.rmtree(self.partial / "result", ignore_errors=True)  # written again from the finished work
            else:
                self._empty()
            self._facts = facts
            self.spend(self.spent)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            what = f"cannot write {self.out}: {error.strerror or error}"
            raise OutputError(what, hint="choose another --out") from error

    def _make(self) -> None:
        """Make the folder and its parents, and remember which ones are new."""
        folder = self.partial
        while not folder.exists():
            self._made.append(folder)
            folder = folder.parent
        self.partial.mkdir(parents=True, exist_ok=True)

    def _hold(self) -> None:
        """Keep other runs out; the lock dies with this process."""
        if fcntl is None:
            return
        self._lock = os.open(self.partial, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release()
            hint = "wait for it, or choose another --out"
            raise OutputError(f"another graft fit is writing {self.out}", hint=hint) from error
        except OSError:  # a file system without locks
            self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _put_back(self) -> bool:
        """Put back the old folder where a run was killed between the two renames of ``finish``."""
        old = self.partial / "replaced"
        lost = old.exists() and not self.out.exists()
        if lost:
            old.replace(self.out)
        return lost

    def _empty(self) -> None:
        for path in self.partial.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @property
    def work(self) -> Path:
        """Where finished trials and checkpoints are kept."""
        return self.partial / "work"

    def spend(self, seconds: float) -> None:
        """Remember how much of the budget is used, for a run that goes on later."""
        record = self.partial / "started.json"
        temporary = record.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps({"facts": self._facts, "spent": seconds}), encoding="utf-8")
            temporary.replace(record)
        finally:
            temporary.unlink(missing_ok=True)

    @property
    def result(self) -> Path:
        """Where the finished files are put before they are moved into place together."""
        folder = self.partial / "result"
        folder.mkdir(exist_ok=True)
        return folder

    def finish(self) -> Path:
        """Move the result into place and remove the work."""
        old = self.partial / "replaced"
        try:
            if self.out.exists():
                if not self.overwrite:
                    raise OutputError(
                        f"{self.out} appeared while this run was working", hint=f"the result is in {self.result}"
                    )
                self.out.replace(old)
            try:
                self.result.replace(self.out)
            except OSError:
                if old.exists():
                    old.replace(self.out)
                raise
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(
                f"cannot write {self.out}: {error.strerror or error}", hint=f"the result is in {self.result}"
            ) from error
        shutil.rmtree(self.partial, ignore_errors=True)
        self._release()
        return self.out

    def leave(self, error: BaseException, spent: float) -> None:
        """Stop before the end: keep finished work that another try can use, or remove every trace.

        Args:
            error: Why; it gets a note that says how to go on.
            spent: Seconds of the budget used so far.
        """
        wrong = isinstance(error, GraftError) and not isinstance(error, OutputError)  # the command itself
        worth = not wrong or self.resumed or spent > KEPT
        if worth and self.work.is_dir() and any(self.work.iterdir()):
            with contextlib.suppress(OSError):  # the disk may be what stopped it
                self.spend(spent)
            error.add_note(f"what is done is kept: repeat the command with --out {self.out} --resume")
        else:
            shutil.rmtree(self.partial, ignore_errors=True)
            with contextlib.suppress(OSError):  # a parent that others use by now is not empty and stays
                for folder in self._made[1:]:
                    folder.rmdir()
        self._release()


def _read(record: Path) -> dict[str, Any] | None:
    """What an earlier run noted; None where there is nothing that can be taken up."""
    try:
        earlier = json.loads(record.read_text(encoding="utf-8"))
        return earlier if isinstance(earlier["facts"], dict) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def free_name(folder: Path, *, resume: bool = False) -> Path:
    """The folder itself, or the first of ``folder-2``, ``folder-3`` … that does not exist.

    Args:
        folder: The name wanted.
        resume: Take the name under which an interrupted run was working, where there is one.
    """
    names = [folder]
    while names[-1].exists():
        names.append(folder.with_name(f"{folder.name}-{len(names) + 1}"))
    if resume:
        interrupted = [name for name in names if (name.parent / f".{name.name}.partial").is_dir()]
        return interrupted[-1] if interrupted else names[-1]
    return names[-1]
