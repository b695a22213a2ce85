"""Fine-tuning: the source's top blocks and a new head are trained on the task.

Idea: adapt the representation itself.  Helps when: enough rows (hundreds), or a task far from the source's.
Hurts when: a handful of rows per class, where it forgets more than it learns; then probe.
References: Howard & Ruder (2018); Kumar et al. (2022), whose step of training the head first ``head_start="probe"`` takes
in closed form.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from graft.core.errors import UsageError
from graft.core.ragged import flat
from graft.core.registry import TRANSFERS
from graft.core.rows import evenly_spaced
from graft.core.runtime import bf16_is_faster, device, seeded
from graft.core.store import Store
from graft.core.types import Dataset, ModelSpec
from graft.engine.callbacks import Callback, Checkpoint, Stopwatch
from graft.engine.loop import History, fit
from graft.engine.objective import Objective
from graft.engine.optim import discriminative_groups
from graft.features import SAMPLE
from graft.nn.crf import CRF, ChainHead
from graft.nn.heads import MANY_CLASSES, LinearHead, fit_probe
from graft.sources.aligned import in_pieces, of_rows, per_sentence
from graft.sources.answers import ANSWERS
from graft.sources.bands import of_channels
from graft.sources.base import Backbone
from graft.sources.words import WORD_VECTORS
from graft.transfer.activations import Activations, reused_activations
from graft.transfer.base import HEAD_ROWS, SENTENCES, BaseTransfer, Setting
from graft.transfer.batches import labelled_batches
from graft.transfer.chain import ChainObjective
from graft.transfer.focus import Focus, Focused
from graft.transfer.regularization import Regularization

MIN_STEPS = 150  # small data is seen often enough to take this many steps …
MAX_EPOCHS = 20  # … but never more often than this
HEAD_SHARE = 4  # rows per feature from which the head starts from the probe; with fewer it nearly interpolates the rows
WARM = 2  # steps before the clock counts
HEAD_LR = 1e-3  # least rate of the head
LOGIT_STEP = 0.05  # how far a step of Adam should move a row's logit; small features need a higher rate for it
LOGIT_ROWS = 64  # rows that the size of the features is measured on


@TRANSFERS.register("finetune")
class Finetune(BaseTransfer):
    """Train the top blocks of a source with a new linear head.

    On enough rows the head starts from the closed-form probe on the last layer; on few the probe fits them so well that
    no gradient is left for the network (200 rows of TREC: 0.85 held out against 0.88 from zero).  Token embeddings stay
    as they are, batches hold rows of similar length, and matrix products run in bfloat16 where the machine is faster
    with it (weights stay float32).  What stands after ``seed`` is off unless asked for.

    Args:
        source: URI or ``ModelSpec``.
        blocks: How many blocks to train, counted from the top, or a share of them below 1; None for all.
        epochs: Passes over the rows; None: 3, or more on small data.
        lr: Peak rate of the top block.
        head_lr: Peak rate of the head; None: at least 0.001, and so high that a step moves the logits by 0.05.
        layer_decay: Factor on the rate per block downwards.
        batch_size: Rows per step.
        weight_decay: Decoupled weight decay.
        warmup: Share of the steps over which the rate rises.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
        head_start: ``"probe"``, ``"zero"``, or None: the probe from four rows per feature.
        dropout: Dropout inside the source while training; None leaves what the source was made with.
        seed: Seed of order, dropout and what else is drawn.
        schedule: After the warm-up ``"linear"`` or ``"cosine"`` to zero, or ``"constant"``.
        gradual: Share of training over which blocks are unfrozen one by one from the top, after the head alone; 0 for none.
        l2_sp: Strength a of a pull to the source's weights, w ← w - rate · a (w - w_0), instead of their decay; keeps a copy.
        label_smoothing: Share of every label that is spread over all classes.
        robust: q of the generalised cross-entropy (1 - p^q) / q for labels that may be wrong; 0.7 in the paper.
        mixup: α of Beta(α, α), by which pairs of rows (of texts: of pooled features) are mixed.
        augment: ``"crop"`` pictures at random, or ``"flip"`` half of the crops too; ``"retake"`` sounds; None for none.
        shrinkage: Weight of the squared smallest singular value of a batch's features; 0.001 in the paper.
        average: ``"swa"``, the mean of the weights over the last part of training, or ``"ema"``, a moving average; a copy.
        average_share: That part, or the memory of the moving average, as a share of training.
        focus: Share of the rows that passes after the first visit: the hardest, and a draw of the others; 1 for all rows.
        crf: Of a tagging: whether neighbouring tags are scored together, by a conditional random field on top.

    Example:
        >>> from graft.transfer.finetune import Finetune
        >>> texts = ["great film", "dull film", "a joy", "a bore"] * 3
        >>> tuned = Finetune("sbert:all-MiniLM-L6-v2", blocks=1, epochs=1).fit(texts, ["good", "bad"] * 6)
        >>> tuned.predict(["what a joy"]).tolist()
        ['good']
    """

    label = "fine-tuning"
    name = "finetune"
    kinds = ("classification", "regression", "tagging", "multilabel")
    needs_source = True
    space: ClassVar = {"lr": (3e-5, 6e-4), "layer_decay": (0.6, 1.0), "epochs": [None, 5.0, 10.0]}
    simplicity = 3
    crf_: CRF | None = None

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        blocks: float | None = None,
        epochs: float | None = None,
        lr: float = 1.2e-4,
        head_lr: float | None = None,
        layer_decay: float = 1.0,
        batch_size: int = 40,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        optimizer: str = "adamw",
        head_start: str | None = None,
        dropout: float | None = 0.0,
        seed: int = 0,
        schedule: str = "linear",
        gradual: float = 0.0,
        l2_sp: float = 0.0,
        label_smoothing: float = 0.0,
        robust: float = 0.0,
        mixup: float = 0.0,
        augment: str | None = None,
        shrinkage: float = 0.0,
        average: str | None = None,
        average_share: float = 0.25,
        focus: float = 1.0,
        crf: bool = False,
    ) -> None:
        self.source, self.blocks, self.epochs = source, blocks, epochs
        self.lr, self.head_lr, self.layer_decay = lr, head_lr, layer_decay
        self.batch_size, self.weight_decay, self.warmup = batch_size, weight_decay, warmup
        self.optimizer, self.head_start, self.dropout = optimizer, head_start, dropout
        self.seed = seed
        self.schedule, self.gradual, self.l2_sp = schedule, gradual, l2_sp
        self.label_smoothing, self.robust, self.mixup = label_smoothing, robust, mixup
        self.augment, self.shrinkage = augment, shrinkage
        self.average, self.average_share = average, average_share
        self.focus, self.crf = focus, crf

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        if spec.architecture == ANSWERS:
            return f"{spec.name} is a model whose answers are read: it has no blocks"
        return f"{spec.name} is a table of word vectors: it has no blocks" if spec.architecture == WORD_VECTORS else ""

    def steps(self, rows: int) -> int:
        """Optimizer steps for that many rows."""
        per_epoch = math.ceil(rows / self.batch_size)
        epochs = self.epochs if self.epochs is not None else min(max(3.0, MIN_STEPS / per_epoch), MAX_EPOCHS)
        visited = min(epochs, 1.0) + max(0.0, epochs - 1.0) * self.focus
        return max(1, round(visited * per_epoch))

    def step_seconds(self, data: Dataset, steps: int = 6) -> float:
        """Measured seconds of one optimizer step: the mean over a few warm ones, on rows of all lengths.

        What was predicted from a forward pass is up to half too high or too low; a second of measuring buys epochs.
        """
        rows = evenly_spaced(len(data), (steps + WARM) * self.batch_size)
        some, times = data.select(rows), [0.0]
        with seeded(self.seed):
            backbone = of_rows(self._backbone(some), data.task)
            some = in_pieces(backbone, some)
            head = self._chained(_zero_head(backbone, some), some)
            self._train(backbone, head, some, Setting(), steps=steps + WARM, callbacks=[Stopwatch(times)])
        return float(np.mean(np.diff(times)[WARM:]))

    def _fit(self, data: Dataset, setting: Setting) -> None:
        if self.head_start not in (None, "probe", "zero"):
            raise UsageError(f"no head start {self.head_start!r}", hint="use probe, zero, or None")
        if not 0 < self.focus <= 1:
            raise UsageError(f"focus is a share of the rows, not {self.focus}", hint="use a number above 0, at most 1")
        if data.task.is_tagging and self.focus < 1:
            raise UsageError("focus is for rows with one label each, not for tagging", hint="leave it at 1")
        if self.crf and not data.task.is_tagging:
            raise UsageError(f"a chain of tags is for tagging, not for {data.task.kind}", hint="leave crf out")
        Regularization.of(self).check(data.task.of_parts)
        with seeded(self.seed):
            backbone = of_rows(self._backbone(data), data.task)
            data = in_pieces(backbone, data)
            head = self._chained(self._head(backbone, data, setting), data)
            callbacks = [Checkpoint(setting.checkpoint)] if setting.checkpoint else []
            history = self._train(backbone, head, data, setting, steps=self.steps(len(data)), callbacks=callbacks)
            self.curve_, self.stopped_ = history.points, history.stopped
            self.crf_ = head.crf.cpu().requires_grad_(requires_grad=False) if isinstance(head, ChainHead) else None
            self._settle(backbone, LinearHead.from_module(head), data)

    def _settle(self, backbone: Backbone, head: LinearHead, data: Dataset) -> None:
        """Keep what was trained, say so, and choose the precision that rows are read with."""
        before = f"{backbone.spec.objective}, then " if backbone.spec.objective else ""
        learned = f"{before}{data.task.kind} of {data.name} ({len(data):,} rows)"
        backbone.spec = dataclasses.replace(backbone.spec, objective=learned)
        self.backbone_, self.head_ = backbone.requires_grad_(requires_grad=False).eval(), head
        self._features(data.select(np.arange(min(len(data), SAMPLE))), None)

    def _train(
        self,
        backbone: Backbone,
        head: torch.nn.Linear,
        data: Dataset,
        setting: Setting,
        *,
        steps: int,
        callbacks: Sequence[Callback],
    ) -> History:
        self._freeze(backbone)
        if self.dropout is not None:
            backbone.set_dropout(self.dropout)
        options = Regularization.of(self)
        groups = self._groups(backbone, head, self._head_rate(backbone, data))
        lower = self._lower(backbone, data, setting)
        network: Any = lower.upper if lower else backbone
        objective: Objective = (
            ChainObjective(network, head, data.task, groups)
            if isinstance(head, ChainHead)
            else options.objective(network, head, data.task.of_parts, groups)
        )
        focus = Focus(len(data), self.focus, self.seed) if self.focus < 1 else None
        return fit(
            objective if focus is None else Focused(objective, focus),
            labelled_batches(backbone, data, self.batch_size, self.seed, lower, focus),
            steps=steps,
            optimizer=self.optimizer,
            warmup=self.warmup,
            schedule=options.rate,
            precision="bf16" if bf16_is_faster() else "fp32",
            device=device(),
            clock=setting.clock,
            callbacks=options.around(backbone, callbacks, steps),
            progress=setting.progress,
            name=self.label,
        )

    def _freeze(self, backbone: Backbone) -> None:
        """Say which weights stay as they are."""
        backbone.freeze_below(self.blocks)

    def _lower(self, backbone: Backbone, data: Dataset, setting: Setting) -> Activations | None:
        """What the frozen blocks put out, where it stays the same and is read more than once."""
        if self.augment or self.mixup or self.gradual or self.dropout != 0.0:
            return None
        return reused_activations(backbone, data, self.blocks, self.steps(len(data)) * self.batch_size, setting)

    def _head_rate(self, backbone: Backbone, data: Dataset) -> float:
        """Peak rate η of the head.

        A step of Adam moves every weight by about η, so the logit of a row by η · |f - mean f|₁ against that of other
        rows.  Where features hardly differ (a fresh ResNet on MNIST: 3, MiniLM: 86), the usual rate never leaves zero.
        """
        if self.head_lr is not None:
            return self.head_lr
        rows = data.select(evenly_spaced(len(data), LOGIT_ROWS))
        backbone.to(device()).eval()
        batch = backbone.collate(backbone.preprocess(rows.take()))
        with torch.no_grad():
            features = backbone({name: tensor.to(device()) for name, tensor in batch.items()}).float()
        size = float((features - features.mean(0)).abs().sum(1).mean())
        return max(HEAD_LR, min(LOGIT_STEP / size, 100 * HEAD_LR)) if size > 0 else HEAD_LR

    def _groups(self, backbone: Backbone, head: torch.nn.Module, head_lr: float) -> list[dict[str, Any]]:
        """What is trained, with its rates."""
        return discriminative_groups(
            backbone.layer_groups(),
            head,
            lr=self.lr,
            head_lr=head_lr,
            layer_decay=self.layer_decay,
            weight_decay=0.0 if self.l2_sp else self.weight_decay,
            head_decay=self.weight_decay,
        )

    def _backbone(self, data: Dataset) -> Backbone:
        """The network to train; an opened source is copied, as training changes it."""
        return of_channels(self._open_to_train(), data, form="mixed")

    def _head(self, backbone: Backbone, data: Dataset, setting: Setting) -> torch.nn.Linear:
        enough = len(data) >= HEAD_SHARE * backbone.spec.hidden_size
        if (self.head_start or ("probe" if enough else "zero")) == "probe":
            self.backbone_ = backbone.eval()
            rows = evenly_spaced(len(data), HEAD_ROWS)
            features = self._features(data.select(rows), setting.store, setting)
            self.backbone_, self.precision_ = None, None  # training changes the weights
            many = data.task.outputs >= MANY_CLASSES and not data.task.is_multilabel
            loss = "logistic" if many else "squared"
            task = data.task.of_parts
            return fit_probe(features, flat(data.y[rows]), task, layers="last", loss=loss).module()
        return _zero_head(backbone, data)

    def _chained(self, head: torch.nn.Linear, data: Dataset) -> Any:
        """The head with the transitions of a CRF, where one is asked for."""
        del data
        return ChainHead(head) if self.crf else head

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store  # tuned weights are used once per row: nothing to keep
        if self.crf_ is None:
            return self._read_out(self.head_, data)
        blocks = (np.arange(at, min(at + SENTENCES, len(data))) for at in range(0, len(data), SENTENCES))
        parts = [data.select(block) for block in blocks]
        scores = [per_sentence(part, self.head_.scores(self._features(part, None))) for part in parts]
        return np.concatenate([self.crf_.outputs(each) for each in scores])

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, self.head_.arrays() | ({} if self.crf_ is None else self.crf_.arrays())

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del state
        self.head_ = LinearHead.from_arrays(arrays)
        self.crf_ = CRF.from_arrays(arrays) if "crf.begin" in arrays else None


def _zero_head(backbone: Backbone, data: Dataset) -> torch.nn.Linear:
    head = torch.nn.Linear(backbone.spec.hidden_size, data.task.outputs)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    return head
