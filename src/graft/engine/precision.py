"""bfloat16 with float32 master weights: products run fast, small updates are not lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

LOW = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)  # where the products are; norms stay float32


@contextlib.contextmanager
def fast_products(device: str, *, low: bool) -> Iterator[None]:
    """Matrix products in bfloat16 where ``low``, and attention by kernels whose backward pass is fast.

    On a CPU torch's fused attention has a backward pass that takes longer than everything else in a small transformer
    together (32 of 40 ms per layer, measured); the plain one costs a tenth of it.
    """
    with contextlib.ExitStack() as stack:
        if device == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.autocast(device.split(":", maxsplit=1)[0], dtype=torch.bfloat16, enabled=low))
        yield


class MasterWeights:
    """Holds float32 masters of the weights of matrix products while the module itself computes in bfloat16.

    Casting once per step instead of at every use takes a quarter off a step of a small transformer.  ``release`` puts
    the masters back, so afterwards the module is float32 again; frozen weights come back byte for byte.

    Args:
        module: What will be trained.
    """

    def __init__(self, module: nn.Module) -> None:
        self.masters: dict[nn.Parameter, nn.Parameter] = {}
        self.frozen: dict[nn.Parameter, torch.Tensor] = {}
        self.gradients: dict[nn.Parameter, torch.Tensor] = {}  # their memory stays: fresh pages cost more than the copy
        for part in module.modules():
            if isinstance(part, LOW):
                for parameter in part.parameters(recurse=False):
                    self._lower(parameter)

    def _lower(self, parameter: nn.Parameter) -> None:
        if parameter in self.masters or parameter in self.frozen or parameter.dtype != torch.float32:
            return
        exact = parameter.data
        if parameter.requires_grad:
            self.masters[parameter] = nn.Parameter(exact)
        else:
            self.frozen[parameter] = exact
        parameter.data = exact.to(torch.bfloat16)

    def groups(self, groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Parameter groups with the masters in place of what they stand for."""
        return [{**group, "params": [self.masters.get(p, p) for p in group["params"]]} for group in groups]

    def pull_gradients(self) -> None:
        """Hand the gradients of the module to the masters."""
        rough, exact = [], []
        for parameter, master in self.masters.items():
            master.grad = None
            if parameter.grad is not None:
                if master not in self.gradients:
                    self.gradients[master] = torch.empty_like(master.data)
                master.grad = self.gradients[master]
                rough.append(parameter.grad)
                exact.append(master.grad)
                parameter.grad = None
        if rough:
            torch._foreach_copy_(exact, rough)

    def push(self) -> None:
        """Copy the masters into the module, rounded."""
        with torch.no_grad():
            torch._foreach_copy_([p.data for p in self.masters], [m.data for m in self.masters.values()])

    def exact(self, module: nn.Module) -> dict[str, torch.Tensor]:
        """The module's state with float32 weights."""
        exact = {id(p): m.data for p, m in self.masters.items()} | {id(p): t for p, t in self.frozen.items()}
        state = dict(module.state_dict())
        for name, parameter in module.named_parameters(remove_duplicate=False):
            if id(parameter) in exact:
                state[name] = exact[id(parameter)]
        return state

    def load(self, module: nn.Module, state: dict[str, torch.Tensor]) -> None:
        """The inverse of ``exact``."""
        module.load_state_dict(state)
        with torch.no_grad():
            for name, parameter in module.named_parameters(remove_duplicate=False):
                if parameter in self.masters:
                    self.masters[parameter].data.copy_(state[name])

    def release(self) -> None:
        """Make the module float32 again, with the masters as its weights."""
        for parameter, master in self.masters.items():
            parameter.data = master.data
            parameter.grad = None
        for parameter, exact in self.frozen.items():
            parameter.data = exact
