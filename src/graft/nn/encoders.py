"""Small networks to train from scratch, each with standard initialisation, found by name in ``ENCODERS``.

Every encoder has ``forward_features(batch)`` (hidden states bottom to top), ``pool``, ``stem`` and ``blocks``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from graft.core.errors import UsageError
from graft.nn.attention import PatchTransformer, Transformer
from graft.nn.convolution import VGG, DilatedCNN, ResNet, TextCNN
from graft.nn.recurrent import Recurrent

Batch = dict[str, Tensor]


class MLP(nn.Module):
    """Layers of GELU units with layer normalisation over a feature vector.

    Batch: ``values`` (B, D_in).
    """

    def __init__(self, inputs: int, *, width: int = 128, depth: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        sizes = [inputs] + [width] * depth
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), nn.LayerNorm(b), nn.GELU(), nn.Dropout(dropout))
            for a, b in itertools.pairwise(sizes)
        )
        self.hidden_size = width

    def stem(self) -> list[nn.Module]:
        """Nothing."""
        return []

    def blocks(self) -> list[nn.Module]:
        """The layers."""
        return list(self.layers)

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Activations (B, D) of each layer."""
        x = batch["values"]
        states = []
        for layer in self.layers:
            x = layer(x)
            states.append(x)
        return states

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """As it is."""
        del batch
        return hidden


def _lstm(vocabulary: int, **more: Any) -> Recurrent:
    return Recurrent(vocabulary, cell="lstm", **more)


def _gru(vocabulary: int, **more: Any) -> Recurrent:
    return Recurrent(vocabulary, cell="gru", **more)


ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "cnn": DilatedCNN,
    "gru": _gru,
    "lstm": _lstm,
    "mlp": MLP,
    "patches": PatchTransformer,
    "resnet": ResNet,
    "textcnn": TextCNN,
    "transformer": Transformer,
    "vgg": VGG,
}

SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "cnn": {"tiny": {"width": 64, "depth": 4}, "small": {"width": 128, "depth": 6}, "base": {"width": 256, "depth": 8}},
    "gru": {"tiny": {"width": 128, "depth": 1}, "small": {"width": 256}, "base": {"width": 512}},
    "lstm": {"tiny": {"width": 128, "depth": 1}, "small": {"width": 256}, "base": {"width": 512}},
    "mlp": {"tiny": {"width": 64}, "small": {"width": 128}, "base": {"width": 256, "depth": 3}},
    "patches": {"tiny": {"width": 64}, "small": {"width": 128}, "base": {"width": 256, "depth": 6}},
    "resnet": {"tiny": {"widths": (16, 32, 64)}, "small": {}, "base": {"widths": (64, 128, 256), "depth": 2}},
    "textcnn": {"tiny": {"width": 64, "filters": 50}, "small": {}, "base": {"width": 300, "filters": 200}},
    "transformer": {
        "tiny": {"width": 128, "depth": 2},
        "small": {"width": 256, "depth": 4},
        "base": {"width": 512, "depth": 8},
    },
    "vgg": {"tiny": {"widths": (16, 32, 64), "depth": 1}, "small": {}, "base": {"widths": (64, 128, 256)}},
}


def make_encoder(name: str, **arguments: object) -> nn.Module:
    """Build an encoder by name with fresh weights from torch's random state."""
    if name not in ENCODERS:
        raise UsageError(f"no encoder {name!r}", hint=f"known: {', '.join(sorted(ENCODERS))}")
    return ENCODERS[name](**arguments)


def size_of(name: str, size: str) -> dict[str, Any]:
    """The arguments of an encoder of a named size: ``"tiny"``, ``"small"`` or ``"base"``."""
    if name not in ENCODERS:
        raise UsageError(f"no encoder {name!r}", hint=f"known: {', '.join(sorted(ENCODERS))}")
    if size not in SIZES[name]:
        raise UsageError(f"no size {size!r}", hint=f"use {', '.join(SIZES[name])}")
    return dict(SIZES[name][size])
