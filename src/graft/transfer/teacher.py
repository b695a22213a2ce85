"""What a student is taught with: a fitted teacher, its answers to all rows, rows of several data sets as one, and the loss."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from graft.core.errors import BudgetError, DataError, UsageError
from graft.core.task import Task
from graft.core.types import Dataset, Run
from graft.data.load import load, recipe
from graft.data.splits import holdout, leaks
from graft.engine.objective import Batch, Loss, Objective
from graft.nn.heads import to_outputs
from graft.nn.losses import distillation
from graft.transfer.base import BLOCK, TINY, BaseTransfer, Setting, load_transfer

Teacher = str | Path | BaseTransfer | Run
IN_MEMORY = 1 << 28  # bytes of answers; more go to a temporary file
TARGETS = ("y", "weight", "teacher")  # what a batch holds beside the input
MOST_HELD_OUT = 1000  # rows held out of each data set: more would hardly narrow the interval


def open_teacher(teacher: Any) -> BaseTransfer:
    """A fitted transfer from itself, its folder, a ``Run``, or a fitted ``AutoTransferClassifier``.

    Raises:
        SourceError: The folder is not one that a fit wrote.
        UsageError: It is not a fitted transfer.
    """
    found = teacher.answer.get("folder") or "" if isinstance(teacher, Run) else teacher
    if isinstance(found, str | Path):
        return load_transfer(found)
    found = getattr(found, "model_", found)
    if not isinstance(found, BaseTransfer) or not hasattr(found, "task_"):
        raise UsageError(f"the teacher {type(teacher).__name__} is not a fitted transfer", hint="fit it first")
    return found


def as_taught(data: Dataset, teacher: Task) -> Dataset:
    """Labelled rows with all classes of the teacher.

    Raises:
        DataError: The teacher reads other rows, answers another question, or does not know a class.
    """
    own = data.task
    if own.modality != teacher.modality:
        raise DataError(f"the teacher reads {teacher.modality}, {data.name} holds {own.modality}")
    if own.kind != teacher.kind:
        hint = f"load the data for {teacher.kind}"
        raise DataError(f"the teacher does {teacher.kind}, the labels of {data.name} ask for {own.kind}", hint=hint)
    unknown = [name for name in own.classes if name not in teacher.classes]
    if unknown:
        few = ", ".join(teacher.classes[:8]) + (" …" if len(teacher.classes) > 8 else "")
        raise DataError(f"the teacher does not know the class {unknown[0]!r}", where=data.name, hint=f"it knows {few}")
    if len(own.classes) == len(teacher.classes):
        return data
    place = np.asarray([teacher.classes.index(name) for name in own.classes])
    assert data.y is not None
    return dataclasses.replace(
        data, y=np.where(data.y < 0, -1, place[data.y]), task=dataclasses.replace(own, classes=teacher.classes)
    )


def without_labels(rows: Any, data: Dataset) -> Dataset | None:
    """Rows of the same form as ``data``, to be answered by a teacher; None where there are none.

    Raises:
        DataError: They have another form.
    """
    if rows is None:
        return None
    more = rows if isinstance(rows, Dataset) else load(rows, labelled=False, like=recipe(data))
    if more.task.modality != data.task.modality:
        raise DataError(f"{more.name} holds {more.task.modality}, {data.name} holds {data.task.modality}")
    missing = set(data.columns) - set(more.columns)
    if data.task.modality == "table" and missing:
        raise DataError(f"{more.name} has no column {min(missing)!r}", hint=f"it must have those of {data.name}")
    return dataclasses.replace(more, y=None, task=data.task) if len(more) else None


def hold_out(parts: Sequence[Dataset], share: float, seed: int) -> tuple[list[Dataset], list[Dataset]]:
    """Training and held-out rows of each data set; no held-out row is also learned from."""
    train, held = [], []
    for part in parts:
        keep, out = np.arange(len(part)), np.arange(0)
        count = int(min(share * len(part), MOST_HELD_OUT))
        if count:
            with contextlib.suppress(
                DataError
            ):  # all rows are one group, or every class has one row: all are learned from
                keep, out = holdout(part, test=count / len(part), seed=seed)
        train.append(part.select(keep))
        held.append(part.select(out))
    for place, part in enumerate(held):
        for learned in train[:place] + train[place + 1 :]:
            seen = {row for _, row in leaks(learned, part)} if len(part) else set()
            held[place] = held[place] if not seen else part.select(np.setdiff1d(np.arange(len(part)), sorted(seen)))
    return train, held


def together(parts: Sequence[Dataset]) -> Dataset:
    """One data set of labelled rows and, behind them, rows without labels: -1, or NaN where labels are values."""
    first = parts[0]
    if len(parts) == 1:
        return first
    assert first.y is not None
    unknown = -1 if first.task.is_classification else np.nan
    y = np.concatenate([first.y, np.full(sum(map(len, parts[1:])), unknown, first.y.dtype)])
    return Dataset(Stacked(parts), y, first.task, np.arange(len(y)), None, first.columns, first.name)


class Stacked:
    """Rows of several data sets, one after the other.

    Example:
        >>> parts = [load(["a", "b"], labelled=False), load(["c"], labelled=False)]
        >>> Stacked(parts).take(np.array([2, 0]))
        ['c', 'a']
    """

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.parts = tuple(parts)
        self.ends = np.cumsum([len(part) for part in parts])
        self.rate = getattr(parts[0].X, "rate", None)  # of sounds

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, rows: np.ndarray) -> Any:
        """Raw examples in the order of ``rows``."""
        rows = np.asarray(rows)
        owner = np.searchsorted(self.ends, rows, side="right")
        starts = self.ends - np.asarray([len(part) for part in self.parts])
        owners = np.unique(owner)
        places = [np.flatnonzero(owner == one) for one in owners]
        taken = [
            self.parts[one].take(rows[place] - starts[one]) for one, place in zip(owners, places, strict=True)
        ] or [self.parts[0].take(rows)]
        back = np.argsort(np.concatenate(places), kind="stable") if places else rows
        if isinstance(taken[0], dict):
            return {name: np.concatenate([part[name] for part in taken])[back] for name in taken[0]}
        flat = [row for part in taken for row in part]
        return [flat[place] for place in back]

    def digest(self) -> str:
        """Hash of the content of all rows, in order."""
        return "+".join(part.fingerprint() for part in self.parts)


def ask(teacher: BaseTransfer, parts: Sequence[Dataset], task: Task, setting: Setting) -> np.ndarray:
    """The teacher's answers (N, C) or (N,) float32 to all rows of all parts, each asked once, as ``task`` has them.

    Raises:
        BudgetError: The clock ran out before all rows were answered.
    """
    own, rows = teacher.task_, sum(map(len, parts))
    shape = (rows, task.outputs) if task.is_classification else (rows,)
    if 4 * int(np.prod(shape)) <= IN_MEMORY:
        answers = np.empty(shape, np.float32)
    else:
        with tempfile.TemporaryFile() as file:  # which lives as long as the array
            answers = np.memmap(file, np.float32, "w+", shape=shape)
    columns = [own.classes.index(name) for name in task.classes]
    done = 0
    for part in parts:
        for start in range(0, len(part), BLOCK):
            if setting.clock.expired:
                what = f"the teacher had answered {done:,} of {rows:,} rows when the time was used up"
                raise BudgetError(what, hint="give a larger budget, or fewer rows")
            block = teacher.outputs(part.select(np.arange(start, min(start + BLOCK, len(part)))))
            if task.is_classification:
                answers[done : done + len(block)] = block[:, columns]
            else:  # from the teacher's standardised values to those of the data
                answers[done : done + len(block)] = (block * own.scale + own.center - task.center) / task.scale
            done += len(block)
            setting.progress("answers of the teacher", done / rows, f"{done:,} of {rows:,} rows")
    return answers


def soften(answers: np.ndarray, task: Task, temperature: float) -> np.ndarray:
    """Class probabilities (B, C) as the softmax of their logits over a temperature; values as they are.

    Example:
        >>> task = Task("classification", "text", ("a", "b"))
        >>> soften(np.array([[0.9, 0.1]]), task, 2.0).round(2).tolist()
        [[0.75, 0.25]]
    """
    if not task.is_classification:
        return answers
    return to_outputs(np.log(answers.astype(np.float64).clip(TINY)), task, temperature)


class Distillation(Objective):
    """(1 - trust) · weight · loss(y) + trust · (T² · KL, or the squared error to the teacher's value), per row.

    A batch holds ``y`` (B,), ``weight`` (B,), 0 where there is no label, and ``teacher``: softened classes (B, C) or values
    (B,).

    Args:
        backbone: Maps a batch to pooled features (B, D).
        head: Maps features to outputs (B, C).
        task: Gives the loss of labels.
        groups: Parameter groups with their rates.
        temperature: T of the teacher's classes.
        trust: Weight of the teacher.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        task: Task,
        groups: list[dict[str, Any]],
        *,
        temperature: float,
        trust: float,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.task, self.groups = backbone, head, task, groups
        self.temperature, self.trust = temperature, trust

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": self.groups}

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        inputs = {key: value for key, value in batch.items() if key not in TARGETS}
        outputs: Tensor = self.head(self.backbone(inputs).float()).float()
        teacher, logs = batch["teacher"], {}
        if self.task.is_classification:
            soft = distillation(outputs, teacher, self.temperature)
            logs["agreement"] = float((outputs.detach().argmax(1) == teacher.argmax(1)).float().mean())
        else:
            soft = (outputs.squeeze(-1) - teacher).square()
        hard = batch["weight"] * self.task.loss(outputs, batch["y"])
        return Loss((1 - self.trust) * hard + self.trust * soft, logs=logs)
