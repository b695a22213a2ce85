"""Unigram and bigram models: what a language model must beat."""

from __future__ import annotations

import numpy as np

TOKENS = 5_000_000  # training tokens counted at most
PRIORS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


class NGrams:
    """Counts of tokens and of pairs, smoothed.

    The unigram is p(b) = (c(b) + 1) / (N + V), the bigram p(b | a) = (c(a, b) + α p(b)) / (c(a) + α) with α chosen on
    the last tenth of the training tokens.  MacKay & Peto (1995).

    Args:
        tokens: Training tokens (N,).
        vocabulary: Number of tokens V.

    Example:
        >>> import numpy as np
        >>> model = NGrams(np.array([1, 2] * 500), 3)
        >>> unigram, bigram = model.nats(np.array([1, 2]), np.array([2, 1]))
        >>> round(float(unigram.mean()), 2), float(bigram.mean()) < 0.1
        (0.69, True)
    """

    def __init__(self, tokens: np.ndarray, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        tokens = np.asarray(tokens[:TOKENS], dtype=np.int64)
        cut = max(2, len(tokens) * 9 // 10)
        self._count(tokens[:cut])
        rest = tokens[cut - 1 :]
        self.prior = PRIORS[0]
        if len(rest) > 1:
            scores = []
            for prior in PRIORS:
                self.prior = prior
                scores.append(float(self.nats(rest[:-1], rest[1:])[1].mean()))
            self.prior = PRIORS[int(np.argmin(scores))]
        self._count(tokens)

    def _count(self, tokens: np.ndarray) -> None:
        self.counts = np.bincount(tokens, minlength=self.vocabulary)
        self.chance = (self.counts + 1) / (self.counts.sum() + self.vocabulary)
        pairs = tokens[:-1] * self.vocabulary + tokens[1:]
        self.pairs, self.times = np.unique(pairs, return_counts=True)
        self.starts = np.bincount(tokens[:-1], minlength=self.vocabulary)

    def nats(self, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Negative log-likelihood in nats of each token ``after`` the one ``before`` it, by unigram and by bigram."""
        before, after = np.asarray(before, dtype=np.int64), np.asarray(after, dtype=np.int64)
        pairs = before * self.vocabulary + after
        place = np.searchsorted(self.pairs, pairs).clip(0, max(0, len(self.pairs) - 1))
        seen = np.where(self.pairs[place] == pairs, self.times[place], 0) if len(self.pairs) else np.zeros(pairs.shape)
        bigram = (seen + self.prior * self.chance[after]) / (self.starts[before] + self.prior)
        return -np.log(self.chance[after]), -np.log(bigram)
