"""Labelled rows as batches of similar length, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from graft.core.ragged import flat
from graft.core.rows import in_batches
from graft.core.types import Dataset
from graft.engine.objective import Batch
from graft.sources.base import Backbone
from graft.transfer.activations import Activations
from graft.transfer.focus import ROW, Focus

IN_MEMORY = 1 << 31  # bytes of encoded rows kept; above it rows are encoded again in every epoch


def labelled_batches(
    backbone: Backbone,
    data: Dataset,
    batch_size: int,
    seed: int,
    lower: Activations | None = None,
    focus: Focus | None = None,
) -> Callable[[int], Iterator[Batch]]:
    """Batches of one epoch in an order of its own, rows of similar length together.

    Args:
        backbone: Encodes and pads.
        data: The rows.
        batch_size: Rows per batch.
        seed: Decides the order.
        lower: What the frozen blocks put out, to go with the rows.
        focus: Says which rows a pass visits; all if not given.
    """
    sample = backbone.preprocess(data.take(slice(0, min(len(data), 64))))
    fits = _bytes(sample) / max(1, len(sample)) * len(data) <= IN_MEMORY
    encoded = encoded_rows(backbone, data) if fits else None
    lengths = None if encoded is None else np.asarray([backbone.length(row) for row in encoded])
    dtype = np.int64 if data.task.is_classification or data.task.is_tagging else np.float32
    y = np.asarray(data.y, dtype=object if data.task.is_tagging else dtype)
    weights = data.task.sample_weights(data.y)
    weight = None if weights is None else torch.from_numpy(weights.astype(np.float32))

    def batches(epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng((seed, epoch))
        visited = rng.permutation(len(data)) if focus is None else rng.permutation(focus.visited(epoch))
        for rows in in_batches(visited, batch_size, lengths, rng):
            some = backbone.preprocess(data.take(rows)) if encoded is None else [encoded[row] for row in rows]
            batch = dict(backbone.collate(some))
            if lower is not None:
                lower.attach(data.rows[rows], batch)
            batch["y"] = torch.from_numpy(flat(y[rows]).astype(dtype, copy=False))
            if focus is not None:
                batch[ROW] = torch.from_numpy(rows)
            if weight is not None:
                batch["weight"] = weight[rows]
            yield batch

    return batches


def encoded_rows(backbone: Backbone, data: Dataset) -> list[Any]:
    """Rows as the backbone reads them, encoded block by block."""
    encoded: list[Any] = []
    for start in range(0, len(data), 4096):
        encoded += backbone.preprocess(data.take(slice(start, start + 4096)))
    return encoded


def _bytes(encoded: list[Any]) -> int:
    return sum(int(getattr(row, "nbytes", 1024)) for row in encoded)
