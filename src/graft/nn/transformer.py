"""Transformers small enough to train here, over tokens or frames of sound, causal or seeing both sides."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.nn.attention import Turn, angles, attend

Batch = dict[str, Tensor]

INIT = 0.02  # standard deviation of fresh weights.  Radford et al. (2019)


class _Block(nn.Module):
    """Attention and a GELU layer, each after a layer normalisation, added to what came in.

    Ba et al. (2016); Xiong et al. (2020) for the normalisation in front.
    """

    def __init__(self, width: int, heads: int, dropout: float, inner: int = 0) -> None:
        super().__init__()
        self.heads, inner = heads, inner or 4 * width
        self.before_attention, self.before_layer = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        seen: Tensor | None,
        turn: Turn | None,
        past: list[Tensor] | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        normal = self.before_attention(x)
        if places is None:
            parts, q, turn_q = self._apart(self.qkv(normal), 3), None, None
        else:  # only these places (B, K) ask, and only they go on
            x, asking = at_places(x, places), at_places(normal, places)
            weight, bias, width = self.qkv.weight, self.qkv.bias, x.shape[2]
            q = self._apart(F.linear(asking, weight[:width], bias[:width]), 1)[:, :, 0]
            parts = self._apart(F.linear(normal, weight[width:], bias[width:]), 2)
            turn_q = None if turn is None else (turn[0][places], turn[1][places])
        if past is not None:  # keys and values of the places before
            assert turn is not None
            q, turn_q = parts[:, :, 0], (turn[0][-1:], turn[1][-1:])
            past[:] = [torch.cat([*past, parts[:, :, 1:]], dim=1)]
            parts = past[0]
        y = attend(parts, q, seen=seen, turn=turn, turn_q=turn_q, training=self.training)
        x = x + self.dropout(self.out(y))
        inner: Tensor = F.gelu(self.up(self.before_layer(x)))
        out: Tensor = x + self.dropout(self.down(inner))
        return out

    def _apart(self, x: Tensor, parts: int) -> Tensor:
        """(B, T, parts · D) -> (B, T, parts, H, d)."""
        apart: Tensor = x.unflatten(2, (parts, self.heads, -1))
        return apart


class Stack(nn.Module):
    """Blocks between an embedding, which a subclass makes, and a normalisation at the end."""

    embedding: nn.Module

    def __init__(self, width: int, depth: int, heads: int, dropout: float, inner: int = 0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Block(width, heads, dropout, inner) for _ in range(depth))
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
        """The blocks, bottom to top, with the embedding in the first and the last normalisation in the last."""
        parts: list[list[nn.Module]] = [[layer] for layer in self.layers]
        parts[0].insert(0, self.embedding)
        parts[-1].append(self.last_norm)
        return [nn.ModuleList(part) for part in parts]

    def _states(self, x: Tensor, seen: Tensor | None, turn: Turn | None, places: Tensor | None = None) -> list[Tensor]:
        states = []
        for layer in self.layers:
            x = layer(x, seen, turn, places=places if layer is self.layers[-1] else None)
            states.append(x)
        states[-1] = self.last_norm(x)
        return states


def input_layer(vocabulary: int, bands: int, width: int) -> nn.Embedding | nn.Linear:
    """Embeddings of tokens, or a linear map where a position is no token but a frame of ``bands`` numbers."""
    return nn.Linear(bands, width) if bands else nn.Embedding(vocabulary, width)


def at_places(x: Tensor, places: Tensor) -> Tensor:
    """States (B, T, D) in some places (B, K) of each row."""
    return torch.gather(x, 1, places[..., None].expand(-1, -1, x.shape[2]))


def positions(batch: Batch) -> Tensor:
    """What stands at each position: frames (B, T, F), or token numbers (B, T)."""
    return batch["frames"] if "frames" in batch else batch["input_ids"]


class Transformer(Stack):
    """A transformer over tokens, or over frames of sound, with rotary positions.  Vaswani et al. (2017).

    Batch: ``input_ids`` (B, T), or ``frames`` (B, T, F); ``attention_mask`` (B, T) or none where nothing is padded;
    ``places`` (B, K) where the last block is wanted in these places alone, which spares most of its work.

    Args:
        vocabulary: Number of tokens; 0 is padding.
        bands: Numbers F of a frame, where there are frames instead of tokens.
        width: Of the states.
        depth: Number of blocks.
        heads: Attention heads; one per 64 columns by default.
        causal: Whether a position sees only what came before it.
        dropout: On what each half of a block adds.
        inner: Units between the two layers that follow attention; four times the width by default.
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
        inner: int = 0,
    ) -> None:
        super().__init__(width, depth, heads or max(1, width // 64), dropout, inner)
        self.embedding = input_layer(vocabulary, bands, width)
        self.causal = causal
        self._fresh()

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """States (B, T, D) of the embeddings and of every block; (B, K, D) of the last where ``places`` are named."""
        x, places = self.embedding(positions(batch)), batch.get("places")
        length = x.shape[1]
        seen = None
        if "attention_mask" in batch:
            seen = (batch["attention_mask"] > 0)[:, None, None, :]
        if self.causal:
            past = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
            seen = past if seen is None else seen & past
            assert places is None, "a causal network is wanted in all places"
        return [x, *self._states(x, seen, angles(length, x.shape[2] // self.layers[0].heads, x), places)]

    def step(self, ids: Tensor, past: list[list[Tensor]]) -> Tensor:
        """State (B, D) after one more token (B,) of each row, for causal networks; ``past`` is empty at first and grows.

        It equals the last state of ``forward_features`` over all tokens so far, at the price of one token.
        """
        if not past:
            past.extend([] for _ in self.layers)
        done = past[0][0].shape[1] if past[0] else 0
        x = self.embedding(ids)[:, None]
        turn = angles(done + 1, x.shape[2] // self.layers[0].heads, x)
        for layer, kept in zip(self.layers, past, strict=True):
            x = layer(x, None, turn, past=kept)
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
