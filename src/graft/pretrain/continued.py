"""Continued pretraining (继续预训练): a pretrained source fills blanks in rows of the field before it is transferred.

Idea: the source knows the language; a little practice on the field's own rows moves it there.  Helps when: the field's
words and style are far from what the source has read, and there are thousands of rows.  Hurts when: rows are few, or
the source was made for sentence similarity and the task needs just that.
Reference: Gururangan et al. (2020), Don't stop pretraining, ACL.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.errors import SourceError
from graft.core.registry import OBJECTIVES
from graft.core.rows import in_batches
from graft.core.runtime import Progress
from graft.core.types import Dataset, ModelSpec
from graft.engine.objective import Batch, Loss, Objective
from graft.pretrain.language import LanguagePretrain, TokenObjective
from graft.pretrain.masked import HIDDEN, MASKED, RANDOM
from graft.pretrain.tokens import write_corpus
from graft.sources.base import Backbone, open_model
from graft.sources.readers import END, MASK
from graft.sources.text import TextBackbone

HEAD_LR = 1e-3  # the output layer is new and learns faster than the source


class _Tokens:
    """A source's tokenizer, asked as graft's own readers are."""

    def __init__(self, backbone: TextBackbone) -> None:
        self.backbone, self.tokenizer = backbone, backbone.tokenizer
        self.special = {END: self.tokenizer.sep_token_id, MASK: self.tokenizer.mask_token_id}
        if None in self.special.values() or self.tokenizer.cls_token_id is None:
            raise SourceError(
                f"{backbone.spec.name} has no token for a blank", hint="continue from an encoder such as BERT or MiniLM"
            )

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return len(self.tokenizer)

    def number(self, token: str) -> int:
        """The number of a token."""
        return int(self.special[token])

    def encode_whole(self, examples: Any) -> list[np.ndarray]:
        """Token numbers of every row, up to what the source can take, without marks at the ends."""
        return [
            np.ravel(row)[1:-1].astype(np.int64)
            for row in self.backbone.preprocess([str(one) if isinstance(one, str) else one for one in examples])
        ]

    def decode(self, ids: Any, *, blank: str = "") -> str:
        """Text of token numbers."""
        text: str = self.tokenizer.decode([int(token) for token in ids]).replace(self.tokenizer.mask_token, blank)
        return text


class _Continued(TokenObjective):
    """Hidden tokens from the states of a source whose embeddings stay as they are."""

    def __init__(self, backbone: TextBackbone, *, lr: float, weight_decay: float) -> None:
        nn.Module.__init__(self)
        self.backbone, self.lr, self.weight_decay = backbone, lr, weight_decay  # type: ignore[assignment]
        width = backbone.network.config.hidden_size
        self.bridge = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(self.embedding.num_embeddings))

    @property
    def embedding(self) -> nn.Embedding:
        found = self.backbone.network.get_input_embeddings()  # type: ignore[operator,union-attr]
        assert isinstance(found, nn.Embedding)
        return found

    def players(self) -> dict[str, list[dict[str, Any]]]:
        body = [p for p in self.backbone.parameters() if p.requires_grad]
        head = [self.bias, *(self.bridge.parameters() if self.bridge is not None else ())]
        groups = [
            {"params": [p for p in body if p.ndim > 1], "lr": self.lr, "weight_decay": self.weight_decay},
            {"params": [p for p in body if p.ndim <= 1], "lr": self.lr, "weight_decay": 0.0},
            {"params": head, "lr": HEAD_LR, "weight_decay": 0.0},
        ]
        return {"model": groups}

    def predicted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        states = self.backbone.network(**inputs).last_hidden_state  # type: ignore[operator]
        places = batch["places"][..., None].expand(-1, -1, states.shape[2])
        return torch.gather(states, 1, places), batch["wanted"]

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        return Loss(self.per_row(batch))

    def per_row(self, batch: Batch) -> Tensor:
        """Mean over the blanks of each row (B,)."""
        counted = batch["counted"]
        return self.nats(batch, counted / counted.sum(dim=1, keepdim=True)).sum(dim=1)


@OBJECTIVES.register("continue")
class Continued(LanguagePretrain):
    """Fill-in-the-blank prediction by a source of transformers, row by row; its embeddings stay as they are.

    Args:
        source: URI of an encoder with a token for blanks (``sbert:``, ``hf:`` or ``file:``).
        length: Tokens of a row at most.
        epochs: Passes over the rows; None: as many as the time allows, or 3 without a budget.
        batch_size: Rows of a step.
        lr: Peak rate of the source.
        weight_decay: Decoupled weight decay.
        seed: Seed of order and what is hidden.

    Example:
        >>> from graft.pretrain.continued import Continued
        >>> made = Continued("sbert:all-MiniLM-L6-v2", epochs=1).fit(["the parcel is late", "the card is lost"] * 8)
        >>> [score["name"] for score in made.record_["scores"]]
        ['perplexity of blanks']
    """

    name = "continue"
    label = "continued pretraining"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"text": ("that of --source",)}

    def __init__(
        self,
        source: str | ModelSpec | Backbone = "sbert:all-MiniLM-L6-v2",
        *,
        length: int = 128,
        epochs: float | None = None,
        batch_size: int = 32,
        lr: float = 5e-5,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.length = length
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.seed = seed

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        opened = copy.deepcopy(self.source) if isinstance(self.source, Backbone) else open_model(self.source)
        if not isinstance(opened, TextBackbone):
            raise SourceError(f"{opened.spec.name} is no text source of transformers", hint="use hf: or sbert:")
        opened.freeze_below(None)
        opened.set_dropout(0.0)  # after two passes over MR held-out blanks have perplexity 163 so, 183 with dropout
        self.reader_ = _Tokens(opened)
        self.corpus_ = write_corpus(self.reader_, data, folder, seed=self.seed, progress=progress)
        opened.spec = dataclasses.replace(opened.spec, architecture=opened.spec.architecture or opened.spec.name)
        rows = _Rows(self.corpus_.train, self.reader_.number(END), self.length - 2)
        per_epoch = math.ceil(len(rows.order) / self.batch_size)

        def batches(epoch: int) -> Iterator[Batch]:
            rng = np.random.default_rng((self.seed, epoch))
            for some in rows.batches(self.batch_size, rng):
                yield self._blanked(opened, [rows.take(row) for row in some], rng)

        return opened, _Continued(opened, lr=self.lr, weight_decay=self.weight_decay), batches, per_epoch

    def _blanked(
        self, backbone: TextBackbone, rows: list[np.ndarray], rng: np.random.Generator, *, masked: float = MASKED
    ) -> Batch:
        """Rows between the marks of the source, 15 % of their tokens hidden, at least one; ``masked`` become blanks."""
        tokenizer = backbone.tokenizer
        hidden = [max(1, round(HIDDEN * len(row))) for row in rows]
        places, wanted = np.zeros((len(rows), max(hidden)), np.int64), np.zeros((len(rows), max(hidden)), np.int64)
        counted = np.zeros(places.shape, np.float32)
        marked = []
        for index, (row, count) in enumerate(zip(rows, hidden, strict=True)):
            chosen = np.sort(rng.choice(len(row), count, replace=False))
            changed, fate = row.copy(), rng.random(count)
            changed[chosen[fate < masked]] = self.reader_.number(MASK)
            other = chosen[(fate >= masked) & (fate < masked + RANDOM)]
            changed[other] = rng.integers(0, self.reader_.vocabulary, len(other))
            places[index, :count], wanted[index, :count], counted[index, :count] = chosen + 1, row[chosen], 1.0
            marked.append(
                np.concatenate([[tokenizer.cls_token_id], changed, [tokenizer.sep_token_id]]).astype(np.int32)
            )
        more = {"places": places, "wanted": wanted, "counted": counted}
        return backbone.collate(marked) | {name: torch.from_numpy(array) for name, array in more.items()}

    def _measure(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, _Continued)
        backbone: Any = objective.backbone
        rows = _Rows(np.asarray(self.corpus_.held_out), self.reader_.number(END), self.length - 2)
        rng = np.random.default_rng((self.seed, 2))
        place = next(objective.parameters()).device
        ngrams = self._ngrams()
        found: dict[str, list[np.ndarray]] = {"own": [], "unigram": [], "bigram": []}
        with torch.inference_mode():
            for start in range(0, len(rows.order), 64):
                some = [rows.take(row) for row in rows.order[start : start + 64]]
                batch = self._blanked(backbone, some, rng)
                found["own"].append(objective.per_row({k: v.to(place) for k, v in batch.items()}).cpu().numpy())
                counted, wanted = batch["counted"].numpy() > 0, batch["wanted"].numpy()
                for index, row in enumerate(some):
                    at = batch["places"].numpy()[index][counted[index]] - 1
                    before = np.where(at > 0, row[at - 1], self.reader_.number(END))
                    unigram, bigram = ngrams.nats(before, wanted[index][counted[index]])
                    found["unigram"].append(unigram.mean(keepdims=True))
                    found["bigram"].append(bigram.mean(keepdims=True))
        joined = {name: np.concatenate(parts) for name, parts in found.items()}
        own = joined.pop("own")
        return [self._score("perplexity of blanks", own, joined, np.exp, "per blank")]

    def _samples(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, _Continued)
        backbone: Any = objective.backbone
        rows = _Rows(np.asarray(self.corpus_.held_out), self.reader_.number(END), 24)
        some = [rows.take(row) for row in rows.order[:4]]
        batch = self._blanked(backbone, some, np.random.default_rng((self.seed, 3)), masked=1.0)
        place = next(objective.parameters()).device
        with torch.inference_mode():
            states, wanted = objective.predicted({key: value.to(place) for key, value in batch.items()})
            best = torch.softmax(objective.logits(states).float(), dim=2).topk(3, dim=2)
        samples = []
        for index in range(len(some)):
            blanks = []
            for blank in np.flatnonzero(batch["counted"].numpy()[index]):
                pairs = zip(best.indices[index, blank].tolist(), best.values[index, blank].tolist(), strict=True)
                guesses = [[self.reader_.decode([token]), round(chance, 3)] for token, chance in pairs]
                blanks.append({"true": self.reader_.decode([int(wanted[index, blank])]), "guesses": guesses})
            length = int(batch["attention_mask"][index].sum())
            given = self.reader_.decode(batch["input_ids"][index, 1 : length - 1].numpy(), blank="___")
            samples.append({"kind": "filled", "given": given, "blanks": blanks})
        return samples

    @property
    def _per_row(self) -> float:
        return min(len(self.corpus_.train) / max(1, self.corpus_.rows), self.length)


class _Rows:
    """Rows of a corpus: from one end token to the next."""

    def __init__(self, tokens: np.ndarray, end: int, longest: int) -> None:
        ends = np.flatnonzero(np.asarray(tokens) == end)
        starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else np.zeros(0, np.int64)
        self.tokens, self.longest = tokens, longest
        self.starts, self.lengths = starts, np.minimum(ends - starts, longest)
        self.order = np.flatnonzero(self.lengths > 0)

    def take(self, row: int) -> np.ndarray:
        """Token numbers of one row."""
        start = int(self.starts[row])
        return np.asarray(self.tokens[start : start + int(self.lengths[row])]).astype(np.int64)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Row numbers of one epoch in batches of similar length, in random order."""
        return in_batches(rng.permutation(self.order), size, self.lengths, rng)
