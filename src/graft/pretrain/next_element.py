"""Next-element prediction (次序预测): every token is predicted from those before it.

Idea: to say what comes next, a network must learn what tends to follow what.  Helps when: text of the field is at
hand but few labels.  Hurts when: the corpus is smaller than a few hundred thousand tokens, or far from the task.
References: Bengio et al. (2003); Radford et al. (2018); Howard & Ruder (2018).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from graft.core.registry import OBJECTIVES
from graft.engine.objective import Batch, Objective
from graft.pretrain.language import BlockPretrain, TokenObjective
from graft.pretrain.tokens import FIRST
from graft.sources.native import NativeBackbone
from graft.sources.readers import END

WARMTH = 0.8  # temperature of sampling
CHOICES = 40  # tokens that sampling chooses from.  Fan et al. (2018)
SAMPLE_TOKENS = 60


class _Next(TokenObjective):
    """The token at t + 1 from the states up to t."""

    def predicted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        ids = batch["ids"]
        return self.states(ids[:, :-1]), ids[:, 1:]


@OBJECTIVES.register("next")
class NextElement(BlockPretrain):
    """Predict every token from those before it; the loss of a block is the mean of -log p(x_t | x_<t).

    Example:
        >>> from graft.pretrain.next_element import NextElement
        >>> made = NextElement(encoder="gru", size="tiny", length=8, epochs=1).fit(["to be or not to be"] * 40)
        >>> [score["name"] for score in made.record_["scores"]]
        ['perplexity', 'bits per character']
    """

    name = "next"
    label = "next-element prediction"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = dict.fromkeys(
        ("text", "sequence"), ("transformer", "lstm", "gru", "cnn")
    )
    causal = True

    @property
    def _block(self) -> int:
        return self.length + 1  # the last token is only predicted

    def _objective(self, backbone: NativeBackbone) -> TokenObjective:
        return _Next(backbone, lr=self.lr, weight_decay=self.weight_decay, bridge=False)

    def _batch(self, ids: np.ndarray, rng: np.random.Generator) -> Batch:
        del rng
        return {"ids": torch.from_numpy(ids)}

    def _measure(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, TokenObjective)
        blocks = self._held_out()
        with torch.inference_mode():
            parts = [objective.nats(batch).cpu().numpy() for batch in self._held_out_batches(objective, blocks)]
        nats = np.concatenate(parts)
        unigram, bigram = self._ngrams().nats(blocks[:, :-1], blocks[:, 1:])
        simple = {"unigram": unigram, "bigram": bigram}
        per_character = len(self.corpus_.held_out) / max(1, self.corpus_.characters) / math.log(2)
        means = nats.mean(axis=1)
        return [
            self._score("perplexity", means, simple, np.exp, "per token"),
            self._score("bits per character", means, simple, lambda value: value * per_character, "bits"),
        ]

    def _samples(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, TokenObjective)
        free = [{"kind": "written", "text": text} for text in self.sample(objective, count=4)]
        begun = []
        for ids in self._rows()[:3]:
            start = ids[: max(1, len(ids) // 2)]
            text = self.sample(objective, count=1, start=start)[0]
            begun.append({"kind": "continued", "given": self.reader_.decode(start), "text": text})
        return free + begun

    def _rows(self) -> list[np.ndarray]:
        """Some held-out rows without their ends."""
        tokens = np.asarray(self.corpus_.held_out[:20_000]).astype(np.int64)
        ends = np.flatnonzero(tokens == self.reader_.number(END))
        rows = [row[row != self.reader_.number(END)] for row in np.split(tokens, ends + 1)]
        return [row for row in rows if len(row) >= 4]

    def sample(
        self, objective: TokenObjective, *, count: int = 1, start: np.ndarray | None = None, tokens: int = SAMPLE_TOKENS
    ) -> list[str]:
        """Texts drawn token by token, from an end token on or from a given start.

        Args:
            objective: The trained objective, which holds the output layer.
            count: How many texts.
            start: Token numbers to go on from; they are not part of the result.
            tokens: Tokens of one text at most.
        """
        end = self.reader_.number(END)
        generator = torch.Generator().manual_seed(self.seed)
        begin = np.concatenate([[end], start if start is not None else np.zeros(0, np.int64)]).astype(np.int64)
        ids = torch.from_numpy(np.tile(begin, (count, 1)))
        place = next(objective.parameters()).device
        open_ = torch.ones(count, dtype=torch.bool)
        with torch.inference_mode():
            for _ in range(tokens):
                seen = ids[:, -self.length :].to(place)
                scores = objective.logits(objective.states(seen)[:, -1]).float().cpu() / WARMTH
                scores[:, :end] = scores[:, end + 1 : FIRST] = -math.inf  # special tokens are not text
                best, which = scores.topk(min(CHOICES, scores.shape[1]), dim=1)
                drawn = torch.multinomial(torch.softmax(best, dim=1), 1, generator=generator)
                token = which.gather(1, drawn)
                token[~open_] = end
                open_ &= token[:, 0] != end
                ids = torch.cat([ids, token], dim=1)
                if not open_.any():
                    break
        return [self.reader_.decode(row[len(begin) :].tolist()) for row in ids]
