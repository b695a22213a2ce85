"""The only training loop: fine-tuning, pretraining, adaptation, distillation and GANs all run through ``fit``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from graft.core.errors import GraftError
from graft.core.runtime import Clock, Progress, silent
from graft.engine.callbacks import Callback, State
from graft.engine.objective import Batch, Objective
from graft.engine.optim import clip_gradients, make_optimizer, set_rate, warmup_linear
from graft.engine.precision import MasterWeights, fast_products

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
    steps: int | None,
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
        steps: Optimizer steps per player; None goes on until the clock runs out.
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
    total = _total(steps, clock)
    objective.to(device).train()
    players = objective.players()
    masters = MasterWeights(objective) if precision == "bf16" else None
    optimizers = {
        player: make_optimizer(optimizer, masters.groups(groups) if masters else groups)
        for player, groups in players.items()
    }
    state = State(objective, optimizers, masters)
    for callback in callbacks:
        callback.on_start(state)
    history = History(points=state.points, planned=steps or 0, steps=state.step)
    window = _Window(state)
    for batch in _from_step(batches, state):
        done = max(state.step / total, clock.share)
        if done >= 1.0:
            if steps is not None and state.step < steps:
                history.stopped = "the time for this training was used up"
            break
        state.done = done
        factor = schedule(max(done, 0.5 / total, 1e-6), warmup)
        moved = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
        _step(state, moved, factor, clip=clip, device=device, window=window)
        state.step += 1
        objective.on_step(done)
        if window.full(max(state.step / total, clock.share)):
            window.close()
            of = f"/{steps}" if steps is not None else ""
            progress(name, done, f"step {state.step}{of}, loss {state.points[-1]['loss']:.3f}")
        stop = [callback.on_step(state) for callback in callbacks]  # all of them, also after one that stops
        if any(stop):
            history.stopped = "stopped early"
            break
    window.close()
    _end(state, callbacks)
    history.steps, history.seconds = state.step, state.seconds()
    return history


def _end(state: State, callbacks: Sequence[Callback]) -> None:
    for callback in callbacks:
        callback.on_end(state)
    if state.masters:
        state.masters.release()
    state.objective.eval()


def _total(steps: int | None, clock: Clock) -> float:
    """Steps after which training ends; infinite where the clock ends it."""
    if steps is None and clock.budget is None:
        raise GraftError("a training without steps and without a budget has no end", hint="give one of them")
    return math.inf if steps is None else max(1, steps)


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


def _step(state: State, batch: Batch, factor: float, *, clip: float, device: str, window: _Window) -> None:
    objective, masters = state.objective, state.masters
    for player, optimizer in state.optimizers.items():
        with fast_products(device, low=masters is not None):
            loss = objective.loss(batch, player)
            total = loss.total()
        value = float(total.detach())
        if not math.isfinite(value):
            raise GraftError(f"the loss became {value}", hint="lower the learning rate or use precision fp32")
        total.backward()
        if masters:
            masters.pull_gradients()
        set_rate(optimizer, factor)
        if clip:
            clip_gradients(optimizer, clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.zero_grad(set_to_none=True)
        if masters:
            masters.push()
        window.add(player, value, loss.logs)


class _Window:
    """Mean of losses and logs between two points of the learning curve."""

    def __init__(self, state: State) -> None:
        self.state, self.first = state, next(iter(state.optimizers))

    def add(self, player: str, loss: float, logs: dict[str, float]) -> None:
        name = "loss" if player == self.first else f"loss_{player}"
        for key, value in {name: loss, **logs}.items():
            self.state.pending.setdefault(key, []).append(value)

    def full(self, done: float) -> bool:
        """Whether another of ``LOG_POINTS`` equal parts of the training is done."""
        parts = int(min(1.0, done) * LOG_POINTS + 1e-9)
        if parts <= self.state.parts:
            return False
        self.state.parts = parts
        return True

    def close(self) -> None:
        """Turn what was gathered into a point; nothing if that is nothing."""
        state = self.state
        if not state.pending:
            return
        means = {key: sum(values) / len(values) for key, values in state.pending.items()}
        rate = state.optimizers[self.first].param_groups[0]["lr"]
        state.pending.clear()
        state.points.append(
            {"step": state.step, "epoch": state.epoch, "lr": rate, "seconds": round(state.seconds(), 3), **means}
        )
