"""Recurrent encoders over tokens or frames of sound: LSTM and GRU."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from graft.nn.transformer import input_layer, mean_of_tokens, positions

Batch = dict[str, Tensor]


class Recurrent(nn.Module):
    """Layers of LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho et al. 2014) over token embeddings.

    Batch: ``input_ids`` (B, T), or ``frames`` (B, T, F); ``attention_mask`` (B, T) or none where nothing is padded.

    Args:
        vocabulary: Number of tokens; 0 is padding.
        bands: Numbers F of a frame, where there are frames instead of tokens.
        width: Of the states.
        embedded: Width of the embeddings; 0 for that of the states.
        depth: Number of layers.
        cell: ``"lstm"`` or ``"gru"``.
        causal: Whether a position sees only what came before it; else half of the states run backwards.
        dropout: Between layers.
    """

    def __init__(
        self,
        vocabulary: int = 0,
        *,
        bands: int = 0,
        width: int = 256,
        embedded: int = 0,
        depth: int = 2,
        cell: str = "lstm",
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inputs = embedded or width
        self.embedding = input_layer(vocabulary, bands, inputs)
        nn.init.normal_(self.embedding.weight, std=inputs**-0.5)
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
        states = width if causal else width // 2
        self.layers = nn.ModuleList(
            kind(width if layer else inputs, states, batch_first=True, bidirectional=not causal)
            for layer in range(depth)
        )
        for layer in self.layers:
            _fresh(layer, states)
        self.dropout = nn.Dropout(dropout)
        self.causal, self.hidden_size = causal, width

    def blocks(self) -> list[nn.Module]:
        """The layers, bottom to top, with the embedding in the first."""
        return [nn.ModuleList([self.embedding, self.layers[0]]), *self.layers[1:]]

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """States (B, T, D) of the embeddings and of every layer."""
        x = self.embedding(positions(batch))
        lengths = None
        if "attention_mask" in batch and not self.causal:  # what runs backwards must not start in the padding
            lengths = batch["attention_mask"].sum(dim=1).long().clamp(min=1).cpu()
        states: list[Tensor] = [x]
        for layer in self.layers:
            x = self._layer(layer, self.dropout(x) if len(states) > 1 else x, lengths)
            states.append(x)
        return states

    def step(self, ids: Tensor, past: list[Any]) -> Tensor:
        """State (B, D) after one more token (B,) of each row, for causal networks; ``past`` is empty at first."""
        x = self.embedding(ids)[:, None]
        states = []
        for layer, state in zip(self.layers, past or [None] * len(self.layers), strict=True):
            x, state = layer(x, state)  # noqa: PLW2901  (the state moves on)
            states.append(state)
        past[:] = states
        last: Tensor = x[:, 0]
        return last

    def _layer(self, layer: nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            out: Tensor = layer(x)[0]
            return out
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=x.shape[1])[0]

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over the real tokens."""
        return mean_of_tokens(hidden, batch)


def _fresh(layer: nn.Module, states: int) -> None:
    """Orthogonal recurrent matrices and, for an LSTM, gates that forget little.

    Saxe et al. (2014); Jozefowicz et al. (2015).
    """
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.data.split(states):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            nn.init.uniform_(parameter, -math.sqrt(3 / parameter.shape[1]), math.sqrt(3 / parameter.shape[1]))
        else:
            nn.init.zeros_(parameter)
            if isinstance(layer, nn.LSTM) and name.startswith("bias_ih"):
                parameter.data[states : 2 * states] = 1.0
