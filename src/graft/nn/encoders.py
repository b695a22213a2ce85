"""Small networks to train from scratch, each with standard initialisation, found by name in ``ENCODERS``.

Every encoder has ``forward_features(batch)`` (hidden states bottom to top), ``pool``, ``stem`` and ``blocks``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.errors import UsageError

Batch = dict[str, Tensor]


class TextCNN(nn.Module):
    """Convolutions of several widths over word embeddings, max over time.  Kim (2014).

    Batch: ``input_ids`` (B, T), ``attention_mask`` (B, T).  Pooled width: ``filters · len(widths)``.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 128,
        filters: int = 100,
        widths: tuple[int, ...] = (2, 3, 4),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, filters, size, padding=size // 2) for size in widths)
        self.dropout = nn.Dropout(dropout)
        self.hidden_size = filters * len(widths)

    def stem(self) -> list[nn.Module]:
        """The embeddings; they are trained from scratch, so they count as a block."""
        return []

    def blocks(self) -> list[nn.Module]:
        """Embeddings, then convolutions."""
        return [self.embedding, self.convolutions]

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Convolution outputs (B, T, D)."""
        embedded = self.embedding(batch["input_ids"]) * batch["attention_mask"][..., None]
        channels = embedded.transpose(1, 2)
        length = channels.shape[-1]
        maps = [F.relu(convolution(channels))[..., :length] for convolution in self.convolutions]
        return [torch.cat(maps, dim=1).transpose(1, 2)]

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Maximum over the real tokens (activations are not negative, so padding counts as 0)."""
        strongest: Tensor = (hidden * batch["attention_mask"][..., None]).amax(dim=1)
        return F.dropout(strongest, self.dropout.p, self.training)


class _Residual(nn.Module):
    """Two 3×3 convolutions with group normalisation and a shortcut.  He et al. (2016); Wu & He (2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.GroupNorm(8, outputs) for _ in range(2))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """A small residual network for pictures of 8 to 96 pixels.  He et al. (2016), section 4.2.

    Batch: ``pixel_values`` (B, C, H, W).  Group normalisation, so small batches and frozen parts do no harm.
    """

    def __init__(self, channels: int = 3, *, widths: tuple[int, ...] = (32, 64, 128), depth: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False), nn.GroupNorm(8, widths[0]), nn.ReLU()
        )
        stages, inputs = [], widths[0]
        for stage, outputs in enumerate(widths):
            layers = [_Residual(inputs, outputs, 1 if stage == 0 else 2)]
            layers += [_Residual(outputs, outputs, 1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*layers))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.hidden_size = widths[-1]

    def stem(self) -> list[nn.Module]:
        """Nothing stays frozen by default."""
        return []

    def blocks(self) -> list[nn.Module]:
        """First convolution, then stages."""
        return [self.first, *self.stages]

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Feature maps (B, D, H, W) of each stage."""
        x = self.first(batch["pixel_values"])
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over the picture."""
        del batch
        return hidden.mean(dim=(2, 3))


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


ENCODERS: dict[str, Callable[..., nn.Module]] = {"textcnn": TextCNN, "resnet": ResNet, "mlp": MLP}


def make_encoder(name: str, **arguments: object) -> nn.Module:
    """Build an encoder by name with fresh weights from torch's random state."""
    if name not in ENCODERS:
        raise UsageError(f"no encoder {name!r}", hint=f"known: {', '.join(sorted(ENCODERS))}")
    return ENCODERS[name](**arguments)
