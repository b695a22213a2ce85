"""The graph of a Keras network: run layer by layer on torch, and read off it where blocks end and a classifier starts.

Keras 3 on its torch backend computes with torch tensors, so that gradients, precision and devices are torch's own.
"""

from __future__ import annotations

import inspect
import itertools
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.core.runtime import require

MOST_LAYERS = 16  # with more ends of blocks, only the last one at each resolution is a layer
_MERGES = ("Add", "Concatenate")  # they end residual and dense blocks
_ACTIVATIONS = ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU")
_AFTER_HEAD = ("Activation", "Softmax", "Dropout", "Reshape", "Flatten", "GlobalAveragePooling2D")
_PADDINGS = ("ZeroPadding2D", "Cropping2D")

Call = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep Keras from warning and from moving Python's random state, which it draws the seeds of layers from."""
    state = random.getstate()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(state)


def run(network: Any, inputs: Any, call: Call) -> Any:
    """Run a Sequential or Functional network with inner networks unfolded; ``call`` runs one layer."""
    keras = require("keras", extra="keras")
    if isinstance(network, keras.Sequential):
        for layer in network.layers:
            inputs = _one(layer, (inputs,), {}, call)
        return inputs
    values = dict(zip(map(id, network.inputs), keras.tree.flatten(inputs), strict=True))
    for depth in sorted(network._nodes_by_depth, reverse=True):  # noqa: SLF001  (Keras shows its graph nowhere else)
        for node in network._nodes_by_depth[depth]:  # noqa: SLF001
            if node.is_input or any(id(tensor) not in values for tensor in node.input_tensors):
                continue
            args, kwargs = node.arguments.fill_in(values)
            output = _one(node.operation, args, kwargs, call)
            values.update(zip(map(id, node.outputs), keras.tree.flatten(output), strict=True))
    outputs = [values[id(tensor)] for tensor in network.outputs]
    return outputs[0] if len(outputs) == 1 else outputs


def _one(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: Call) -> Any:
    if isinstance(layer, require("keras", extra="keras").Model):
        return run(layer, args[0], call)
    return call(layer, args, kwargs)


def infer(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call one layer as in inference: BatchNorm by its statistics, no dropout, noise or augmentation."""
    if "training" in inspect.signature(layer.call).parameters:
        kwargs = {**kwargs, "training": False}
    return layer(*args, **kwargs)


@dataclass(frozen=True)
class Step:
    """One call of a layer while a picture passes.

    Attributes:
        layer: The layer, or an operation of ``keras.ops``.
        reads: Numbers of the steps whose output it reads; -1 is the picture.
        output: What it gave.
    """

    layer: Any
    reads: tuple[int, ...]
    output: Tensor

    @property
    def kind(self) -> str:
        """Class of the layer."""
        return type(self.layer).__name__

    @property
    def pooled(self) -> Tensor:
        """The output's mean over positions."""
        return self.output.flatten(1, -2).mean(1) if self.output.ndim > 2 else self.output

    @property
    def place(self) -> tuple[int, ...]:
        """Rows and columns of the output."""
        return tuple(self.output.shape[1:-1])


def trace(network: Any, picture: Tensor) -> list[Step]:
    """The steps of one pass, in order."""
    keras = require("keras", extra="keras")
    made, steps = {id(picture): -1}, []

    def call(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = infer(layer, args, kwargs)
        reads = [made[id(value)] for value in keras.tree.flatten((args, kwargs)) if id(value) in made]
        first = keras.tree.flatten(output)[0]
        made[id(first)] = len(steps)
        steps.append(Step(layer, tuple(reads), first))  # which keeps the tensor, and with it its id, alive
        return output

    run(network, picture, call)
    return steps


def cuts(steps: list[Step]) -> list[int]:
    """Steps whose output alone goes on: all later steps depend on the picture through it."""
    last_use = {read: number for number, step in enumerate(steps) for read in step.reads}
    found, reach = [], last_use.get(-1, -1)
    for number in range(len(steps)):
        if reach <= number:
            found.append(number)
        reach = max(reach, last_use.get(number, number))
    return found


def block_ends(steps: list[Step], top: int) -> list[int]:
    """Where blocks end up to step ``top``, bottom to top: merges, and the last output at each resolution.

    What comes before the first trained layer (scaling of the input) is none.  An output whose mean over positions is
    that of the end before (average pooling) is not another layer.
    """
    whole = set(cuts(steps))
    first = next((n for n, step in enumerate(steps) if getattr(step.layer, "trainable_weights", ())), 0)
    maps = [n for n in range(first, top + 1) if n in whole and steps[n].output.ndim > 2]
    maps = [n for n in maps if steps[n].kind not in _PADDINGS]
    falls = {n for n, above in itertools.pairwise(maps) if np.prod(steps[n].place) > np.prod(steps[above].place)}
    ends = falls | set(maps[-1:])
    merged = {n for n in maps if steps[n].kind in _MERGES}
    after = {read: n for n in maps if steps[n].kind in _ACTIVATIONS for read in steps[n].reads}
    merged = {after.get(n, n) for n in merged}
    chosen = [*sorted(ends | merged if len(ends | merged) <= MOST_LAYERS else ends), top]
    kept: list[int] = []
    for number in chosen:
        below = steps[kept[-1]].pooled if kept else None
        here = steps[number].pooled
        if below is None or below.shape != here.shape or not torch.allclose(below, here, rtol=1e-4, atol=1e-5):
            kept.append(number)
    return kept


def find_head(steps: list[Step]) -> tuple[int | None, str]:
    """The step of the classifier, and what its outputs are: ``"softmax"``, ``"sigmoid"`` (one) or ``"linear"``.

    The classifier is the last layer with weights if it is a Dense or a 1×1 convolution and nothing but its activation,
    pooling or a change of shape follows.
    """
    if steps[-1].output.ndim != 2:
        return None, ""
    number = next((n for n in reversed(range(len(steps))) if getattr(steps[n].layer, "weights", ())), None)
    if number is None or any(step.kind not in _AFTER_HEAD for step in steps[number + 1 :]):
        return None, ""
    layer, width = steps[number].layer, int(steps[-1].output.shape[1])
    if steps[number].kind not in ("Dense", "Conv2D") or set(getattr(layer, "kernel_size", (1,))) != {1}:
        return None, ""
    ends = {_activation(step) for step in steps[number:]} - {"linear", ""}
    end = ends.pop() if len(ends) == 1 else "" if ends else "linear"
    allowed = end in ("softmax", "linear") if width > 1 else end == "sigmoid"
    return (number, end) if allowed else (None, "")


def _activation(step: Step) -> str:
    if step.kind == "Softmax":
        return "softmax"
    return str(getattr(getattr(step.layer, "activation", None), "__name__", ""))
