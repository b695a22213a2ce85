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

    def forward(
        self, x: Tensor, mask: Tensor | None, turn: tuple[Tensor, Tensor] | None, past: list[Tensor] | None = None
    ) -> Tensor:
        x = x + self.dropout(self.out(self._attend(self.before_attention(x), mask, turn, past)))
        inner: Tensor = F.gelu(self.up(self.before_layer(x)), approximate="tanh")
        out: Tensor = x + self.dropout(self.down(inner))
        return out

    def _attend(
        self, x: Tensor, mask: Tensor | None, turn: tuple[Tensor, Tensor] | None, past: list[Tensor] | None
    ) -> Tensor:
        rows, length, width = x.shape
        q, k, v = self.qkv(x).view(rows, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if turn is not None:
            q, k = _turned(q, *turn), _turned(k, *turn)
        if past is not None:  # keys and values of the tokens before
            past[:] = [torch.cat(pair, dim=2) for pair in zip(past, (k, v), strict=True)] if past else [k, v]
            k, v = past
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

    def _fresh(self, std: float = INIT) -> None:
        """Normal weights; those that write to the sum are smaller by the root of their number."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                writes = name.endswith((".out", ".down"))
                nn.init.normal_(module.weight, std=std / math.sqrt(2 * len(self.layers)) if writes else std)
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


def input_layer(vocabulary: int, bands: int, width: int) -> nn.Embedding | nn.Linear:
    """Embeddings of tokens, or a linear map where a position is no token but a frame of ``bands`` numbers."""
    return nn.Linear(bands, width) if bands else nn.Embedding(vocabulary, width)


def positions(batch: Batch) -> Tensor:
    """What stands at each position: frames (B, T, F), or token numbers (B, T)."""
    return batch["frames"] if "frames" in batch else batch["input_ids"]


class Transformer(_Stack):
    """A transformer over tokens, or over frames of sound, with rotary positions.  Vaswani et al. (2017).

    Batch: ``input_ids`` (B, T), or ``frames`` (B, T, F); ``attention_mask`` (B, T) or none where nothing is padded.

    Args:
        vocabulary: Number of tokens; 0 is padding.
        bands: Numbers F of a frame, where there are frames instead of tokens.
        width: Of the states.
        depth: Number of blocks.
        heads: Attention heads; one per 64 columns by default.
        causal: Whether a position sees only what came before it.
        dropout: On what each half of a block adds.
    """

    def __init__(
        self,
        vocabulary: int = 0,
        *,
        bands: int = 0,
        width: int = 256,
        depth: int = 4,
        heads: int = 0,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, depth, heads or max(1, width // 64), dropout)
        self.embedding = input_layer(vocabulary, bands, width)
        self.causal = causal
        self._fresh()

    def stem(self) -> list[nn.Module]:
        """Token embeddings, or the map of frames."""
        return [self.embedding]

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """States (B, T, D) of every block."""
        x = self.embedding(positions(batch))
        length = x.shape[1]
        mask = None
        if "attention_mask" in batch:
            mask = (batch["attention_mask"] > 0)[:, None, None, :]
        if self.causal:
            past = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
            mask = past if mask is None else mask & past
        return self._states(x, mask, _angles(length, x.shape[2] // self.layers[0].heads, x))

    def step(self, ids: Tensor, past: list[list[Tensor]]) -> Tensor:
        """State (B, D) after one more token (B,) of each row, for causal networks; ``past`` is empty at first and grows.

        It equals the last state of ``forward_features`` over all tokens so far, at the price of one token.
        """
        if not past:
            past.extend([] for _ in self.layers)
        done = past[0][0].shape[2] if past[0] else 0
        x = self.embedding(ids)[:, None]
        cos, sin = _angles(done + 1, x.shape[2] // self.layers[0].heads, x)
        for layer, kept in zip(self.layers, past, strict=True):
            x = layer(x, None, (cos[done:], sin[done:]), kept)
        last: Tensor = self.last_norm(x)[:, 0]
        return last

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
        self._fresh(std=width**-0.5)  # narrow networks barely start to learn from 0.02: pixels must weigh like places
        nn.init.normal_(self.embedding.weight, std=self.embedding.in_features**-0.5)

    def stem(self) -> list[nn.Module]:
        """The map from pixels to states."""
        return [self.embedding]

    def patches(self, pixels: Tensor) -> Tensor:
        """Cut pictures (B, C, H, W) into patches (B, N, C·p·p), row by row."""
        return cut(pixels, self.patch)

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


def cut(pixels: Tensor, patch: int) -> Tensor:
    """Patches (B, N, C·p·p) of pictures (B, C, H, W), row by row."""
    rows, channels, height, width = pixels.shape
    apart = pixels.reshape(rows, channels, height // patch, patch, width // patch, patch)
    return apart.permute(0, 2, 4, 1, 3, 5).reshape(rows, -1, channels * patch * patch)


def joined(patches: Tensor, patch: int) -> Tensor:
    """The inverse of ``cut`` for square pictures."""
    rows, count, numbers = patches.shape
    side, channels = math.isqrt(count), numbers // patch**2
    apart = patches.reshape(rows, side, side, channels, patch, patch)
    return apart.permute(0, 3, 1, 4, 2, 5).reshape(rows, channels, side * patch, side * patch)


def sine_places(side: int, width: int) -> Tensor:
    """Positions (side², width) of a grid: a quarter of the columns each for sine and cosine of row and column.

    Waves are from 4 to 4 · side patches long: longer ones would be constant on so small a grid and drown the others.
    """
    rate = math.pi / 2 * float(side) ** (-torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    angle = torch.arange(side, dtype=torch.float32)[:, None] * rate
    line = torch.cat([angle.sin(), angle.cos()], dim=1)
    across = line[None].expand(side, side, -1)
    return torch.cat([across.transpose(0, 1), across], dim=2).reshape(side * side, -1)
