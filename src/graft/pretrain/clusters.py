"""Deep clustering (深度聚类): groups found by k-means are classes to learn, and what was learned finds better groups.

Idea: even an untrained network groups pictures better than chance; learning to predict the groups sharpens them.  Helps
when: pictures fall into kinds and no labels are at hand; the groups themselves are worth looking at.  Hurts when: what
varies most (colour, light, size) is not what matters, as k-means follows it.
References: Caron et al. (2018), Deep clustering for unsupervised learning of visual features; Ward (1963) for the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.errors import DataError, UsageError
from graft.core.registry import OBJECTIVES
from graft.core.rows import evenly_spaced
from graft.core.runtime import Clock, Progress
from graft.core.types import Dataset
from graft.engine.loop import History
from graft.engine.objective import Batch, Loss, Objective
from graft.engine.precision import fast_products
from graft.nn.views import SHIFT_DRAWS, shifted
from graft.pretrain.base import decayed, held_out_rows
from graft.pretrain.kmeans import FITTED, Space, agreement, assign, balanced, find_centres, matched
from graft.pretrain.pictures import MEASURED_PICTURES, PicturePretrain, as_pixels, sheet
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone

FLAT = 32  # side to which grey pictures are shrunk where pixels are clustered; colour ones to half of it
LAST = 1 << 30  # in the place of an epoch, for what is clustered at the end
BLOCK = 256  # pictures looked at together between two epochs
COMPARED = 5_000  # training pictures on which two groupings are compared at most
TREE_ROWS, LEAVES = 2_000, 24  # pictures of the tree, and its leaves
SHOWN = (12, 12)  # clusters and pictures of each on the sheet
TIMES = 200  # bootstrap resamples of the agreement of two groupings


class Grouped(Objective):
    """A classifier of clusters over an encoder: the loss of a picture is -log p(its cluster | a view of it).

    The assignment is a buffer, so a checkpoint holds it and a training that goes on has the same one.

    Args:
        backbone: The encoder.
        clusters: Number of clusters.
        rows: Number of training pictures.
        flip: Whether views may be mirrored.
        lr: Peak rate.
        weight_decay: Of matrices and kernels.
    """

    assigned: Tensor
    since: Tensor

    def __init__(
        self, backbone: NativeBackbone, *, clusters: int, rows: int, flip: bool, lr: float, weight_decay: float
    ) -> None:
        super().__init__()
        self.backbone, self.flip, self.lr, self.weight_decay = backbone, flip, lr, weight_decay
        self.head = nn.Linear(backbone.spec.hidden_size, clusters)
        self.register_buffer("assigned", torch.zeros(rows, dtype=torch.long))
        self.register_buffer("since", torch.tensor(-1))  # the epoch at whose start it was made

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": decayed(self, lr=self.lr, weight_decay=self.weight_decay)}

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        with torch.no_grad():
            view = shifted(batch["pixel_values"], batch["draws"], flip=self.flip)
        scores = self.head(self.backbone({"pixel_values": view}).float()).float()
        right = float((scores.argmax(dim=1) == batch["y"]).float().mean())
        return Loss(F.cross_entropy(scores, batch["y"], reduction="none"), logs={"accuracy": right})


@OBJECTIVES.register("clusters")
class Clusters(PicturePretrain):
    """Alternate between k-means on the features and learning to predict its clusters.

    The first clusters are those of the pixels' principal components; from then on each reassignment takes whitened
    features of length 1.  Views are moved by up to an eighth of their side and, in colour, mirrored: hard crops, good for
    photographs, made clusters of digits worse.  New clusters take the names of the old ones they resemble, empty ones are
    refilled, and every cluster is drawn alike often.  With labels (a data set that has some, ``--label`` on the command
    line) the agreement with them is scored too; they are never learned from.

    Args:
        clusters: How many; several times the number of kinds that are expected works best.
        reassign: Epochs between two assignments.
        encoder: ``"vgg"``, ``"resnet"`` or ``"patches"``; the first if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        side: Height and width of the pictures.
        epochs: Passes over the pictures; None: as many as the time allows, or 3 without a budget.
        batch_size: Pictures of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order, views and centres.

    Example:
        >>> from graft.pretrain.clusters import Clusters
        >>> pictures = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
        >>> made = Clusters(clusters=3, size="tiny", epochs=1, batch_size=16).fit(pictures)
        >>> made.record_["scores"][-1]["name"]
        'agreement of the last two groupings'
    """

    name = "clusters"
    label = "deep clustering"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"image": ("vgg", "resnet", "patches")}
    labels = "compared"

    def __init__(
        self,
        *,
        clusters: int = 30,
        reassign: int = 1,
        encoder: str | None = None,
        size: str = "small",
        side: int | None = None,
        epochs: float | None = None,
        batch_size: int = 64,
        lr: float = 3e-3,
        weight_decay: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(
            encoder=encoder, size=size, side=side, epochs=epochs, batch_size=batch_size, lr=lr,
            weight_decay=weight_decay, seed=seed,
        )  # fmt: skip
        self.clusters = clusters
        self.reassign = reassign

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        if self.clusters < 2 or self.reassign < 1:
            raise UsageError(
                f"{self.clusters} clusters found anew every {self.reassign} epochs mean nothing",
                hint="use two clusters or more, and one epoch or more",
            )
        self.known_ = None
        if data.y is not None and data.task.is_classification:
            self.known_ = data.y[held_out_rows(len(data), self.seed)]
        backbone, objective, batches, per_epoch = super()._start(data, folder, progress)
        if len(self.pictures_.train) < 2 * self.clusters:
            raise DataError(
                f"{len(self.pictures_.train):,} pictures are too few for {self.clusters} clusters", hint="ask for fewer"
            )
        return backbone, objective, batches, per_epoch

    def _train(
        self,
        objective: Objective,
        batches: Callable[[int], Iterable[Batch]],
        steps: int | None,
        clock: Clock,
        progress: Progress,
        folder: Path,
    ) -> History:
        self.clock_ = clock
        return super()._train(objective, batches, steps, clock, progress, folder)

    def _objective(self, backbone: NativeBackbone) -> Objective:
        self.objective_ = Grouped(
            backbone, clusters=self.clusters, rows=len(self.pictures_.train), flip=not self.reader_.grey,
            lr=self.lr, weight_decay=self.weight_decay,
        )  # fmt: skip
        return self.objective_

    def _batch(self, pictures: np.ndarray, rng: np.random.Generator) -> Batch:
        draws = rng.random((len(pictures), SHIFT_DRAWS), dtype=np.float32)
        return {"pixel_values": as_pixels(pictures), "draws": torch.from_numpy(draws)}

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """Batches of one epoch, every cluster alike often; at its start clusters are found anew if it is time."""
        due = epoch - epoch % self.reassign
        if int(self.objective_.since) < due and not (epoch and self.clock_.expired):
            self._regroup(epoch)
        labels = self.objective_.assigned.cpu().numpy()
        rng = np.random.default_rng((self.seed, epoch))
        order = balanced(labels, rng)
        for start in range(0, len(order), self.batch_size):
            rows = np.sort(order[start : start + self.batch_size])
            batch = self._batch(self.pictures_.train[rows], rng)
            yield {**batch, "y": torch.from_numpy(labels[rows])}

    def _regroup(self, epoch: int) -> None:
        """Find clusters in the features as they are now, in the pixels at the very beginning."""
        objective = self.objective_
        labels = self._group(self._features if epoch else flat, whiten=bool(epoch), seed=epoch)[2]
        if epoch:
            labels = matched(labels, objective.assigned.cpu().numpy(), self.clusters)
        objective.assigned.copy_(torch.from_numpy(labels))
        objective.since.fill_(epoch)

    def _group(
        self, look: Callable[[np.ndarray], np.ndarray], *, whiten: bool, seed: int
    ) -> tuple[Space, np.ndarray, np.ndarray]:
        """Cluster the training pictures: the space of what ``look`` sees, centres in it, and the cluster of each."""
        train = self.pictures_.train
        space = Space.fit(look(np.asarray(train[evenly_spaced(len(train), FITTED)])), whiten=whiten)
        blocks = (train[start : start + FITTED] for start in range(0, len(train), FITTED))
        found = np.concatenate([space(look(block)).astype(np.float32) for block in blocks])
        draw = np.random.default_rng((self.seed, seed, 7)).integers(1 << 31)
        centres = find_centres(found, self.clusters, int(draw))
        return space, centres, assign(found, centres)

    def _features(self, pictures: np.ndarray) -> np.ndarray:
        """Pooled features (N, D) of pictures by the encoder as it is, also in the middle of a training."""
        objective = self.objective_
        weight = next(objective.parameters())
        low = any(p.dtype == torch.bfloat16 for p in objective.parameters())
        was, parts = objective.training, []
        objective.eval()
        with torch.no_grad(), fast_products(weight.device.type, low=low):
            for start in range(0, len(pictures), BLOCK):
                pixels = as_pixels(np.array(pictures[start : start + BLOCK])).to(weight.device)
                parts.append(objective.backbone({"pixel_values": pixels}).float().cpu().numpy())
        objective.train(was)
        return np.concatenate(parts)

    def _measure(self, objective: Any) -> list[dict[str, Any]]:
        from sklearn.metrics import silhouette_samples

        assert isinstance(objective, Grouped)
        self.objective_ = objective
        train, real = self.pictures_.train, self._held_out()
        space, centres, labels = self._group(self._features, whiten=True, seed=LAST)
        self.final_ = labels
        self.tree_ = tree_of(space(self._features(np.asarray(train[evenly_spaced(len(train), TREE_ROWS)]))))
        plain, middles, simple = self._group(flat, whiten=False, seed=LAST)
        again = self._group(flat, whiten=False, seed=LAST + 1)[2]
        seen, raw = space(self._features(real)), plain(flat(real))
        own, other = nearest_centre(seen, centres), nearest_centre(raw, middles)
        scores = []
        if self.known_ is not None:
            known = self.known_[evenly_spaced(len(self.known_), MEASURED_PICTURES)]
            there = np.flatnonzero(known >= 0)
            if len(there) > 1:
                beside = {
                    "k-means on pixels": float(agreement(known[there], other[there])(np.ones((1, len(there))))[0])
                }
                name = "agreement with the labels"
                scores.append(self._agreement(name, known[there], own[there], beside))
        if 1 < len(np.unique(own)) < len(own) and 1 < len(np.unique(other)) < len(other):
            beside = {"k-means on pixels": silhouette_samples(raw, other)}
            scores.append(self._score("silhouette", silhouette_samples(seen, own), beside, float, "-1 to 1"))
        some = evenly_spaced(len(labels), COMPARED)
        pixels = float(agreement(simple[some], again[some])(np.ones((1, len(some))))[0])
        before = objective.assigned.cpu().numpy()[some]
        name, beside = "agreement of the last two groupings", {"two k-means on pixels": pixels}
        return [*scores, self._agreement(name, before, labels[some], beside)]

    def _agreement(self, name: str, one: np.ndarray, two: np.ndarray, beside: dict[str, float]) -> dict[str, Any]:
        unit = "normalised mutual information"
        return self._scored(name, agreement(one, two), len(one), beside, unit, times=TIMES)

    def _samples(self, objective: Any) -> list[dict[str, Any]]:
        """Random members of the largest clusters, one cluster per row."""
        del objective
        rng = np.random.default_rng((self.seed, 3))
        counts = np.bincount(self.final_, minlength=self.clusters)
        rows = []
        for cluster in np.argsort(-counts, kind="stable")[: SHOWN[0]]:
            members = rng.permutation(np.flatnonzero(self.final_ == cluster))[: SHOWN[1]]
            rows.append(np.asarray(self.pictures_.train[np.sort(members)]))
        return [{"kind": "clusters", "picture": sheet(rows)}]

    def _fit(self, data: Dataset, clock: Clock, progress: Progress, folder: Path) -> None:
        super()._fit(data, clock, progress, folder)
        self.record_["tree"] = self.tree_


def nearest_centre(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Number (N,) of the nearest centre, whether or not every one gets a row."""
    found: np.ndarray = ((centres**2).sum(1) - 2 * values @ centres.T).argmin(axis=1)
    return found


def tree_of(values: np.ndarray) -> dict[str, Any]:
    """The top of Ward's tree of rows (N, D): links as ``x`` and ``y`` of four corners each, and the sizes of its leaves."""
    from scipy.cluster.hierarchy import dendrogram, linkage

    links = linkage(values, "ward")
    drawn = dendrogram(links, p=LEAVES, truncate_mode="lastp", no_plot=True)
    sizes = [int(name[1:-1]) if name.startswith("(") else 1 for name in drawn["ivl"]]
    heights = [[round(float(y), 4) for y in link] for link in drawn["dcoord"]]
    return {"x": drawn["icoord"], "y": heights, "leaves": sizes, "rows": len(values)}


def flat(pictures: np.ndarray) -> np.ndarray:
    """Pixels (N, D) in [-1, 1]; larger pictures are shrunk to about a thousand numbers."""
    side = FLAT if pictures.shape[3] == 1 else FLAT // 2
    parts = []
    for start in range(0, len(pictures), BLOCK):
        pixels = as_pixels(np.array(pictures[start : start + BLOCK]))
        small = F.adaptive_avg_pool2d(pixels, side) if pixels.shape[2] > side else pixels
        parts.append(small.flatten(1).numpy())
    return np.concatenate(parts)
