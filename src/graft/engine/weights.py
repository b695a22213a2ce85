"""What acts on the weights between the steps: a pull back to the start, averages, and gradual unfreezing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from graft.core.errors import UsageError
from graft.engine.callbacks import Callback, State
from graft.engine.regularizers import within

AVERAGES = ("swa", "ema")


class StartingPoint(Callback):
    """Pull weights back to where they began: after each step w ← w - η a (w - w_0), with η the rate of that step.

    That is the gradient of a/2 ‖w - w_0‖² (L2-SP, Li et al. 2018), decoupled from the optimizer as AdamW's weight decay is
    (Loshchilov & Hutter 2019), on the float32 weights.  With nothing else to move it the distance falls by exp(-a Σ η): a
    strength is felt from about 1 / (steps · mean rate) on.
    Keeps w_0: as many bytes as the trained weights, 4 each.  It stands before a ``Checkpoint`` among the callbacks, so that
    w_0 is not what a checkpoint restored.

    Args:
        parameters: What is pulled; frozen ones are left out.
        strength: a.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], strength: float) -> None:
        within("l2_sp", strength, 0)
        self.parameters, self.strength = [p for p in parameters if p.requires_grad], strength
        self.start: dict[nn.Parameter, Tensor] = {}

    def on_start(self, state: State) -> None:
        trained = [state.trained(parameter) for parameter in self.parameters]
        self.start = {parameter: parameter.detach().clone() for parameter in trained}

    def on_step(self, state: State) -> bool:
        for optimizer in state.optimizers.values():
            for group in optimizer.param_groups:
                pulled = [p for p in group["params"] if p in self.start]
                share = min(1.0, group["lr"] * self.strength)
                if pulled:
                    torch._foreach_lerp_([p.data for p in pulled], [self.start[p] for p in pulled], share)
        if state.masters:
            state.masters.push()
        return False


class WeightAverage(Callback):
    """End with an average of the weights of many steps instead of the last ones.

    ``"swa"`` is the mean over the last ``share`` of training (Izmailov et al. 2018; with a constant rate, or the last
    weights hardly differ); ``"ema"`` the mean over all steps s = 1 … T with weights d^(T - s), d = exp(-1 / (share · steps))
    (Polyak & Juditsky 1992).  The training itself does not see it.  Keeps one float32 copy of the trained weights and
    the statistics, in checkpoints too; it stands before a ``Checkpoint`` among the callbacks.

    Args:
        kind: ``"swa"`` or ``"ema"``.
        share: Of training.
        steps: Steps planned.
    """

    def __init__(self, kind: str, *, share: float, steps: int) -> None:
        if kind not in AVERAGES:
            raise UsageError(f"no average {kind!r}", hint=f"use {' or '.join(AVERAGES)}")
        if not 0 < share <= 1:
            raise UsageError(f"average_share cannot be {share}", hint="use more than 0, at most 1")
        self.kind, self.share = kind, share
        self.decay = math.exp(-1 / (share * steps))

    def on_start(self, state: State) -> None:
        trained = {name for name, parameter in state.objective.named_parameters() if parameter.requires_grad}
        trained |= {name for name, _ in state.objective.named_buffers()}
        for name, tensor in state.weights().items():
            if name in trained and tensor.is_floating_point():
                state.kept[f"average.{name}"] = torch.zeros_like(tensor)
        state.kept["average.steps"] = torch.zeros(1, dtype=torch.int64)

    def on_step(self, state: State) -> bool:
        if self.kind == "swa" and state.done < 1 - self.share - 1e-9:
            return False
        state.kept["average.steps"] += 1
        count = int(state.kept["average.steps"])
        # the newest weights enter with their own weight among all so far: exact from the first step on
        newest = 1 / count if self.kind == "swa" else (1 - self.decay) / (1 - self.decay**count)
        averages, weights = self._pairs(state)
        torch._foreach_lerp_(averages, weights, newest)
        return False

    def on_end(self, state: State) -> None:
        if int(state.kept["average.steps"]):  # the clock may have run out before
            weights = state.weights()
            names = [name for name in weights if f"average.{name}" in state.kept]
            state.load({**weights, **{name: state.kept[f"average.{name}"] for name in names}})

    def _pairs(self, state: State) -> tuple[list[Tensor], list[Tensor]]:
        pairs = [
            (state.kept[f"average.{name}"], tensor.detach())
            for name, tensor in state.weights().items()
            if f"average.{name}" in state.kept
        ]
        return [average for average, _ in pairs], [tensor for _, tensor in pairs]


class Unfreezing(Callback):
    """Train the head alone, then unfreeze one group of parameters after the other, from the top (Howard & Ruder 2018).

    Over the share s of training the B groups wait: at share p of training the top ⌊(B + 1) p / s⌋ of them are free, all from
    s B / (B + 1) on.  Frozen ones cost no backward pass, and the optimizer leaves them as they are.  It stands after a
    ``Checkpoint`` among the callbacks: what is free follows from where the training stands.

    Args:
        groups: Parameters bottom to top; those that are frozen already stay so.
        share: s.
    """

    def __init__(self, groups: Sequence[Iterable[nn.Parameter]], share: float) -> None:
        within("gradual", share, 0, 1)
        trained = [[p for p in group if p.requires_grad] for group in groups]
        self.groups, self.share = [group for group in trained if group], share

    def free(self, done: float) -> int:
        """How many groups train at a share of training."""
        count = len(self.groups)
        return min(count, int((count + 1) * done / self.share + 1e-9)) if self.share else count

    def on_start(self, state: State) -> None:
        self._set(self.free(state.done))

    def on_step(self, state: State) -> bool:
        self._set(self.free(state.done))
        return False

    def on_end(self, state: State) -> None:
        del state
        self._set(len(self.groups))

    def _set(self, free: int) -> None:
        for height, group in enumerate(reversed(self.groups)):
            if group[0].requires_grad != (height < free):
                for parameter in group:
                    parameter.requires_grad_(height < free)
