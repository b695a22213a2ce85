"""One forward pass per model and data set: pooled activations of every layer, kept on disk by content.

An entry's key is a digest of the weights in memory, the preprocessing, the rows and the precision.  A pass sorts
chunks of rows by length, makes batches by token budget and pools every layer inside: (ΣD,) numbers per row stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from graft.core import runtime
from graft.core.errors import BudgetError, OutputError, SourceError, UsageError
from graft.core.memory import is_shortage
from graft.core.rows import evenly_spaced
from graft.core.runtime import Clock, Progress, silent
from graft.core.store import Entry, Store
from graft.core.types import Dataset, Features
from graft.sources.base import Backbone, Batch

FORMAT = 1  # of the entries; part of their keys
TOKENS = 2048  # tokens of one text batch: the fastest of 512 to 16384 for MiniLM on two cores
PICTURES = 32  # pictures of one batch
BATCHES = {"text": TOKENS, "sequence": TOKENS, "series": 4 * TOKENS}  # tokens, or steps
CHUNK = {"text": 4096, "sequence": 4096, "image": 256, "audio": 256}  # rows encoded at a time; some are large
SAMPLE = 16  # rows on which bf16 must agree with fp32
AGREEMENT = 0.999  # smallest cosine of every layer and row
FP16_MAX = 6e4  # larger activations are kept as float32


@dataclass
class Pass:
    """How a backbone is run: precision and room."""

    backbone: Backbone
    precision: str
    budget: int  # tokens or pictures of one batch; halved when memory runs out
    sizes: tuple[int, ...] = ()  # widths of the layers, known after the first batch

    def run(self, encoded: list[Any]) -> tuple[np.ndarray, np.ndarray | None, tuple[int, ...]]:
        """Pooled layers side by side (B, ΣD) float32, class probabilities (B, K), and the widths of the layers."""
        backbone = self.backbone
        place = next(backbone.parameters()).device
        batch: Batch = {name: tensor.to(place) for name, tensor in backbone.collate(encoded).items()}
        with torch.inference_mode(), _precision(self.precision, place):
            layers, logits = backbone.forward_all(batch)
            pooled = [backbone.pool(layer.float(), batch).float() for layer in layers]
            values = torch.cat(pooled, dim=1).cpu().numpy()
            chances = None if logits is None else torch.softmax(logits.float(), dim=1).cpu().numpy()
        self.sizes = tuple(int(part.shape[1]) for part in pooled)
        return values, chances, self.sizes

    def batches(self, encoded: list[Any]) -> Iterator[np.ndarray]:
        """Positions of ``encoded``, longest first, cut so that rows times longest stays within the budget."""
        lengths = np.array([self.backbone.length(item) for item in encoded])
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            count = max(1, self.budget // max(1, int(lengths[order[start]])))
            yield order[start : start + count]
            start += count

    def rows(self, encoded: list[Any]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Positions with their values and probabilities; halves the batch when memory runs out."""
        todo = list(self.batches(encoded))[::-1]
        several = len(todo) > 1
        while todo:
            positions = todo.pop()
            try:
                values, chances, _ = self.run([encoded[i] for i in positions])
            except (MemoryError, RuntimeError) as error:
                if not is_shortage(error):
                    raise
                if len(positions) == 1:
                    hint = "use a smaller model or shorter rows"
                    raise SourceError(
                        f"not enough memory for one row of {self.backbone.spec.name}", hint=hint
                    ) from error
                self.budget = max(1, self.budget // 2)
                half = len(positions) // 2
                todo += [positions[half:], positions[:half]]
                continue
            yield positions, values, chances
        if several:  # batches of many sizes leave holes, one does not
            runtime.give_memory_back()


def _precision(precision: str, place: torch.device) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(place.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextlib.contextmanager
def evaluating(backbone: Backbone) -> Iterator[None]:
    """Evaluation mode on the fastest device inside the block; afterwards everything is as it was."""
    was, place = backbone.training, next(backbone.parameters()).device
    target = torch.device(runtime.device())
    try:
        backbone.eval()
        if target.type != place.type:
            backbone.to(target)
        yield
    finally:
        if target.type != place.type:
            backbone.to(place)
        backbone.train(was)


def batch_budget(backbone: Backbone, batch_tokens: int | None) -> int:
    """Tokens, pictures or rows of one batch: those that are asked for, or those that are fastest."""
    if batch_tokens is not None and batch_tokens < 1:
        raise UsageError(f"batch_tokens must be 1 or more, not {batch_tokens}")
    own: int | None = getattr(backbone, "batch_tokens", None)
    return batch_tokens or own or BATCHES.get(backbone.spec.modality, PICTURES)


def agreement(backbone: Backbone, encoded: list[Any]) -> float:
    """Smallest cosine, over layers and rows, between pooled activations in bf16 and in fp32."""
    exact, _, sizes = Pass(backbone, "fp32", 1).run(encoded)
    rough, _, _ = Pass(backbone, "bf16", 1).run(encoded)
    worst, start = 1.0, 0
    for size in sizes:
        a, b = exact[:, start : start + size], rough[:, start : start + size]
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        cosine = np.where(norms > 0, (a * b).sum(1) / np.maximum(norms, 1e-30), 1.0)
        worst, start = min(worst, float(np.nan_to_num(cosine, nan=-1.0).min())), start + size
    return worst


def choose_precision(backbone: Backbone, examples: Any, precision: str = "auto") -> str:
    """``"bf16"`` where it is faster here and agrees with fp32 on a sample of rows, else ``"fp32"``.

    Raises:
        UsageError: ``precision`` is none of auto, fp32, bf16.
    """
    if precision not in {"auto", "fp32", "bf16"}:
        raise UsageError(f"no precision {precision!r}", hint="use auto, fp32 or bf16")
    if precision != "auto":
        return precision
    if backbone.spec.modality in {"table", "counts"} or not runtime.bf16_is_faster() or not len(examples):
        return "fp32"  # rows of a table are small: there is nothing to win
    with evaluating(backbone):
        encoded = backbone.preprocess(examples[:SAMPLE])
        return "bf16" if agreement(backbone, encoded) > AGREEMENT else "fp32"


class Scattered:
    """Values ``kept`` (n, D) of the ascending ``rows`` of a storage, indexed by its row numbers.

    Example:
        >>> values = Scattered(np.array([[1.0], [2.0]]), np.array([3, 7]), 10)
        >>> values[[7, 3]].tolist(), values.shape
        ([[2.0], [1.0]], (10, 1))
    """

    def __init__(self, kept: np.ndarray, rows: np.ndarray, total: int) -> None:
        self.kept, self.rows, self.total = kept, rows, total
        self.dtype, self.ndim = kept.dtype, kept.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return (self.total, *self.kept.shape[1:])

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: Any) -> np.ndarray:
        asked, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        asked = np.arange(self.total)[asked]
        position = np.searchsorted(self.rows, asked).clip(0, len(self.rows) - 1)
        absent = self.rows[position] != asked
        if np.any(absent):
            row = int(np.atleast_1d(asked)[np.atleast_1d(absent)][0])
            raise UsageError(f"row {row} has no features", hint="extract them from a data set that holds this row")
        return self.kept[(position, *rest)]

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise UsageError("only some rows have features", hint="index them by row number")


def _key(backbone: Backbone, dataset: Dataset, rows: np.ndarray, precision: str) -> str:
    facts = {
        "format": FORMAT,
        "model": backbone.fingerprint(),
        "data": dataset.X.digest(),
        "rows": "all" if len(rows) == len(dataset.X) else hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest(),
        "precision": precision,
    }
    return "features-" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]


