"""A BiLSTM over the words of a sentence, each its vector beside what a small convolution makes of its letters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graft.nn.recurrent import Recurrent

Batch = dict[str, Tensor]
LETTER_WIDTH = 25  # of the vectors of letters, as in both papers
REACH = 3  # letters that one filter sees


class WordBiLSTM(nn.Module):
    """Word vectors and convolved letters, read in both directions: the network below a CRF.

    What a word looks like tells names from other words where its vector is not known.

    Batch: ``input_ids`` (B, T), ``letters`` (B, T, K), ``attention_mask`` (B, T).

    Args:
        vocabulary: Number of words; 0 is padding.
        characters: Number of letters; 0 is padding.
        embedded: Width of the word vectors.
        filters: Of the convolution over letters.
        width: Of the states, half of them in each direction.
        depth: Layers of the LSTM.
        dropout: On what the LSTM reads and gives.

    References:
        Lample et al. (2016), Neural architectures for named entity recognition, NAACL; Ma & Hovy (2016), End-to-end
        sequence labeling via bi-directional LSTM-CNNs-CRF, ACL (the letters).

    Example:
        >>> network = WordBiLSTM(10, 5, embedded=4, filters=3, width=8)
        >>> batch = {"input_ids": torch.ones(2, 6, dtype=torch.long), "letters": torch.ones(2, 6, 4, dtype=torch.long)}
        >>> batch["attention_mask"] = torch.ones(2, 6)
        >>> [tuple(state.shape) for state in network.forward_features(batch)]
        [(2, 6, 7), (2, 6, 8)]
    """

    def __init__(
        self,
        vocabulary: int,
        characters: int,
        *,
        embedded: int = 50,
        filters: int = 30,
        width: int = 256,
        depth: int = 1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedded, padding_idx=0)
        self.letters = nn.Embedding(characters, LETTER_WIDTH, padding_idx=0)
        self.convolution = nn.Conv1d(LETTER_WIDTH, filters, REACH, padding=REACH // 2)
        # frames of what stands at each word: the layers, their fresh weights and the packing are those of sounds
        self.states = Recurrent(bands=embedded + filters, width=width, embedded=embedded + filters, depth=depth)
        nothing: Any = nn.Identity()  # what the LSTM would embed is embedded here
        self.states.embedding = nothing
        self.dropout = nn.Dropout(dropout)
        self.hidden_size = width

    def blocks(self) -> list[nn.Module]:
        """The vectors with the letters, and the LSTM."""
        return [nn.ModuleList([self.embedding, self.letters, self.convolution]), self.states]

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """What stands at each word (B, T, E + F), and the states (B, T, D)."""
        ids = batch["input_ids"]
        spelled = batch["letters"]
        rows, words = ids.shape
        real = spelled.flatten(0, 1) > 0
        looks = self.convolution(self.letters(spelled.flatten(0, 1)).transpose(1, 2))
        looks = looks.masked_fill(~real[:, None], float("-inf")).amax(dim=2)
        looks = looks.masked_fill(~real.any(dim=1)[:, None], 0.0).view(rows, words, -1)
        each = torch.cat([self.embedding(ids), looks], dim=2)
        inputs = {"frames": self.dropout(each), "attention_mask": batch["attention_mask"]}
        return [each, self.dropout(self.states.forward_features(inputs)[-1])]

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over the real words."""
        return self.states.pool(hidden, batch)
