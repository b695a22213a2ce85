"""Predict what a fit will cost before it starts."""

from __future__ import annotations

from dataclasses import dataclass

BACKWARD = 2.0  # a backward pass costs about two forward passes over the trained part
HEAD_ROWS = 2_000  # rows from which a head starts at most
UPDATE = 3e-9  # seconds per trained weight and step for clipping and the fused optimizer


@dataclass
class Cost:
    """Seconds of training one source on this machine.

    One step over a batch costs forward · (1 + BACKWARD · share) + UPDATE · weights, with the share of the network that
    is trained.

    Attributes:
        forward: Seconds per row of one forward pass, measured.
        weights: Weights that are trained when all blocks are.
        step: Measured seconds of one step, where there was time to measure; it takes the place of the formula.
    """

    forward: float
    weights: int
    step: float | None = None

    def training(self, rows: int, steps: int, batch_size: int, *, share: float = 1.0) -> float:
        """Predicted seconds of that many steps, with the head's features computed once before."""
        per_step = batch_size * self.forward * (1 + BACKWARD * share) + UPDATE * self.weights * share
        head = min(rows, HEAD_ROWS) * self.forward
        return steps * (per_step if self.step is None else self.step) + head
