"""Prefix caching: what the frozen lower blocks put out for every row is computed once, in bfloat16, and read in every epoch.

With k of B blocks frozen a step saves k forward passes of a block, and a checkpoint or another fold that asks for the
same rows finds them in the cache.  Rows are kept without their padding.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.core.errors import BudgetError, OutputError
from graft.core.rows import evenly_spaced
from graft.core.runtime import bf16_is_faster, device
from graft.core.store import Store
from graft.core.types import Dataset
from graft.sources.base import Backbone, Batch
from graft.sources.prefix import PREFIX, UpperPart, cut
from graft.transfer.base import Setting

FORMAT = 1  # of the entries; part of their keys
TOKENS = 4096  # tokens or pictures · 100 of one batch of the pass
CHECKED = 4  # rows on which the cut network must agree with the whole one
MOST = 4 << 30  # bytes of activations; more are not worth the disk


@dataclass
class Activations:
    """Output of the lower blocks for the rows of a storage, one after the other.

    Attributes:
        upper: The part of the network that reads them.
        values: bfloat16 bits, int16: tokens (ΣT, D), or one row per example (n, C·H·W).
        starts: First line of each row of the storage, −1 for those that are not kept.
        lengths: Lines of each row.
        shape: Shape of a line.
        ragged: Whether rows have lines of their own number, one per real token.
    """

    upper: UpperPart
    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    shape: tuple[int, ...]
    ragged: bool

    def attach(self, rows: np.ndarray, batch: Batch) -> None:
        """Put the activations of the rows of a storage into their batch."""
        if not self.ragged:
            maps = self._read(self.starts[rows]).reshape(len(rows), *self.shape)
            batch[PREFIX] = maps.contiguous(memory_format=torch.channels_last) if maps.ndim == 4 else maps
            return
        mask = batch["attention_mask"].bool()
        lines = _lines(self.starts[rows], self.lengths[rows])
        hidden = torch.zeros(*mask.shape, *self.shape)
        hidden[mask] = self._read(lines)
        batch[PREFIX] = hidden

    def _read(self, lines: np.ndarray) -> Tensor:
        return torch.from_numpy(self.values[lines]).view(torch.bfloat16).float()


def lower_activations(backbone: Backbone, data: Dataset, blocks: int, setting: Setting) -> Activations | None:
    """Run the lowest blocks over the rows once, or find them in the cache.

    Args:
        backbone: The network, on its device.
        data: The rows; where they are half of their storage or more, all of the storage is run, so that other folds find
            theirs.
        blocks: Frozen blocks, counted from the bottom.
        setting: Clock, progress and cache.

    Returns:
        None where the network cannot be cut, or the activations would be too large.

    Raises:
        BudgetError: The clock ran out.
    """

    def encode(rows: np.ndarray) -> list[Any]:
        return backbone.preprocess(data.X.take(rows))

    total = len(data.X)
    rows = np.arange(total) if 2 * len(data) >= total and setting.store is not None else np.unique(data.rows)
    if getattr(data.X, "long", "") == "windows":  # a row has lines of its own number, and other ones in every step
        return None
    some = backbone.collate(encode(rows[evenly_spaced(len(rows), CHECKED)]))
    some = {name: tensor.to(device()) for name, tensor in some.items()}
    upper = cut(backbone, blocks, some)
    if upper is None:
        return None
    hidden = upper.lower(some)
    mask = some.get("attention_mask")
    ragged = mask is not None and hidden.shape[:2] == mask.shape
    encoded = encode(rows)
    lengths = np.asarray([backbone.length(row) if ragged else 1 for row in encoded], dtype=np.int64)
    shape = tuple(hidden.shape[2:] if ragged else hidden.shape[1:])
    size = (int(lengths.sum()), int(np.prod(shape)))
    if 2 * size[0] * size[1] > MOST:
        return None
    starts, whole = np.full(total, -1), np.zeros(total, dtype=np.int64)
    starts[rows], whole[rows] = np.cumsum(lengths) - lengths, lengths
    work = _Work(upper, encoded, lengths, ragged=ragged, setting=setting)
    values = stored(setting.store, _key(backbone, data, rows, blocks), size, work.fill)
    return Activations(upper, values, starts, whole, shape, ragged)


def reused_activations(
    backbone: Backbone, data: Dataset, top: float | None, visits: int, setting: Setting
) -> Activations | None:
    """``lower_activations`` of the blocks below the ``top`` ones, where that saves work.

    Args:
        backbone: The network.
        data: The rows.
        top: Blocks that are trained, as ``Backbone.freeze_below`` takes them.
        visits: Rows that the training reads, each as often as it is read.
        setting: Clock, progress and cache.

    Returns:
        None where no block is frozen, rows are read less than twice, the network cannot be cut, or time is short: then the
        training, for which there is none either, says so.
    """
    frozen = len(backbone.blocks()) - backbone.top_blocks(top)
    if frozen < 1 or visits < 2 * len(data):
        return None
    try:
        return lower_activations(backbone.to(device()), data, frozen, setting)
    except BudgetError:
        return None


def _lines(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Numbers of the lines of rows, one row after the other."""
    return np.concatenate([np.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)])


