"""The only training loop: fine-tuning, pretraining, adaptation, distillation and GANs all run through ``fit``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from graft.core.errors import GraftError
from graft.core.runtime import Clock, Progress, silent
from graft.engine.callbacks import Callback, State
from graft.engine.objective import Batch, Objective
from graft.engine.optim import clip_gradients, make_optimizer, set_rate, warmup_linear

LOG_POINTS = 60  # points of a learning curve: enough to see its shape, few enough to keep for ever


@dataclass
class History:
    """What happened in one training.

    Attributes:
        points: Dicts with ``step``, ``epoch``, ``loss`` (mean since the last point), ``lr``, ``seconds`` and logs.
        steps: Optimizer steps done.
        planned: Steps that were asked for.
        seconds: Wall-clock time.
        stopped: Why training ended early; empty if it did not.
    """

    points: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    planned: int = 0
    seconds: float = 0.0
    stopped: str = ""


def fit(
    objective: Objective,
    batches: Callable[[int], Iterable[Batch]],
    *,
    steps: int,
    optimizer: str = "adamw",
    warmup: float = 0.1,
    schedule: Callable[[float, float], float] = warmup_linear,
    clip: float = 1.0,
    precision: str = "fp32",
    device: str = "cpu",
    clock: Clock | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress = silent,
    name: str = "training",
) -> History:
    """Minimise an objective.

    The schedule runs on the share of training done: steps done over ``steps``, or time used over the clock's budget
    where that is further, so a training that meets its deadline ends with a rate of zero instead of in mid-flight.

    Args:
        objective: The loss with its players and their parameter groups (each with its peak ``lr``).
        batches: ``batches(epoch)`` gives the batches of one epoch; equal epochs give equal batches.
        steps: Optimizer steps per player.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
        warmup: Share of training over which the rate rises.
        schedule: Maps (share done, warmup) to a factor on the peak rate.
        clip: Largest joint norm of the gradients; 0 for none.
        precision: ``"bf16"`` runs matrix products in bfloat16 with float32 weights; ``"fp32"``.
        device: Where the objective lives.
        clock: Training stops when it runs out.
        callbacks: Called at the start (may restore), after each step (may stop) and at the end.
        progress: Told the share done.
        name: What to call the training there.

    Raises:
        GraftError: The loss is not finite.
    """
    clock = clock or Clock()
    objective.to(device).train()
    optimizers = {player: make_optimizer(optimizer, groups) for player, groups in objective.players().items()}
    state = State(objective, optimizers)
    for callback in callbacks:
        callback.on_start(state)
    history = History(points=state.points, planned=steps, steps=state.step)
    done = state.step / max(1, steps)
    window = _Window(steps)
    for batch in _from_step(batches, state):
        if state.step >= steps:
            break
        done = max(state.step / steps, clock.elapsed() / clock.budget if clock.budget else 0.0)
        if done >= 1.0:
            history.stopped = "the time for this training was used up"
            break
        factor = schedule(max(done, 0.5 / steps), warmup)
        moved = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        _step(objective, optimizers, moved, factor, clip=clip, precision=precision, device=device, window=window)
        state.step += 1
        objective.on_step(done)
        if window.full or state.step == steps:
            rate = next(iter(optimizers.values())).param_groups[0]["lr"]
            state.points.append(window.close(state, rate))
            progress(name, done, f"step {state.step}/{steps}, loss {state.points[-1]['loss']:.3f}")
        if any([callback.on_step(state) for callback in callbacks]):
            history.stopped = "stopped early"
            break
    objective.eval()
    for callback in callbacks:
        callback.on_end(state)
    history.steps, history.seconds = state.step, state.seconds()
    return history


def _from_step(batches: Callable[[int], Iterable[Batch]], state: State) -> Iterable[Batch]:
    """Batches from where the state stands, epoch after epoch, without end."""
    skip = state.in_epoch
    while True:
        count = 0
        for position, batch in enumerate(batches(state.epoch)):
            count += 1
            if position < skip:
                continue
            state.in_epoch = position + 1
            yield batch
        if not count:
            raise GraftError("there is nothing to train on: an epoch without batches")
        skip = 0
        state.epoch, state.in_epoch = state.epoch + 1, 0


def _step(
    objective: Objective,
    optimizers: dict[str, torch.optim.Optimizer],
    batch: Batch,
    factor: float,
    *,
    clip: float,
    precision: str,
    device: str,
    window: _Window,
) -> None:
    for player, optimizer in optimizers.items():
        with torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = objective.loss(batch, player)
            total = loss.total()
        value = float(total.detach())
        if value != value or value in (float("inf"), float("-inf")):
            raise GraftError(f"the loss became {value}", hint="lower the learning rate or use precision fp32")
        total.backward()
        set_rate(optimizer, factor)
        if clip:
            clip_gradients(optimizer, clip)
        optimizer.step()
        objective.zero_grad(set_to_none=True)
        window.add(player, value, loss.logs)


class _Window:
    """Mean of losses and logs between two points of the learning curve."""

    def __init__(self, steps: int) -> None:
        self.every = max(1, steps // LOG_POINTS)
        self.sums: dict[str, list[float]] = {}
        self.seen = 0
        self.start = time.perf_counter()
        self.first: str | None = None

    def add(self, player: str, loss: float, logs: dict[str, float]) -> None:
        self.first = self.first or player
        name = "loss" if player == self.first else f"loss_{player}"
        self.seen += player == self.first
        for key, value in {name: loss, **logs}.items():
            self.sums.setdefault(key, []).append(value)

    @property
    def full(self) -> bool:
        return self.seen >= self.every

    def close(self, state: State, rate: float) -> dict[str, float]:
        means: dict[str, Any] = {key: sum(values) / len(values) for key, values in self.sums.items() if values}
        self.sums, self.seen = {}, 0
        return {"step": state.step, "epoch": state.epoch, "lr": rate, "seconds": round(state.seconds(), 3), **means}
