"""Source only: learn on the source, predict the target.  What every adaptation has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.core.registry import ADAPTATIONS


@ADAPTATIONS.register("source_only")
class SourceOnly(FeatureAdaptation):
    """A linear classifier on the source rows as they are."""

    label = "source only"
    name = "source_only"
    simplicity = 1

    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        return rows.source, None
