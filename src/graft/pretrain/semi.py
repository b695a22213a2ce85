"""Semi-supervised pretraining (半监督预训练): few labels, and many rows without, on which the network teaches itself.

Idea: where the network is sure of a row it should say the same of a distorted view of it.  Helps when: the labelled rows
suffice to be right where one is sure, and there are many times as many others of the same kind.  Hurts when: it is sure
and wrong, or the other rows are of another kind; the same network trained on the labelled rows alone tells.
References: Lee (2013), Pseudo-label; Sohn et al. (2020), FixMatch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.errors import DataError, UsageError
from graft.core.registry import OBJECTIVES
from graft.core.rows import in_batches
from graft.core.runtime import Progress
from graft.core.task import Task
from graft.core.types import Dataset
from graft.engine.consistency import Consistent, in_one, part_of
from graft.engine.loop import History
from graft.engine.objective import Batch, Loss, Objective
from graft.nn.augmentation import DRAWS, augmented
from graft.nn.bootstrap import DECIDERS, bootstrap, paired
from graft.nn.views import COVER_DRAWS, covered
from graft.pretrain.base import decayed
from graft.pretrain.labelled import METRICS, LabelledPretrain, drawn
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone

SURE = 0.2  # share of the rows without label below which little was learned from them
DROPPED = 0.2  # share of the tokens that a distorted view of a text lacks


class FixMatch(Consistent):
    """A network that learns from labels and from itself, and its twin that learns from labels alone.

    The twin starts from the same weights, sees the same labelled views in the same steps, and is there to be compared with.

    Args:
        backbone: The encoder.
        head: Its output layer.
        task: Gives the loss of labelled rows.
        threshold: τ of ``Consistent``.
        trust: λ of ``Consistent``.
        lr: Peak rate.
        weight_decay: Of matrices and kernels.
    """

    def __init__(
        self,
        backbone: NativeBackbone,
        head: nn.Linear,
        task: Task,
        *,
        threshold: float,
        trust: float,
        lr: float,
        weight_decay: float,
    ) -> None:
        super().__init__(backbone, head, task, threshold=threshold, trust=trust)
        self.twin, self.twin_head = copy.deepcopy(backbone.body), copy.deepcopy(head)
        self.lr, self.weight_decay = lr, weight_decay

    def players(self) -> dict[str, list[dict[str, Any]]]:
        same = {"lr": self.lr, "weight_decay": self.weight_decay}
        return {
            "model": decayed(nn.ModuleList([self.backbone, self.head]), **same),
            "alone": decayed(nn.ModuleList([self.twin, self.twin_head]), **same),
        }

    def loss(self, batch: Batch, player: str) -> Loss:
        if player == "model":
            return super().loss(batch, player)
        inputs = part_of(batch, "known")
        scores: Tensor = self.twin_head(self.twin.pool(self.twin.forward_features(inputs)[-1], inputs).float())
        per_example = self.task.loss(scores.float(), batch["y"])
        return Loss(per_example * batch["weight"] if "weight" in batch else per_example)


@OBJECTIVES.register("semi")
class Semi(LabelledPretrain):
    """Learn from few labels and many rows without (an empty cell in the label column): FixMatch.

    Weak views of pictures are moved and, in colour, mirrored; distorted ones are cropped, recoloured and half covered.
    Texts are weak as they are and distorted by dropping a fifth of their tokens.  Scored on held-out labelled rows
    beside the same network trained in the same steps on the labelled rows alone; the report says whether the others
    helped beyond noise.

    Args:
        threshold: Probability from which the network's own prediction on a row counts.  The paper takes 0.95, after hours; in
            half a minute on 4,000 digits a small network is never that sure, with 0.7 it trusted 39 % after a minute.
        trust: Weight of the loss on rows without label.
        ratio: Rows without label per labelled row of a step.
        encoder: For text ``"textcnn"``, ``"lstm"``, ``"gru"``, ``"cnn"`` or ``"transformer"``, for pictures ``"resnet"``,
            ``"vgg"`` or ``"patches"``; the first if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        side: Height and width of pictures; read off them (at most 64) if None.
        unit: What tokens of text are: ``"subword"``, ``"word"``, ``"character"`` or ``"auto"``.
        vocabulary: Tokens of the vocabulary at most.
        epochs: Passes over all rows; None: as many as the time allows, or 3 without a budget.
        batch_size: Labelled rows of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order, views and what is held out.

    Example:
        >>> from graft.pretrain.semi import Semi
        >>> rows = ["good film", "bad film", "a good one", "a bad one"] * 20
        >>> made = Semi(size="tiny", epochs=2, batch_size=4).fit(rows, ["+", "-"] * 5 + [None] * 70)
        >>> list(made.record_["scores"][0]["baselines"])
        ['labelled rows alone', 'commonest class']
    """

    name = "semi"
    label = "semi-supervised pretraining"
    labels = "some"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {key: LabelledPretrain.encoders[key] for key in ("text", "image")}

    def __init__(
        self,
        *,
        threshold: float = 0.8,
        trust: float = 1.0,
        ratio: int = 3,
        encoder: str | None = None,
        size: str = "small",
        side: int | None = None,
        unit: str = "auto",
        vocabulary: int = 8_000,
        epochs: float | None = None,
        batch_size: int = 32,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(
            encoder=encoder, size=size, side=side, unit=unit, vocabulary=vocabulary, epochs=epochs,
            batch_size=batch_size, lr=lr, weight_decay=weight_decay, seed=seed,
        )  # fmt: skip
        self.threshold = threshold
        self.trust = trust
        self.ratio = ratio

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        if not 0 < self.threshold <= 1 or self.trust < 0 or self.ratio < 1:
            raise UsageError(
                f"threshold {self.threshold}, trust {self.trust}, ratio {self.ratio} cannot be learned with",
                hint="use a threshold between 0 and 1, a trust of 0 or more, a ratio of 1 or more",
            )
        if not data.task.is_classification:
            raise UsageError(f"{self.label} learns classes, {data.task.target!r} holds numbers", hint="use supervised")
        if data.y is not None and (data.y >= 0).all():
            hint = "leave the label of other rows empty, or use --objective supervised"
            raise DataError(f"all {len(data):,} rows of {data.name} have a label", hint=hint)
        return super()._start(data, folder, progress)

    def _objective(self, backbone: NativeBackbone) -> Objective:
        self.known_ = np.flatnonzero(self.y_ >= 0)
        weights = self.task_.sample_weights(self.y_[self.known_])
        self.weight_ = None
        if weights is not None:
            self.weight_ = np.zeros(len(self.y_), np.float32)
            self.weight_[self.known_] = weights
        return FixMatch(
            backbone, self._head(backbone), self.task_, threshold=self.threshold, trust=self.trust, lr=self.lr,
            weight_decay=self.weight_decay,
        )  # fmt: skip

    def _per_epoch(self) -> int:
        return math.ceil(len(self.y_) / (self.ratio * self.batch_size))

    def _batches(self, epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng((self.seed, epoch))
        times = -(-self._per_epoch() * self.batch_size // len(self.known_))
        labelled = np.concatenate([rng.permutation(self.known_) for _ in range(times)])
        order = rng.permutation(len(self.y_))
        for step, rows in enumerate(in_batches(order, self.ratio * self.batch_size, self.lengths_, rng)):
            known = labelled[step * self.batch_size : (step + 1) * self.batch_size]
            yield self._batch(known, rows, rng)

    def _batch(self, known: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        """Labelled rows in a weak view, others in a weak and in a distorted one."""
        views = {"known": self._weak(known, rng), "weak": self._weak(rows, rng), "strong": self._strong(rows, rng)}
        batch = in_one(views)
        batch["y"] = self._targets(known)
        if self.weight_ is not None:
            batch["weight"] = torch.from_numpy(self.weight_[known])
        return batch

    def _strong(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        if self.task_.modality == "text":
            return self.reader_.collate([_thinned(self.rows_[row], rng) for row in rows])
        pixels = self.reader_.collate([self.rows_[row] for row in rows])["pixel_values"]
        view = augmented(pixels, drawn(rng, len(rows), DRAWS), flip=pixels.shape[1] == 3)
        return {"pixel_values": covered(view, drawn(rng, len(rows), COVER_DRAWS))}

    def _measure(self, objective: Any) -> list[dict[str, Any]]:
        assert isinstance(objective, FixMatch)
        self.outputs_ = self._outputs(objective.backbone.body, objective.head)
        alone = self._outputs(objective.twin, objective.twin_head)
        self.sentence_ = self._compared(alone)
        return [self._judged_score(self.outputs_, {"labelled rows alone": alone})]

    def _compared(self, alone: np.ndarray) -> str:
        """Whether the rows without label helped, beyond noise, in a sentence."""
        decide, count = DECIDERS[self.task_.metric], len(self.truth_)
        draws = bootstrap([decide(self.truth_, out) for out in (self.outputs_, alone)], count, seed=self.seed)
        gain = self._value(self.outputs_) - self._value(alone)
        found = paired(gain, draws[:, 0] - draws[:, 1], level=0.9, size=count)
        verdict = "helped" if found.better else "did harm" if found.worse else "changed nothing beyond noise"
        return (
            f"The rows without label {verdict}: {METRICS[self.task_.metric]} {gain:+.3f} [{found.low:+.3f}, "
            f"{found.high:+.3f}] on {count} held-out rows, beside the same network in the same steps on the "
            f"{len(self.known_)} labelled rows alone."
        )

    def _samples(self, objective: Any) -> list[dict[str, Any]]:
        del objective
        return self._shown(self.outputs_)

    def _notes(self, history: History) -> list[str]:
        used = [point["used"] for point in history.points[3 * len(history.points) // 4 :] if "used" in point]
        share = float(np.mean(used or [0.0]))
        more = "" if share > SURE else " Train longer, or lower the threshold."
        return [f"{self.sentence_} At the end it was sure of {share:.0%} of the rows without.{more}"]

    def _throughput(self, history: History) -> dict[str, float]:
        return self._rate(history.steps * min(self.ratio * self.batch_size, len(self.y_)), history)


def _thinned(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A row of tokens without a fifth of them; one stays at least."""
    kept = rng.random(len(ids)) >= DROPPED
    kept[rng.integers(len(ids))] = True
    return ids[kept]
