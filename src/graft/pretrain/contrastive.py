"""Contrastive learning over pictures (对比学习): two views of one picture must be nearer than views of different ones.

Idea: what stays the same under cropping and recolouring is what the picture shows.  Helps when: classes differ in shape
or texture, and there are thousands of pictures.  Hurts when: what tells the classes is just what the views change
(colour, size, place), or most pictures show the same thing.
References: Chen et al. (2020), A simple framework for contrastive learning of visual representations; Wang & Isola
(2020) for alignment and uniformity.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.errors import UsageError
from graft.core.registry import OBJECTIVES
from graft.core.rows import evenly_spaced
from graft.core.runtime import seeded
from graft.engine.objective import Batch, Loss, Objective
from graft.nn.augmentation import DRAWS, augmented
from graft.nn.losses import nt_xent
from graft.pretrain.base import decayed
from graft.pretrain.pictures import MEASURED_PICTURES, MEASURED_ROWS, PicturePretrain, as_pixels, sheet
from graft.sources.native import NativeBackbone

PROJECTED = 64  # numbers per view in which the loss compares
SHOWN, NEAREST = 6, 7  # pictures of a sample, and neighbours of each
MEASURED_PIXELS = 1 << 19  # pixels of held-out pictures that are scored at most: three passes must not take long


class Contrast(Objective):
    """An encoder whose views of a picture, projected, are compared with all other views of the batch.

    The projection, two layers, is thrown away: what lies before it transfers better (Chen et al. 2020, section 4.2).

    Args:
        backbone: The encoder.
        temperature: Of the loss.
        flip: Whether views may be mirrored.
        lr: Peak rate.
        weight_decay: Of matrices and kernels.
    """

    def __init__(
        self, backbone: NativeBackbone, *, temperature: float, flip: bool, lr: float, weight_decay: float
    ) -> None:
        super().__init__()
        self.backbone, self.temperature, self.flip = backbone, temperature, flip
        self.lr, self.weight_decay = lr, weight_decay
        width = backbone.spec.hidden_size
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTED))

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": decayed(self, lr=self.lr, weight_decay=self.weight_decay)}

    def views(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Two views (B, C, H, W) of each picture."""
        pixels, draws = batch["pixel_values"], batch["draws"]
        with torch.no_grad():
            one, two = (augmented(pixels, draws[:, which], flip=self.flip) for which in range(2))
        return one, two

    def points(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features (2 B, D) and their projections (2 B, P): first views, then second views."""
        features: Tensor = self.backbone({"pixel_values": torch.cat(self.views(batch))})
        return features, self.projection(features)

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        one, two = self.points(batch)[1].chunk(2)
        return Loss(nt_xent(one, two, self.temperature))


@OBJECTIVES.register("contrastive")
class Contrastive(PicturePretrain):
    """Tell two views of a picture from views of all others in the batch; the loss is NT-Xent.

    Views are crops, recoloured and, in colour, mirrored.  Scores: how often a held-out picture is recognised in another
    view among all held-out ones, by what the source gives; alignment and uniformity where the loss compares.

    Args:
        encoder: ``"resnet"``, ``"vgg"`` or ``"patches"``; the first if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        side: Height and width that pictures are brought to, a multiple of 8; read off the pictures (at most 64) if None.
        temperature: Of the loss: the lower, the more the nearest wrong views count.
        flip: Whether views may be mirrored; None: in colour only, as digits and letters must not be.
        epochs: Passes over the pictures; None: as many as the time allows, or 3 without a budget.
        batch_size: Pictures of a step, 8 or more; each is told from twice as many views.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and views.

    Example:
        >>> import numpy as np
        >>> from graft.pretrain.contrastive import Contrastive
        >>> pictures = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
        >>> made = Contrastive(size="tiny", batch_size=16, epochs=1).fit(list(pictures))
        >>> [score["name"] for score in made.record_["scores"]]
        ['recognised in another view', 'alignment', 'uniformity']
    """

    name = "contrastive"
    label = "contrastive learning"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"image": ("resnet", "vgg", "patches")}
    smallest: ClassVar[int] = 8

    def __init__(
        self,
        *,
        encoder: str | None = None,
        size: str = "small",
        side: int | None = None,
        temperature: float = 0.2,
        flip: bool | None = None,
        epochs: float | None = None,
        batch_size: int = 128,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(
            encoder=encoder, size=size, side=side, epochs=epochs, batch_size=batch_size, lr=lr,
            weight_decay=weight_decay, seed=seed,
        )  # fmt: skip
        self.temperature = temperature
        self.flip = flip

    def _objective(self, backbone: NativeBackbone) -> Objective:
        if self.temperature <= 0:
            raise UsageError(f"a temperature of {self.temperature} means nothing", hint="use one above 0")
        flip = not self.reader_.grey if self.flip is None else self.flip
        return Contrast(backbone, temperature=self.temperature, flip=flip, lr=self.lr, weight_decay=self.weight_decay)

    def _batch(self, pictures: np.ndarray, rng: np.random.Generator) -> Batch:
        draws = rng.random((len(pictures), 2, DRAWS), dtype=np.float32)
        return {"pixel_values": as_pixels(pictures), "draws": torch.from_numpy(draws)}

    def _measure(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, Contrast)
        own, beside = self._held_out_views(objective), self._held_out_views(self._untrained(objective))
        features, points, pixels = ({"": mine, "untrained": other} for mine, other in zip(own, beside, strict=True))
        features["raw pixels"] = points["raw pixels"] = pixels[""]
        count = own[0].shape[1]
        right = {name: _recognised(views) for name, views in features.items()} | {"chance": np.full(count, 1 / count)}
        apart = {name: _apart(views) for name, views in points.items()}
        scores = [
            self._score("recognised in another view", right.pop(""), right, float, f"share, among {count:,} pictures"),
            self._score("alignment", apart.pop(""), apart, float, "squared distance of two views; less is better"),
        ]
        if count > 1:
            even = {name: _crowded(views) for name, views in points.items()}
            unit = "log of the mean nearness of two pictures; less is better"
            scores.append(self._score("uniformity", even.pop(""), even, lambda mean: np.log(max(mean, 1e-30)), unit))
        return scores

    @property
    def _measured(self) -> int:
        return min(MEASURED_PICTURES, MEASURED_PIXELS // self.reader_.size**2)

    def _untrained(self, objective: Contrast) -> Contrast:
        """The same network with fresh weights."""
        backbone = objective.backbone
        with seeded(self.seed):
            fresh = self._objective(
                NativeBackbone(backbone.encoder, backbone.arguments, backbone.reader, backbone.spec)
            )
        assert isinstance(fresh, Contrast)
        return fresh.to(next(objective.parameters()).device).eval()

    def _held_out_views(self, objective: Contrast) -> list[np.ndarray]:
        """Unit vectors (2, M, …) of both views of held-out pictures: features, projections, centred pixels."""
        parts: list[list[Tensor]] = [[], [], []]
        with torch.inference_mode():
            for batch in self._held_out_batches(objective, self._measured):
                pixels = torch.cat(objective.views(batch)).flatten(1)
                found = (*objective.points(batch), pixels - pixels.mean(dim=1, keepdim=True))
                for part, vectors in zip(parts, found, strict=True):
                    part.append(F.normalize(vectors.float(), dim=1).cpu().unflatten(0, (2, -1)))
        return [torch.cat(part, dim=1).numpy() for part in parts]

    def _samples(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, Contrast)
        pictures, place = self._held_out(self._measured), next(objective.parameters()).device
        with torch.inference_mode():
            starts = range(0, len(pictures), MEASURED_ROWS)
            pixels = (as_pixels(pictures[start : start + MEASURED_ROWS]).to(place) for start in starts)
            features = torch.cat([objective.backbone({"pixel_values": some}).float().cpu() for some in pixels])
        unit = F.normalize(features, dim=1).numpy()
        chosen = evenly_spaced(len(unit), SHOWN)
        closeness = unit[chosen] @ unit.T
        closeness[np.arange(len(chosen)), chosen] = np.inf  # each picture comes first, then its neighbours
        order = np.argsort(-closeness, axis=1, kind="stable")[:, : 1 + NEAREST]
        return [{"kind": "nearest", "picture": sheet([pictures[row] for row in order])}]


def _recognised(views: np.ndarray) -> np.ndarray:
    """Whether (M,) the second view nearest to a first view is its own, for unit vectors (2, M, D)."""
    one, two = views
    return ((one @ two.T).argmax(axis=1) == np.arange(len(one))).astype(np.float64)


def _apart(views: np.ndarray) -> np.ndarray:
    """Squared distance (M,) of the two views: alignment."""
    one, two = views.astype(np.float64)
    return np.square(one - two).sum(axis=1)


def _crowded(views: np.ndarray) -> np.ndarray:
    """Mean (M,) of exp(-2 d²) over the distances d to the other pictures; the logarithm of its mean is uniformity."""
    one = views[0].astype(np.float64)
    near = np.exp(-4 * (1 - one @ one.T))
    np.fill_diagonal(near, 0.0)
    return near.sum(axis=1) / (len(one) - 1)
