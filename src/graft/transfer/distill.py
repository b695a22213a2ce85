"""Distillation (知识蒸馏): a small student learns to answer as a large teacher does.

Idea: a teacher's probabilities say more about a row than its label does, and it can be asked about rows without labels.
Helps when: the teacher is good but slow or large, and there are many rows without labels.  Hurts when: there are only the
rows that the teacher itself was fitted on; it is surer of them than of others, so that little is left to learn but the
labels.  The temperature softens that, other rows cure it.
References: Hinton et al. (2015), Distilling the knowledge in a neural network; Bucila et al. (2006), Model compression;
Sanh et al. (2019), DistilBERT, for students that start as the lower blocks of their teacher.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.runtime import Clock, bf16_is_faster, device, seeded
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec, Run
from graft.data.load import load
from graft.engine.callbacks import Callback
from graft.engine.loop import History, fit
from graft.engine.objective import Batch
from graft.engine.optim import discriminative_groups
from graft.nn.bootstrap import DECIDERS
from graft.sources.base import Backbone, open_model
from graft.sources.readers import Reader
from graft.sources.students import (
    AS_PICTURES,
    BLOCKS,
    FRESH,
    Student,
    fresh_backbone,
    fresh_reader,
    is_fresh,
    lower_blocks,
    student_name,
    student_options,
)
from graft.transfer.base import BaseTransfer, Setting
from graft.transfer.batches import labelled_batches
from graft.transfer.cost import largest_within, milliseconds, model_bytes, network_cost, sample_of
from graft.transfer.finetune import Finetune
from graft.transfer.teacher import (
    TARGETS,
    Distillation,
    Teacher,
    as_taught,
    ask,
    hold_out,
    open_teacher,
    soften,
    together,
    without_labels,
)

FRESH_LR = 1e-3  # of a student without a past
EPOCHS = {True: 30, False: 10}  # passes of students without and with a past: patience pays, Beyer et al. (2022)
MIN_STEPS, MANY_STEPS, LEAST_EPOCHS = 300, 10_000, 3  # at least; and from so many steps on, passes at least
RESERVE = (0.1, 10.0)  # share of the time left, and seconds at most, kept for judging the student


@dataclass
class _Lesson:
    """What one fit needs beside its rows."""

    student: Backbone
    asked: Student  # what it was chosen as
    measured: list[dict[str, Any]]  # cost of all students that were listed, where there was a choice
    answers: np.ndarray  # of the teacher to the training rows: (N, C) or (N,), float32

    @property
    def fresh(self) -> bool:
        """Whether the student has no past."""
        return is_fresh(self.asked)


@TRANSFERS.register("distill")
class Distill(Finetune):
    """Train a small student on labels and on the answers of a fitted teacher.

    The loss of a row is (1 - trust) · CE(y) where it has a label, plus trust · T² · KL(teacher_T ‖ student_T), where p_T
    is softmax(logits / T); for values it is (1 - trust) · (s - y)² + trust · (s - t)².  The teacher answers every row once,
    before the training.  A tenth of the rows is held out to see how often student and teacher agree.  The student is
    saved without its teacher.

    ``record_`` holds ``teacher`` and ``student`` (name, bytes; parameters of the student), ``size_ratio``, ``agreement``
    (share of equal decisions on held-out rows, or R² against the teacher's values; None without such rows), ``rows`` and,
    until it is saved, ``time``: milliseconds per row of both, read many at a time, and their ratio.

    Args:
        source: Without a teacher: the source on which one is fitted, a probe.
        teacher: Folder that ``graft fit`` wrote, a fitted transfer, a fitted ``AutoTransferClassifier``, or a ``Run``.
        student: Encoder (``"textcnn"``, ``"lstm:tiny"``; sizes tiny, small, base), ``"blocks:2"`` for the lower two
            blocks of the teacher's network, or a source (``"hf:NAME"``).  Of several, the largest within the limits; of an
            encoder without a size, all sizes where there is a limit, else small.  None: the simplest for the rows.
        temperature: T > 0; the higher, the more the teacher's unlikely classes count.
        trust: Weight of the teacher against the labels, 0 to 1.
        max_latency: Milliseconds per row, measured before the training on rows read many at a time.
        max_size: Megabytes (10⁶ bytes) of the student on disk.
        held_out: Share of the rows held out, at most 1000 of each kind; 0 for none.
        vocabulary: Words of a fresh student at most.
        epochs: Passes over the rows; None: 30, or 10 of a student with a past; more on few rows, fewer on many.
        lr: Peak rate of a student with a past.
        head_lr: Peak rate of the head; None: by the size of the features, see ``Finetune``.
        batch_size: Rows per step.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order, dropout and what is held out.

    Raises:
        UsageError: There is no teacher, no such student, or none within the limits.
        DataError: The rows are not of the teacher's kind, or have classes that it does not know.

    Example:
        >>> from graft.testing import toy_data
        >>> data = toy_data("text")
        >>> teacher = TRANSFERS["classical"]().fit(data)
        >>> student = Distill(teacher=teacher, student="mean:tiny", epochs=2).fit(data, unlabelled=["my card", "a parcel"])
        >>> student.record_["rows"]
        {'labelled': 44, 'unlabelled': 2, 'held_out': 4}
    """

    label = "distillation"
    name = "distill"
    kinds = ("classification", "regression")
    effort = "request"
    space: ClassVar = {}
    needs_source = True
    semi = True
    simplicity = 3

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        teacher: Teacher | None = None,
        student: Student | Sequence[Student] | None = None,
        temperature: float = 2.0,
        trust: float = 0.7,
        max_latency: float | None = None,
        max_size: float | None = None,
        held_out: float = 0.1,
        vocabulary: int = 20_000,
        epochs: float | None = None,
        lr: float = 1.2e-4,
        head_lr: float | None = None,
        batch_size: int = 32,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(
            source,
            epochs=epochs,
            lr=lr,
            head_lr=head_lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            head_start="zero",
            seed=seed,
        )
        self.teacher = teacher
        self.student = student
        self.temperature = temperature
        self.trust = trust
        self.max_latency = max_latency
        self.max_size = max_size
        self.held_out = held_out
        self.vocabulary = vocabulary

    def __sklearn_clone__(self) -> Self:
        """A copy that is not fitted; its teacher stays fitted."""
        return type(self)(**self.get_params(deep=False))

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        return f"graft fit does not distil {spec.name}: fit a teacher, then graft distill RUN DATA"

    def steps(self, rows: int) -> int:
        if self.epochs is not None:
            return super().steps(rows)
        lesson: _Lesson | None = getattr(self, "_lesson", None)
        each = -(-rows // self.batch_size)
        return max(MIN_STEPS, min(EPOCHS[lesson is None or lesson.fresh] * each, max(MANY_STEPS, LEAST_EPOCHS * each)))

    def settings(self) -> dict[str, Any]:
        """Constructor keywords as JSON; a teacher that came as an object is left out: the student needs it no more."""
        settings = super().settings()
        if isinstance(self.teacher, Run):
            settings["teacher"] = self.teacher.answer.get("folder")
        elif self.teacher is not None:
            settings["teacher"] = str(self.teacher) if isinstance(self.teacher, str | Path) else None
        if isinstance(self.student, list | tuple):
            settings["student"] = [student_name(one) for one in self.student]
        elif isinstance(self.student, ModelSpec | Backbone):
            settings["student"] = student_name(self.student)
        return settings

    def fit(self, X: Any, y: Any = None, *, unlabelled: Any = None, setting: Setting | None = None) -> Self:
        """Learn from labelled rows and from the teacher's answers to these and to rows without labels.

        Args:
            X: A labelled ``Dataset``, or raw rows.
            y: Labels of raw rows.
            unlabelled: A ``Dataset``, or raw rows; labels are not looked at.
            setting: Clock, progress, cache and checkpoint.
        """
        self._check()
        if self.teacher is None and self.source is None:
            raise UsageError("distillation needs a teacher", hint="give teacher='runs/x' or a fitted transfer")
        teacher = None if self.teacher is None else open_teacher(self.teacher)
        like = None if teacher is None else teacher.recipe_
        data = X if isinstance(X, Dataset) else load(X if y is None else (X, y), like=like)
        if teacher is not None and data.y is not None:
            data = as_taught(data, teacher.task_)
        self._given = teacher, without_labels(unlabelled, data)
        try:
            return super().fit(data, setting=setting)
        finally:
            del self._given
            self.__dict__.pop("_lesson", None)

    def _check(self) -> None:
        """Refuse settings that mean nothing."""
        ranges = {
            "temperature": (self.temperature > 0, "more than 0"),
            "trust": (0 <= self.trust <= 1, "0 to 1"),
            "held_out": (0 <= self.held_out <= 0.5, "0 to 0.5"),
            "max_latency": (self.max_latency is None or self.max_latency > 0, "more than 0 milliseconds"),
            "max_size": (self.max_size is None or self.max_size > 0, "more than 0 megabytes"),
        }
        for name, (right, words) in ranges.items():
            if not right:
                raise UsageError(f"{name} cannot be {getattr(self, name)}", hint=f"use {words}")

    def _fit(self, data: Dataset, setting: Setting) -> None:
        teacher, more = self._given
        others = [more, *(without_labels(rows, data) for rows in setting.unlabelled)]
        train, held = hold_out([data, *(rows for rows in others if rows is not None)], self.held_out, self.seed)
        if teacher is None:
            teacher = TRANSFERS["probe"](self.source).fit(train[0], setting=setting)
        rows = together(train)
        with seeded(self.seed):
            student, asked, measured = self._choose(rows, teacher)  # before the teacher is asked, which may take long
        answers = ask(teacher, [*train, *held], data.task, setting)
        self._lesson = _Lesson(student, asked, measured, answers[: len(rows)])
        super()._fit(rows, setting)
        self._judge(teacher, train, held, np.asarray(answers[len(rows) :]))

    # -- the student -------------------------------------------------------------------------------------------------

    def _choose(self, data: Dataset, teacher: BaseTransfer) -> tuple[Backbone, Student, list[dict[str, Any]]]:
        """The student asked for; of several, the largest within the limits.  What it is called, and what all cost."""
        limited = self.max_latency is not None or self.max_size is not None
        options = student_options(self.student, data.task.modality, sizes=limited)
        readers: dict[bool, Reader] = {}  # what the rows look like to fresh encoders is learned once
        students = [self._build(option, data, teacher, readers) for option in options]
        if len(students) == 1 and not limited:
            return students[0], options[0], []
        sample = sample_of(data)
        facts = [
            {"name": student_name(option), **network_cost(student, sample)}
            for option, student in zip(options, students, strict=True)
        ]
        best = largest_within(facts, max_ms=self.max_latency, max_mb=self.max_size)
        return students[best], options[best], facts

    def _backbone(self, data: Dataset) -> Backbone:
        del data
        return self._lesson.student

    def _build(self, option: Student, data: Dataset, teacher: BaseTransfer, readers: dict[bool, Reader]) -> Backbone:
        modality = data.task.modality
        if isinstance(option, str) and is_fresh(option):
            encoder, _, size = option.partition(":")
            kind = encoder in AS_PICTURES
            if kind not in readers:
                readers[kind] = fresh_reader(data, encoder, vocabulary=self.vocabulary)
            with seeded(self.seed):  # weights do not depend on what else was listed
                return fresh_backbone(encoder, size, readers[kind], modality)
        if isinstance(option, str) and option.startswith(BLOCKS):
            whole = teacher.backbone_
            if whole is None:
                what = f"the teacher, {teacher.label}, has no network whose blocks could be kept"
                raise UsageError(what, hint=f"use an encoder: {', '.join(FRESH[modality])}")
            return lower_blocks(whole, int(option.removeprefix(BLOCKS)))
        return copy.deepcopy(option) if isinstance(option, Backbone) else open_model(option)

    # -- training ----------------------------------------------------------------------------------------------------

    def _train(
        self,
        backbone: Backbone,
        head: nn.Linear,
        data: Dataset,
        setting: Setting,
        *,
        steps: int,
        callbacks: Sequence[Callback],
    ) -> History:
        self._freeze(backbone)
        if not self._lesson.fresh:
            backbone.set_dropout(0.0)
        groups = discriminative_groups(
            backbone.layer_groups(),
            head,
            lr=FRESH_LR if self._lesson.fresh else self.lr,
            head_lr=self._head_rate(backbone, data),
            weight_decay=self.weight_decay,
        )
        return fit(
            Distillation(backbone, head, data.task, groups, temperature=self.temperature, trust=self.trust),
            self._batches(backbone, data),
            steps=steps,
            precision="bf16" if bf16_is_faster() else "fp32",
            device=device(),
            clock=_reserved(setting.clock),
            callbacks=callbacks,
            progress=setting.progress,
            name=self.label,
        )

    def _batches(self, backbone: Backbone, data: Dataset) -> Callable[[int], Iterator[Batch]]:
        """Batches of one epoch with labels, their weights (0 where there is none) and the teacher's answers."""
        task, answers = data.task, self._lesson.answers
        assert data.y is not None
        there = data.y >= 0 if task.is_classification else ~np.isnan(data.y)
        weight = there.astype(np.float32)
        if there.any():
            weights = task.sample_weights(data.y[there])
            weight[there] = 1.0 if weights is None else weights
        y = np.where(there, data.y, 0).astype(np.int64 if task.is_classification else np.float32)
        # rows come with their numbers in the place of labels, and the numbers find what belongs to them
        numbered = dataclasses.replace(data, y=np.arange(len(data)), task=Task("classification", task.modality))
        inner = labelled_batches(backbone, numbered, self.batch_size, self.seed)

        def batches(epoch: int) -> Iterator[Batch]:
            for batch in inner(epoch):
                rows = batch["y"].numpy()
                found = soften(np.asarray(answers[rows]), task, self.temperature)
                parts = (y[rows], weight[rows], found.astype(np.float32))
                yield {**batch, **{name: torch.from_numpy(part) for name, part in zip(TARGETS, parts, strict=True)}}

        return batches

    # -- what came of it ---------------------------------------------------------------------------------------------

    def _judge(self, teacher: BaseTransfer, train: list[Dataset], held: list[Dataset], said: np.ndarray) -> None:
        task, sample = self.task_, sample_of(train[0])
        own = np.concatenate([self.outputs(part) for part in held if len(part)]) if len(said) else said
        self.held_out_ = {"teacher": said, "student": own, "y": held[0].y}
        agreement = None
        if len(said):
            truth = said.argmax(axis=1) if task.is_classification else said.astype(np.float64)
            metric = DECIDERS["accuracy" if task.is_classification else "r2"]
            agreement = float(metric(truth, own)(np.ones((1, len(said))))[0])
        assert self.backbone_ is not None
        whole, small = (model_bytes(one.backbone_, *one._arrays()) for one in (teacher, self))  # noqa: SLF001
        source = teacher.settings().get("source")
        called = teacher.called(task) + (f" of {source}" if source else "")
        parameters = sum(p.numel() for p in self.backbone_.parameters())
        counts = [sum(map(len, parts)) for parts in (train[:1], train[1:], held)]
        self.record_: dict[str, Any] = {
            "teacher": {"name": called, "bytes": whole},
            "student": {"name": student_name(self._lesson.asked), "bytes": small, "parameters": parameters},
            "size_ratio": whole / small,
            "agreement": agreement,
            "rows": dict(zip(("labelled", "unlabelled", "held_out"), counts, strict=True)),
        }
        slow, quick = (milliseconds(partial(one.outputs, sample), len(sample)) for one in (teacher, self))
        self.record_["time"] = {"teacher_ms": slow, "student_ms": quick, "ratio": slow / quick}
        if self._lesson.measured:
            self.record_["time"]["students"] = self._lesson.measured

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = super()._arrays()
        # times differ from fit to fit: with them equal seeds would not give equal bytes
        record = {key: value for key, value in getattr(self, "record_", {}).items() if key != "time"}
        return {**state, "record": record}, arrays

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        super()._restore(state, arrays)
        self.record_ = state["record"]


def _reserved(clock: Clock) -> Clock:
    """The clock of the training: less than is left, so that there is time to judge what came of it."""
    if clock.budget is None:
        return clock
    share, most = RESERVE
    return clock.part(max(0.0, clock.left() - min(share * clock.left(), most)))
