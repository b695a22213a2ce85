"""Adapters of peft beside the layers of any backbone: which layers can have one, put in, computed with, and merged."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from graft.core.runtime import require
from graft.sources.base import Backbone
from graft.sources.keras_network import KerasBackbone, Weights

OWN = "default"  # peft's name of the one adapter of each layer
KERAS = {"Conv1D", "Conv2D", "Dense", "SeparableConv2D"}  # layers of Keras with one kernel (…, inputs, outputs)
KERNEL = re.compile(r"\d+_(pointwise_)?kernel")  # its name in ``Weights``


def import_peft(module: str = "peft") -> Any:
    """The library, or a module of it, without its warnings.

    Raises:
        MissingExtraError: It is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return require(module, extra="adapters")


def adaptable(backbone: Backbone, kind: str, top: int | None = None) -> dict[str, nn.Module]:
    """Layers of the blocks that peft can adapt and merge exactly, by name, bottom to top.

    Layers of Keras are the modules that hold their weights.

    Args:
        backbone: Any.
        kind: ``"lora"``, ``"dora"`` or ``"ia3"``.
        top: Only the layers of so many blocks, counted from the top.
    """
    blocks = backbone.blocks()
    inside = [part for block in blocks[-top if top else None :] for part in block.modules()]
    if isinstance(backbone, KerasBackbone):
        return {leaf.layer[0].name: leaf for leaf in inside if isinstance(leaf, Weights) and _kernel(leaf)}
    own = {id(part) for part in inside}
    return {name: part for name, part in backbone.named_modules() if id(part) in own and _can_adapt(part, kind)}


def _can_adapt(layer: nn.Module, kind: str) -> bool:
    """Whether peft adapts it to what it merges; subclasses may compute something else, so types are compared."""
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layers

    convolutions = (nn.Conv2d,) if kind == "ia3" else (nn.Conv1d, nn.Conv2d)
    if type(layer) not in (nn.Linear, Conv1D, *convolutions):
        return False
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and kind != "ia3":
        # peft's A knows neither groups, nor dilation, nor what stands around the edges
        plain = layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    else:
        plain = True
    return plain and isinstance(layer.weight, nn.Parameter)  # no product of others, as in weight normalisation


def _kernel(leaf: Weights) -> str:
    """Name of the kernel of a layer of Keras; empty where peft cannot adapt it."""
    names = (name for name, _ in leaf.named_parameters() if KERNEL.fullmatch(name))
    return next(names, "") if type(leaf.layer[0]).__name__ in KERAS else ""


def inject(backbone: Backbone, layers: dict[str, nn.Module], config: Callable[[list[str]], Any]) -> None:
    """Put an adapter beside each of some layers.

    Args:
        backbone: Frozen; the adapters are the only part of it that is not.
        layers: As ``adaptable`` gives them.
        config: Maps names of layers to peft's configuration for them.
    """
    network: nn.Module = backbone
    names, kernels = list(layers), None
    if isinstance(backbone, KerasBackbone):
        kernels = Kernels(backbone, [leaf for leaf in layers.values() if isinstance(leaf, Weights)])
        network, names = kernels.matrices, list(kernels.matrices)
        backbone.adapters = kernels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says which way round it takes the matrices of GPT-2 to stand
        import_peft().inject_adapter_in_model(config(names), network, OWN)
    for name, layer in layers.items():
        if kernels is None and isinstance(layer, nn.Conv2d):  # MobileNet asks its convolutions how to pad for them
            shape = {key: getattr(layer, key) for key in ("stride", "kernel_size", "dilation")}
            vars(network.get_submodule(name)).update(shape)
    if kernels is not None:
        kernels.forget()


def merge(backbone: Backbone) -> None:
    """Add to the weights what the adapters have learned, and take them out: nothing of peft is left."""
    kernels = getattr(backbone, "adapters", None)
    if isinstance(kernels, Kernels):
        kernels.settle()
        del backbone.adapters
        return
    adapted = import_peft("peft.tuners.tuners_utils").BaseTunerLayer
    for name, layer in [(n, part) for n, part in backbone.named_modules() if isinstance(part, adapted)]:
        layer.merge(safe_merge=True)
        backbone.set_submodule(name, layer.get_base_layer())
    del backbone.peft_config


class Kernels(nn.Module):
    """Kernels of a Keras network as matrices (outputs, inputs), which is what peft can adapt.

    The layers stay Keras's own: before every pass they are lent what their kernels have become, tensors through which
    gradients flow to the adapters.  For a convolution that is peft's own adapter: A and B factor its unrolled kernel.

    Args:
        backbone: The network.
        leaves: Weights of the layers to adapt.
    """

    def __init__(self, backbone: KerasBackbone, leaves: list[Weights]) -> None:
        super().__init__()
        self.places = {str(number): (leaf, _kernel(leaf)) for number, leaf in enumerate(leaves)}
        self.matrices = nn.ModuleDict()
        for number, (leaf, name) in self.places.items():
            matrix = _as_matrix(leaf.get_parameter(name).detach())
            layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, device="meta")
            layer.weight = nn.Parameter(matrix, requires_grad=False)
            self.matrices[number] = layer
        self._handle = backbone.register_forward_pre_hook(self.lend)

    def forget(self) -> None:
        """Drop peft's view of the kernels, which only the start of DoRA needs."""
        for layer in self.matrices.values():
            base: Any = layer.base_layer
            base.weight.data = base.weight.new_empty(0)

    def changed(self, number: str) -> Tensor:
        """What a kernel has become."""
        layer: Any = self.matrices[number]
        leaf, name = self.places[number]
        kernel = leaf.get_parameter(name)
        matrix = _as_matrix(kernel)  # peft's own merging would need a copy of it, and carries no gradient
        if hasattr(layer, "ia3_l"):
            matrix = matrix * layer.ia3_l[OWN]
        else:
            matrix = matrix + layer.get_delta_weight(OWN).to(matrix.dtype)
            if OWN in layer.lora_magnitude_vector:  # no gradient runs through the norm: section 4.3 of the paper
                length = layer.lora_magnitude_vector[OWN].weight / matrix.norm(dim=1).detach()
                matrix = length[:, None] * matrix
        changed: Tensor = matrix.T.reshape(kernel.shape)
        return changed

    def lend(self, *_: Any) -> None:
        """Let the layers compute with the changed kernels."""
        for number, (leaf, name) in self.places.items():
            leaf.link({name: self.changed(number)})

    def settle(self) -> None:
        """Write the changed kernels into the weights, and let the layers compute with those again."""
        self._handle.remove()
        for number, (leaf, name) in self.places.items():
            with torch.no_grad():
                leaf.get_parameter(name).copy_(self.changed(number))
            leaf.link()


def _as_matrix(kernel: Tensor) -> Tensor:
    """(…, inputs, outputs) -> (outputs, … · inputs)."""
    return kernel.reshape(-1, kernel.shape[-1]).T
