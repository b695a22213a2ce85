"""Probe: the source stays as it is; a linear head on its pooled layers is fitted in closed form.

Idea: the representation is good, only the read-out is new.  Helps when: few rows, or a source close to the task.
Hurts when: many rows and a task far from what the source was trained on; then fine-tune.
Reference: Alain & Bengio (2016), Understanding intermediate layers using linear classifier probes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.types import Dataset, ModelSpec
from graft.nn.heads import LinearHead, fit_probe
from graft.sources.base import Backbone
from graft.transfer.base import BaseTransfer, Setting


@TRANSFERS.register("probe")
class Probe(BaseTransfer):
    """Ridge or logistic regression on frozen features; layers and strength on left-out rows, calibrated probabilities.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone``.
        layers: ``"auto"`` (last, upper half or all, by leave-one-out), ``"last"``, or layer indices.
        loss: ``"squared"``, in closed form, or ``"logistic"``, slower and better where there are many classes.

    Example:
        >>> from graft.transfer.probe import Probe
        >>> texts = ["great film", "dull film", "a joy", "a bore"] * 3
        >>> probe = Probe("sbert:all-MiniLM-L6-v2").fit(texts, ["good", "bad"] * 6)
        >>> probe.predict(["what a joy"]).tolist()
        ['good']
    """

    label = "probe"
    name = "probe"
    needs_source = True
    simplicity = 2

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        layers: str | tuple[int, ...] = "auto",
        loss: str = "squared",
    ) -> None:
        self.source = source
        self.layers = layers
        self.loss = loss

    def _fit(self, data: Dataset, setting: Setting) -> None:
        self.backbone_ = self._open()
        features = self._features(data, setting.store, setting)
        self.head_ = fit_probe(features, data.y, data.task, layers=self.layers, loss=self.loss)

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        return self.head_.outputs(self._features(data, store), self.task_)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"strength": self.head_.strength}, self.head_.arrays()

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del state
        self.head_ = LinearHead.from_arrays(arrays)
