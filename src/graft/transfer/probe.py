"""Probe: the source stays as it is; a head on its pooled layers is fitted in closed form.

Idea: the representation is good, only the read-out is new.  Helps when: few rows, or a source close to the task.
Hurts when: many rows and a task far from what the source was trained on; then fine-tune.
References: Alain & Bengio (2016), Understanding intermediate layers using linear classifier probes; Peters et al. (2018)
for a mixture of layers; Ledoit & Wolf (2004) for the covariance of discriminant analysis; Dudani (1976) for neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.core.errors import UsageError
from graft.core.ragged import flat
from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.data.sentences import SentenceRows
from graft.nn.heads import LinearHead, fit_probe
from graft.nn.neighbours import NeighbourHead, fit_neighbours
from graft.nn.ordinal import OrdinalHead, fit_ordinal_head
from graft.sources.aligned import per_sentence
from graft.sources.base import Backbone
from graft.transfer.base import BaseTransfer, Setting

HEADS = ("linear", "lda", "knn", "ordinal")
WORDS = 40_000  # of a tagging that the head is fitted on: more cost memory, and change little


@TRANSFERS.register("probe")
class Probe(BaseTransfer):
    """Ridge or logistic regression on frozen features; layers and strength on left-out rows, calibrated probabilities.

    Beside them stand discriminant analysis, whose one strength is known without trying, and nearest neighbours, which draw
    classes of any shape but keep the training features: 2 bytes for each of rows · columns, in memory and on disk.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone``.
        layers: ``"auto"`` (last, upper half or all, by leave-one-out), ``"last"``, ``"concatenated"`` (all), ``"mix"`` (a
            mean of all, with shares that predict left-out rows best; not for neighbours), or layer indices.
        loss: Of the linear head: ``"squared"``, in closed form, or ``"logistic"``, slower and better where there are many
            classes.
        head: ``"linear"``, ``"lda"`` (discriminant analysis with a shrunken covariance), ``"knn"`` (neighbours by cosine, the
            near ones weigh more, how many by leave-one-out) or ``"ordinal"`` (proportional odds, for ordered classes).

    Example:
        >>> from graft.transfer.probe import Probe
        >>> texts = ["great film", "dull film", "a joy", "a bore"] * 3
        >>> probe = Probe("sbert:all-MiniLM-L6-v2").fit(texts, ["good", "bad"] * 6)
        >>> probe.predict(["what a joy"]).tolist()
        ['good']
    """

    label = "probe"
    name = "probe"
    effort = "probe"
    kinds = ("classification", "regression", "tagging", "multilabel")
    word_layers = "upper"
    sides = True
    needs_source = True
    simplicity = 2

    head_: LinearHead | NeighbourHead | OrdinalHead

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        layers: str | tuple[int, ...] = "auto",
        loss: str = "squared",
        head: str = "linear",
    ) -> None:
        self.source = source
        self.layers = layers
        self.loss = loss
        self.head = head

    def _fit(self, data: Dataset, setting: Setting) -> None:
        task = data.task.of_parts
        loss = self._loss(task)
        self.backbone_ = self._open()
        if isinstance(data.X, SentenceRows):
            order = np.random.default_rng(0).permutation(len(data))
            within = np.cumsum(data.X.counts[data.rows][order]) <= WORDS
            data = data.select(np.sort(order[: max(1, int(within.sum()))]))
        features = self._features(data, setting.store, setting)
        if self.head == "knn":
            self.head_ = fit_neighbours(features, flat(data.y), task, layers=self.layers)
        elif self.head == "ordinal":
            self.head_ = fit_ordinal_head(features, data.y, task, layers=self.layers)
        else:
            self.head_ = fit_probe(features, flat(data.y), task, layers=self.layers, loss=loss)

    def _loss(self, task: Task) -> str:
        """The loss of a linear map; refuses what does not go together before anything is opened."""
        if self.head not in HEADS:
            raise UsageError(f"no head {self.head!r}", hint=f"use {', '.join(HEADS)}")
        if self.head != "linear" and self.loss != "squared":
            raise UsageError(f"the head {self.head} has no loss {self.loss!r}", hint="leave one of them out")
        if self.head == "ordinal" and not task.is_ordinal:
            hint = "load the data with task='ordinal' (--task ordinal)"
            raise UsageError("proportional odds need classes with an order", hint=hint)
        if self.head == "lda" and not task.is_classification:
            raise UsageError("discriminant analysis needs classes", hint="use head='linear' or 'knn' for a regression")
        if self.head in {"knn", "ordinal"} and self.layers == "mix":
            what = "neighbours" if self.head == "knn" else "proportional odds"
            raise UsageError(f"{what} cannot mix layers", hint="use layers='concatenated' or head='linear'")
        return "lda" if self.head == "lda" else self.loss

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        return per_sentence(data, self.head_.outputs(self._features(data, store), self.task_.of_parts))

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"strength": self.head_.strength}, self.head_.arrays()

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del state
        kinds: dict[str, Any] = {"knn": NeighbourHead, "ordinal": OrdinalHead}
        self.head_ = kinds.get(self.head, LinearHead).from_arrays(arrays)
