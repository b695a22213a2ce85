"""What a fine-tuning adds to loop and loss: regularisers read off its keywords, and statistics that stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from graft.core.errors import UsageError
from graft.core.task import Task
from graft.engine.callbacks import Callback, State
from graft.engine.objective import Supervised
from graft.engine.optim import make_schedule
from graft.engine.regularizers import Regularized, Terms, within
from graft.engine.weights import StartingPoint, Unfreezing, WeightAverage
from graft.nn.augmentation import cropped
from graft.nn.sound_augmentation import DRAWS, retaken
from graft.sources.base import Backbone
from graft.sources.pictures import keep_statistics

VIEWS = {"image": ("crop", "flip"), "audio": ("retake",)}  # of the kinds of input that have some
SMALLEST_CROP = 0.5  # share of a picture's area that a random crop keeps at least


@dataclass(frozen=True)
class Regularization:
    """Keywords of ``Finetune`` that are off by default, under the names they have there."""

    schedule: str
    gradual: float
    l2_sp: float
    label_smoothing: float
    robust: float
    mixup: float
    augment: str | None
    shrinkage: float
    average: str | None
    average_share: float

    @classmethod
    def of(cls, transfer: Any) -> Self:
        """The keywords of a transfer."""
        return cls(**{item.name: getattr(transfer, item.name) for item in dataclasses.fields(cls)})

    def check(self, task: Task) -> None:
        """Refuse what is unknown, out of range, or means nothing for the task.

        Raises:
            UsageError: Something is.
        """
        if self.augment is not None:
            known, own = [name for views in VIEWS.values() for name in views], VIEWS.get(task.modality, ())
            if self.augment not in known:
                raise UsageError(f"no augmentation {self.augment!r}", hint=f"use {' or '.join(own or known)}, or None")
            if self.augment not in own:
                what = "sounds" if self.augment in VIEWS["audio"] else "pictures"
                hint = f"use {' or '.join(own)}, or leave it at None" if own else "leave it at None"
                raise UsageError(f"augment {self.augment} is for {what}, not for {task.modality}", hint=hint)
        make_schedule(self.schedule)
        self.terms.check(task)
        within("gradual", self.gradual, 0, 1)
        within("l2_sp", self.l2_sp, 0)
        if self.average is not None:
            WeightAverage(self.average, share=self.average_share, steps=1)

    @property
    def terms(self) -> Terms:
        """What changes the loss."""
        return Terms(self.label_smoothing, self.robust, self.mixup, self.shrinkage)

    @property
    def rate(self) -> Callable[[float, float], float]:
        """The schedule."""
        return make_schedule(self.schedule)

    def objective(self, backbone: Backbone, head: nn.Module, task: Task, groups: list[dict[str, Any]]) -> Supervised:
        """The plain objective where nothing changes the loss."""
        if self.terms == Terms() and self.augment is None:
            return Supervised(backbone, head, task, groups)
        if task.modality == "audio":
            retake = _retake if self.augment else None
            return Regularized(backbone, head, task, groups, terms=self.terms, retake=retake)
        view = partial(cropped, flip=self.augment == "flip", smallest=SMALLEST_CROP) if self.augment else None
        return Regularized(backbone, head, task, groups, terms=self.terms, view=view)

    def around(self, backbone: Backbone, callbacks: Sequence[Callback], steps: int) -> list[Callback]:
        """Callbacks with those that are asked for here: what a checkpoint has to keep before it, what follows after."""
        before: list[Callback] = [StartingPoint(backbone.parameters(), self.l2_sp)] if self.l2_sp else []
        if self.average is not None:
            before.append(WeightAverage(self.average, share=self.average_share, steps=steps))
        after = [Unfreezing(backbone.layer_groups(), self.gradual)] if self.gradual else []
        return [*before, *callbacks, *after]


def _retake(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Other takes, drawn from torch's global random state, which checkpoints keep."""
    some = next(iter(inputs.values()))
    return retaken(inputs, torch.rand(len(some), DRAWS).to(some.device))


class StillStatistics(Callback):
    """Leave BatchNorm statistics as they are where they belong to frozen weights."""

    def on_start(self, state: State) -> None:
        keep_statistics(state.objective)
