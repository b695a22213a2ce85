"""Find the repeated blocks of a network, and what comes before them, without knowing its architecture."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

from torch import Tensor, nn

from graft.sources.base import Backbone, Batch


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _outermost(network: nn.Module, prefix: str = "") -> list[tuple[str, nn.ModuleList]]:
    """Module lists of equal-typed modules that lie in no other one."""
    found: list[tuple[str, nn.ModuleList]] = []
    for name, child in network.named_children():
        path = f"{prefix}{name}"
        if isinstance(child, nn.ModuleList) and len(child) and len({type(part) for part in child}) == 1:
            found.append((path, child))
        else:
            found += _outermost(child, f"{path}.")
    return found


def find_blocks(network: nn.Module) -> tuple[str, list[nn.Module]]:
    """Path and modules of the list of blocks, bottom to top: the outermost list that holds most of the weights.

    Without such a list the network's children are its blocks, and the path is empty.

    Example:
        For BERT ``("encoder.layer", [BertLayer, …])``; for a ResNet ``("encoder.stages", [ResNetStage, …])``.
    """
    lists = _outermost(network)
    if not lists:
        return "", [child for child in network.children() if _size(child)]
    path, blocks = max(lists, key=lambda item: _size(item[1]))
    return path, list(blocks)


def find_stem(network: nn.Module, path: str) -> list[nn.Module]:
    """Modules with weights registered before the list of blocks at ``path``, at any level above it."""
    stem: list[nn.Module] = []
    module = network
    for name in path.split(".") if path else []:
        for other, child in module.named_children():
            if other == name:
                break
            if _size(child):
                stem.append(child)
        module = module.get_submodule(name)
    return stem


def both_outputs(model: nn.Module, network: nn.Module, batch: dict[str, Tensor]) -> tuple[Any, Tensor]:
    """Output of the network inside a model, with hidden states, and the logits of the model's head, in one pass."""
    kept: list[Any] = []
    handle = network.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        logits = model(**batch, output_hidden_states=True, return_dict=True).logits
    finally:
        handle.remove()
    return kept[0], logits


class NetworkBackbone(Backbone):
    """A network of transformers, with or without its head.

    A subclass sets ``model``, ``_has_head`` and ``_path`` (of the list of blocks), and says which outputs are layers.
    """

    model: Any
    _has_head: bool
    _path: str

    @property
    def network(self) -> nn.Module:
        """The network without its head."""
        return self.model.base_model if self._has_head else self.model

    @abstractmethod
    def _layers(self, output: Any) -> list[Tensor]:
        """The layers among the outputs, bottom to top."""

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Outputs of every block or stage, bottom to top."""
        return self._layers(self.network(**batch, output_hidden_states=True, return_dict=True))

    def forward_all(self, batch: Batch) -> tuple[list[Tensor], Tensor | None]:
        """Layers and logits in one pass."""
        if not self.spec.classes:
            return self.forward_features(batch), None
        output, logits = both_outputs(self.model, self.network, batch)
        return self._layers(output), logits

    def classify(self, batch: Batch) -> Tensor | None:
        """Logits of the model's own head, or None."""
        return self.model(**batch, return_dict=True).logits if self.spec.classes else None

    def train(self, mode: bool = True) -> Self:
        """Training mode; on a CPU with attention written out, whose backward pass is the fastest there."""
        now = self.model.config._attn_implementation  # noqa: SLF001  (has no other name)
        if self.__dict__.setdefault("_attention", now) == "sdpa":  # the network may know no other than the plain one
            on_cpu = next(self.parameters()).device.type == "cpu"
            kind = "eager" if mode and on_cpu else "sdpa"
            if kind != now:
                self.model.set_attn_implementation(kind)
        return super().train(mode)

    def stem(self) -> list[nn.Module]:
        """Embeddings or the first convolution."""
        return find_stem(self.network, self._path)

    def blocks(self) -> list[nn.Module]:
        """Blocks or stages, bottom to top."""
        return find_blocks(self.network)[1]
