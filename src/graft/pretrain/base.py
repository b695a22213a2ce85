"""BasePretrain: a way to make a source from rows without labels, or to go on with one.

A subclass says what is minimised, what batches look like, how well it works beside simple models, and shows samples.
What it saves opens with ``file:FOLDER``, so ``graft rank`` and ``graft fit`` use it like any other source.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from torch import nn

from graft import __version__
from graft.core.errors import UsageError
from graft.core.runtime import Clock, Progress, bf16_is_faster, device, environment, seeded, silent
from graft.core.types import Dataset
from graft.data.load import load
from graft.engine.callbacks import Checkpoint
from graft.engine.loop import History, fit
from graft.engine.objective import Batch, Objective
from graft.sources.base import Backbone

if TYPE_CHECKING:
    from graft.nn.bootstrap import Weighted

HELD_OUT = 0.05  # share of the rows held out to measure on …
MOST_HELD_OUT = 5_000  # … and at most this many
MEASURED = 0.9  # share of the time that training may use; the rest is for measuring and for samples


@dataclasses.dataclass(frozen=True)
class Learned:
    """What learning made.

    Attributes:
        backbone: The source.
        history: Steps, seconds and the learning curve.
        per_epoch: Steps of a pass over the rows.
        objective: What was minimised; None where nothing was trained step by step.
    """

    backbone: Backbone
    history: History
    per_epoch: float
    objective: Objective | None = None


class BasePretrain(BaseEstimator, ABC):
    """Base of all objectives.  A subclass writes ``_start`` (or ``_learn``), ``_measure`` and ``_samples``.

    Attributes:
        name: What it is called on the command line.
        label: What to call it in a sentence.
        encoders: Names of encoders it can train, by modality; the first is the default.
        labels: Whether labels are read: ``""`` never, ``"compared"`` with what was found, where a column is named,
            ``"some"`` rows may lack one, ``"all"`` rows have one.
        training: Settings of ``engine.loop.fit`` that differ from its own.
        backbone_: The source that was made.
        record_: Data, scores beside baselines, samples, learning curve, environment: plain JSON.
    """

    name: ClassVar[str] = ""
    label: ClassVar[str] = ""
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {}
    labels: ClassVar[str] = ""
    training: ClassVar[dict[str, Any]] = {}
    backbone_: Backbone
    record_: dict[str, Any]

    epochs: float | None
    batch_size: int
    lr: float
    seed: int

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        clock: Clock | None = None,
        progress: Progress = silent,
        work: Path | None = None,
    ) -> Self:
        """Learn from rows.

        Args:
            X: A ``Dataset``, or raw rows.
            y: Labels, for objectives that read them; an empty one (None) where it is not known.
            clock: The budget.  Without ``epochs`` training goes on until it runs out.
            progress: Told what happens.
            work: Folder for the encoded corpus and the checkpoint of a training that can be taken up again; a
                temporary one if not given.

        Raises:
            DataError: The rows cannot be learned from.
            UsageError: The objective does not fit the modality or the encoder.
        """
        data = X if isinstance(X, Dataset) else self._load(X, y)
        if data.task.modality not in self.encoders:
            raise UsageError(
                f"{self.label} does not read {data.task.modality}", hint=f"it reads {', '.join(self.encoders)}"
            )
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(work or temporary)
            folder.mkdir(parents=True, exist_ok=True)
            with seeded(self.seed):
                self._fit(data, clock or Clock(), progress, folder)
        return self

    def _load(self, X: Any, y: Any) -> Dataset:
        if not self.labels or (self.labels == "compared" and y is None):
            return load(X, labelled=False)
        return load(X if y is None else (X, y), partly=self.labels != "all")

    def _fit(self, data: Dataset, clock: Clock, progress: Progress, folder: Path) -> None:
        learned = self._learn(data, clock, progress, folder)
        backbone, objective, history = learned.backbone, learned.objective, learned.history
        self.backbone_ = backbone.requires_grad_(requires_grad=False).eval()
        progress("measuring", 0.0)
        scores = self._measure(objective)
        samples = self._samples(objective)
        progress("measuring", 1.0)
        origin = f"{self.label} on {data.name} ({len(data):,} rows)"
        backbone.spec = dataclasses.replace(backbone.spec, objective=origin, name=f"{data.name}-{self.name}")
        self.record_ = {
            "kind": "pretraining",
            "graft": __version__,
            "objective": self.name,
            "label": self.label,
            "data": {"name": data.name, "rows": len(data), "modality": data.task.modality, **self._facts()},
            "encoder": {"architecture": backbone.spec.architecture, "parameters": backbone.spec.parameters},
            "settings": {key: value for key, value in self.get_params(deep=False).items() if value is not None},
            "training": {
                "steps": history.steps,
                "epochs": round(history.steps / learned.per_epoch, 3),
                "seconds": round(history.seconds, 1),
                "stopped": history.stopped,
                **self._throughput(history),
            },
            "curve": history.points,
            "scores": scores,
            "samples": samples,
            "notes": self._notes(history),
            "environment": environment(),
        }

    def _learn(self, data: Dataset, clock: Clock, progress: Progress, folder: Path) -> Learned:
        """Train what ``_start`` gives; a closed form overrides it."""
        backbone, objective, batches, per_epoch = self._start(data, folder, progress)
        steps = self._steps(per_epoch, clock)
        history = self._train(objective, batches, steps, clock.part(clock.left() * MEASURED), progress, folder)
        return Learned(backbone, history, per_epoch, objective)

    def _steps(self, per_epoch: int, clock: Clock) -> int | None:
        """Steps of the whole training; None: as many as the time allows."""
        if self.epochs is not None:
            return max(1, round(self.epochs * per_epoch))
        return 3 * per_epoch if clock.budget is None else None

    def _train(
        self,
        objective: Objective,
        batches: Callable[[int], Iterable[Batch]],
        steps: int | None,
        clock: Clock,
        progress: Progress,
        folder: Path,
    ) -> History:
        return fit(
            objective,
            batches,
            steps=steps,
            device=device(),
            clock=clock,
            callbacks=[Checkpoint(folder / "training.safetensors")],
            progress=progress,
            name=self.label,
            **{"precision": "bf16" if bf16_is_faster() else "fp32", **self.training},
        )

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        """The network, what it minimises, the batches of an epoch, and how many these are."""
        raise NotImplementedError

    @abstractmethod
    def _measure(self, objective: Any) -> list[dict[str, Any]]:
        """Scores on held-out rows, each a dict of ``name``, ``value``, ``unit``, ``better`` and ``baselines``."""

    @abstractmethod
    def _samples(self, objective: Any) -> list[dict[str, Any]]:
        """What a person can judge."""

    def _notes(self, history: History) -> list[str]:
        """What a person must be told of this training, a sentence each; asked for when all else is done."""
        del history
        return []

    def _facts(self) -> dict[str, Any]:
        """More facts about the data."""
        return {}

    def _throughput(self, history: History) -> dict[str, float]:
        """Units per second of training."""
        del history
        return {}

    def _score(
        self, name: str, values: np.ndarray, baselines: dict[str, np.ndarray], show: Callable[[Any], Any], unit: str
    ) -> dict[str, Any]:
        """One score with its 90 % interval over units (blocks, pictures), from means (N,) per unit, beside those of simple models."""
        from graft.nn.bootstrap import interval, resample

        draws = np.concatenate(
            [counts @ values / counts.sum(axis=1) for counts in resample(len(values), seed=self.seed)]
        )
        value, low, high = interval(float(values.mean()), draws, level=0.9, size=len(values))
        low, high = sorted((float(show(low)), float(show(high))))
        return {
            "name": name,
            "value": float(show(value)),
            "low": low,
            "high": high,
            "unit": unit,
            "baselines": {key: float(show(nats.mean())) for key, nats in baselines.items()},
        }

    def _scored(
        self, name: str, statistic: Weighted, size: int, baselines: dict[str, float], unit: str, *, times: int = 1000
    ) -> dict[str, Any]:
        """One score that is no mean over units: a function of their weights (R, N) -> (R,), with its 90 % interval."""
        from graft.nn.bootstrap import bootstrap, interval

        draws = bootstrap([statistic], size, seed=self.seed, times=times)[:, 0]
        value, low, high = interval(float(statistic(np.ones((1, size)))[0]), draws, level=0.9, size=size)
        return {"name": name, "value": value, "low": low, "high": high, "unit": unit, "baselines": baselines}

    def save(self, folder: str | Path) -> Path:
        """Write the source (``graft.json``, ``model.safetensors``) and ``pretrain.json``.

        Example:
            ``graft fit DATA --models FOLDER`` starts from it.
        """
        folder = Path(folder)
        self.backbone_.save(folder)
        text = json.dumps(self.record_, ensure_ascii=False, indent=1, default=float)
        (folder / "pretrain.json").write_text(text, encoding="utf-8", errors="backslashreplace")
        return folder


def decayed(
    module: nn.Module, *, lr: float, weight_decay: float, spared: tuple[nn.Parameter, ...] = ()
) -> list[dict[str, Any]]:
    """Parameter groups of one rate in which matrices and kernels are decayed; biases, norms and what is spared are not."""
    kept = {id(parameter) for parameter in spared}
    trained = [p for p in module.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim > 1 and id(p) not in kept]
    others = [p for p in trained if p.ndim <= 1 or id(p) in kept]
    return [
        {"params": matrices, "lr": lr, "weight_decay": weight_decay},
        {"params": others, "lr": lr, "weight_decay": 0.0},
    ]


def held_out_rows(rows: int, seed: int) -> np.ndarray:
    """Mask (N,) of the rows held out to measure on: one in twenty, at most 5,000."""
    count = min(MOST_HELD_OUT, max(1, round(HELD_OUT * rows)))
    held_out = np.zeros(rows, bool)
    held_out[np.random.default_rng(seed).choice(rows, count, replace=False)] = True
    return held_out


def hidden_share(gap: str, asked: float | None, shares: dict[str, float]) -> float:
    """The share that a gap hides: the one asked for, or the usual one of that kind of gap.

    Raises:
        UsageError: There is no such gap, or the share leaves nothing to see or nothing to fill in.
    """
    if gap not in shares:
        raise UsageError(f"no gap {gap!r}", hint=f"use {' or '.join(shares)}")
    share = shares[gap] if asked is None else asked
    if not 0 < share < 1:
        raise UsageError(f"a share of {share} cannot be hidden", hint="use one between 0 and 1")
    return share


def choose_encoder(asked: str | None, names: tuple[str, ...], label: str) -> str:
    """The encoder asked for, or the first that the objective can train.

    Raises:
        UsageError: The objective cannot train it.
    """
    if asked is not None and asked not in names:
        raise UsageError(f"{label} does not train the encoder {asked!r}", hint=f"use {', '.join(names)}")
    return asked or names[0]
