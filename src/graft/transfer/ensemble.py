"""Ensemble: several ways side by side, whose outputs are averaged.

Idea: models that err on different rows correct each other; their mean is at least as good as their mean member.  Helps
when: ways of different kinds do about equally well (words and a network).  Hurts when: answers must be fast or small, as
every member is asked for every row; or one member is far better than the rest.
References: Dietterich (2000), Ensemble methods in machine learning; Caruana et al. (2004), Ensemble selection from libraries
of models, ICML, for the choice of members and weights (``evaluate.blend``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from graft.core.errors import UsageError
from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.types import Dataset
from graft.transfer.base import BaseTransfer, Setting, load_transfer


@TRANSFERS.register("ensemble")
class Ensemble(BaseTransfer):
    """The weighted mean of the outputs of several transfers, each fitted on all rows.

    Args:
        members: Each a dict with ``transfer``, the name of the way, and its ``settings``, with ``source`` where it needs one.
        weights: Weight of each member; all alike if not given.

    Example:
        >>> from graft.transfer.ensemble import Ensemble
        >>> texts = ["great film", "dull film", "a joy", "a bore"] * 3
        >>> members = [
        ...     {"transfer": "classical"},
        ...     {"transfer": "probe", "settings": {"source": "sbert:all-MiniLM-L6-v2"}},
        ... ]
        >>> both = Ensemble(members).fit(texts, ["good", "bad"] * 6)
        >>> both.predict(["what a joy"]).tolist()
        ['good']
    """

    label = "ensemble"
    name = "ensemble"
    effort = "request"
    kinds = ("classification", "regression", "multilabel")
    simplicity = 5

    def __init__(
        self,
        members: Sequence[Mapping[str, Any]] = ({"transfer": "majority"}, {"transfer": "classical"}),
        *,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.members = members
        self.weights = weights

    @classmethod
    def joined(
        cls, members: Sequence[Mapping[str, Any]], weights: Sequence[float], fitted: Sequence[BaseTransfer]
    ) -> Self:
        """The ensemble of transfers that are fitted already, on the same task.

        Args:
            members: How each was made, as for the constructor.
            weights: Weight of each.
            fitted: The transfers.
        """
        made, first = cls(members, weights=weights), fitted[0]
        made.task_, made.recipe_, made.curve_ = first.task_, first.recipe_, []
        made.backbone_, made.temperature_, made.precision_ = None, 1.0, None
        made.shares_, made.members_ = made._shares(), list(fitted)
        return made

    def _fit(self, data: Dataset, setting: Setting) -> None:
        made = [TRANSFERS[each["transfer"]](**each.get("settings", {})) for each in self.members]
        self.shares_ = self._shares()
        self.members_ = []
        for number, member in enumerate(made):
            place = setting.checkpoint and setting.checkpoint.with_suffix(f".{number}{setting.checkpoint.suffix}")
            self.members_.append(member.fit(data, setting=dataclasses.replace(setting, checkpoint=place)))

    def _shares(self) -> np.ndarray:
        count = len(self.members)
        weights = np.ones(count) if self.weights is None else np.asarray(self.weights, np.float64)
        if not count or weights.shape != (count,) or (weights < 0).any() or weights.sum() <= 0:
            raise UsageError(
                f"an ensemble of {count} members cannot have the weights {self.weights!r}", hint="one each"
            )
        return weights / weights.sum()

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        parts = [
            share * each.outputs(data, store=store) for share, each in zip(self.shares_, self.members_, strict=True)
        ]
        mean: np.ndarray = np.sum(parts, axis=0)
        return mean

    def save(self, folder: str | Path) -> Path:
        """Write the ensemble, and every member into a folder of its own."""
        for number, member in enumerate(self.members_):
            member.save(Path(folder) / f"member-{number}")
        return super().save(folder)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {"shares": self.shares_}

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del state
        self.shares_ = arrays["shares"]

    def _restore_from(self, folder: Path, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        self.members_ = [load_transfer(folder / f"member-{number}") for number in range(len(arrays["shares"]))]
        return super()._restore_from(folder, state, arrays)
