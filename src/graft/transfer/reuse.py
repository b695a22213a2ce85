"""Reuse of an architecture: a source's structure, with none, some or all of its weights, is fine-tuned on the task.

Idea: a network is a structure and weights; either can be what helps.  With its default, the structure with fresh weights,
it answers which: compare it with ``finetune`` of the same source.  With changes it trains what the source would be with
fewer blocks, more units, other inputs or the words of the rows.
Helps when: the source is too large or too small, reads other inputs, or splits the words of the rows into crumbs.
Hurts when: rows are few and weights are given away that they cannot replace.
References: Chen et al. (2016), Net2Net; Gee et al. (2022) and Minixhofer et al. (2022) for vocabularies; Raghu et al.
(2019), Transfusion, for fresh weights beside pretrained ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.types import Dataset, ModelSpec
from graft.reshape.reshape import Changes, Report, reshape
from graft.sources.bands import of_channels
from graft.sources.base import Backbone
from graft.transfer.activations import Activations
from graft.transfer.base import Setting
from graft.transfer.finetune import Finetune, _zero_head

FRESH_LR = 5e-4  # of weights without a past …
FRESH_EPOCHS, FRESH_STEPS = 15, 200  # … which are trained as long as a network from scratch, see ``Scratch``
LR = 1.2e-4
UNKNOWN = ("keras", "timm")  # sources whose networks graft opens but does not build
ASKED = ("remove", "order", "insert", "channels", "size", "length")


@TRANSFERS.register("reuse")
class Reuse(Finetune):
    """Fine-tune a source whose structure was changed, or whose structure alone is taken.

    Tensors that are not copied byte for byte are trained even where ``blocks`` would freeze them.  What became of every
    tensor is kept with the model (``report_``).  Blocks are counted from 0 at the bottom.

    Args:
        source: URI or ``ModelSpec``: a network of transformers for text or pictures, or one of graft's own encoders.
        fresh: Whether all weights are new; None: if no change is named.
        remove: Blocks to leave out.
        order: The blocks to keep, bottom to top; a block may stand several times.
        insert: Blocks after which a new one is put, which does nothing at first.
        widen: Factor on the inner units (transformers) or on all channels (graft's own other networks).
        channels: Of the input: 3, or 1 for shades of grey.
        size: Height and width of pictures.
        length: Tokens of a text at most.
        vocabulary: Whether a vocabulary is learned from the rows, with embeddings made from the old ones.
        tokens: Its size at most; None for that of the old one.
        blocks: How many blocks to train, counted from the top; None for all.
        epochs: Passes over the rows; None: as ``finetune``, or 15 and at least 200 steps with fresh weights.
        lr: Peak rate of the top block; None: 0.00012, or 0.0005 with fresh weights.
        head_lr: Peak rate of the head; None: by the size of the features, see ``Finetune``.
        layer_decay: Factor on the rate per block downwards.
        batch_size: Rows per step.
        weight_decay: Decoupled weight decay.
        warmup: Share of the steps over which the rate rises.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
        head_start: ``"probe"``, ``"zero"``, or None: as ``finetune``, or zero with fresh weights.
        dropout: Dropout inside the source while training; None leaves what the source was made with.
        seed: Seed of fresh weights, order and dropout.

    Attributes:
        report_: What became of every tensor of the source, before training.

    Example:
        >>> from graft.transfer.reuse import Reuse
        >>> texts = ["great film", "dull film", "a joy", "a bore"] * 3
        >>> reused = Reuse("sbert:all-MiniLM-L6-v2", remove=(3, 4, 5), blocks=1, epochs=1).fit(texts, ["good", "bad"] * 6)
        >>> len(reused.backbone_.blocks()), reused.report_.counts()["new"]["tensors"]
        (3, 0)
    """

    label = "reuse of an architecture"
    name = "reuse"
    kinds = ("classification", "regression")
    simplicity = 3
    effort = "request"
    space: ClassVar = {}

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        fresh: bool | None = None,
        remove: Sequence[int] = (),
        order: Sequence[int] | None = None,
        insert: Sequence[int] = (),
        widen: float = 1.0,
        channels: int | None = None,
        size: int | None = None,
        length: int | None = None,
        vocabulary: bool = False,
        tokens: int | None = None,
        blocks: int | None = None,
        epochs: float | None = None,
        lr: float | None = None,
        head_lr: float | None = None,
        layer_decay: float = 1.0,
        batch_size: int = 40,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        optimizer: str = "adamw",
        head_start: str | None = None,
        dropout: float | None = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            source,
            blocks=blocks,
            epochs=epochs,
            head_lr=head_lr,
            layer_decay=layer_decay,
            batch_size=batch_size,
            weight_decay=weight_decay,
            warmup=warmup,
            optimizer=optimizer,
            head_start=head_start,
            dropout=dropout,
            seed=seed,
        )
        self.lr: Any = lr  # None until it is known whether weights are fresh
        self.fresh, self.remove, self.order, self.insert = fresh, remove, order, insert
        self.widen, self.channels, self.size, self.length = widen, channels, size, length
        self.vocabulary, self.tokens = vocabulary, tokens

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        if spec.uri.partition(":")[0] in UNKNOWN:
            return f"{spec.name} cannot be reshaped: graft does not build it from settings"
        return super().fits(spec)

    @property
    def is_fresh(self) -> bool:
        """Whether all weights are new."""
        asked = any(getattr(self, name) not in (None, (), []) for name in ASKED)
        return not (asked or self.vocabulary or self.widen != 1) if self.fresh is None else self.fresh

    def changes(self, data: Dataset | None = None) -> Changes:
        """The changes that the keywords name; a vocabulary is learned from ``data``."""
        if self.vocabulary and data is not None and data.task.modality != "text":
            raise UsageError(f"a vocabulary is learned from texts, the data are {data.task.modality}")
        rows = None if not self.vocabulary or data is None else list(data.take())
        order = None if self.order is None else tuple(self.order)
        return Changes(
            self.is_fresh, tuple(self.remove), order, tuple(self.insert), self.widen, self.channels, self.size,
            self.length, rows, self.tokens,
        )  # fmt: skip

    def steps(self, rows: int) -> int:
        if self.epochs is not None or not self.is_fresh:
            return super().steps(rows)
        return max(FRESH_STEPS, FRESH_EPOCHS * -(-rows // self.batch_size))

    def _backbone(self, data: Dataset) -> Backbone:
        backbone, self.report_ = reshape(self._open(), self.changes(data), seed=self.seed)
        return of_channels(backbone, data, form="mixed")

    def _freeze(self, backbone: Backbone) -> None:
        super()._freeze(backbone)
        changed = {fate.name for fate in self.report_.tensors if fate.what != "copied"}
        for name, parameter in backbone.named_parameters():
            if name in changed:
                parameter.requires_grad = True

    def _lower(self, backbone: Backbone, data: Dataset, setting: Setting) -> Activations | None:
        """What the frozen blocks put out, where all of what was copied and nothing new is below."""
        frozen = 0 if self.blocks is None else len(backbone.blocks()) - self.blocks
        below = torch.nn.ModuleList([*backbone.stem(), *backbone.blocks()[: max(0, frozen)]])
        learning = any(parameter.requires_grad for parameter in below.parameters())
        return None if learning else super()._lower(backbone, data, setting)

    def _head(self, backbone: Backbone, data: Dataset, setting: Setting) -> torch.nn.Linear:
        if self.is_fresh and self.head_start is None:
            return _zero_head(backbone, data)
        return super()._head(backbone, data, setting)

    def _groups(self, backbone: Backbone, head: torch.nn.Module, head_lr: float) -> list[dict[str, Any]]:
        asked = self.lr
        self.lr = (FRESH_LR if self.is_fresh else LR) if asked is None else asked
        try:
            return super()._groups(backbone, head, head_lr)
        finally:
            self.lr = asked

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = super()._arrays()
        return {**state, "report": self.report_.to_json()}, arrays

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        super()._restore(state, arrays)
        self.report_ = Report.from_json(state["report"])
