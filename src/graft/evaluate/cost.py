"""Predict what a fit will cost before it starts: seconds and bytes, from its workload and from what its source costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from graft.core.rows import evenly_spaced
from graft.core.runtime import bf16_is_faster, device
from graft.core.types import Dataset, ModelSpec
from graft.sources.base import Backbone
from graft.transfer.base import Workload
from graft.transfer.cost import kept_bytes

UPDATE = 3e-9  # seconds per trained weight and step for clipping and the fused optimizer
SAVED = 60.0  # seconds of training from which checkpoints are written, which copy everything
LIBRARIES = 96 << 20  # bytes that the first source that is opened takes beside its weights
TRAINING = 160 << 20  # bytes that a first training takes beside weights and activations: threads, buffers of products
KEPT = 5 << 20  # bytes of a row's activations where they could not be measured
ROWS = {"text": 256, "sequence": 256, "series": 64}  # rows among which the longest is looked for …
FEW = 8  # … and of what is no text


@dataclass
class Cost:
    """What training one source costs on this machine.

    A step over B rows takes B · forward · (below + reached · (2 + trained)) + UPDATE · weights: one pass forward, one
    back to the inputs of every block that gradients reach, and one to the weights that are trained.  What is trained is
    held as float32 masters, gradients, two moments and, where products are faster in bfloat16, rounded weights and
    gradients.

    Attributes:
        forward: Seconds per row of one pass forward, measured.
        weights: Weights of the stem and of each block, bottom to top; the stem is not trained.
        kept: Bytes of activations that a step keeps of the longest row.
        measured: A workload and the seconds that one step of it took, where there was time to measure.
    """

    forward: float
    weights: tuple[int, ...]
    kept: int = KEPT
    measured: tuple[Workload, float] | None = None

    @classmethod
    def of(cls, backbone: Backbone, data: Dataset, *, forward: float, room: float) -> Self:
        """Of an opened source and the rows it is to be trained on.

        Args:
            backbone: The source.
            data: The rows.
            forward: Seconds per row of one pass forward.
            room: Bytes that measuring may take.
        """
        weights = tuple(sum(p.numel() for p in group) for group in backbone.layer_groups())
        some = data.take(evenly_spaced(len(data), ROWS.get(data.task.modality, FEW)))
        return cls(forward, weights, kept_bytes(backbone, backbone.preprocess(some), room))

    def seconds(self, work: Workload) -> float:
        """Predicted seconds of a fit."""
        return work.steps * self.step(work) + self.forward * (work.read + work.lower * (1 - self._reached(work)))

    def step(self, work: Workload) -> float:
        """Predicted seconds of one optimizer step."""
        if self.measured is None:
            return self._step(work)
        known, seconds = self.measured
        return seconds * self._step(work) / self._step(known)

    def _step(self, work: Workload) -> float:
        reached, twice = self._reached(work), work.room is not None and self._activations(work) > work.room
        passes = (0.0 if work.lower else 1 - reached) + reached * (2 + work.trained + twice)
        return work.batch_size * self.forward * passes + UPDATE * self._trained(work)

    def bytes(self, work: Workload) -> int:
        """Predicted bytes that a fit takes at most beyond what is there."""
        whole, trained, low = sum(self.weights), self._trained(work), bf16_is_faster()
        if device() != "cpu":
            return 8 * whole
        size = whole * (6 if low else 4) + trained * (14 if low else 12) + work.copies * 4 * whole
        if self.seconds(work) > SAVED:
            size += 2 * (4 * whole + 8 * trained)
        activations = self._activations(work)
        if work.room is not None:
            activations = min(activations, work.room)
        return max(8 * whole, int(size + activations) + TRAINING)

    def _activations(self, work: Workload) -> float:
        """Bytes that the backward pass of a step needs."""
        return work.batch_size * self.kept * work.kept * self._reached(work)

    def _top(self, work: Workload) -> int:
        """How many blocks gradients reach."""
        count = len(self.weights) - 1
        if work.blocks is None:
            return count
        return max(1, round(work.blocks * count)) if 0 < work.blocks < 1 else min(int(work.blocks), count)

    def _reached(self, work: Workload) -> float:
        """Share of the blocks that gradients reach."""
        return self._top(work) / max(1, len(self.weights) - 1)

    def _trained(self, work: Workload) -> float:
        """Weights that are trained."""
        return work.trained * sum(self.weights[len(self.weights) - self._top(work) :])


def opening_bytes(spec: ModelSpec) -> int:
    """Bytes that opening a source takes: float32 weights, and the file that they are read from."""
    return 4 * spec.parameters + spec.bytes
