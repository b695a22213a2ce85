"""Linear-chain conditional random field: a score for every pair of neighbouring tags, normalised over whole sequences.

p(y | x) = exp(s_{y_1} + Σ_t e_t(y_t) + Σ_t a(y_{t-1}, y_t) + z_{y_T}) / Z with scores e of the words (emissions), a of the
transitions, s of the beginning and z of the end.  Z, the gradient and the marginals come from the forward algorithm, the
best sequence from Viterbi's, all exactly and for many sentences at a time.  What BIO forbids is forbidden here too.

References:
    Lafferty, McCallum & Pereira (2001), Conditional random fields, ICML; Lample et al. (2016), NAACL.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from graft.core.ragged import cut, flat, lengths
from graft.core.spans import transitions, viterbi

FORBIDDEN = -1e4  # score of what BIO forbids: far below all others, and yet a finite gradient
ROWS = 256  # sentences whose marginals are computed at a time
STEPS = 1 << 16  # or fewer, of so many padded words


class CRF(nn.Module):
    """Scores of transitions between C tags in the order of ``core.spans``.

    Args:
        tags: Number C of tags.

    Example:
        >>> crf = CRF(3)
        >>> emissions, tags = torch.zeros(4, 3), torch.tensor([1, 2, 0, 0])
        >>> tuple(crf.nll(emissions, tags, torch.tensor([3, 1])).shape)
        (2,)
    """

    forbidden: Tensor

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.transition = nn.Parameter(torch.zeros(tags, tags))
        self.begin = nn.Parameter(torch.zeros(tags))
        self.end = nn.Parameter(torch.zeros(tags))
        allowed = torch.from_numpy(transitions(tags))
        self.register_buffer("forbidden", torch.where(allowed, 0.0, FORBIDDEN), persistent=False)

    def scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of beginning (C,), of transitions (C, C), row before column, and of the end (C,)."""
        return self.begin.float() + self.forbidden[0], self.transition.float() + self.forbidden, self.end.float()

    def nll(self, emissions: Tensor, tags: Tensor, counts: Tensor) -> Tensor:
        """-ln p of the tags of every sentence (B,).

        Args:
            emissions: Scores (ΣT, C) of the words of all sentences in turn.
            tags: Their tags (ΣT,).
            counts: Words of each sentence (B,).
        """
        padded, real = _padded(emissions.float(), counts)
        begin, transition, end = self.scores()
        total = torch.logsumexp(_forward(padded, real, begin, transition)[-1] + end, dim=1)
        gold = pad_sequence(list(tags.split(counts.tolist())), batch_first=True)
        each = padded.gather(2, gold[:, :, None])[:, :, 0] * real
        steps = transition[gold[:, :-1], gold[:, 1:]] * real[:, 1:]
        last = gold.gather(1, (counts.clamp(min=1) - 1)[:, None])[:, 0]
        some = counts > 0
        own = each.sum(1) + steps.sum(1) + begin[gold[:, 0]] + end[last]
        return torch.where(some, total - own, torch.zeros_like(own))

    def arrays(self) -> dict[str, np.ndarray]:
        """What has to be saved."""
        return {f"crf.{name}": value.detach().cpu().float().numpy() for name, value in self.named_parameters()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> CRF:
        """The inverse of ``arrays``."""
        crf = cls(len(arrays["crf.begin"]))
        crf.load_state_dict(
            {name: torch.from_numpy(arrays[f"crf.{name}"].copy()) for name, _ in crf.named_parameters()}
        )
        return crf.requires_grad_(requires_grad=False)

    def decode(self, emissions: np.ndarray) -> np.ndarray:
        """The best tags of every sentence (object array) from emissions (object array of (T_i, C)); Viterbi."""
        with torch.no_grad():
            begin, transition, end = (part.double().cpu().numpy() for part in self.scores())
        return viterbi(emissions, transition, begin, end)

    def marginals(self, emissions: np.ndarray) -> np.ndarray:
        """p(y_t = c | x) of every word, object array of (T_i, C), by the forward and the backward pass."""
        counts = lengths(emissions)
        found = np.zeros_like(flat(emissions), dtype=np.float64)
        starts = np.cumsum(counts) - counts
        order = np.argsort(counts, kind="stable")
        with torch.no_grad():
            begin, transition, end = (part.double().cpu() for part in self.scores())
            for rows in _parts(order[counts[order] > 0], counts):
                some = torch.from_numpy(flat(emissions[rows]).astype(np.float64))
                padded, real = _padded(some, torch.from_numpy(counts[rows]))
                alpha = torch.stack(list(_forward(padded, real, begin, transition)), dim=1)
                beta = _backward(padded, real, transition, end)
                logs = alpha + beta
                chances = torch.softmax(logs, dim=2)[real]
                at = np.concatenate([np.arange(starts[row], starts[row] + counts[row]) for row in rows])
                found[at] = chances.numpy()
        return cut(found, counts)

    def outputs(self, emissions: np.ndarray) -> np.ndarray:
        """Probabilities of every word (object array of (T_i, C)) whose largest are the best sequence.

        These are the marginals; where the tag of the best sequence is not the likeliest of its word, the two exchange their
        probabilities, so that whoever takes the largest finds the sequence of ``decode``.
        """
        chances, path = self.marginals(emissions), self.decode(emissions)
        values, tags = flat(chances), flat(path).astype(np.int64)
        if not len(tags):
            return chances
        rows, first = np.arange(len(tags)), values.argmax(axis=1)
        high = values[rows, first]
        values[rows, first] = values[rows, tags]
        values[rows, tags] = high
        # two that are equal: argmax takes the first
        values[rows, tags] += 1e-9
        values /= values.sum(axis=1, keepdims=True)
        return cut(values, lengths(emissions))


def _parts(order: np.ndarray, counts: np.ndarray) -> Sequence[np.ndarray]:
    """Sentences of similar length together, few of long ones."""
    parts, at = [], 0
    while at < len(order):
        upto = at + 1
        while upto < len(order) and upto - at < ROWS and (upto + 1 - at) * counts[order[upto]] <= STEPS:
            upto += 1
        parts.append(order[at:upto])
        at = upto
    return parts


def _padded(values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Values (ΣT, C) as (B, T, C), and which words are real (B, T)."""
    padded = pad_sequence(list(values.split(counts.tolist())), batch_first=True)
    return padded, torch.arange(padded.shape[1], device=values.device) < counts[:, None]


def _forward(padded: Tensor, real: Tensor, begin: Tensor, transition: Tensor) -> list[Tensor]:
    """Ln Σ exp over all ways to reach each tag at each step: T tensors (B, C); behind the end it stays."""
    alpha = [begin + padded[:, 0]]
    for step in range(1, padded.shape[1]):
        reached = torch.logsumexp(alpha[-1][:, :, None] + transition, dim=1) + padded[:, step]
        alpha.append(torch.where(real[:, step, None], reached, alpha[-1]))
    return alpha


def _backward(padded: Tensor, real: Tensor, transition: Tensor, end: Tensor) -> Tensor:
    """Ln Σ exp over all ways on from each tag at each step (B, T, C)."""
    beta = end.expand(len(padded), -1)
    steps = [beta]
    for step in range(padded.shape[1] - 1, 0, -1):
        ahead = torch.logsumexp(transition + (padded[:, step] + beta)[:, None, :], dim=2)
        beta = torch.where(real[:, step, None], ahead, beta)
        steps.append(beta)
    return torch.stack(steps[::-1], dim=1)


class ChainHead(nn.Module):
    """A linear map of words' features with the transitions between their tags.

    Args:
        linear: Gives emissions.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear, self.crf = linear, CRF(linear.out_features)

    @property
    def weight(self) -> Tensor:
        """Of the linear map."""
        return self.linear.weight

    @property
    def bias(self) -> Tensor:
        """Of the linear map."""
        return self.linear.bias

    def forward(self, features: Tensor) -> Tensor:
        """Emissions (ΣT, C)."""
        emissions: Tensor = self.linear(features)
        return emissions
