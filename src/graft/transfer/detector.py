"""A light detector on a source: its maps of a picture, and a small head that says where objects are.

Idea: maps of a network that was trained on whole pictures tell what is where; the head is small, so a few hundred pictures and
some minutes suffice.  Helps when: objects are at least some pixels wide and pictures are few.  Hurts when: objects are tiny
against the picture, or a picture holds more than a hundred.  Frozen (``blocks=0``), the maps are computed once and kept.
References: Liu et al. (2020), Training-time-friendly network for real-time object detection, AAAI; Zhou, Wang & Krähenbühl
(2019), Objects as points.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.errors import UsageError
from graft.core.ragged import ragged
from graft.core.registry import TRANSFERS
from graft.core.runtime import bf16_is_faster, device, seeded
from graft.core.store import Store
from graft.core.task import Task
from graft.core.types import Dataset, ModelSpec
from graft.data.picture_sizes import relative, sizes
from graft.engine.callbacks import Checkpoint
from graft.engine.loop import fit
from graft.engine.objective import Batch, Loss, Objective
from graft.engine.optim import discriminative_groups, warmup_cosine
from graft.nn.box_losses import box_loss, focal_heat
from graft.nn.detector import BoxHead, boxes_of, peaks, targets
from graft.sources.base import Backbone
from graft.transfer.base import BaseTransfer, Setting
from graft.transfer.maps import BLOCK, MapReader, Views, draws_of, kept_views, view

BOXES = 5.0  # weight of the loss of boxes beside that of heat, as in the paper
MIN_STEPS = 200  # small data is seen often enough to take this many steps
PASS, HEAD = 0.03, 0.02  # seconds of a picture through a network, and through the head and back, roughly


@TRANSFERS.register("detector")
class Detector(BaseTransfer):
    """Train a detector's head on the maps of a source, with none, some or all of its blocks.

    Args:
        source: URI or ``ModelSpec`` of a network for pictures, convolutional or ViT.
        blocks: How many blocks to train, counted from the top, or a share of them below 1; 0 for none, None for all.
        size: Longer side in pixels to which pictures are brought, the other in proportion.
        width: Channels of the head.
        epochs: Passes over the pictures; None: 40 of a frozen source, else 25, or more on small data.
        lr: Peak rate of the top block.
        head_lr: Peak rate of the head.
        batch_size: Pictures per step.
        weight_decay: Decoupled weight decay.
        views: Of a frozen source: how many views of a picture are kept, the picture itself among them.
        seed: Seed of weights, views and order.

    Example:
        >>> from graft.testing import toy_boxes, toy_sources
        >>> data = toy_boxes(8)
        >>> fitted = Detector(toy_sources(data)[0], epochs=1, views=1, width=8).fit(data)
        >>> fitted.outputs(data)[0].shape[1]
        6
    """

    label = "detector"
    name = "detector"
    kinds = ("detection",)
    needs_source = True
    effort = "fast"
    space: ClassVar = {"lr": (1e-4, 1e-3), "head_lr": (5e-4, 4e-3)}
    simplicity = 3

    def __init__(
        self,
        source: str | ModelSpec | Backbone | None = None,
        *,
        blocks: float | None = 0,
        size: int = 320,
        width: int = 64,
        epochs: float | None = None,
        lr: float = 3e-4,
        head_lr: float = 2e-3,
        batch_size: int = 8,
        weight_decay: float = 0.01,
        views: int = 4,
        seed: int = 0,
    ) -> None:
        self.source, self.blocks, self.size, self.width = source, blocks, size, width
        self.epochs, self.lr, self.head_lr = epochs, lr, head_lr
        self.batch_size, self.weight_decay, self.views, self.seed = batch_size, weight_decay, views, seed

    @classmethod
    def fits(cls, spec: ModelSpec) -> str:
        return "" if spec.modality == "image" else f"{spec.name} reads no pictures"

    @property
    def _frozen(self) -> bool:
        return self.blocks == 0

    def steps(self, rows: int) -> int:
        """Optimizer steps for that many pictures."""
        each = math.ceil(rows / self.batch_size)
        if self.epochs is not None:
            return max(1, round(self.epochs * each))
        return max(MIN_STEPS, (40 if self._frozen else 25) * each)

    def cost(self, rows: int, forward: float = PASS) -> float:
        """Predicted seconds of a fit, where a picture takes ``forward`` seconds through the network."""
        seen = self.steps(rows) * self.batch_size
        return rows * self.views * forward + seen * HEAD if self._frozen else seen * (3 * forward + HEAD)

    @classmethod
    def seconds(cls, rows: int) -> float:
        return 1.0 + cls().cost(rows)

    def workload(self, rows: int, task: Task) -> None:
        """Nothing follows from a pass over pictures of the source's own size: those of a detector are larger."""

    # -- fitting -----------------------------------------------------------------------------------------------------

    def _fit(self, data: Dataset, setting: Setting) -> None:
        if self.views < 1 or self.size < 32:
            raise UsageError(
                "a detector needs one view or more, and pictures of 32 pixels or more", hint="leave them out"
            )
        with seeded(self.seed):
            backbone = self._backbone(data).eval().requires_grad_(requires_grad=False)
            shape = np.median(sizes(data), axis=0)
            self.reader_ = MapReader.build(backbone, (int(shape[1]), int(shape[0])), self.size)
            self.head_ = BoxHead(self.reader_.channels, data.task.outputs, self.width)
            self._train(backbone, data, setting)
        learned = f"detection of {data.name} ({len(data):,} pictures)"
        if not self._frozen:
            before = f"{backbone.spec.objective}, then " if backbone.spec.objective else ""
            backbone.spec = dataclasses.replace(backbone.spec, objective=f"{before}{learned}")
        self.backbone_, self.precision_ = backbone.requires_grad_(requires_grad=False).eval(), None

    def _backbone(self, data: Dataset) -> Backbone:
        """The network; an opened source is copied, as training changes it."""
        del data
        return self._open_to_train()

    def _train(self, backbone: Backbone, data: Dataset, setting: Setting) -> None:
        views = None
        if self._frozen:
            views = kept_views(self.reader_, data, setting, views=self.views, seed=self.seed)
        else:
            backbone.freeze_below(self.blocks)
        groups = discriminative_groups(
            [] if self._frozen else backbone.layer_groups(), self.head_, lr=self.lr, head_lr=self.head_lr,
            weight_decay=self.weight_decay,
        )  # fmt: skip
        objective = _Boxes(self.reader_, self.head_, groups, frozen=self._frozen)
        history = fit(
            objective,
            self._batches(data, views),
            steps=self.steps(len(data)),
            schedule=warmup_cosine,
            clip=10.0,
            precision="bf16" if bf16_is_faster() else "fp32",
            device=device(),
            clock=setting.clock,
            callbacks=[Checkpoint(setting.checkpoint)] if setting.checkpoint else [],
            progress=setting.progress,
            name=self.label,
        )
        self.curve_, self.stopped_ = history.points, history.stopped
        self.head_.cpu().requires_grad_(requires_grad=False).eval()
        backbone.cpu()

    def _batches(self, data: Dataset, views: Views | None) -> Callable[[int], Iterator[Batch]]:
        """Batches of one epoch: maps of kept views, or pictures in a view of the epoch's own, with their targets."""
        reader, classes = self.reader_, data.task.outputs
        pictures = reader.pictures(data) if views is None else None
        objects = relative(data)

        def batches(epoch: int) -> Iterator[Batch]:
            rng = np.random.default_rng((self.seed, epoch))
            order = rng.permutation(len(data))
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                if views is None:
                    assert pictures is not None
                    drawn = draws_of(self.seed, epoch + 1, data.rows[rows])
                    shown, moved = view(pictures[rows], [objects[row] for row in rows], drawn)
                    batch = dict(reader.collate(shown))
                else:
                    number = rng.integers(0, self.views, len(rows))
                    moved = [views.objects[which][row] for which, row in zip(number, rows, strict=True)]
                    batch = {f"map{level}": one for level, one in enumerate(views.maps(number, rows))}
                wanted = [targets(one, reader.grid, classes) for one in moved]
                batch |= {
                    key: torch.from_numpy(np.stack([one[key] for one in wanted])) for key in ("heat", "box", "share")
                }
                yield batch

        return batches

    # -- answers -----------------------------------------------------------------------------------------------------

    def _outputs(self, data: Dataset, store: Store | None) -> np.ndarray:
        del store  # maps of pictures as they are cost one pass
        found: list[np.ndarray] = []
        for start in range(0, len(data), BLOCK):
            some = data.select(np.arange(start, min(start + BLOCK, len(data))))
            with torch.inference_mode():
                maps = self.reader_.maps(self.reader_.collate(self.reader_.pictures(some)))
                heat, edges = self.head_([one.float() for one in maps])
                found += _scaled(peaks(heat.sigmoid(), boxes_of(edges)), sizes(some))
        return ragged(found)

    def _arrays(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"reader": self.reader_.state()}, {k: v.numpy() for k, v in self.head_.state_dict().items()}

    def _restore(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        assert self.backbone_ is not None
        self.backbone_.eval().requires_grad_(requires_grad=False)
        self.reader_ = MapReader.restore(self.backbone_, state["reader"])
        self.head_ = BoxHead(self.reader_.channels, self.task_.outputs, self.width).eval()
        self.head_.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
        self.head_.requires_grad_(requires_grad=False)


class _Boxes(Objective):
    """Heat of centres and boxes around them, from maps that are there or from pictures."""

    def __init__(self, reader: MapReader, head: nn.Module, groups: list[dict[str, Any]], *, frozen: bool) -> None:
        super().__init__()
        self.reader, self.head, self.groups, self.frozen = reader, head, groups, frozen
        if not frozen:
            self.backbone = reader.backbone

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": self.groups}

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        heat, box, share = (batch[key] for key in ("heat", "box", "share"))
        maps: list[Tensor]
        if self.frozen:
            maps = [batch[f"map{level}"] for level in range(len(self.reader.levels))]
        else:
            maps = self.reader.maps({k: v for k, v in batch.items() if k not in ("heat", "box", "share")})
        logits, edges = self.head(maps)
        centres, boxes = focal_heat(logits, heat), box_loss(boxes_of(edges), box, share)
        return Loss(
            centres + BOXES * boxes,
            logs={"heat": float(centres.detach().mean()), "boxes": float(boxes.detach().mean())},
        )


def _scaled(found: list[np.ndarray], size: np.ndarray) -> list[np.ndarray]:
    """Boxes as shares of width and height in pixels of their pictures."""
    return [one * [*each, *each, 1, 1] for one, each in zip(found, size, strict=True)]
