"""Batches of two domains: as many source rows as target rows, each side by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from graft.adaptation.domains import Domains
from graft.engine.objective import Batch
from graft.sources.base import Backbone
from graft.transfer.batches import encoded_rows

LABELLED = 4  # of the target rows of a batch at most one in this many is a labelled one, where there are a few


class PairedRows:
    """Rows of both domains, encoded once, and batches of them.

    A batch holds what the backbone reads under ``source.`` and ``target.``, the classes ``y`` (n_s,) and domains ``origin``
    (n_s,) of source rows, and of target rows their number ``row`` (n_t,) and ``target_y`` (n_t,): the class of one of the
    few that are labelled, -1 otherwise.  An epoch sees all of the larger domain, the other again and again.

    Args:
        backbone: Encodes and pads.
        domains: Both sides; labelled target rows, where there are a few, come among the target rows.
        batch_size: Rows of each side.
        seed: Decides the order.
        sides: Which sides are read: ``"source"``, ``"target"``.
    """

    def __init__(
        self,
        backbone: Backbone,
        domains: Domains,
        batch_size: int,
        seed: int,
        sides: tuple[str, ...] = ("source", "target"),
    ) -> None:
        self.backbone, self.seed = backbone, seed
        self.encoded = {side: encoded_rows(backbone, getattr(domains, side)) for side in sides}
        self.y, self.origin = domains.source.y, domains.origin
        few = domains.few
        self.known = np.full(len(domains.target), -1)
        if few is not None and len(few) and few.y is not None:
            again = max(1, len(domains.target) // (LABELLED * len(few)))
            extra = "target" if "target" in sides else "source"
            self.encoded[extra] = self.encoded[extra] + encoded_rows(backbone, few) * again
            labels = np.tile(few.y, again)
            if extra == "target":
                self.known = np.concatenate([self.known, labels])
            elif self.y is not None:
                self.y = np.concatenate([self.y, labels])
                self.origin = np.concatenate([self.origin, np.full(len(labels), domains.sources)])
        self.part = {side: min(batch_size, len(rows)) for side, rows in self.encoded.items()}

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return max(math.ceil(len(rows) / self.part[side]) for side, rows in self.encoded.items())

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch; equal numbers give equal batches."""
        rng = np.random.default_rng((self.seed, epoch))
        orders = {
            side: _endless(rng, len(rows), self.per_epoch * self.part[side]) for side, rows in self.encoded.items()
        }
        for step in range(self.per_epoch):
            batch: Batch = {}
            for side, order in orders.items():
                some = order[step * self.part[side] : (step + 1) * self.part[side]]
                read = self.backbone.collate([self.encoded[side][i] for i in some])
                batch |= {f"{side}.{key}": value for key, value in read.items()}
                if side == "source":
                    assert self.y is not None
                    batch["y"], batch["origin"] = _numbers(self.y[some]), _numbers(self.origin[some])
                else:
                    batch["row"], batch["target_y"] = _numbers(some), _numbers(self.known[some])
            yield batch


def part_of(batch: Batch, side: str) -> Batch:
    """What the backbone reads of one side."""
    return {key.partition(".")[2]: value for key, value in batch.items() if key.startswith(f"{side}.")}


def _numbers(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.int64))


def _endless(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """``count`` numbers below ``size``: whole permutations, one after the other."""
    return np.concatenate([rng.permutation(size) for _ in range(math.ceil(count / size))])[:count]
