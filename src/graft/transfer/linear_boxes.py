"""Boxes by a linear map of what is known of each cell of a picture: in closed form, without training.

Idea: as with a probe, what a network's maps say of a place is enough to tell where objects are, and how large.  Helps when: a
few dozen pictures, little time, or as the first number that a trained detector must beat.  Hurts when: edges must be exact.
References: Tian et al. (2019), FCOS, ICCV (distances to the edges); Dalal & Triggs (2005) for the hand-made directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from PIL import Image

from graft.core.errors import BudgetError
from graft.core.ragged import ragged
from graft.core.registry import TRANSFERS
from graft.core.runtime import device
from graft.core.store import Store
from graft.core.types import Dataset, ModelSpec
from graft.data.picture_sizes import relative, sizes
from graft.nn.detector import targets
from graft.nn.linear_detector import LinearDetector
from graft.sources.base import Backbone
from graft.transfer.base import BaseTransfer, Setting
from graft.transfer.cells import CELL, cells
from graft.transfer.maps import BLOCK, MapReader, Views, kept_views, sides_of

SIZE = 320  # px of the longer side


class _Linear(BaseTransfer):
    """A ``LinearDetector``; a subclass says how the features of pictures are found."""

    kinds = ("detection",)
    effort = "probe"
    linear_: LinearDetector

    def _learn(self, data: Dataset, features: Any, grid: tuple[int, int]) -> None:
        wanted = [targets(row, grid, data.task.outputs) for row in relative(data)]
        self.linear_ = LinearDetector.fit(features, wanted, seed=0)

    def _scaled(self, found: Iterator[np.ndarray], data: Dataset) -> np.ndarray:
        sides = sizes(data)
        return ragged(self.linear_.find(one) * [*size, *size, 1, 1] for one, size in zip(found, sides, strict=True))


@TRANSFERS.register("box_probe")
class BoxProbe(_Linear):
    """Heat and edges of objects as a ridge regression on the maps of a source, which are computed once.

    Args:
        source: URI or ``ModelSpec`` of a network for pictures.
        size: Longer side in pixels to which pictures are brought.

    Example:
        >>> from graft.testing import toy_boxes, toy_sources
        >>> data = toy_boxes(8)
        >>> BoxProbe(toy_sources(data)[0]).fit(data).outputs(data)[0].shape[1]
        6
    """

    label = "boxes by probe"
    name = "box_probe"
    needs_source = True
    simplicity = 2
    space: ClassVar = {}

    def __init__(self, source: str | ModelSpec | Backbone | None = None, *, size: int = SIZE) -> None:
        self.source, self.size = source, size

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        return "" if spec.modality == "image" else f"{spec.name} reads no pictures"

    @classmethod
    def seconds(cls, rows: int) -> float:
        return 2.0 + 0.04 * rows

    def workload(self, rows: int, task: Any) -> None:
        """Nothing follows from a pass over pictures of the source's own size."""

    def _fit(self, data: Dataset, setting: Setting) -> None:
        backbone = self._open_to_train().to(device()).eval().requires_grad_(requires_grad=False)
        shape = np.median(sizes(data), axis=0)
        self.reader_ = MapReader.build(backbone, (int(shape[1]), int(shape[0])), self.size)
        views = kept_views(self.reader_, data, setting, views=1, seed=0)
        self._learn(data, lambda: self._kept(views), self.reader_.grid)
        self.backbone_, self.precision_ = backbone.cpu(), None

    def _kept(self, views: Views) -> Iterator[np.ndarray]:
        for row in range(views.count):
            yield self._together(views.maps(np.zeros(1, np.int64), np.array([row])))[0]

    def _together(self, maps: list[torch.Tensor]) -> np.ndarray:
        """Maps side by side at the finest grid (B, ΣD, H, W)."""
        fine = [
            F.interpolate(one.float(), size=self.reader_.grid, mode="bilinear", align_corners=False) for one in maps
        ]
        return torch.cat(fine, dim=1).cpu().numpy()

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store

        def found() -> Iterator[np.ndarray]:
            for start in range(0, len(data), BLOCK):
                some = data.select(np.arange(start, min(start + BLOCK, len(data))))
                with torch.inference_mode():
                    yield from self._together(self.reader_.maps(self.reader_.collate(self.reader_.pictures(some))))

        return self._scaled(found(), data)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"reader": self.reader_.state()}, self.linear_.arrays()

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        assert self.backbone_ is not None
        self.reader_ = MapReader.restore(self.backbone_.eval(), state["reader"])
        self.linear_ = LinearDetector.from_arrays(arrays)


@TRANSFERS.register("hand_boxes")
class HandBoxes(_Linear):
    """The same on hand-made features of cells of 8 pixels: colours, roughness and directions around each.

    Example:
        >>> from graft.testing import toy_boxes
        >>> data = toy_boxes(8)
        >>> HandBoxes().fit(data).outputs(data)[0].shape[1]
        6
    """

    label = "boxes by hand-made features"
    name = "hand_boxes"
    simplicity = 1

    @classmethod
    def seconds(cls, rows: int) -> float:
        return 1.0 + 0.04 * rows

    def _fit(self, data: Dataset, setting: Setting) -> None:
        wide, high = np.median(sizes(data), axis=0)
        self.shape_ = sides = sides_of((high, wide), SIZE)

        def features() -> Iterator[np.ndarray]:
            for row in range(len(data)):
                if setting.clock.expired:
                    raise BudgetError(f"no time left at {100 * row // len(data)} % of the pictures")
                yield self._cells(data.take(slice(row, row + 1))[0])

        self._learn(data, features, (sides[0] // CELL, sides[1] // CELL))

    def _cells(self, picture: np.ndarray) -> np.ndarray:
        size = (self.shape_[1], self.shape_[0])
        return cells(np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)))

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store
        return self._scaled((self._cells(data.take(slice(row, row + 1))[0]) for row in range(len(data))), data)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"shape": self.shape_}, self.linear_.arrays()

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.shape_ = tuple(state["shape"])
        self.linear_ = LinearDetector.from_arrays(arrays)
