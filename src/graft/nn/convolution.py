"""Convolutional encoders: over tokens (TextCNN, dilated) and over pictures (ResNet, VGG)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.nn.transformer import input_layer, mean_of_tokens, positions

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


class _Stages(nn.Module):
    """What encoders of pictures share: stages from fine to coarse, and the mean over the picture."""

    stages: nn.ModuleList

    def _fresh(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _maps(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over the picture."""
        del batch
        return hidden.mean(dim=(2, 3))


class ResNet(_Stages):
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
        self._fresh()
        self.hidden_size = widths[-1]

    def blocks(self) -> list[nn.Module]:
        """First convolution, then stages."""
        return [self.first, *self.stages]

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Feature maps (B, D, H, W) of each stage."""
        return self._maps(self.first(batch["pixel_values"]))


class VGG(_Stages):
    """Stages of 3×3 convolutions, each ended by a maximum over 2×2 pixels.  Simonyan & Zisserman (2015).

    Batch: ``pixel_values`` (B, C, H, W) with sides that ``2 ** len(widths)`` divides.  Group normalisation, as in ``ResNet``.
    """

    def __init__(self, channels: int = 3, *, widths: tuple[int, ...] = (32, 64, 128), depth: int = 2) -> None:
        super().__init__()
        stages, inputs = [], channels
        for outputs in widths:
            layers: list[nn.Module] = []
            for _ in range(depth):
                layers += [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU()]
                inputs = outputs
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.stages = nn.ModuleList(stages)
        self._fresh()
        self.hidden_size = widths[-1]

    def blocks(self) -> list[nn.Module]:
        """The stages."""
        return list(self.stages)

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Feature maps (B, D, H, W) of each stage."""
        return self._maps(batch["pixel_values"])


class DilatedCNN(nn.Module):
    """Residual 1-D convolutions whose reach doubles per block, over letters of DNA, characters, or steps of time series.

    Yu & Koltun (2016); causal as in van den Oord et al. (2016).  Batch: ``input_ids`` (B, T), or ``frames`` (B, T, F);
    ``attention_mask`` (B, T) or none where nothing is padded.

    Args:
        vocabulary: Number of tokens.
        bands: Numbers F of a step, where there are steps of numbers instead of tokens.
        width: Of the states.
        depth: Number of blocks.
        reach: Places that a convolution sees.
        causal: Whether a position sees only what came before it.
        strongest: Whether rows are the largest value of each column instead of the mean: a motif counts wherever it is.
    """

    def __init__(
        self,
        vocabulary: int = 0,
        *,
        bands: int = 0,
        width: int = 128,
        depth: int = 4,
        reach: int = 5,
        causal: bool = False,
        strongest: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = input_layer(vocabulary, bands, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.strongest = strongest
        self.layers = nn.ModuleList(_Dilated(width, reach, 2**block, causal=causal) for block in range(depth))
        self.causal, self.hidden_size = causal, width

    def blocks(self) -> list[nn.Module]:
        """The convolutions, bottom to top, with the embeddings in the first."""
        return [nn.ModuleList([self.embedding, self.layers[0]]), *self.layers[1:]]

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """States (B, T, D) of the embeddings and of every block."""
        real = batch["attention_mask"][:, None, :] if "attention_mask" in batch else None
        words = self.embedding(positions(batch))
        x, states = words.transpose(1, 2), [words]
        for layer in self.layers:
            x = layer(x if real is None else x * real)  # padding is as empty as what lies beyond the ends
            states.append(x.transpose(1, 2))
        return states

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over the real tokens, or the largest values among them."""
        if not self.strongest:
            return mean_of_tokens(hidden, batch)
        if "attention_mask" in batch:
            hidden = hidden.masked_fill(batch["attention_mask"][..., None] == 0, -torch.inf)
        return hidden.amax(dim=1)


class _Dilated(nn.Module):
    def __init__(self, width: int, reach: int, dilation: int, *, causal: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.across = nn.Conv1d(width, width, reach, dilation=dilation)
        self.out = nn.Conv1d(width, width, 1)
        span = dilation * (reach - 1)
        self.padding = (span, 0) if causal else (span // 2, span - span // 2)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.out(F.gelu(self.across(F.pad(inner, self.padding))))
        return out
