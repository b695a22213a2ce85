"""What happens around the steps of a training: checkpoints that resume to the same bytes, early stopping, a stopwatch.

What pulls at the weights, averages them or unfreezes them stands in ``weights``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from graft.engine.objective import Objective
from graft.engine.precision import MasterWeights


@dataclass
class State:
    """Where a training stands.

    Attributes:
        objective: The module that is trained.
        optimizers: One per player.
        masters: Float32 weights behind a bfloat16 objective.
        step: Optimizer steps done.
        epoch: Current epoch.
        in_epoch: Batches of this epoch used.
        points: Learning curve so far.
        parts: Parts of the training that the learning curve covers.
        pending: Losses and logs since the last point.
        done: Share of the training that was done before the last step.
        kept: Tensors that callbacks keep beside the weights; they are in checkpoints too.
    """

    objective: Objective
    optimizers: dict[str, torch.optim.Optimizer]
    masters: MasterWeights | None = None
    step: int = 0
    epoch: int = 0
    in_epoch: int = 0
    points: list[dict[str, float]] = field(default_factory=list)
    parts: int = 0
    pending: dict[str, list[float]] = field(default_factory=dict)
    done: float = 0.0
    kept: dict[str, torch.Tensor] = field(default_factory=dict)
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def weights(self) -> dict[str, torch.Tensor]:
        """Weights and buffers by name, in float32."""
        return self.masters.exact(self.objective) if self.masters else dict(self.objective.state_dict())

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        """The inverse of ``weights``."""
        if self.masters:
            self.masters.load(self.objective, weights)
        else:
            self.objective.load_state_dict(weights)

    def trained(self, parameter: torch.nn.Parameter) -> torch.nn.Parameter:
        """What the optimizer moves for a parameter of the objective: its float32 master, or itself."""
        return self.masters.masters.get(parameter, parameter) if self.masters else parameter

    def seconds(self) -> float:
        """Time in training, that before an interruption included."""
        return self.spent + time.monotonic() - self.started


class Callback:
    """Base of callbacks; every method may be left out."""

    def on_start(self, state: State) -> None:
        """Before the first step; may restore the state."""

    def on_step(self, state: State) -> bool:
        """After each step; True stops the training."""
        del state
        return False

    def on_end(self, state: State) -> None:
        """After the last step."""


class Checkpoint(Callback):
    """Save the whole state now and then, and start from it if it is there.

    The file holds weights, optimizer moments and random states as safetensors; a training that is killed and started
    again ends with the same bytes as one that was not.

    Args:
        path: File to write (atomically) and to read.
        every: Seconds between two saves.
    """

    def __init__(self, path: Path, every: float = 60.0) -> None:
        self.path, self.every = Path(path), every
        self._last = time.monotonic()

    def on_start(self, state: State) -> None:
        if not self.path.exists():
            return
        try:
            with safe_open(self.path, framework="pt") as file:
                facts = json.loads(file.metadata()["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
            same = facts["signature"] == _signature(state)
        except (SafetensorError, OSError, KeyError, ValueError, TypeError):
            same = False  # an unreadable checkpoint is worth nothing: start again
        if same:
            _restore(state, facts, tensors)
        else:
            self.path.unlink(missing_ok=True)

    def on_step(self, state: State) -> bool:
        if time.monotonic() - self._last >= self.every:
            self.save(state)
        return False

    def on_end(self, state: State) -> None:
        del state
        self.path.unlink(missing_ok=True)

    def save(self, state: State) -> None:
        """Write the state to a temporary name and move it into place."""
        tensors = {f"model.{key}": value.contiguous() for key, value in state.weights().items()}
        tensors |= {f"kept.{key}": value.contiguous() for key, value in state.kept.items()}
        tensors["rng.torch"] = torch.get_rng_state()
        for player, optimizer in state.optimizers.items():
            for index, moments in optimizer.state_dict()["state"].items():
                for key, value in moments.items():
                    tensors[f"optimizer.{player}.{index}.{key}"] = torch.as_tensor(value).contiguous()
        facts = {
            "step": state.step,
            "epoch": state.epoch,
            "in_epoch": state.in_epoch,
            "points": state.points,
            "parts": state.parts,
            "pending": state.pending,
            "done": state.done,
            "spent": state.seconds(),
            "signature": _signature(state),
        }
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # tensors that share memory (tied weights) are stored once each: safetensors refuses aliases
            save_file({key: value.clone() for key, value in tensors.items()}, temporary, {"state": json.dumps(facts)})
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self._last = time.monotonic()


def _signature(state: State) -> list[list[object]]:
    """What must be equal for a checkpoint to fit: tensors, what is trained, and how."""
    moved = {
        id(p) for optimizer in state.optimizers.values() for group in optimizer.param_groups for p in group["params"]
    }
    trained = {name for name, parameter in state.objective.named_parameters() if id(state.trained(parameter)) in moved}
    facts: list[list[object]] = [
        [name, list(tensor.shape), name in trained] for name, tensor in state.objective.state_dict().items()
    ]
    facts += [[player, type(optimizer).__name__] for player, optimizer in state.optimizers.items()]
    facts += [[f"kept.{key}", list(tensor.shape)] for key, tensor in state.kept.items()]
    return facts


def _restore(state: State, facts: dict, tensors: dict[str, torch.Tensor]) -> None:
    state.load({key.removeprefix("model."): value for key, value in tensors.items() if key.startswith("model.")})
    for player, optimizer in state.optimizers.items():
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimizer.{player}."):
                index, name = key.removeprefix(f"optimizer.{player}.").split(".", 1)
                moments.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    state.kept.update({key: tensors[f"kept.{key}"].to(value.device) for key, value in state.kept.items()})
    torch.set_rng_state(tensors["rng.torch"])
    state.step, state.epoch, state.in_epoch = facts["step"], facts["epoch"], facts["in_epoch"]
    state.points[:], state.pending, state.parts = facts["points"], facts["pending"], facts["parts"]
    state.spent, state.done = facts["spent"], facts.get("done", 0.0)


class EarlyStop(Callback):
    """Stop when a measure on held-out rows has not improved for a while, and go back to the best weights.

    Args:
        measure: Called every ``every`` steps; larger is better.
        every: Steps between two measurements.
        patience: Measurements without improvement before stopping.
    """

    def __init__(self, measure: Callable[[], float], *, every: int, patience: int = 3) -> None:
        self.measure, self.every, self.patience = measure, every, patience
        self.best, self.since = float("-inf"), 0
        self.weights: dict[str, torch.Tensor] = {}

    def on_step(self, state: State) -> bool:
        if state.step % self.every:
            return False
        state.objective.eval()
        value = self.measure()
        state.objective.train()
        if state.points:
            state.points[-1]["valid"] = value
        self.since += 1
        if value > self.best:
            self.best, self.since = value, 0
            self.weights = {key: tensor.detach().clone() for key, tensor in state.weights().items()}
        return self.since >= self.patience

    def on_end(self, state: State) -> None:
        if self.weights:
            state.load(self.weights)


class Stopwatch(Callback):
    """Notes when a training starts and when each step ends.

    Args:
        times: Filled with seconds of ``time.perf_counter``, that of the start first.
    """

    def __init__(self, times: list[float]) -> None:
        self.times = times

    def on_start(self, state: State) -> None:
        del state
        self.times[:] = [time.perf_counter()]

    def on_step(self, state: State) -> bool:
        del state
        self.times.append(time.perf_counter())
        return False
