"""Fill-in-the-blank prediction (填充预测): hidden tokens are predicted from those on both sides.

Idea: a blank can only be filled by who understands the words around it.  Helps when: the task needs the meaning of
whole rows and text of the field is plentiful.  Hurts when: the corpus is tiny, or rows are of one or two tokens.
References: Taylor (1953); Devlin et al. (2019), whose 80/10/10 rule for what stands in the blanks is used.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

from graft.core.registry import OBJECTIVES
from graft.engine.objective import Batch, Objective
from graft.nn.transformer import at_places
from graft.pretrain.language import BlockPretrain, TokenObjective
from graft.pretrain.tokens import FIRST
from graft.sources.native import NativeBackbone
from graft.sources.readers import MASK

HIDDEN = 0.15  # share of the tokens that is predicted
MASKED, RANDOM = 0.8, 0.1  # shares of these that are blanked, and replaced by a random token; the rest stay


class _Masked(TokenObjective):
    """Hidden tokens from the states in their places; only these states reach the output layer."""

    def predicted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        places = batch["places"]
        states = self.states(batch["ids"], places)
        return states if states.shape[1] == places.shape[1] else at_places(states, places), batch["wanted"]


@OBJECTIVES.register("masked")
class Masked(BlockPretrain):
    """Predict 15 % of the tokens from the rest; the loss of a block is the mean of -log p(x_i | visible) over them.

    Only the states in those places reach the output layer, which costs more than the rest of a small encoder.

    Example:
        >>> from graft.pretrain.masked import Masked
        >>> made = Masked(encoder="transformer", size="tiny", length=8, epochs=1).fit(["to be or not to be"] * 40)
        >>> [score["name"] for score in made.record_["scores"]]
        ['perplexity of blanks', 'blanks filled rightly']
    """

    name = "masked"
    label = "fill-in-the-blank prediction"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = dict.fromkeys(
        ("text", "sequence"), ("transformer", "lstm", "gru", "cnn")
    )

    def _objective(self, backbone: NativeBackbone) -> TokenObjective:
        return _Masked(backbone, lr=self.lr, weight_decay=self.weight_decay, bridge=True)

    def _batch(self, ids: np.ndarray, rng: np.random.Generator) -> Batch:
        rows, length = ids.shape
        hidden = max(1, round(HIDDEN * length))
        places = np.sort(rng.random((rows, length)).argsort(axis=1)[:, :hidden], axis=1)
        wanted = np.take_along_axis(ids, places, axis=1)
        fate = rng.random(places.shape)
        shown = np.where(fate < MASKED, self.reader_.number(MASK), wanted)
        some = rng.integers(FIRST, max(FIRST + 1, self.reader_.vocabulary), places.shape)
        shown = np.where((fate >= MASKED) & (fate < MASKED + RANDOM), some, shown)
        changed = ids.copy()
        np.put_along_axis(changed, places, shown, axis=1)
        arrays = {"ids": changed, "places": places, "wanted": wanted}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def _measure(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, TokenObjective)
        blocks = self._held_out()
        parts: dict[str, list[np.ndarray]] = {"places": [], "wanted": [], "nats": [], "right": []}
        with torch.inference_mode():
            for batch in self._held_out_batches(objective, blocks):
                states, wanted = objective.predicted(batch)
                scores = objective.logits(states).float()  # only of the blanks: they fit
                nats = F.cross_entropy(scores.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)
                found = {
                    "places": batch["places"],
                    "wanted": wanted,
                    "nats": nats,
                    "right": scores.argmax(-1) == wanted,
                }
                for name, values in found.items():
                    parts[name].append(values.cpu().numpy())
        places, wanted, nats, right = (np.concatenate(values) for values in parts.values())
        left = np.take_along_axis(blocks, (places - 1).clip(0), axis=1)  # the true token before the blank
        ngrams = self._ngrams()
        unigram, bigram = ngrams.nats(left, wanted)
        commonest = (wanted == ngrams.counts.argmax()).mean(axis=1)
        return [
            self._score(
                "perplexity of blanks", nats.mean(axis=1), {"unigram": unigram, "bigram": bigram}, np.exp, "per blank"
            ),
            self._score("blanks filled rightly", right.mean(axis=1), {"commonest token": commonest}, float, "share"),
        ]

    def _samples(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, TokenObjective)
        reader, blank = self.reader_, self.reader_.number(MASK)
        blocks = self._held_out()[:4, : min(24, self.length)]
        places = np.random.default_rng((self.seed, 3)).random(blocks.shape).argsort(axis=1)[:, :3]
        shown = blocks.copy()
        np.put_along_axis(shown, places, blank, axis=1)
        device = next(objective.parameters()).device
        with torch.inference_mode():
            scores = objective.logits(objective.states(torch.from_numpy(shown).to(device))).float().cpu()
        samples = []
        for row, given in enumerate(shown):
            guesses = []
            for place in sorted(places[row].tolist()):
                chances = torch.softmax(scores[row, place], dim=0)
                best = chances.topk(min(3, len(chances)))
                options = [
                    [reader.decode([int(token)]), round(float(p), 3)]
                    for p, token in zip(best.values, best.indices, strict=True)
                ]
                guesses.append({"true": reader.decode([int(blocks[row, place])]), "guesses": options})
            text = reader.decode(given, blank="___")
            samples.append({"kind": "filled", "given": text, "blanks": guesses})
        return samples
