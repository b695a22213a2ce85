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
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator

from graft import __version__
from graft.core.errors import UsageError
from graft.core.runtime import Clock, Progress, bf16_is_faster, device, environment, seeded, silent
from graft.core.types import Dataset
from graft.data.load import load
from graft.engine.callbacks import Checkpoint
from graft.engine.loop import History, fit
from graft.engine.objective import Batch, Objective
from graft.sources.base import Backbone

MEASURED = 0.9  # share of the time that training may use; the rest is for measuring and for samples


class BasePretrain(BaseEstimator, ABC):
    """Base of all objectives.  A subclass writes ``_start``, ``_measure`` and ``_samples``.

    Attributes:
        name: What it is called on the command line.
        label: What to call it in a sentence.
        encoders: Names of encoders it can train, by modality; the first is the default.
        backbone_: The source that was made.
        record_: Data, scores beside baselines, samples, learning curve, environment: plain JSON.
    """

    name: ClassVar[str] = ""
    label: ClassVar[str] = ""
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {}
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
            X: A ``Dataset``, or raw rows; labels are not read.
            y: Ignored.
            clock: The budget.  Without ``epochs`` training goes on until it runs out.
            progress: Told what happens.
            work: Folder for the encoded corpus and the checkpoint of a training that can be taken up again; a
                temporary one if not given.

        Raises:
            DataError: The rows cannot be learned from.
            UsageError: The objective does not fit the modality or the encoder.
        """
        del y
        data = X if isinstance(X, Dataset) else load(X, labelled=False)
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

    def _fit(self, data: Dataset, clock: Clock, progress: Progress, folder: Path) -> None:
        backbone, objective, batches, per_epoch = self._start(data, folder, progress)
        steps = None if self.epochs is None else max(1, round(self.epochs * per_epoch))
        if steps is None and clock.budget is None:
            steps = 3 * per_epoch
        history = self._train(objective, batches, steps, clock.part(clock.left() * MEASURED), progress, folder)
        self.backbone_ = backbone.requires_grad_(requires_grad=False).eval()
        progress("measuring", 0.0)
        scores = self._measure(objective)
        samples = self._samples(objective)
        progress("measuring", 1.0)
        learned = f"{self.label} on {data.name} ({len(data):,} rows)"
        backbone.spec = dataclasses.replace(backbone.spec, objective=learned, name=f"{data.name}-{self.name}")
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
                "epochs": round(history.steps / per_epoch, 3),
                "seconds": round(history.seconds, 1),
                "stopped": history.stopped,
                **self._throughput(history),
            },
            "curve": history.points,
            "scores": scores,
            "samples": samples,
            "environment": environment(),
        }

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
            precision="bf16" if bf16_is_faster() else "fp32",
            device=device(),
            clock=clock,
            callbacks=[Checkpoint(folder / "training.safetensors")],
            progress=progress,
            name=self.label,
        )

    @abstractmethod
    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        """The network, what it minimises, the batches of an epoch, and how many these are."""

    @abstractmethod
    def _measure(self, objective: Objective) -> list[dict[str, Any]]:
        """Scores on held-out rows, each a dict of ``name``, ``value``, ``unit``, ``better`` and ``baselines``."""

    @abstractmethod
    def _samples(self, objective: Objective) -> list[dict[str, Any]]:
        """What a person can judge."""

    def _facts(self) -> dict[str, Any]:
        """More facts about the data."""
        return {}

    def _throughput(self, history: History) -> dict[str, float]:
        """Units per second of training."""
        del history
        return {}

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


def choose_encoder(asked: str | None, names: tuple[str, ...], label: str) -> str:
    """The encoder asked for, or the first that the objective can train.

    Raises:
        UsageError: The objective cannot train it.
    """
    if asked is not None and asked not in names:
        raise UsageError(f"{label} does not train the encoder {asked!r}", hint=f"use {', '.join(names)}")
    return asked or names[0]
