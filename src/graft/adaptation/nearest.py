"""Nearest-neighbour weighting: a source row weighs as many rows as the target has in its cell.

Idea: the cells of the source rows are a histogram that needs no width; a row's weight is one plus the target rows nearest
to it.  Helps when: few columns, and regions of the source that the target never visits.  Hurts when: there are many columns,
where a few rows are nearest to all others (hubs).
Reference: Loog (2012), Nearest neighbor-based importance weighting.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.adaptation.kernels import squared_distances
from graft.adaptation.lowrank import drawn, term_weights, unit_rows
from graft.adaptation.shallow import FeatureAdaptation, Matrices
from graft.core.registry import ADAPTATIONS

ASKED = 5_000  # target rows whose nearest is looked for: all cells are compared with each
CLOSE = 1 << 22  # distances in work at a time


def cell_weights(source: Any, target: Any) -> np.ndarray:
    """(1 + target rows whose nearest source row it is · n_s / n_t) / 2 of each source row (n_s,); the mean is 1.

    One is added so that no row is thrown away, as Loog advises; both sides count as much whatever their sizes are.

    Args:
        source: Source rows (n_s, d), an array or a CSR matrix.
        target: Target rows (n_t, d).

    Example:
        >>> cell_weights(np.array([[0.0], [1.0]]), np.array([[0.1], [0.9], [1.1], [2.0]])).tolist()
        [0.75, 1.25]
    """
    counts, size = np.zeros(source.shape[0]), target.shape[0]
    step = max(1, CLOSE // source.shape[0])
    for start in range(0, size, step):
        nearest = squared_distances(target[start : start + step], source).argmin(1)
        counts += np.bincount(nearest, minlength=len(counts))
    return (1.0 + counts * len(counts) / size) / 2.0


@ADAPTATIONS.register("nearest")
class NearestNeighbour(FeatureAdaptation):
    """Weigh source rows by the target rows in their cells.  Sparse rows count at length one."""

    label = "nearest-neighbour weighting"
    name = "nearest"

    def _learn(self, rows: Matrices) -> tuple[Any, np.ndarray | None]:
        terms = term_weights(rows.source, rows.target)
        target = drawn(unit_rows(rows.target, terms), ASKED, self.seed)
        return rows.source, cell_weights(unit_rows(rows.source, terms), target)