def _key(backbone: Backbone, data: Dataset, rows: np.ndarray, blocks: int) -> str:
    facts = [FORMAT, backbone.fingerprint(), data.X.digest(), hashlib.sha256(rows.tobytes()).hexdigest(), blocks]
    return "activations-" + hashlib.sha256(json.dumps([*facts, bf16_is_faster()]).encode()).hexdigest()[:40]


def stored(store: Store | None, key: str, size: tuple[int, int], fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """The array of an entry, filled first where it is new; in memory without a cache, or where the disk is full."""
    entry = None if store is None else store.open(key)
    if store is not None and entry is None:
        with contextlib.suppress(OutputError), store.lock(key):
            entry = store.open(key)  # another process may have made it while we waited
            if entry is None:
                with store.create(key) as draft:
                    fill(draft.array("values", size, np.int16))
                entry = store.open(key)
    if entry is not None:
        return entry.array("values")
    values = np.empty(size, np.int16)
    fill(values)
    return values


@dataclass
class _Work:
    """One pass of the lower blocks over encoded rows."""

    upper: UpperPart
    encoded: list[Any]
    lengths: np.ndarray
    ragged: bool
    setting: Setting

    def fill(self, values: np.ndarray) -> None:
        """Write the lines of every row, longest rows first."""
        backbone, clock = self.upper.backbone, self.setting.clock
        place, low = torch.device(device()), bf16_is_faster()
        starts = np.cumsum(self.lengths) - self.lengths
        was = backbone.training
        backbone.eval()
        try:
            for done, rows in self._batches():
                if clock.expired:
                    raise BudgetError(f"no time left at {100 * done // len(self.encoded)} % of the lower blocks' pass")
                batch = {n: t.to(place) for n, t in backbone.collate([self.encoded[row] for row in rows]).items()}
                with torch.autocast(place.type, dtype=torch.bfloat16, enabled=low):
                    hidden = self.upper.lower(batch)
                lines = hidden[batch["attention_mask"].bool()] if self.ragged else hidden.flatten(1)
                where = _lines(starts[rows], self.lengths[rows])
                values[where] = lines.to(torch.bfloat16).view(torch.int16).cpu().numpy()
                self.setting.progress("lower blocks", done / len(self.encoded), f"{done} of {len(self.encoded)} rows")
        finally:
            backbone.train(was)

    def _batches(self) -> Any:
        order = np.argsort(-self.lengths, kind="stable")
        start = 0
        while start < len(order):
            count = max(1, TOKENS // max(1, int(self.lengths[order[start]]) if self.ragged else 100))
            yield start, order[start : start + count]
            start += count
