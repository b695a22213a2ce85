"""Bias tuning: only biases, the shifts of normalisations and a new head are trained; every matrix stays as it is.

Idea: most of what a task asks of a source is which features are on, and that is what shifts decide; a thousandth of the
weights can suffice.  Helps when: few rows, where more freedom would only be overfitted, or many tasks on one source.
Hurts when: many rows, or a task far from the source's; then fine-tune.
Reference: Ben Zaken et al. (2022), BitFit: simple parameter-efficient fine-tuning for transformer-based masked
language-models.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np
from torch import nn

from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.types import Dataset, ModelSpec
from graft.engine.loop import History
from graft.sources.base import Backbone
from graft.sources.words import WORD_VECTORS
from graft.transfer.base import Setting
from graft.transfer.finetune import Finetune
from graft.transfer.regularization import StillStatistics

SHIFT = re.compile(r"(^|[._])(bias|beta)(_[^.]*)?$")  # …dense.bias, lstm.bias_hh_l0, Keras's 1_bias and 2_beta


@TRANSFERS.register("bias")
class BiasOnly(Finetune):
    """Train the biases of a source with a new linear head.

    Args:
        source: URI or ``ModelSpec``.
        blocks: Of how many blocks, counted from the top; None: of all, and of what comes before them.
        epochs: Passes over the rows; None: 3, or more on small data.
        lr: Peak rate of the biases; Ben Zaken et al. try 1e-4 to 1e-3.
        head_lr: Peak rate of the head; None: by the size of the features, see ``Finetune``.
        batch_size: Rows per step.
        weight_decay: Decoupled weight decay of the head; biases have none.
        warmup: Share of the steps over which the rate rises.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
        head_start: ``"probe"``, ``"zero"``, or None: the probe from four rows per feature.
        dropout: Dropout inside the source while training; None leaves what the source was made with.
        seed: Seed of order and dropout.

    Attributes:
        trained_: How many vectors (``layers``) and ``weights`` were free beside the head, how many weights there are in
            the source (``of``), and their ``share``.

    Raises:
        UsageError: The source has no biases.

    Example:
        >>> from graft.transfer.bias import BiasOnly
        >>> texts = ["great film", "dull film", "a joy", "a bore"] * 3
        >>> tuned = BiasOnly("sbert:all-MiniLM-L6-v2", epochs=5).fit(texts, ["good", "bad"] * 6)
        >>> tuned.predict(["what a joy"]).tolist()
        ['good']
        >>> round(tuned.trained_["share"], 4)
        0.0011
    """

    label = "bias tuning"
    name = "bias"
    kinds = ("classification", "regression", "multilabel")
    trains = 0.001
    space: ClassVar = {"lr": (3e-4, 1e-2), "epochs": [None, 5.0, 10.0]}
    effort = "thorough"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        blocks: int | None = None,
        epochs: float | None = None,
        lr: float = 1e-3,
        head_lr: float | None = None,
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
            lr=lr,
            head_lr=head_lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            warmup=warmup,
            optimizer=optimizer,
            head_start=head_start,
            dropout=dropout,
            seed=seed,
        )

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        if spec.architecture in (WORD_VECTORS, "mean"):
            return f"{spec.name} is a table of word vectors: it has no biases"
        return ""

    def _train(self, backbone: Backbone, head: nn.Linear, data: Dataset, setting: Setting, **more: Any) -> History:
        more["callbacks"] = [*more["callbacks"], StillStatistics()]
        return super()._train(backbone, head, data, setting, **more)

    def _freeze(self, backbone: Backbone) -> None:
        """Free the biases, of the top blocks if so many are named."""
        if self.blocks is None:
            backbone.requires_grad_(requires_grad=True)
        else:
            backbone.freeze_below(self.blocks)
        free = []
        for name, parameter in backbone.named_parameters():
            shift = parameter.requires_grad and parameter.ndim == 1 and SHIFT.search(name) is not None
            parameter.requires_grad = shift
            if shift:
                free.append(parameter.numel())
        if not free:
            where = "" if self.blocks is None else f" in its top {self.blocks} blocks"
            raise UsageError(f"{backbone.spec.name} has no biases{where} to train", hint="use adapters or finetune")
        whole = sum(parameter.numel() for parameter in backbone.parameters())
        self.trained_ = {"layers": len(free), "weights": sum(free), "of": whole, "share": sum(free) / whole}

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = super()._arrays()
        return {**state, "trained": self.trained_}, arrays

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        super()._restore(state, arrays)
        self.trained_ = dict(state["trained"])
