"""Features of words: one pass over sentences, states of the upper layers at the first token of every word.

They are kept like those of rows (``features.py``), by content, in one array over all words of the sentences: (ΣT, ΣD)
numbers of two bytes each on disk, read from the map where they are asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from graft.core.errors import BudgetError, OutputError, SourceError
from graft.core.memory import is_shortage
from graft.core.runtime import Clock, Progress, silent
from graft.core.store import Store
from graft.core.types import Dataset, Features
from graft.features import FP16_MAX, SAMPLE, Pass, batch_budget, choose_precision, evaluating
from graft.sources.aligned import Pieces, WordStates, pieces
from graft.sources.base import Backbone

FORMAT = 1  # of the entries; part of their keys
CHUNK = 2048  # sentences encoded at a time
UPPER = (
    0.5  # share of the layers, from the top, whose features are kept: those below know less of spans, and cost as much
)


class _OverflowError(Exception):
    """An activation does not fit into float16."""


def word_features(
    backbone: Backbone,
    data: Dataset,
    *,
    store: Store | None = None,
    layers: str = "upper",
    precision: str = "auto",
    progress: Progress = silent,
    clock: Clock | None = None,
) -> Features:
    """Features of the words of some sentences, in the order of the sentences; row i is word i of all.

    Args:
        backbone: The source, word by word.
        data: Sentences.
        store: The cache; None: nothing is kept, and the numbers are float32.
        layers: ``"upper"`` half, or ``"last"``.
        precision: ``"fp32"``, ``"bf16"`` or ``"auto"``.
        progress: Told how far the pass is.
        clock: The budget.

    Raises:
        BudgetError: The clock ran out.
        SourceError: The model gives values that are not finite.
    """
    assert isinstance(backbone, WordStates)
    work = _Work(backbone, data, layers, precision, progress, clock or Clock())
    if store is None:
        arrays: dict[str, np.ndarray] = {}
        return _features(backbone, lambda name: arrays[name], work.fill(_maker(arrays), np.float32))
    facts = [FORMAT, backbone.fingerprint(), data.X.digest(), hashlib.sha256(data.rows.tobytes()).hexdigest()]
    digest = hashlib.sha256(json.dumps([*facts, layers, precision]).encode()).hexdigest()
    key = f"words-{digest[:40]}"
    entry = store.open(key)
    if entry is None:
        with contextlib.suppress(OutputError), store.lock(key, wait=min(3600.0, work.clock.left())):
            entry = store.open(key)
            if entry is None:
                with store.create(key) as draft:
                    draft.meta = work.fill(draft.array, np.float16)
                entry = store.open(key)
    if entry is not None:
        return _features(backbone, entry.array, entry.meta, key)
    arrays = {}
    return _features(backbone, lambda name: arrays[name], work.fill(_maker(arrays), np.float16), key)


def _maker(arrays: dict[str, np.ndarray]) -> Callable[[str, tuple[int, ...], Any], np.ndarray]:
    def make(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        arrays[name] = np.zeros(shape, dtype)
        return arrays[name]

    return make


def _features(
    backbone: WordStates, array: Callable[[str], np.ndarray], meta: dict[str, Any], key: str = ""
) -> Features:
    values = array(meta["values"])
    rows, sizes = np.arange(meta["words"]), tuple(meta["sizes"])
    return Features(values, sizes, rows, backbone.spec, key, float(meta["seconds"]), str(meta["precision"]))


class _Work:
    """One pass over sentences."""

    def __init__(
        self, backbone: WordStates, data: Dataset, layers: str, precision: str, progress: Progress, clock: Clock
    ) -> None:
        self.backbone, self.data, self.layers, self.precision = backbone, data, layers, precision
        self.progress, self.clock = progress, clock
        self.step = f"words read by {backbone.spec.name}"

    def fill(self, make: Callable[[str, tuple[int, ...], Any], np.ndarray], dtype: Any) -> dict[str, Any]:
        """Write the features into an array from ``make``; what to note about them."""
        start = time.monotonic()
        counts = self.data.X.counts[self.data.rows]  # type: ignore[attr-defined]
        words, name = int(counts.sum()), "values"
        precision = choose_precision(self.backbone, self.data.take(slice(0, SAMPLE)), self.precision)
        with evaluating(self.backbone):
            run = _UpperPass(self.backbone, precision, batch_budget(self.backbone, None), share=self.share)
            sizes = run.widths(self.data)
            try:
                self._pass(run, make(name, (words, sum(sizes)), dtype), counts)
            except _OverflowError:
                name = "values32"
                self._pass(run, make(name, (words, sum(sizes)), np.float32), counts)
        seconds = time.monotonic() - start
        return {"values": name, "words": words, "sizes": list(sizes), "precision": precision, "seconds": seconds}

    @property
    def share(self) -> float:
        """Share of the layers that are kept."""
        return UPPER if self.layers == "upper" else 0.0

    def _pass(self, run: _UpperPass, values: np.ndarray, counts: np.ndarray) -> None:
        starts = np.cumsum(counts) - counts
        for first in range(0, len(self.data), CHUNK):
            some = pieces(self.backbone, self.data.take(slice(first, first + CHUNK)))
            self._chunk(run, some, values, starts[first : first + CHUNK])
            done = min(1.0, (first + CHUNK) / len(self.data))
            self.progress(self.step, done, f"{min(first + CHUNK, len(self.data))} of {len(self.data)} sentences")

    def _chunk(self, run: _UpperPass, some: Pieces, values: np.ndarray, starts: np.ndarray) -> None:
        encoded, places = self.backbone.preprocess(some.sentences), some.lines(starts)
        todo = list(run.batches(encoded))[::-1]
        while todo:
            if self.clock.expired:
                raise BudgetError(f"no time left for the {self.step}")
            positions = todo.pop()
            try:
                part, _, _ = run.run([encoded[i] for i in positions])
            except (MemoryError, RuntimeError) as error:
                if not is_shortage(error) or len(positions) == 1:
                    raise
                run.budget, half = max(1, run.budget // 2), len(positions) // 2
                todo += [positions[half:], positions[:half]]
                continue
            if not np.isfinite(part).all():
                raise SourceError(
                    f"{self.backbone.spec.name} gives values that are not finite", hint="use precision fp32"
                )
            if values.dtype == np.float16 and len(part) and np.abs(part).max() > FP16_MAX:
                raise _OverflowError
            at = 0
            for position in positions.tolist():
                taken, where = places[position]
                values[where] = part[at + taken]
                at += len(some.sentences[position].starts)


class _UpperPass(Pass):
    """A pass that keeps the upper layers alone."""

    def __init__(self, backbone: WordStates, precision: str, budget: int, share: float) -> None:
        super().__init__(_Upper(backbone, share), precision, budget)  # type: ignore[arg-type]

    def widths(self, data: Dataset) -> tuple[int, ...]:
        """Width of each layer that is kept, from the first sentence."""
        first = data.take(slice(0, 1))
        return self.run(self.backbone.preprocess([first[0].part(0, 1)]))[2]


class _Upper:
    """A source word by word whose lower layers are left out."""

    def __init__(self, inner: WordStates, share: float) -> None:
        self.inner, self.share = inner, share
        self.preprocess, self.length, self.collate = inner.preprocess, inner.length, inner.collate
        self.pool, self.parameters = inner.pool, inner.parameters

    def forward_all(self, batch: Any) -> Any:
        """The upper layers."""
        layers = self.inner.forward_features(batch)
        return layers[-max(1, round(self.share * len(layers))) :], None
