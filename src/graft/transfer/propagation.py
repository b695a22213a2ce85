"""Label propagation: labels spread over a graph of nearest neighbours, and a head learns from what has arrived.

Idea: rows that lie close together in a pretrained space mostly share their label, through chains of neighbours too, so a few
labels say something of many rows.  Helps when: few labels, many other rows of the same kind, and classes that form dense
regions of the space.  Hurts when: classes overlap or are cut across by what the space groups by (topic, author), or the
other rows are of other kinds; then the labelled rows alone, a probe, do better.
References: Zhou et al. (2004), Learning with local and global consistency; Iscen et al. (2019), Label propagation for deep
semi-supervised learning, for the certainty that weighs rows; Delalleau et al. (2005) for answering new rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.types import Dataset, Features, ModelSpec
from graft.nn.calibration import fit_temperature, nll
from graft.nn.graph import neighbour_graph, soft_labels, spread
from graft.nn.heads import LinearHead, fit_soft
from graft.nn.layer_rows import LayerRows, layer_options, layer_scale
from graft.nn.neighbours import NeighbourHead, nearest, unit_rows, votes
from graft.sources.base import Backbone
from graft.transfer.base import TINY, BaseTransfer, Setting
from graft.transfer.semi import cuts, on_time, side_by_side, some_unlabelled

ALPHAS = (0.5, 0.9, 0.99)  # weights of the neighbours that are compared
VOTERS = 10  # neighbours that answer for a new row
HEADS = ("auto", "linear", "knn")
Pairs = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class _Graph:
    """The rows in some layers, and how labels spread over them; labelled rows come first."""

    layers: tuple[int, ...]
    unit: np.ndarray  # (n, d) float32, of length one about the mean
    scale: np.ndarray
    centre: np.ndarray
    edges: Any
    alpha: float = ALPHAS[-1]

    @classmethod
    def of(cls, features: Features, layers: tuple[int, ...], count: int) -> _Graph:
        scale = layer_scale(features, layers)
        rows = LayerRows(features, layers, scale)[:]
        centre = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        unit = unit_rows(rows, centre)
        return cls(layers, unit, scale, centre, neighbour_graph(unit, count))

    def labels(self, y: np.ndarray, known: list[np.ndarray], classes: int) -> list[np.ndarray]:
        """Soft labels (n, C) from each of several sets of labelled rows, found together."""
        start = np.zeros((len(self.unit), len(known) * classes))
        for turn, rows in enumerate(known):
            start[rows, turn * classes + y[rows]] = 1.0
        arrived = np.split(spread(self.edges, start, self.alpha), len(known), axis=1)
        counts = [np.bincount(y[rows], minlength=classes) for rows in known]
        return [soft_labels(one, c / c.sum()) for one, c in zip(arrived, counts, strict=True)]


@TRANSFERS.register("propagation")
class Propagation(BaseTransfer):
    """Spread the labels over a graph of all rows, then fit a head to the soft labels that arrive.

    With S the normalised graph of the nearest neighbours by cosine, F = (I - αS)⁻¹ Y; columns are scaled to the shares of
    the labelled classes.  Layers and α are chosen by the likelihood of labelled rows held out of Y, and so is the head:
    ridge on all rows, where a row without label weighs 1 - H / log C with the entropy H of its soft label, or the nearest
    neighbours' soft labels, which keeps the rows (2 bytes for each of rows · columns).  Without rows to spread to it is a
    ridge probe.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone``.
        neighbours: Of each row in the graph.
        alpha: Weight of the neighbours against the own label, 0 to below 1; None chooses among 0.5, 0.9 and 0.99.
        layers: ``"auto"`` (the last or the upper half), ``"last"``, ``"concatenated"``, or layer indices.
        head: ``"linear"``, ``"knn"``, or ``"auto"``: whichever answers better for rows held out.
        max_rows: Rows without a label at most, a seeded sample above it: the graph compares each row with all others.
        seed: Seed of the sample and of what is held out.

    Example:
        >>> from graft.transfer.propagation import Propagation
        >>> texts = ["great film", "dull film", "what a joy", "such a bore", "a great joy", "a dull bore"] * 3
        >>> labels = ["good", "bad"] * 3 + [None] * 12
        >>> Propagation("sbert:all-MiniLM-L6-v2").fit(texts, labels).predict(["a joy of a film"]).tolist()
        ['good']
    """

    label = "label propagation"
    name = "propagation"
    effort = "fast"
    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    needs_source = True
    semi = True
    simplicity = 3

    head_: LinearHead | NeighbourHead

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        neighbours: int = 20,
        alpha: float | None = None,
        layers: str | tuple[int, ...] = "auto",
        head: str = "auto",
        max_rows: int = 20_000,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.neighbours = neighbours
        self.alpha = alpha
        self.layers = layers
        self.head = head
        self.max_rows = max_rows
        self.seed = seed

    @classmethod
    def seconds(cls, rows: int) -> float:
        """Of a fit on so many rows, with and without a label, whose features are there: graphs and spreading."""
        return 0.2 + 1.3e-3 * rows + 2.5e-7 * rows**2

    def _fit(self, data: Dataset, setting: Setting) -> None:
        if self.head not in HEADS or self.neighbours < 1 or not 0 <= (self.alpha or 0) < 1:
            raise UsageError(
                f"head {self.head!r}, {self.neighbours} neighbours, alpha {self.alpha} cannot be spread with",
                hint=f"use a head of {', '.join(HEADS)}, 1 neighbour or more, alpha from 0 to below 1",
            )
        self.backbone_ = self._open()
        parts = [data, *some_unlabelled(setting, data, self.max_rows, self.seed)]
        features = side_by_side(lambda rows: self._features(rows, setting.store, setting), parts)
        assert data.y is not None
        pairs = cuts(data, self.seed)
        setting.progress(self.label, 0.2, f"{len(features):,} rows, {len(data):,} with a label")
        graph = self._graph(features, data, pairs, setting)
        setting.progress(self.label, 0.7, f"alpha {graph.alpha:g}, layers {graph.layers}")
        self.head_ = self._head(graph, features, data, pairs, setting)
        self.alpha_, self.spread_to_ = graph.alpha, len(features) - len(data)

    def _graph(self, features: Features, data: Dataset, pairs: Pairs, setting: Setting) -> _Graph:
        """The layers and α whose soft labels are best for rows that were held out; the last layer where none are."""
        options = layer_options(features, self.layers, most=1)
        alphas = ALPHAS if self.alpha is None else (self.alpha,)
        best, least = None, np.inf
        for layers in options if pairs else options[:1]:
            on_time(setting, self.label)
            graph = _Graph.of(features, layers, self.neighbours)
            for alpha in alphas if pairs else alphas[-1:]:
                found = replace(graph, alpha=alpha)
                error = self._held_out(found, data, pairs)[1] if pairs else 0.0
                if error < least:
                    best, least = found, error
        assert best is not None
        return best

    def _held_out(self, graph: _Graph, data: Dataset, pairs: Pairs) -> tuple[list[np.ndarray], float]:
        """Soft labels without each fold, and their loss on the rows of the folds."""
        assert data.y is not None
        soft = graph.labels(data.y, [train for train, _ in pairs], data.task.outputs)
        scores = np.concatenate([np.log(one[test].clip(1e-6)) for one, (_, test) in zip(soft, pairs, strict=True)])
        labels = np.concatenate([data.y[test] for _, test in pairs])
        return soft, nll(scores / fit_temperature(scores, labels, prior=1), labels)

    def _head(
        self, graph: _Graph, features: Features, data: Dataset, pairs: Pairs, setting: Setting
    ) -> LinearHead | NeighbourHead:
        """The head asked for, or the better one on held-out rows, with a temperature that these rows set."""
        assert data.y is not None
        y, every = data.y, np.arange(len(data))
        wanted = ("linear", "knn") if self.head == "auto" else (self.head,)
        tried = []
        soft = self._held_out(graph, data, pairs)[0] if pairs else []
        for kind in wanted if pairs else wanted[:1]:
            scores = []
            for one, (train, test) in zip(soft, pairs, strict=True):
                on_time(setting, self.label)
                head = self._fitted(kind, graph, features, data, one, train)
                scores.append(self._scores(head, graph, features, test))
            temperature, error = 1.0, 0.0
            if scores:
                labels, found = np.concatenate([y[test] for _, test in pairs]), np.concatenate(scores)
                temperature = fit_temperature(found, labels, prior=1)
                error = nll(found / temperature, labels)
            tried.append((error, kind, temperature))
        _, kind, temperature = min(tried)
        whole = graph.labels(y, [every], data.task.outputs)[0]
        return replace(self._fitted(kind, graph, features, data, whole, every), temperature=temperature)

    def _fitted(
        self, kind: str, graph: _Graph, features: Features, data: Dataset, soft: np.ndarray, known: np.ndarray
    ) -> LinearHead | NeighbourHead:
        """A head on soft labels in which the known rows have their own; other labelled rows count as the rest does."""
        assert data.y is not None
        task = data.task
        targets = soft.copy()
        targets[known] = np.eye(task.outputs)[data.y[known]]
        weights = task.class_weights(data.y[known])
        if kind == "knn":
            answers = targets if weights is None else targets * weights
            rows = graph.unit.astype(np.float16)
            return NeighbourHead(graph.layers, graph.scale, graph.centre, rows, answers.astype(np.float32), VOTERS)
        entropy = -(targets * np.log(targets.clip(TINY))).sum(axis=1)
        weight = (1 - entropy / np.log(max(2, task.outputs))).clip(0, 1)
        weight = weight if weights is None else weight * (targets @ weights)
        return fit_soft(features, targets, graph.layers, weight=weight)

    def _scores(
        self, head: LinearHead | NeighbourHead, graph: _Graph, features: Features, test: np.ndarray
    ) -> np.ndarray:
        """Scores of held-out labelled rows, none of which answers for itself."""
        if isinstance(head, LinearHead):
            return head.scores(features.select(features.rows[test]))
        close, found = nearest(graph.unit[test], head.rows, head.count + 1, test)
        return votes(close, head.answers[found], head.count, classes=True)

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        return self.head_.outputs(self._features(data, store), self.task_)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        kind = "knn" if isinstance(self.head_, NeighbourHead) else "linear"
        return {"head": kind, "alpha": self.alpha_, "spread_to": self.spread_to_}, self.head_.arrays()

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.alpha_, self.spread_to_ = state["alpha"], state["spread_to"]
        self.head_ = (NeighbourHead if state["head"] == "knn" else LinearHead).from_arrays(arrays)
