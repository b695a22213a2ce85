"""Mean boxes: the answer that ignores the picture.  A detector that does not beat it has learned nothing.

Of each class as many boxes as a picture has on average, where such boxes lie: the middles of groups of the training boxes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.core.boxes import CLASS, iou
from graft.core.ragged import ragged
from graft.core.registry import TRANSFERS
from graft.core.store import Store
from graft.core.types import Dataset
from graft.data.picture_sizes import relative, sizes
from graft.transfer.base import BaseTransfer, Setting

FAINT = 0.01  # least score
NEAR = 0.5  # overlap from which a training box speaks for a mean one


@TRANSFERS.register("mean_boxes")
class MeanBoxes(BaseTransfer):
    """Predict the same boxes, as shares of width and height, for every picture.

    The score of a box is the share of the training pictures that have one of its class over it.
    """

    label = "mean boxes"
    name = "mean_boxes"
    kinds = ("detection",)
    effort = "probe"

    @classmethod
    def seconds(cls, rows: int) -> float:
        return 0.1 + 1e-4 * rows

    def _fit(self, data: Dataset, setting: Setting) -> None:
        from sklearn.cluster import KMeans

        del setting
        objects, found = relative(data), []
        for kind in range(data.task.outputs):
            mine = [row[row[:, CLASS] == kind, :4] for row in objects]
            boxes = np.concatenate(mine)
            if not len(boxes):
                continue
            count = min(max(1, round(len(boxes) / len(data))), len(np.unique(boxes, axis=0)))
            means = KMeans(count, n_init=1, random_state=0).fit(boxes).cluster_centers_
            hit = np.mean(
                [(iou(means, row) > NEAR).any(axis=1) if len(row) else np.zeros(count, bool) for row in mine], axis=0
            )
            found.append(np.column_stack([means, np.full(count, kind), hit.clip(FAINT, 1)]))
        self.boxes_ = np.concatenate(found)

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store
        return ragged(self.boxes_ * [*size, *size, 1, 1] for size in sizes(data))

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {"boxes": self.boxes_}

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del state
        self.boxes_ = arrays["boxes"]
