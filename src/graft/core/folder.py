"""The folder of a run: complete or not there.  Work in progress sits beside it and can be taken up again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from graft.core.errors import OutputError, UsageError


class RunFolder:
    """``runs/x`` appears only when everything in it is written; until then ``runs/.x.partial`` holds what is done.

    Args:
        out: The folder to make.
        facts: What the run depends on (data, options); a resumed run must have the same.
        resume: Go on with the work of an interrupted run.
        overwrite: Replace an existing folder (only at the end, when the new one is complete).

    Raises:
        OutputError: The folder exists, or cannot be written.
        UsageError: ``resume`` finds the work of a different run.
    """

    def __init__(self, out: Path, facts: dict[str, Any], *, resume: bool = False, overwrite: bool = False) -> None:
        self.out, self.overwrite = Path(out), overwrite
        self.partial = self.out.parent / f".{self.out.name}.partial"
        self.spent = 0.0
        if self.out.exists() and not overwrite:
            raise OutputError(f"{self.out} exists", hint="choose another --out, or pass --overwrite")
        self._claim(json.loads(json.dumps(facts, default=str)), resume=resume)

    def _claim(self, facts: dict[str, Any], *, resume: bool) -> None:
        record = self.partial / "started.json"
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            if resume and record.exists():
                earlier = json.loads(record.read_text(encoding="utf-8"))
                changed = [key for key in facts if earlier["facts"].get(key) != facts[key]]
                if changed:
                    raise UsageError(
                        f"the interrupted run {self.out} had another {', '.join(changed)}",
                        hint="repeat its command with --resume, or start anew without --resume",
                    )
                self.spent = float(earlier.get("spent", 0.0))
            else:
                shutil.rmtree(self.partial)
                self.partial.mkdir()
            self._facts = facts
            self.spend(self.spent)
        except OSError as error:
            raise OutputError(f"cannot write to {self.out.parent}: {error.strerror or error}",
                              hint="choose another --out") from error

    @property
    def work(self) -> Path:
        """Where finished trials and checkpoints are kept."""
        return self.partial / "work"

    def spend(self, seconds: float) -> None:
        """Remember how much of the budget is used, for a run that goes on later."""
        record = self.partial / "started.json"
        temporary = record.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"facts": self._facts, "spent": seconds}), encoding="utf-8")
        temporary.replace(record)

    @property
    def result(self) -> Path:
        """Where the finished files are put before they are moved into place together."""
        folder = self.partial / "result"
        folder.mkdir(exist_ok=True)
        return folder

    def finish(self) -> Path:
        """Move the result into place and remove the work."""
        try:
            old = self.out.with_name(f".{self.out.name}.old-{os.getpid()}")
            if self.out.exists():
                if not self.overwrite:
                    raise OutputError(f"{self.out} appeared while this run was working",
                                      hint=f"the result is in {self.result}")
                self.out.replace(old)
            self.result.replace(self.out)
            shutil.rmtree(old, ignore_errors=True)
            shutil.rmtree(self.partial, ignore_errors=True)
        except OSError as error:
            raise OutputError(f"cannot write {self.out}: {error}", hint=f"the result is in {self.partial}") from error
        return self.out


def free_name(folder: Path) -> Path:
    """The folder itself, or the first of ``folder-2``, ``folder-3`` … that does not exist."""
    number, candidate = 2, folder
    while candidate.exists():
        candidate = folder.with_name(f"{folder.name}-{number}")
        number += 1
    return candidate
