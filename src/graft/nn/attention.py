"""Transformers small enough to train here: over tokens (causal or seeing both sides) and over patches of pictures."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

Batch = dict[str, Tensor]

INIT = 0.02  # standard deviation of fresh weights.  Radford et al. (2019)


class _Block(nn.Module):
    """Attention and a GELU layer, each after a layer normalisation, added to what came in.

    Ba et al. (2016); Xiong et al. (2020) for the normalisation in front.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_layer = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        x = x + self.dropout(self.out(self._attend(self.before_attention(x), mask, turn)))
        inner: Tensor = F.gelu(self.up(self.before_layer(x)), approximate="tanh")
        out: Tensor = x + self.dropout(self.down(inner))
        return out

    def _attend(self, x: Tensor, mask: Tensor | None, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        rows, length, width = x.shape
        q, k, v = self.qkv(x).view(rows, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if turn is not None:
            q, k = _turned(q, *turn), _turned(k, *turn)
        if self.training and x.device.type == "cpu":  # written out: on a CPU its backward pass is the fastest
            scores = (q @ k.transpose(-1, -2)) * (width // self.heads) ** -0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, -1e4)
            y = torch.softmax(scores, dim=-1).to(v.dtype) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        joined: Tensor = y.transpose(1, 2).reshape(rows, length, width)
        return joined


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of columns by angles that grow with the position.  Su et al. (2021)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def _angles(length: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    rate = 10_000.0 ** (-torch.arange(0, width, 2, device=like.device, dtype=torch.float32) / width)
    angle = torch.arange(length, device=like.device, dtype=torch.float32)[:, None] * rate
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


class _Stack(nn.Module):
    """Blocks with a normalisation at the end, which belongs to the last of them."""

    def __init__(self, width: int, depth: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Block(width, heads, dropout) for _ in range(depth))
        self.last_norm = nn.LayerNorm(width)
        self.hidden_size = width

    def _fresh(self) -> None:
        """Normal weights; those that write to the sum are smaller by the root of their number."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                writes = name.endswith((".out", ".down"))
                nn.init.normal_(module.weight, std=INIT / math.sqrt(2 * len(self.layers)) if writes else INIT)
                if isinstance(module, nn.Linear):
                    nn.init.zeros_(module.bias)

    def blocks(self) -> list[nn.Module]:
        """The blocks, bottom to top."""
        return [*self.layers[:-1], nn.ModuleList([self.layers[-1], self.last_norm])]

    def _states(self, x: Tensor, mask: Tensor | None, turn: tuple[Tensor, Tensor] | None) -> list[Tensor]:
        states = []
        for layer in self.layers:
            x = layer(x, mask, turn)
            states.append(x)
        states[-1] = self.last_norm(x)
        return states


class Transformer(_Stack):
    """A transformer over tokens with rotary positions.  Vaswani et al. (2017).

    Batch: ``input_ids`` (B, T), ``attention_mask`` (B, T) or none where nothing is padded.

    Args:
        vocabulary: Number of tokens; 0 is padding.
        width: Of the states.
        depth: Number of blocks.
        heads: Attention heads; one per 64 columns by default.
        causal: Whether a position sees only what came before it.
        dropout: On what each half of a block adds.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 256,
        depth: int = 4,
        heads: int = 0,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, depth, heads or max(1, width // 64), dropout)
        self.embedding = nn.Embedding(vocabulary, width)
        self.causal = causal
        self._fresh()

    def stem(self) -> list[nn.Module]:
        """Token embeddings."""
        return [self.embedding]

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """States (B, T, D) of every block."""
        x = self.embedding(batch["input_ids"])
        length = x.shape[1]
        mask = None
        if "attention_mask" in batch:
            mask = (batch["attention_mask"] > 0)[:, None, None, :]
        if self.causal:
            past = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
            mask = past if mask is None else mask & past
        return self._states(x, mask, _angles(length, x.shape[2] // self.layers[0].heads, x))

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over the real tokens."""
        return mean_of_tokens(hidden, batch)


def mean_of_tokens(hidden: Tensor, batch: Batch) -> Tensor:
    """Mean (B, D) of states (B, T, D) over the tokens that are not padding."""
    if "attention_mask" not in batch:
        return hidden.mean(dim=1)
    weight = batch["attention_mask"].to(hidden.dtype)[..., None]
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


class PatchTransformer(_Stack):
    """A transformer over square patches of a picture, with fixed sine positions.  Dosovitskiy et al. (2021).

    Batch: ``pixel_values`` (B, C, H, W); ``kept`` (B, K) names the patches that are seen, all if it is not there.

    Args:
        channels: Of the picture.
        size: Its height and width.
        patch: Height and width of a patch; divides ``size``.
        width: Of the states.
        depth: Number of blocks.
        heads: Attention heads; one per 32 columns by default.
        dropout: On what each half of a block adds.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        size: int = 32,
        patch: int = 4,
        width: int = 128,
        depth: int = 4,
        heads: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, depth, heads or max(1, width // 32), dropout)
        self.patch, self.side = patch, size // patch
        self.embedding = nn.Linear(channels * patch * patch, width)
        self.register_buffer("places", sine_places(self.side, width), persistent=False)
        self._fresh()

    def stem(self) -> list[nn.Module]:
        """The map from pixels to states."""
        return [self.embedding]

    def patches(self, pixels: Tensor) -> Tensor:
        """Cut pictures (B, C, H, W) into patches (B, N, C·p·p), row by row."""
        rows, channels, height, width = pixels.shape
        p = self.patch
        cut = pixels.reshape(rows, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(rows, -1, channels * p * p)

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """States (B, N, D) of every block."""
        x = self.embedding(self.patches(batch["pixel_values"]))
        x = x + self.places.to(x.dtype)
        if "kept" in batch:
            x = torch.gather(x, 1, batch["kept"][..., None].expand(-1, -1, x.shape[2]))
        return self._states(x, None, None)

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over the patches."""
        del batch
        return hidden.mean(dim=1)


def sine_places(side: int, width: int) -> Tensor:
    """Positions (side², width) of a grid: a quarter of the columns each for sine and cosine of row and column."""
    rate = 10_000.0 ** (-torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    angle = torch.arange(side, dtype=torch.float32)[:, None] * rate
    line = torch.cat([angle.sin(), angle.cos()], dim=1)
    across = line[None].expand(side, side, -1)
    return torch.cat([across.transpose(0, 1), across], dim=2).reshape(side * side, -1)
