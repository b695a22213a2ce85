"""Try candidates on held-out rows: the same folds for all, each result kept, hopeless ones stopped early."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graft.core.errors import BudgetError, OutputError, SourceError
from graft.core.ragged import cut, flat, is_ragged, lengths
from graft.core.registry import TRANSFERS
from graft.core.types import Dataset, ModelSpec
from graft.sources.base import Backbone
from graft.transfer.base import BaseTransfer, Setting

SHOWN = ("blocks", "epochs", "head", "kind", "label_smoothing", "layers", "loss", "lr")  # settings that a name tells
Folds = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Candidate:
    """A way to get to predictions: a transfer with its settings and, where it needs one, a source.

    Attributes:
        transfer: Name in the registry.
        settings: Constructor keywords without ``source``.
        spec: The pretrained model, or None.
        source: What is handed to the transfer: a URI, or an opened backbone that nothing changes.
        seconds: Predicted time of a fit on ``rows`` rows, as a function of rows.
        memory: Predicted bytes that a fit takes beyond what is there.
        share: Share of the time left that trying it may use.
        folds: On how many folds it is tried at most; None for all.
        label: What to call it; the transfer's own label by default.
        members: Of an ensemble, what it is the mean of.
    """

    transfer: str
    settings: dict[str, Any] = field(default_factory=dict)
    spec: ModelSpec | None = None
    source: str | Backbone | None = None
    seconds: Callable[[int], float] = lambda rows: 1.0  # noqa: ARG005  (a constant is a function of rows too)
    memory: int = 0
    share: float = 1.0
    folds: int | None = None
    label: str = ""
    members: tuple[Candidate, ...] = ()

    @property
    def transfers(self) -> bool:
        """Whether anything pretrained is in it."""
        return self.spec is not None or any(one.spec for one in self.members)

    @property
    def name(self) -> str:
        """A name that says source, way and what differs from the default."""
        label = self.label or TRANSFERS[self.transfer].label
        extras = [f"{key}={value}" for key, value in self.settings.items() if key in SHOWN]
        return label + (f" of {self.spec.name}" if self.spec else "") + (f" ({', '.join(extras)})" if extras else "")

    def make(self) -> BaseTransfer:
        """A fresh, unfitted transfer."""
        arguments = dict(self.settings)
        if TRANSFERS[self.transfer].needs_source:
            arguments["source"] = self.source if self.source is not None else self.spec
        return TRANSFERS[self.transfer](**arguments)


class Use(NamedTuple):
    """What a fitted model takes where it is used, measured where that is limited.

    Attributes:
        reason: Which limit it is beyond; empty if none.
        ms: Milliseconds per row.
        bytes: On disk.
    """

    reason: str = ""
    ms: float = 0.0
    bytes: float = 0.0


NOT_MEASURED = Use()


@dataclass
class Trial:
    """What came of a candidate.

    Attributes:
        candidate: What was tried.
        state: ``"done"``, ``"waiting"`` between two folds, ``"stopped"`` (clearly worse, beyond a limit, or out of time
            after some folds), ``"failed"``, ``"skipped"``.
        outputs: Held-out outputs (n, C) or (n,); NaN where a row was not predicted.
        seconds: Time of fitting and predicting.
        fit_seconds: Time of one fit, the mean over folds.
        quickest: Time of the quickest fold, of fitting and predicting.
        folds: Folds done.
        reason: Why it failed, stopped or was skipped.
        budget: Seconds in all that would have left time for it, where time was what it lacked; else 0.
        curves: Learning curve of each fold.
        use: What it takes where it is used.
        repeats: The same as ``outputs`` from other folds, where all rows were predicted again.
    """

    candidate: Candidate
    state: str = "done"
    outputs: np.ndarray | None = None
    seconds: float = 0.0
    fit_seconds: float = 0.0
    quickest: float = float("inf")
    predicted_seconds: float = 0.0
    ms_per_example: float = 0.0
    folds: int = 0
    reason: str = ""
    budget: float = 0.0
    curves: list[list[dict[str, float]]] = field(default_factory=list)
    use: Use = NOT_MEASURED
    repeats: list[np.ndarray] = field(default_factory=list)

    def add(self, facts: dict[str, Any]) -> None:
        """Take in what a fold took; times of one fit and one row are means over folds."""
        self.folds += 1
        self.seconds += facts["seconds"]
        self.quickest = min(self.quickest, facts["seconds"])
        self.fit_seconds += (facts["fit_seconds"] - self.fit_seconds) / self.folds
        self.ms_per_example += (facts["ms"] - self.ms_per_example) / self.folds
        if facts["curve"]:
            self.curves.append(facts["curve"])
        if self.folds == 1:
            self.use = Use(*facts.get("use", ()))

    @property
    def usable(self) -> bool:
        """Whether it can be chosen."""
        return self.state == "done" and self.outputs is not None

    @property
    def rows(self) -> np.ndarray:
        """Mask (n,) of the rows that were predicted."""
        assert self.outputs is not None
        if is_ragged(self.outputs):
            return np.array([row is not None for row in self.outputs], bool)
        return ~np.isnan(self.outputs.reshape(len(self.outputs), -1)[:, 0])

    def passes(self, rows: np.ndarray) -> list[np.ndarray]:
        """Held-out outputs of some rows, of each time that they were predicted."""
        assert self.outputs is not None
        return [one[rows] for one in (self.outputs, *self.repeats)]


class TrialStore:
    """Finished folds on disk, so that a killed run goes on where it stood.

    Args:
        folder: Where; None keeps nothing.
        key: What must be equal for a result to be used again: data, folds, version.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder, self.key = folder, key

    def path(self, candidate: Candidate, fold: int) -> Path | None:
        """File of one fold of one candidate."""
        if self.folder is None:
            return None
        uri = candidate.spec.weights_sha256 or candidate.spec.uri if candidate.spec else ""
        facts = [self.key, candidate.transfer, candidate.settings, uri, fold]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]
        return self.folder / f"{digest}.npz"

    def load(self, path: Path | None) -> tuple[np.ndarray, dict[str, Any]] | None:
        """A finished fold, or None."""
        if path is None or not path.exists():
            return None
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                outputs = cut(file["outputs"], file["lengths"]) if "lengths" in file else file["outputs"]
                return outputs, json.loads(str(file["facts"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            path.unlink(missing_ok=True)  # half-written by something else: do it again
            return None

    def save(self, path: Path | None, outputs: np.ndarray, facts: dict[str, Any]) -> None:
        """Keep a finished fold."""
        if path is None:
            return
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                more = {"lengths": lengths(outputs)} if is_ragged(outputs) else {}
                np.savez(file, outputs=flat(outputs), facts=np.asarray(json.dumps(facts)), **more)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            what = f"cannot write {self.folder}: {error.strerror or error}"
            raise OutputError(what, hint="free some space, or choose another --out") from error


def try_candidate(
    candidate: Candidate,
    data: Dataset,
    folds: Folds,
    *,
    setting: Setting,
    store: TrialStore,
    share: float = 1.0,
    hopeless: Callable[[Trial], str] | None = None,
    beyond: Callable[[BaseTransfer, Dataset], Use] | None = None,
) -> Trial:
    """Fit on the training part of each fold and predict the rest.

    Args:
        candidate: What to try.
        data: All rows.
        folds: Positions (train, test).
        setting: Clock, progress and cache.
        store: Finished folds.
        share: Share of the time left that this candidate may use.
        hopeless: Given the trial so far, says why to stop, or "" to go on.
        beyond: Given the first fitted model and rows, measures what it takes, and says which limit it breaks.

    Returns:
        The trial; a failure is a trial with a reason, never a crash.
    """
    folds = folds[: candidate.folds] if candidate.folds else folds
    trial = Trial(candidate, predicted_seconds=sum(candidate.seconds(len(train)) for train, _ in folds))
    seconds = setting.clock.left() * share
    advance(trial, data, folds, setting=setting, store=store, seconds=seconds, hopeless=hopeless, beyond=beyond)
    return trial


def advance(
    trial: Trial,
    data: Dataset,
    folds: Folds,
    *,
    setting: Setting,
    store: TrialStore,
    upto: int | None = None,
    seconds: float = float("inf"),
    hopeless: Callable[[Trial], str] | None = None,
    beyond: Callable[[BaseTransfer, Dataset], Use] | None = None,
) -> None:
    """Go on with a trial through the next folds, until ``upto`` of them are done; None for all.

    It is ``"waiting"`` after some of them and ``"done"`` after all.

    Args:
        trial: What was tried so far.
        data: All rows.
        folds: Positions (train, test).
        setting: Clock, progress and cache.
        store: Finished folds.
        upto: Folds to do, those that are done counted.
        seconds: Time for these folds.
        hopeless: Given the trial so far, says why to stop, or "" to go on.
        beyond: Given the first fitted model and rows, measures what it takes, and says which limit it breaks.
    """
    candidate, upto = trial.candidate, len(folds) if upto is None else upto
    if trial.outputs is None:
        trial.outputs = _unpredicted(data)
    start = time.perf_counter()
    for index in range(trial.folds, upto):
        train, test = folds[index]
        setting.progress(candidate.name, index / len(folds), f"fold {index + 1} of {len(folds)}")
        path = store.path(candidate, index)
        try:
            found = store.load(path)
            if found is None:
                left = (seconds - (time.perf_counter() - start)) / (upto - index)
                found = _one_fold(candidate, data, train, test, _within(setting, left, path), None if index else beyond)
                store.save(path, *found)
        except BudgetError as error:
            trial.state, trial.reason = "stopped", str(error)
            break
        except OutputError:
            raise  # a full disk is not the candidate's failure
        except Exception as error:  # noqa: BLE001  (whatever a plug-in raises: a candidate that fails is a row)
            trial.state, trial.reason = "failed", " ".join(str(error).split())[:300] or type(error).__name__
            break
        trial.outputs[test] = found[0]
        trial.add(found[1])
        reason = trial.use.reason if index == 0 else ""
        if reason:
            trial.state, trial.reason = "stopped", reason
            break
        reason = hopeless(trial) if hopeless and index + 1 < len(folds) else ""
        if reason:
            trial.state, trial.reason = "stopped", reason
            break
    else:
        trial.state = "done" if trial.folds == len(folds) else "waiting"
    if not trial.folds:
        trial.outputs = None


def again(trial: Trial, data: Dataset, folds: Folds, *, setting: Setting, store: TrialStore, number: int) -> None:
    """Predict all rows once more, with other folds; where that comes to no end, the trial stays as it is.

    Args:
        trial: Done.
        data: All rows.
        folds: Positions (train, test), those of no other pass.
        setting: Clock, progress and cache.
        store: Finished folds.
        number: Which pass it is, the first is 0.
    """
    assert trial.outputs is not None
    outputs, seconds = _unpredicted(data), 0.0
    for index, (train, test) in enumerate(folds):
        path = store.path(trial.candidate, number * len(folds) + index)
        try:
            found = store.load(path)
            if found is None:
                found = _one_fold(trial.candidate, data, train, test, setting, None)
                store.save(path, *found)
        except OutputError:
            raise
        except Exception:  # noqa: BLE001  (one pass over all rows is there; this one is not needed)
            return
        outputs[test], seconds = found[0], seconds + found[1]["seconds"]
    trial.repeats.append(outputs)
    trial.seconds += seconds


def _unpredicted(data: Dataset) -> np.ndarray:
    """Outputs of rows none of which was predicted: NaN, or None where each row has an array."""
    if data.task.is_ragged:
        return np.full(len(data), None, dtype=object)
    return np.full((len(data), data.task.outputs) if data.task.has_columns else len(data), np.nan)


def _within(setting: Setting, seconds: float, path: Path | None) -> Setting:
    checkpoint = path.with_suffix(".safetensors") if path else None
    clock = setting.clock if seconds == float("inf") else setting.clock.part(seconds)
    return dataclasses.replace(setting, clock=clock, checkpoint=checkpoint)


def _one_fold(
    candidate: Candidate,
    data: Dataset,
    train: np.ndarray,
    test: np.ndarray,
    setting: Setting,
    beyond: Callable[[BaseTransfer, Dataset], Use] | None,
) -> tuple[np.ndarray, dict[str, Any]]:
    if setting.clock.expired:
        raise BudgetError("no time was left")
    start = time.perf_counter()
    transfer = candidate.make().fit(data.select(train), setting=setting)
    fitted = time.perf_counter()
    outputs = transfer.outputs(data.select(test), store=setting.store)
    done = time.perf_counter()
    if not np.isfinite(flat(outputs)).all():
        raise SourceError(f"{candidate.name} gives values that are not finite", hint="lower its learning rate")
    facts = {
        "seconds": done - start,
        "fit_seconds": fitted - start,
        "ms": 1000 * (done - fitted) / max(1, len(test)),
        "curve": transfer.curve_,
        "use": beyond(transfer, data.select(test)) if beyond else Use(),
    }
    return outputs, facts
