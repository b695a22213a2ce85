"""Consistency: fine-tuning that also learns from rows without a label, where the network is sure of them.

Idea: where the network is sure of a row it should say the same of a distorted view of it.  Helps when: few labels, many
other rows of the same kind, and a network that is right where it is sure.  Hurts when: it is sure and wrong, or the other
rows are of other kinds; and it costs several passes per step, so that a budget that suffices for fine-tuning may not.
References: Sohn et al. (2020), FixMatch; Xie et al. (2020), Unsupervised data augmentation for consistency training, for
texts; Wei & Zou (2019), EDA, for leaving words out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.rows import in_batches
from graft.core.runtime import bf16_is_faster, device
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.engine.callbacks import Callback
from graft.engine.consistency import Consistent, in_one
from graft.engine.loop import History, fit
from graft.engine.objective import Batch
from graft.nn.augmentation import cropped
from graft.nn.views import COVER_DRAWS, covered
from graft.sources.base import Backbone
from graft.transfer.base import Setting, Workload
from graft.transfer.batches import labelled_batches
from graft.transfer.finetune import Finetune
from graft.transfer.regularization import Regularization
from graft.transfer.semi import some_unlabelled
from graft.transfer.teacher import together

LEAST_STEPS = 200  # below which the network is never sure of anything
DROPPED = 0.2  # share of the words that a distorted view of a text lacks
CROP_DRAWS = 5  # random numbers that one crop takes
READS = ("text", "image")


@TRANSFERS.register("consistency")
class Consistency(Finetune):
    """Fine-tune on labelled rows and on distorted views of the others, where the network is sure of them as they are.

    A distorted text lacks a fifth of its words (of its letters where it has no spaces), a distorted picture is a crop of it
    that is mirrored by chance and half covered.  All rows are seen that way, the labelled ones too.

    Args:
        source: URI or ``ModelSpec`` of a network for texts or pictures.
        threshold: Probability from which the network's own prediction counts.
        trust: Weight of the loss on such rows.
        ratio: Rows of that kind per labelled row of a step.
        blocks: How many blocks to train, counted from the top; None for all.
        epochs: Passes over the labelled rows; None: as many as make 200 steps at least.
        lr: Peak rate of the top block.
        head_lr: Peak rate of the head; None: by the size of the features, see ``Finetune``.
        batch_size: Labelled rows per step.
        weight_decay: Decoupled weight decay.
        max_rows: Rows without a label at most, a seeded sample above it.
        seed: Seed of order, views and what else is drawn.

    Example:
        >>> from graft.transfer.consistency import Consistency
        >>> texts = ["great film", "dull film", "what a joy", "such a bore", "a great joy", "a dull bore"] * 3
        >>> labels = ["good", "bad"] * 3 + [None] * 12
        >>> tuned = Consistency("sbert:all-MiniLM-L6-v2", blocks=1, epochs=5, batch_size=4).fit(texts, labels)
        >>> tuned.predict(["a joy of a film"]).tolist()
        ['good']
    """

    label = "fine-tuning with consistency"
    name = "consistency"
    effort = "thorough"
    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    modalities = tuple(READS)
    space: ClassVar = {}
    semi = True
    simplicity = 4

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        threshold: float = 0.8,
        trust: float = 1.0,
        ratio: int = 3,
        blocks: int | None = None,
        epochs: float | None = None,
        lr: float = 1.2e-4,
        head_lr: float | None = None,
        batch_size: int = 16,
        weight_decay: float = 0.01,
        max_rows: int = 50_000,
        seed: int = 0,
    ) -> None:
        super().__init__(
            source, blocks=blocks, epochs=epochs, lr=lr, head_lr=head_lr, batch_size=batch_size,
            weight_decay=weight_decay, head_start="zero", seed=seed,
        )  # fmt: skip
        self.threshold = threshold
        self.trust = trust
        self.ratio = ratio
        self.max_rows = max_rows

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        if spec.modality not in READS:
            return f"{spec.name} reads {spec.modality}, of which there are no distorted views"
        return super().fits(spec)

    def steps(self, rows: int) -> int:
        return super().steps(rows) if self.epochs is not None else max(LEAST_STEPS, super().steps(rows))

    def workload(self, rows: int, task: Task) -> Workload | None:
        work = super().workload(rows, task)
        # every step also reads rows of all kinds twice, as they are and distorted
        return (
            None
            if work is None
            else dataclasses.replace(work, batch_size=work.batch_size * (1 + 2 * self.ratio), lower=0)
        )

    def _fit(self, data: Dataset, setting: Setting) -> None:
        if not 0 < self.threshold <= 1 or self.trust < 0 or self.ratio < 1:
            raise UsageError(
                f"threshold {self.threshold}, trust {self.trust}, ratio {self.ratio} cannot be learned with",
                hint="use a threshold between 0 and 1, a trust of 0 or more, a ratio of 1 or more",
            )
        super()._fit(data, setting)

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
        backbone.set_dropout(0.0)
        groups = self._groups(backbone, head, self._head_rate(backbone, data))
        others = together([data, *some_unlabelled(setting, data, self.max_rows, self.seed)])
        return fit(
            Consistent(backbone, head, data.task, groups, threshold=self.threshold, trust=self.trust),
            self._batches(backbone, data, others),
            steps=steps,
            warmup=self.warmup,
            precision="bf16" if bf16_is_faster() else "fp32",
            device=device(),
            clock=setting.clock,
            callbacks=Regularization.of(self).around(backbone, callbacks, steps),
            progress=setting.progress,
            name=self.label,
        )

    def _batches(self, backbone: Backbone, data: Dataset, others: Dataset) -> Callable[[int], Iterator[Batch]]:
        """Batches of one epoch of the labelled rows, with weak and distorted views of rows drawn from all."""
        labelled = labelled_batches(backbone, data, self.batch_size, self.seed)

        def batches(epoch: int) -> Iterator[Batch]:
            rng = np.random.default_rng((self.seed, 1, epoch))
            drawn = in_batches(
                _endless(len(others), len(data) * self.ratio, rng), self.batch_size * self.ratio, None, rng
            )
            for known, rows in zip(labelled(epoch), drawn, strict=False):
                targets: Batch = {key: known.pop(key) for key in ("y", "weight") if key in known}
                weak, strong = _views(backbone, others.take(rows), others.task.modality, rng)
                yield {**in_one({"known": known, "weak": weak, "strong": strong}), **targets}

        return batches


def _endless(rows: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` row numbers, every row once before any comes again."""
    return np.concatenate([rng.permutation(rows) for _ in range(-(-count // rows))])[:count]


def _views(backbone: Backbone, examples: Any, modality: str, rng: np.random.Generator) -> tuple[Batch, Batch]:
    """The rows as they are, and distorted."""
    weak = dict(backbone.collate(backbone.preprocess(examples)))
    if modality == "text":
        return weak, dict(backbone.collate(backbone.preprocess([thinned(row, rng) for row in examples])))
    pixels = weak["pixel_values"].float()
    draws = torch.from_numpy(rng.random((len(pixels), CROP_DRAWS + COVER_DRAWS), dtype=np.float32))
    view = cropped(pixels, draws[:, :CROP_DRAWS], flip=pixels.shape[1] == 3)
    if pixels.shape[-1] == pixels.shape[-2]:
        view = covered(view, draws[:, CROP_DRAWS:])
    return weak, {**weak, "pixel_values": view}


def thinned(text: Any, rng: np.random.Generator) -> Any:
    """A text, or a tuple of texts, without a fifth of its words, or of its letters where there are hardly any spaces.

    Something stays.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> len(thinned("one two three four five six seven eight nine ten", rng).split()) < 10, thinned("one", rng)
        (True, 'one')
    """
    if isinstance(text, tuple):
        return tuple(thinned(part, rng) for part in text)
    words, joint = text.split(), " "
    if len(text) > 12 * len(words):  # no spaces between words
        words, joint = list(text), ""
    if len(words) < 2:
        return text
    kept = rng.random(len(words)) >= DROPPED
    kept[rng.integers(len(words))] = True
    return joint.join(word for word, stays in zip(words, kept, strict=True) if stays)
