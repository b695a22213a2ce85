"""Adapters: the source stays as it is; small matrices or scales beside its layers are trained, then merged into them.

Idea: what a task asks of a good representation is a small change, W + B·A with few columns (LoRA), its directions and
lengths apart (DoRA), or a new scale per feature (IA3).  Helps when: a large source, whose gradients and moments would
fill the memory, or several tasks on one source: a hundredth of the weights learns most of what all of them learn.
Hurts when: the task is far from the source's, or rows are many; then full fine-tuning goes further.
References: Hu et al. (2022), LoRA; Liu et al. (2024), DoRA; Liu et al. (2022), Few-shot parameter-efficient fine-tuning
is better and cheaper than in-context learning (IA3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from torch import nn

from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.types import Dataset, ModelSpec
from graft.engine.loop import History
from graft.engine.optim import discriminative_groups
from graft.sources.base import Backbone
from graft.sources.keras_network import KerasBackbone
from graft.sources.words import WORD_VECTORS
from graft.transfer.base import Setting
from graft.transfer.finetune import Finetune
from graft.transfer.injection import adaptable, import_peft, inject, merge
from graft.transfer.regularization import StillStatistics

RATES = {"lora": 1.2e-3, "dora": 1.2e-3, "ia3": 3e-3}  # ten times that of fine-tuning; that of the paper on IA3
WITHOUT_LAYERS = (WORD_VECTORS, "mean", "lstm", "gru")  # tables, and weights that belong to no layer of their own

# Last parts of the names under which transformers keep their queries, keys and values.
FUSED = {"qkv", "qkv_proj", "c_attn", "query_key_value", "in_proj", "Wqkv"}
QUERIES = {"query", "query_proj", "q_proj", "q_lin", "q", "to_q"}
KEYS = {"key", "key_proj", "k_proj", "k_lin", "k", "to_k"}
VALUES = {"value", "value_proj", "v_proj", "v_lin", "v", "to_v"}
# Second layers of feed-forward parts: IA3 scales what goes into them.
SECOND = re.compile(r"(^|\.)((?<!attention\.)output\.dense|lin2|fc2|linear2|mlp\.c_proj|mlp\.Wo|wo|down|down_proj)$")


@TRANSFERS.register("adapters")
class Adapters(Finetune):
    """Train adapters of a frozen source, and a new linear head; the fitted network is as large as the source.

    The output of an adapted layer is (W + alpha / rank · B A) x with A (rank, inputs) and B (outputs, rank); for
    ``"dora"`` each row of that matrix brought to a trained length; for ``"ia3"`` W x times a trained scale.  B starts
    from zero, lengths from those of W, scales from one: training starts from the source itself.

    Args:
        source: URI or ``ModelSpec``.
        kind: ``"lora"``, ``"dora"`` or ``"ia3"``.
        rank: Columns of B.
        alpha: The change is scaled by alpha / rank.
        targets: Ends of the names of the layers that are adapted.  None: queries and values of a transformer (for IA3
            keys, values and the second layers of its feed-forward parts), or else every linear layer and convolution.
        blocks: How many blocks to adapt, counted from the top; None for all.
        epochs: Passes over the rows; None: 3, or more on small data.
        lr: Peak rate of the adapters; None: 1.2e-3, ten times that of fine-tuning (Hu et al. use ten times and more),
            for IA3 3e-3 (Liu et al.).
        head_lr: Peak rate of the head; None: by the size of the features, see ``Finetune``.
        batch_size: Rows per step.
        weight_decay: Decoupled weight decay of A and B, towards the source; scales have none.
        warmup: Share of the steps over which the rate rises.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
        head_start: ``"probe"``, ``"zero"``, or None: the probe from four rows per feature.
        dropout: Dropout inside the source while training; None leaves what the source was made with.
        seed: Seed of A, order and dropout.

    Attributes:
        trained_: ``layers`` that were adapted, ``weights`` that were trained beside the head, how many there are in the
            source (``of``), and their ``share``.

    Raises:
        UsageError: The kind is unknown, or the source has no such layer.
        MissingExtraError: peft is not installed.

    Example:
        >>> from graft.transfer.adapters import Adapters
        >>> texts = ["great film", "dull film", "a joy", "a bore"] * 3
        >>> tuned = Adapters("sbert:all-MiniLM-L6-v2", rank=4, epochs=5).fit(texts, ["good", "bad"] * 6)
        >>> tuned.predict(["what a joy"]).tolist()
        ['good']
        >>> tuned.trained_["layers"], tuned.trained_["weights"]
        (12, 36864)
    """

    label = "adapters"
    name = "adapters"
    kinds = ("classification", "regression", "multilabel")
    trains = 0.01
    space: ClassVar = {"rank": [4, 8, 16], "epochs": [None, 5.0, 10.0]}
    effort = "thorough"

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        kind: str = "lora",
        rank: int = 8,
        alpha: float = 16.0,
        targets: Sequence[str] | None = None,
        blocks: int | None = None,
        epochs: float | None = None,
        lr: float | None = None,
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
            head_lr=head_lr,
            batch_size=batch_size,
            weight_decay=weight_decay,
            warmup=warmup,
            optimizer=optimizer,
            head_start=head_start,
            dropout=dropout,
            seed=seed,
        )
        self.lr = lr  # type: ignore[assignment]
        self.kind = kind
        self.rank = rank
        self.alpha = alpha
        self.targets = targets

    @classmethod
    def promising(cls, data: Dataset) -> bool:
        """Where the package that it needs is there."""
        del data
        return find_spec("peft") is not None

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        if spec.architecture.split("-", maxsplit=1)[0] in WITHOUT_LAYERS:
            return f"{spec.name} ({spec.architecture}) has no layer that can be adapted"
        return ""

    def _fit(self, data: Dataset, setting: Setting) -> None:
        if self.kind not in RATES:
            raise UsageError(f"no adapters of the kind {self.kind!r}", hint=f"use {', '.join(RATES)}")
        for name, value in (("rank", self.rank), ("blocks", self.blocks)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        import_peft()  # a missing package is said before the source is opened
        super()._fit(data, setting)

    def _train(self, backbone: Backbone, head: nn.Linear, data: Dataset, setting: Setting, **more: Any) -> History:
        more["callbacks"] = [*more["callbacks"], StillStatistics()]
        history = super()._train(backbone, head, data, setting, **more)
        merge(backbone)
        return history

    def _freeze(self, backbone: Backbone) -> None:
        """Put adapters beside the layers; nothing else is trained."""
        layers = self._layers(backbone)
        whole = sum(parameter.numel() for parameter in backbone.parameters())
        backbone.requires_grad_(requires_grad=False)
        inject(backbone, layers, self._config)
        weights = sum(parameter.numel() for parameter in backbone.parameters() if parameter.requires_grad)
        self.trained_ = {"layers": len(layers), "weights": weights, "of": whole, "share": weights / whole}

    def _layers(self, backbone: Backbone) -> dict[str, nn.Module]:
        """The layers to adapt by name, bottom to top."""
        where = f"the top {self.blocks} blocks of {backbone.spec.name}" if self.blocks else backbone.spec.name
        found = {} if self.fits(backbone.spec) else adaptable(backbone, self.kind, self.blocks)
        if not found:
            raise UsageError(f"{where} has no layer that {self.kind} can adapt", hint="use finetune or probe")
        if not self.targets:
            wanted = KEYS | VALUES | FUSED if self.kind == "ia3" else QUERIES | VALUES | FUSED
            chosen = {name for name in found if name.rsplit(".", 1)[-1] in wanted}
            if chosen and self.kind == "ia3":
                chosen |= {name for name in found if SECOND.search(name)}
            return {name: layer for name, layer in found.items() if not chosen or name in chosen}
        mark = "_" if isinstance(backbone, KerasBackbone) else "."  # what parts of names stand between
        chosen = set()
        for target in [self.targets] if isinstance(self.targets, str) else self.targets:
            ends = {name for name in found if f"{mark}{name}".endswith(f"{mark}{target}")}
            if not ends:
                known = sorted({name.rsplit(".", 1)[-1] for name in found})
                hint = f"it has {', '.join(known[:8])}{', …' if len(known) > 8 else ''}"
                raise UsageError(f"{where} has no layer {target!r} that {self.kind} can adapt", hint=hint)
            chosen |= ends
        return {name: layer for name, layer in found.items() if name in chosen}

    def _config(self, names: list[str]) -> Any:
        """What peft is to make of the layers of these names."""
        peft = import_peft()
        pattern = "|".join(map(re.escape, names))
        if self.kind == "ia3":
            inner = "|".join(re.escape(name) for name in names if SECOND.search(name))
            return peft.IA3Config(target_modules=pattern, feedforward_modules=inner)
        dora = self.kind == "dora"
        return peft.LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=pattern, use_dora=dora)

    def _groups(self, backbone: Backbone, head: nn.Module, head_lr: float) -> list[dict[str, Any]]:
        """What is trained, with its rates; decay would pull scales towards zero, not towards the source."""
        return discriminative_groups(
            backbone.layer_groups(),
            head,
            lr=RATES[self.kind] if self.lr is None else self.lr,
            head_lr=head_lr,
            weight_decay=0.0 if self.kind == "ia3" else self.weight_decay,
            head_decay=self.weight_decay,
        )

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        state, arrays = super()._arrays()
        return {**state, "trained": self.trained_}, arrays

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        super()._restore(state, arrays)
        self.trained_ = dict(state["trained"])