def extract(
    backbone: Backbone,
    dataset: Dataset,
    *,
    store: Store | None = None,
    batch_tokens: int | None = None,
    precision: str = "auto",
    progress: Progress = silent,
    clock: Clock | None = None,
) -> Features:
    """Pooled activations of every layer for every row, from the cache or by one forward pass.

    A data set that covers half of its storage is extracted with the whole storage, so that every other subset finds its
    rows in the same entry; a smaller one alone.  The result's rows are ``dataset.rows``, numbered as in the storage.

    Args:
        backbone: The model; it is put into evaluation mode for the pass.
        dataset: The rows.
        store: The cache; the default one if None.
        batch_tokens: Tokens (text) or pictures of one batch; halved when memory runs out.
        precision: ``"fp32"``, ``"bf16"``, or ``"auto"``: bf16 where it is faster here and agrees with fp32.
        progress: Told how far the pass is.
        clock: The budget.

    Raises:
        BudgetError: The clock ran out; nothing is kept.
        SourceError: The model gives values that are not finite, or one row does not fit into memory.
    """
    store = store or Store()
    clock = clock or Clock()
    unique = np.unique(dataset.rows)
    every = np.arange(len(dataset.X))
    key = _key(backbone, dataset, every, precision)
    whole = 2 * len(unique) >= len(every) or store.open(key) is not None
    rows = every if whole else unique
    work = _Work(backbone, dataset, rows, batch_budget(backbone, batch_tokens), precision, progress, clock)
    key = key if whole else _key(backbone, dataset, rows, precision)
    entry = store.open(key)
    if entry is None:
        try:
            with store.lock(key, wait=min(3600.0, clock.left())):
                entry = store.open(key)  # another process may have made it while we waited
                if entry is None:
                    with store.create(key) as draft:
                        draft.meta = work.fill(draft.array)
                    entry = store.open(key)
        except OutputError as error:
            progress(work.step, 0.0, f"{error.what}: features stay in memory")
    if entry is None:
        entry = _InMemory()
        entry.meta = work.fill(entry.make)
    return _features(entry, backbone, dataset, None if whole else rows, key)


