"""Long texts: what a network cannot read at once is read in windows that overlap, or as its beginning and its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.core.rows import evenly_spaced
from graft.data.long_texts import Ends, Windowed

MOST = 8  # windows of one text, evenly spaced where there are more: a book costs no more than this
TRAINED = 4  # of them that one training step reads, chosen at random
OVERLAP = 8  # one token in so many stands in two windows
OWNER = "owner"  # which text each window of a batch belongs to (W,)


@dataclass(frozen=True)
class Windows:
    """A text as windows of tokens.

    Attributes:
        parts: Token numbers (T_i,) of each window, with the marks that the tokenizer puts around a text.
    """

    parts: tuple[np.ndarray, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.nbytes for part in self.parts)

    @property
    def shape(self) -> tuple[int]:
        """Number of tokens of all windows."""
        return (sum(len(part) for part in self.parts),)


def is_long(example: Any) -> bool:
    """Whether a text says that it is to be read as a whole."""
    return isinstance(example, Windowed | Ends)


def encode_long(backend: Any, texts: list[str], longest: int, *, ends: bool) -> list[Any]:
    """Tokens of texts: one array where a text fits, else ``Windows``, or the first and the last half of ``longest`` tokens.

    Args:
        backend: A tokenizer of the ``tokenizers`` library.
        texts: The texts.
        longest: Tokens that the network reads at once.
        ends: Whether the ends are taken in the place of windows.
    """
    if ends:
        return [_ends(np.array(one.ids, np.int32), longest) for one in _untruncated(backend, texts, longest)]
    room = longest - backend.num_special_tokens_to_add(is_pair=False)
    backend.enable_truncation(longest, stride=max(0, min(longest // OVERLAP, room - 1)))
    try:
        encodings = backend.encode_batch(texts)
    finally:
        backend.enable_truncation(longest)
    found: list[Any] = []
    for one in encodings:
        every = [one, *one.overflowing]
        parts = tuple(np.array(every[place].ids, np.int32) for place in evenly_spaced(len(every), MOST))
        found.append(parts[0] if len(parts) == 1 else Windows(parts))
    return found


def _untruncated(backend: Any, texts: list[str], longest: int) -> list[Any]:
    backend.no_truncation()
    try:
        return list(backend.encode_batch(texts))
    finally:
        backend.enable_truncation(longest)


def _ends(tokens: np.ndarray, longest: int) -> np.ndarray:
    half = longest // 2
    return tokens if len(tokens) <= longest else np.concatenate([tokens[:half], tokens[half - longest :]])


def unfolded(encoded: list[Any], *, training: bool) -> tuple[list[np.ndarray], Tensor | None]:
    """Windows one after the other, and the text (W,) that each belongs to; None where every text is one window.

    In training at most ``TRAINED`` windows of a text are taken, by torch's global random state.
    """
    if not any(isinstance(one, Windows) for one in encoded):
        return encoded, None
    parts: list[np.ndarray] = []
    owner: list[int] = []
    for number, one in enumerate(encoded):
        mine = one.parts if isinstance(one, Windows) else (one,)
        if training and len(mine) > TRAINED:
            mine = tuple(mine[place] for place in sorted(torch.randperm(len(mine))[:TRAINED].tolist()))
        parts += mine
        owner += [number] * len(mine)
    return parts, torch.tensor(owner)


def joined(values: Tensor, owner: Tensor | None) -> Tensor:
    """Mean over the windows of each text: (W, D) -> (B, D); as they are where there is no owner.

    The logits of a linear head on this mean are the mean of the logits of the windows.

    Example:
        >>> joined(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1])).tolist()
        [[2.0], [5.0]]
    """
    if owner is None:
        return values
    count = int(owner[-1]) + 1
    total = torch.zeros(count, values.shape[1], dtype=values.dtype, device=values.device).index_add_(0, owner, values)
    return total / torch.bincount(owner, minlength=count).to(values.dtype).unsqueeze(1)
