"""What objectives over tokens share: the corpus, the encoder, an output layer tied to the embeddings, the scores."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.runtime import Progress
from graft.core.types import Dataset, ModelSpec
from graft.engine.loop import History
from graft.engine.objective import Batch, Loss, Objective
from graft.nn.encoders import size_of
from graft.nn.losses import linear_cross_entropy
from graft.pretrain.base import BasePretrain, choose_encoder, decayed
from graft.pretrain.ngrams import NGrams
from graft.pretrain.tokens import Corpus, batches_of, learn_reader, write_corpus
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone

MEASURED_TOKENS = 100_000  # held-out tokens that are scored at most
MEASURED_ROWS = 32  # blocks scored at a time


class TokenObjective(Objective):
    """An encoder of tokens with an output layer tied to its embeddings.  Press & Wolf (2017).

    logits = E · g(h) + b, with g the identity, or a GELU layer with normalisation (``bridge``) as in BERT.

    Args:
        backbone: The encoder.
        lr: Peak rate.
        weight_decay: Of matrices other than the embeddings.
        bridge: Whether a layer stands between states and output.
    """

    def __init__(self, backbone: NativeBackbone, *, lr: float, weight_decay: float, bridge: bool) -> None:
        super().__init__()
        self.backbone, self.lr, self.weight_decay = backbone, lr, weight_decay
        width = backbone.spec.hidden_size
        self.bridge = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)) if bridge else None
        self.bias = nn.Parameter(torch.zeros(self.embedding.num_embeddings))

    @property
    def embedding(self) -> nn.Embedding:
        """The token embeddings."""
        found = self.backbone.body.embedding
        assert isinstance(found, nn.Embedding)
        return found

    def players(self) -> dict[str, list[dict[str, Any]]]:
        tied = self.embedding.weight
        return {"model": decayed(self, lr=self.lr, weight_decay=self.weight_decay, spared=(tied,))}

    def states(self, ids: Tensor, places: Tensor | None = None) -> Tensor:
        """States (B, T, D) of token numbers (B, T); some encoders give those of ``places`` (B, K) alone, at less cost."""
        batch = {"input_ids": ids} if places is None else {"input_ids": ids, "places": places}
        hidden: Tensor = self.backbone.body.forward_features(batch)[-1]
        return hidden

    def logits(self, states: Tensor) -> Tensor:
        """Scores (…, V) of states (…, D)."""
        return F.linear(self._bridged(states), self.embedding.weight, self.bias.to(self.embedding.weight.dtype))

    def _bridged(self, states: Tensor) -> Tensor:
        return self.bridge(states) if self.bridge is not None else states

    def nats(self, batch: Batch, shares: Tensor | None = None) -> Tensor:
        """Negative log-likelihood (B, K) of every predicted token, times its share (B, K) if these are given."""
        states, wanted = self.predicted(batch)
        x, parts = self._bridged(states).flatten(0, 1), None if shares is None else shares.flatten()
        return linear_cross_entropy(x, self.embedding.weight, self.bias, wanted.flatten(), parts).view(wanted.shape)

    @abstractmethod
    def predicted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """States (B, K, D) from which tokens are predicted, and these tokens (B, K)."""

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        return Loss(self.nats(batch).mean(dim=1))


class LanguagePretrain(BasePretrain):
    """Base of all objectives over tokens: facts about the corpus, simple models, scores with intervals."""

    reader_: Any
    corpus_: Corpus

    def _facts(self) -> dict[str, Any]:
        return {
            "train_tokens": len(self.corpus_.train),
            "held_out_tokens": len(self.corpus_.held_out),
            "vocabulary": self.reader_.vocabulary,
        }

    @property
    @abstractmethod
    def _per_row(self) -> float:
        """Tokens of one row of a batch."""

    def _throughput(self, history: History) -> dict[str, float]:
        tokens = history.steps * self.batch_size * self._per_row
        return {"tokens_per_second": round(tokens / history.seconds) if history.seconds else 0.0}

    def _ngrams(self) -> NGrams:
        return NGrams(self.corpus_.train, self.reader_.vocabulary)


class BlockPretrain(LanguagePretrain):
    """Base of next-element and masked prediction over text and letters.

    Args:
        encoder: Name of the encoder; the first the objective knows if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        unit: ``"subword"``, ``"word"``, ``"character"``, or ``"auto"``: subwords, or characters for scripts without
            spaces and for DNA.
        vocabulary: Tokens of the vocabulary at most.
        length: Tokens of a block.
        epochs: Passes over the corpus; None: as many as the time allows, or 3 without a budget.
        batch_size: Blocks of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and what is hidden.
    """

    causal: ClassVar[bool] = False

    def __init__(
        self,
        *,
        encoder: str | None = None,
        size: str = "small",
        unit: str = "auto",
        vocabulary: int = 8_000,
        length: int = 128,
        epochs: float | None = None,
        batch_size: int = 32,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.encoder = encoder
        self.size = size
        self.unit = unit
        self.vocabulary = vocabulary
        self.length = length
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.seed = seed

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        modality = data.task.modality
        name = choose_encoder(self.encoder, self.encoders[modality], self.label)
        reader = learn_reader(data, unit=self.unit, vocabulary=self.vocabulary, longest=max(256, self.length))
        self.reader_ = reader
        self.corpus_ = write_corpus(reader, data, folder, seed=self.seed, progress=progress)
        arguments = {"vocabulary": reader.vocabulary, **size_of(name, self.size), "causal": self.causal}
        spec = ModelSpec(f"new:{name}", name, modality, architecture=f"{name}-{self.size}")
        backbone = NativeBackbone(name, arguments, reader, spec)
        objective = self._objective(backbone)
        batches = batches_of(self.corpus_, self._block, self.batch_size, self.seed, self._batch)
        per_epoch = math.ceil((len(self.corpus_.train) // self._block) / self.batch_size)
        return backbone, objective, batches, per_epoch

    @property
    def _block(self) -> int:
        """Tokens that one block takes from the corpus."""
        return self.length

    @abstractmethod
    def _objective(self, backbone: NativeBackbone) -> TokenObjective:
        """What is minimised."""

    @abstractmethod
    def _batch(self, ids: np.ndarray, rng: np.random.Generator) -> Batch:
        """A batch of blocks (B, T)."""

    @property
    def _per_row(self) -> float:
        return self.length

    def _held_out(self) -> np.ndarray:
        """Blocks (N, T) of held-out tokens; one shorter block where there are few."""
        tokens = np.asarray(self.corpus_.held_out[:MEASURED_TOKENS]).astype(np.int64)
        length = min(self._block, len(tokens))
        count = max(1, len(tokens) // length)
        return tokens[: count * length].reshape(count, length)

    def _held_out_batches(self, objective: Objective, blocks: np.ndarray) -> Iterator[Batch]:
        """Batches of held-out blocks where the objective lives, equal at every call."""
        rng = np.random.default_rng((self.seed, 2))
        place = next(objective.parameters()).device
        for start in range(0, len(blocks), MEASURED_ROWS):
            batch = self._batch(blocks[start : start + MEASURED_ROWS], rng)
            yield {name: tensor.to(place) for name, tensor in batch.items()}