class _InMemory:
    """What an entry of the store is, without a disk."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.meta: dict[str, Any] = {}

    def make(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.arrays[name] = np.zeros(shape, dtype)
        return self.arrays[name]

    def array(self, name: str) -> np.ndarray:
        return self.arrays[name]


def _features(
    entry: Entry | _InMemory, backbone: Backbone, dataset: Dataset, rows: np.ndarray | None, key: str
) -> Features:
    meta = entry.meta

    def view(name: str) -> Any:
        values = entry.array(name)
        return values if rows is None else Scattered(values, rows, len(dataset.X))

    return Features(
        values=view(meta["values"]),
        sizes=tuple(meta["sizes"]),
        rows=dataset.rows,
        spec=backbone.spec,
        key=key,
        seconds=float(meta["seconds"]),
        precision=str(meta["precision"]),
        probabilities=view("probabilities") if meta["classes"] else None,
    )


class _OverflowError(Exception):
    """An activation does not fit into float16."""


@dataclass
class _Work:
    """One pass over the rows of a storage."""

    backbone: Backbone
    dataset: Dataset
    rows: np.ndarray
    budget: int
    precision: str
    progress: Progress
    clock: Clock

    @property
    def step(self) -> str:
        return f"features of {self.backbone.spec.name}"

    def fill(self, make: Callable[[str, tuple[int, ...], Any], np.ndarray]) -> dict[str, Any]:
        """Write ``values`` and ``probabilities`` into arrays from ``make``; what to note about them."""
        start = time.monotonic()
        X, rows = self.dataset.X, self.rows
        precision = choose_precision(self.backbone, X.take(rows[:SAMPLE]), self.precision)
        with evaluating(self.backbone):
            run = Pass(self.backbone, precision, self.budget)
            _, chances, sizes = run.run(self.backbone.preprocess(X.take(rows[:1])))
            target = None
            if chances is not None:
                target = make("probabilities", (len(rows), chances.shape[1]), np.float32)
            name = "values"
            try:
                self._pass(run, make(name, (len(rows), sum(sizes)), np.float16), target)
            except _OverflowError:
                name = "values32"
                self._pass(run, make(name, (len(rows), sum(sizes)), np.float32), target)
        return {
            "values": name,
            "sizes": list(sizes),
            "precision": precision,
            "classes": 0 if chances is None else int(chances.shape[1]),
            "seconds": time.monotonic() - start,
            "model": self.backbone.spec.uri,
        }

    def _pass(self, run: Pass, values: np.ndarray, target: np.ndarray | None) -> None:
        size = CHUNK.get(self.backbone.spec.modality, 1024)
        total = len(self.rows)
        for first in range(0, total, size):
            encoded = self.backbone.preprocess(self.dataset.X.take(self.rows[first : first + size]))
            done = first
            for positions, part, chances in run.rows(encoded):
                if self.clock.expired:
                    raise BudgetError(f"no time left at {100 * done // total} % of the {self.step}")
                self._check(part, values.dtype, first + positions)
                values[first + positions] = part
                if target is not None and chances is not None:
                    target[first + positions] = chances
                done += len(positions)
                self.progress(self.step, done / total, f"{done} of {total} rows, {run.precision}")

    def _check(self, part: np.ndarray, dtype: np.dtype, positions: np.ndarray) -> None:
        largest = np.abs(part).max(axis=1)
        if not np.isfinite(largest).all():
            row = int(self.rows[positions[int(np.flatnonzero(~np.isfinite(largest))[0])]])
            what = f"{self.backbone.spec.name} gives values that are not finite"
            raise SourceError(what, where=f"row {row + 1}", hint="its weights are damaged, or use precision fp32")
        if dtype == np.float16 and largest.max() > FP16_MAX:
            raise _OverflowError


def encode(backbone: Backbone, examples: Any, *, precision: str = "fp32", batch_tokens: int | None = None) -> Features:
    """Pooled activations of every layer for a few examples, uncached; row i is example i.

    Pass ``features.precision`` to get what ``extract`` gave.
    """
    with evaluating(backbone):
        encoded = backbone.preprocess(examples)
        precision = choose_precision(backbone, examples, precision)
        run = Pass(backbone, precision, batch_budget(backbone, batch_tokens))
        start = time.monotonic()
        values = probabilities = None
        for positions, part, chances in run.rows(encoded):
            if values is None:
                values = np.empty((len(encoded), part.shape[1]), np.float32)
                probabilities = None if chances is None else np.empty((len(encoded), chances.shape[1]), np.float32)
            values[positions] = part
            if probabilities is not None and chances is not None:
                probabilities[positions] = chances
    if values is None:
        raise UsageError("there are no rows to encode")
    seconds = time.monotonic() - start
    return Features(values, run.sizes, np.arange(len(values)), backbone.spec, "", seconds, precision, probabilities)


def predict_seconds(backbone: Backbone, dataset: Dataset, sample: int = 64, *, precision: str = "auto") -> float:
    """Predict the time of a whole pass from one warm batch of evenly spaced rows."""
    total = len(dataset)
    rows = evenly_spaced(total, sample)
    examples = dataset.take(rows)
    with evaluating(backbone):
        chosen = choose_precision(backbone, examples, precision)
        run = Pass(backbone, chosen, batch_budget(backbone, None))
        start = time.monotonic()
        encoded = backbone.preprocess(examples)
        prepared = time.monotonic() - start
        list(run.rows(encoded[:SAMPLE]))  # warms up
        start = time.monotonic()
        list(run.rows(encoded))
        passed = time.monotonic() - start
    lengths = np.array([backbone.length(item) for item in encoded])
    padded = sum(len(positions) * int(lengths[positions].max()) for positions in run.batches(encoded))
    # The whole pass sorts thousands of rows by length, so it pads far less than a batch of a few.
    return (prepared + passed * float(lengths.sum()) / padded) * total / len(rows)
