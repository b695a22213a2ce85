"""Fewer rows per pass: after the first, those that were learned worst, and a draw of the others.

A row that is right by far has next to no gradient, and costs as much as any other.  References: Jiang et al. (2019),
Accelerating deep learning by focusing on the biggest losers; Qin et al. (2024), InfoBatch: lossless training speed up by
unbiased dynamic data pruning, ICLR.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graft.engine.objective import Batch, Loss, Objective

HARD = 0.5  # of the rows of a pass: those with the highest losses; the rest is drawn from all others
ROW = "row"  # entry of a batch with the positions of its rows


class Focus(nn.Module):
    """Which rows each pass visits.  Its state is part of a checkpoint, so a killed training goes on with the same rows.

    Args:
        rows: Number of rows n.
        share: Share of them that passes after the first visit.
        seed: Decides what is drawn.

    Example:
        >>> focus = Focus(4, 0.5)
        >>> focus.saw(torch.arange(4), torch.tensor([0.1, 3.0, 0.1, 0.1]))
        >>> len(focus.visited(0)), len(focus.visited(1)), 1 in focus.visited(1)
        (4, 2, True)
    """

    losses: Tensor
    before: Tensor
    epoch: Tensor

    def __init__(self, rows: int, share: float, seed: int = 0) -> None:
        super().__init__()
        self.share, self.seed = share, seed
        self.register_buffer("losses", torch.full((rows,), math.inf))  # of each row when it was seen last
        self.register_buffer("before", torch.full((rows,), math.inf))  # as they stood when the pass began
        self.register_buffer("epoch", torch.tensor(-1))

    def saw(self, rows: Tensor, losses: Tensor) -> None:
        """Take note of the losses (B,) of rows (B,)."""
        self.losses[rows.to(self.losses.device)] = losses.detach().float().to(self.losses.device)

    def visited(self, epoch: int) -> np.ndarray:
        """Positions of the rows of a pass, in no particular order."""
        if int(self.epoch) != epoch:  # a pass that is taken up again keeps what it chose from
            self.epoch.fill_(epoch)
            self.before.copy_(self.losses)
        count = len(self.before)
        if epoch == 0:
            return np.arange(count)
        wanted = math.ceil(self.share * count)
        order = np.argsort(-self.before.cpu().numpy(), kind="stable")
        hard = int(HARD * wanted)
        drawn = np.random.default_rng((self.seed, epoch, 1)).choice(order[hard:], wanted - hard, replace=False)
        return np.concatenate([order[:hard], drawn])


class Focused(Objective):
    """An objective whose losses per row are taken note of.

    Args:
        inner: The objective.
        focus: Where they go.
    """

    def __init__(self, inner: Objective, focus: Focus) -> None:
        super().__init__()
        self.inner, self.focus = inner, focus

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return self.inner.players()

    def on_step(self, progress: float) -> None:
        self.inner.on_step(progress)

    def loss(self, batch: Batch, player: str) -> Loss:
        rows = batch[ROW]
        found = self.inner.loss({key: value for key, value in batch.items() if key != ROW}, player)
        self.focus.saw(rows, found.per_example)
        return found
