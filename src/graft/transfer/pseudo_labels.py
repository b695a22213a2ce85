"""Pseudo-labels: a probe teaches itself, round by round, with the rows that it is surest of.

Idea: where the probe is sure it is mostly right, and a row it is sure of moves the boundary for those that it is not.
Helps when: few labels, many other rows of the same kind, and a probe that is right more often than not.  Hurts when: it is
sure and wrong, as on rows of other kinds; rounds end as soon as the likelihood of held-out labelled rows falls, so that
little is lost.
References: Lee (2013), Pseudo-label; Zou et al. (2018), Unsupervised domain adaptation for semantic segmentation via
class-balanced self-training, for shares per class; Cascante-Bonilla et al. (2021), Curriculum labeling, for shares that grow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.types import Dataset, Features, ModelSpec
from graft.nn.calibration import fit_temperature, nll
from graft.nn.heads import LinearHead, fit_probe, fit_soft
from graft.sources.base import Backbone
from graft.transfer.base import BaseTransfer, Setting
from graft.transfer.semi import cuts, side_by_side, some_unlabelled

WIDE = 2_500  # numbers of a row that a head may read, roughly


@TRANSFERS.register("pseudo_labels")
class PseudoLabels(BaseTransfer):
    """Self-training of the closed-form probe on cached features.

    Round r of R takes, of the rows without label that the probe gives to class c, the surest share r / R, with their
    probability times ``trust`` as weight, and fits ridge to them and the labelled rows.  Every round predicts labelled
    rows that were held out of it; the round after which their likelihood falls is the last.  Round 0 is the probe itself,
    and what is left where no labelled rows can be held out.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone``.
        rounds: R, at most.
        trust: Weight of a row without label beside a labelled one, 0 to 1.
        layers: ``"auto"`` (last, upper half or all, by leave-one-out), ``"last"``, ``"concatenated"``, or layer indices.
        max_rows: Rows without a label at most, a seeded sample above it.
        seed: Seed of the sample and of what is held out.

    Attributes:
        rounds_: Rounds that were made.
        losses_: Negative log-likelihood of held-out labelled rows after each round that was tried, the probe's first.

    Example:
        >>> from graft.transfer.pseudo_labels import PseudoLabels
        >>> texts = ["great film", "dull film", "what a joy", "such a bore", "a great joy", "a dull bore"] * 3
        >>> labels = ["good", "bad"] * 3 + [None] * 12
        >>> PseudoLabels("sbert:all-MiniLM-L6-v2").fit(texts, labels).predict(["a joy of a film"]).tolist()
        ['good']
    """

    label = "self-training with pseudo-labels"
    name = "pseudo_labels"
    effort = "fast"
    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    needs_source = True
    semi = True
    simplicity = 3

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        rounds: int = 4,
        trust: float = 0.5,
        layers: str | tuple[int, ...] = "auto",
        max_rows: int = 20_000,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.rounds = rounds
        self.trust = trust
        self.layers = layers
        self.max_rows = max_rows
        self.seed = seed

    @classmethod
    def seconds(cls, rows: int) -> float:
        """Of a fit on so many rows, with and without a label, whose features are there: a ridge per round and cut."""
        return 0.2 + 1e-3 * rows + 5e-10 * min(rows, WIDE) ** 3

    def _fit(self, data: Dataset, setting: Setting) -> None:
        if self.rounds < 1 or not 0 < self.trust <= 1:
            raise UsageError(
                f"{self.rounds} rounds with a trust of {self.trust} cannot be learned with",
                hint="use one round or more, and a trust above 0 up to 1",
            )
        self.backbone_ = self._open()
        parts = [data, *some_unlabelled(setting, data, self.max_rows, self.seed)]
        features = side_by_side(lambda rows: self._features(rows, setting.store, setting), parts)
        every = np.arange(len(data))
        probe = self._probe(features, data, every, self.layers)
        self.losses_, temperatures = self._judge(features, data, probe.layers, setting)
        self.rounds_ = int(np.argmin(self.losses_)) if self.losses_ else 0
        self.head_ = probe
        if self.rounds_:
            for turn, head in enumerate(self._rounds(features, data, every, probe)):
                if turn == self.rounds_:
                    self.head_ = dataclasses.replace(head, temperature=temperatures[turn])
                    break

    def _probe(self, features: Features, data: Dataset, known: np.ndarray, layers: str | tuple[int, ...]) -> LinearHead:
        assert data.y is not None
        return fit_probe(features.select(features.rows[known]), data.y[known], data.task, layers=layers)

    def _judge(
        self, features: Features, data: Dataset, layers: tuple[int, ...], setting: Setting
    ) -> tuple[list[float], list[float]]:
        """Loss on held-out labelled rows, and the temperature it has there, by round, until it falls no more."""
        pairs = cuts(data, self.seed) if len(features) > len(data) else []
        if not pairs:
            return [], []
        assert data.y is not None
        labels = np.concatenate([data.y[test] for _, test in pairs])
        runs = [self._rounds(features, data, train, self._probe(features, data, train, layers)) for train, _ in pairs]
        losses: list[float] = []
        temperatures: list[float] = []
        for turn in range(self.rounds + 1):
            heads = []
            for run in runs:
                if setting.clock.expired:  # what was tried so far decides
                    return losses, temperatures
                heads.append(next(run))
            scores = np.concatenate(
                [
                    head.scores(features.select(features.rows[test]))
                    for head, (_, test) in zip(heads, pairs, strict=True)
                ]
            )
            temperatures.append(fit_temperature(scores, labels, prior=1))
            losses.append(nll(scores / temperatures[-1], labels))
            setting.progress(self.label, (turn + 1) / (self.rounds + 2), f"round {turn}: loss {losses[-1]:.3f}")
            if turn and losses[-1] >= losses[-2]:
                break
        return losses, temperatures

    def _rounds(self, features: Features, data: Dataset, known: np.ndarray, probe: LinearHead) -> Iterator[LinearHead]:
        """The probe, then the heads of the rounds; labelled rows that are not ``known`` are not looked at."""
        yield probe
        assert data.y is not None
        task, head = data.task, probe
        rest = np.arange(len(data), len(features))
        weights = task.class_weights(data.y[known])
        for turn in range(1, self.rounds + 1):
            chances = dataclasses.replace(head, temperature=probe.temperature).outputs(
                features.select(features.rows[rest]), task
            )
            taken = surest(chances, turn / self.rounds)
            rows = np.concatenate([known, rest[taken]])
            y = np.concatenate([data.y[known], chances[taken].argmax(axis=1)])
            weight = np.concatenate([np.ones(len(known)), self.trust * chances[taken].max(axis=1)])
            weight = weight if weights is None else weight * weights[y]
            head = fit_soft(features.select(features.rows[rows]), np.eye(task.outputs)[y], probe.layers, weight=weight)
            yield head

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        return self.head_.outputs(self._features(data, store), self.task_)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"rounds": self.rounds_, "losses": self.losses_}, self.head_.arrays()

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.rounds_, self.losses_ = state["rounds"], state["losses"]
        self.head_ = LinearHead.from_arrays(arrays)


def surest(chances: np.ndarray, share: float) -> np.ndarray:
    """Sorted positions of the surest share of the rows that each class is given, at least one.

    Args:
        chances: Class probabilities (n, C).
        share: 0 to 1.

    Example:
        >>> import numpy as np
        >>> surest(np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]]), 0.5).tolist()
        [0, 2, 3]
    """
    guess, sure = chances.argmax(axis=1), chances.max(axis=1)
    taken = []
    for c in np.unique(guess):
        mine = np.flatnonzero(guess == c)
        order = mine[np.argsort(-sure[mine], kind="stable")]
        taken.append(order[: int(np.ceil(share * len(mine)))])
    return np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)
