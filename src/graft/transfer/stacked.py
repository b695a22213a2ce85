"""Stacking: what a source makes of each row stands beside the row's own columns, and boosted trees read both.

Idea: a model of another table knows some of the columns; what it says of a row is one more column, and worth as much as it
helps.  Helps when: tables share columns and tasks are near, and this one has few rows.  Hurts when: the shared columns mean
something else here; the trees then leave it alone, at the price of a little noise.
Reference: Wolpert (1992), Stacked generalization, Neural Networks 5.
"""

from __future__ import annotations

import numpy as np

from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.types import Dataset, ModelSpec
from graft.sources.base import Backbone
from graft.transfer.base import Setting
from graft.transfer.boosting import Boosting


@TRANSFERS.register("stacked")
class Stacked(Boosting):
    """Boosted trees on the columns of a table and the last features of a source beside them.

    The source is a network of ``graft pretrain`` on another table, or another run of ``graft fit`` on a table, whose scores
    are its features.  Columns are matched by name and kind; what the source lacks is only the trees' to read.

    Args:
        source: URI, ``ModelSpec`` or opened ``Backbone``.
        lr: Step of each round.
        leaves: Leaves of a tree at most.
        rounds: Rounds at most.
        seed: Seed of the rows held out.
    """

    label = "boosted trees on columns and features"
    name = "stacked"
    effort = "fast"
    needs_source = True
    simplicity = 3

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        lr: float = 0.1,
        leaves: int = 31,
        rounds: int = 400,
        seed: int = 0,
    ) -> None:
        super().__init__(lr=lr, leaves=leaves, rounds=rounds, seed=seed)
        self.source = source

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        return "" if spec.modality == "table" else f"{spec.name} reads {spec.modality}, no tables"

    def _fit(self, data: Dataset, setting: Setting) -> None:
        self.backbone_ = self._open()
        super()._fit(data, setting)

    def _columns(self, data: Dataset, store: Store | None, setting: Setting | None = None) -> np.ndarray:
        features = self._features(data, store, setting).layer(-1)
        return np.hstack([super()._columns(data, store), features.astype(np.float64)])
