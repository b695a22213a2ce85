"""The classical tagger: a CRF on what words look like and stand beside (``data.word_shapes``), without any vectors.

Reference: Lafferty et al. (2001); the form of most taggers before networks, about 0.80 to 0.85 on CoNLL-2003.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.ragged import cut, flat
from graft.core.runtime import seeded
from graft.core.types import Dataset
from graft.data.sentences import Sentence, SentenceRows
from graft.data.word_shapes import BITS, FEATURES, word_shapes
from graft.engine.loop import History, fit
from graft.engine.objective import Batch
from graft.nn.crf import CRF
from graft.sources.aligned import ROW
from graft.transfer.base import Setting
from graft.transfer.chain import ChainObjective

EPOCHS, MIN_STEPS, MAX_EPOCHS = 8, 150, 20  # passes; small data is seen more often to take this many steps
SENTENCES, FEW = 50, 1000  # of a step; up to so many sentences in all fewer
RATE, DECAY = 0.03, 0.02  # of AdamW; chosen on the development part of CoNLL-2003


class _Bag(nn.Module):
    """Emissions: the sum of the weights of a word's features, those that occur."""

    def __init__(self, features: int, tags: int) -> None:
        super().__init__()
        self.weight = nn.EmbeddingBag(features, tags, mode="sum")
        nn.init.zeros_(self.weight.weight)

    def forward(self, batch: Batch) -> Tensor:
        """(ΣT, F) numbers of features to (ΣT, C)."""
        scores: Tensor = self.weight(batch["features"])
        return scores


class _Chain(nn.Module):
    """Emissions as they are, with the transitions beside them."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.crf = CRF(tags)

    def forward(self, emissions: Tensor) -> Tensor:
        """As they are."""
        return emissions


class HandTagger:
    """Weights of features and transitions.

    Attributes:
        weight: Of every feature for every tag, float16 (2^18, C).
        crf: The transitions.
    """

    def __init__(self, weight: np.ndarray, crf: CRF) -> None:
        self.weight, self.crf = weight, crf

    @classmethod
    def fit(cls, data: Dataset, setting: Setting, *, seed: int = 0) -> tuple[HandTagger, History]:
        """Learn from sentences; the maximum of the likelihood with decayed weights, by AdamW."""
        assert isinstance(data.X, SentenceRows)
        counts = data.X.counts[data.rows]
        numbers, places = np.unique(word_shapes(data.take()), return_inverse=True)
        features = cut(places.reshape(-1, FEATURES), counts)
        size = SENTENCES if len(data) > FEW else max(4, SENTENCES * len(data) // FEW)
        each = -(-len(data) // size)
        with seeded(seed):
            bag, chain = _Bag(len(numbers), data.task.outputs), _Chain(data.task.outputs)
            groups = [
                {"params": list(bag.parameters()), "lr": RATE, "weight_decay": DECAY},
                {"params": list(chain.parameters()), "lr": RATE, "weight_decay": 0.0},
            ]
            history = fit(
                ChainObjective(bag, chain, data.task, groups),
                _batches(features, data.y, size, seed),
                steps=max(EPOCHS * each, min(MIN_STEPS, MAX_EPOCHS * each)),
                clock=setting.clock,
                progress=setting.progress,
                name="classical tagger",
            )
        weight = np.zeros((1 << BITS, data.task.outputs), np.float16)
        weight[numbers] = bag.weight.weight.detach().cpu().numpy().astype(np.float16)
        return cls(weight, chain.crf.cpu().requires_grad_(requires_grad=False)), history

    def outputs(self, sentences: Sequence[Sentence]) -> np.ndarray:
        """Probabilities per sentence, object array of (T_i, C)."""
        ids = word_shapes(sentences)
        emissions = np.zeros((len(ids), self.weight.shape[1]))
        for column in ids.T:
            emissions += self.weight[column]
        return self.crf.outputs(cut(emissions, np.array([len(one.starts) for one in sentences], np.int64)))


def _batches(features: np.ndarray, y: np.ndarray | None, size: int, seed: int) -> Callable[[int], Iterator[Batch]]:
    assert y is not None

    def batches(epoch: int) -> Iterator[Batch]:
        order = np.random.default_rng((seed, epoch)).permutation(len(features))
        for at in range(0, len(order), size):
            rows = order[at : at + size]
            counts = [len(features[row]) for row in rows]
            yield {
                "features": torch.from_numpy(flat(features[rows])),
                "y": torch.from_numpy(flat(y[rows]).astype(np.int64)),
                ROW: torch.from_numpy(np.repeat(np.arange(len(rows)), counts)),
            }

    return batches
