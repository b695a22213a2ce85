"""A light detector on the maps of any network: where the centre of an object lies, and how far its edges are from there.

References: Liu et al. (2020), Training-time-friendly network for real-time object detection, AAAI (targets); Zhou, Wang &
Krähenbühl (2019), Objects as points (heat of centres, peaks); Tian et al. (2019), FCOS, ICCV (distances to the edges); Lin et
al. (2017), Feature pyramid networks, CVPR (maps from coarse to fine).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.boxes import CLASS, area, suppressed

SPREAD = 0.54  # share of a box whose cells learn its edges; three standard deviations of its heat
PEAKS = 100  # boxes of a picture that are looked at, and that are given
FAINT = 0.01  # score below which nothing is a box
OVERLAP = 0.6  # from which the worse of two boxes of a class goes: objects may touch
PRIOR = 0.02  # share of cells that are centres, by which the heat begins
EDGE = 8.0  # largest logarithm of a distance in cells


class BoxHead(nn.Module):
    """Heat of every class and distances to four edges for every cell of the finest map.

    Every map becomes ``width`` channels; coarse ones are enlarged and added from the top down; two convolutions follow, and
    one more for each of the answers.

    Args:
        channels: Of each map, fine to coarse.
        classes: Number of classes.
        width: Channels inside.

    Example:
        >>> head = BoxHead([8, 16], classes=2, width=8)
        >>> [tuple(out.shape) for out in head([torch.zeros(1, 8, 6, 8), torch.zeros(1, 16, 3, 4)])]
        [(1, 2, 6, 8), (1, 4, 6, 8)]
    """

    def __init__(self, channels: Sequence[int], classes: int, width: int = 64) -> None:
        super().__init__()
        groups = 8 if width % 8 == 0 else 1
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(count, width, 1, bias=False), nn.GroupNorm(groups, width)) for count in channels
        )
        self.shared = nn.Sequential(_block(width, groups), _block(width, groups))
        self.heat = nn.Sequential(_block(width, groups), nn.Conv2d(width, classes, 1))
        self.edges = nn.Sequential(_block(width, groups), nn.Conv2d(width, 4, 1))
        nn.init.constant_(self.heat[-1].bias, float(np.log(PRIOR / (1 - PRIOR))))  # type: ignore[arg-type]
        nn.init.normal_(self.heat[-1].weight, std=0.01)  # type: ignore[arg-type]
        nn.init.normal_(self.edges[-1].weight, std=0.01)  # type: ignore[arg-type]
        nn.init.constant_(self.edges[-1].bias, 1.0)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps (B, D_l, H_l, W_l), fine to coarse, into logits (B, C, H, W) and distances in cells (B, 4, H, W)."""
        size = maps[0].shape[2:]
        hidden = self.lateral[0](maps[0])
        for lateral, coarse in zip(self.lateral[1:], maps[1:], strict=True):
            hidden = hidden + F.interpolate(lateral(coarse), size=size, mode="bilinear", align_corners=False)
        hidden = self.shared(F.relu(hidden))
        return self.heat(hidden).float(), self.edges(hidden).float().clamp(max=EDGE).exp()


def _block(width: int, groups: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width), nn.ReLU())


def targets(objects: np.ndarray, grid: tuple[int, int], classes: int) -> dict[str, np.ndarray]:
    """What a head should say of one picture.

    The heat of a class is 1 in the cell of an object's centre and falls off as a Gaussian whose three standard deviations are
    ``SPREAD`` / 2 of the box.  The cells inside of that learn the box, the smaller one where two meet, together as much as
    the logarithm of its area in cells.

    Args:
        objects: (m, 5), coordinates as shares of the picture's width and height, and class.
        grid: Height and width in cells.
        classes: Number of classes.

    Returns:
        ``heat`` (C, H, W), ``box`` (4, H, W) in cells and ``share`` (H, W), the weight of each cell in the loss of boxes.

    Example:
        >>> found = targets(np.array([[0.25, 0.25, 0.75, 0.75, 0]]), (5, 5), 1)
        >>> float(found["heat"].max()), np.argwhere(found["heat"][0] == 1).tolist(), found["box"][:, 2, 2].tolist()
        (1.0, [[2, 2]], [1.25, 1.25, 3.75, 3.75])
    """
    high, wide = grid
    heat, share = np.zeros((classes, high, wide), np.float32), np.zeros((high, wide), np.float32)
    box = np.zeros((4, high, wide), np.float32)
    cells = objects[:, :4] * [wide, high, wide, high]
    size = area(cells)
    for place in np.argsort(-size, kind="stable").tolist():
        left, top, right, bottom = cells[place]
        middle = min(int((left + right) / 2), wide - 1), min(int((top + bottom) / 2), high - 1)
        across, down = (_bell(count, at, length) for count, at, length in (
            (wide, middle[0], right - left), (high, middle[1], bottom - top)))  # fmt: skip
        bell = np.outer(down, across)
        kind = int(objects[place, CLASS])
        heat[kind] = np.maximum(heat[kind], bell)
        inside = bell > 0
        box[:, inside] = cells[place][:, None]
        share[inside] = (bell * np.log(max(size[place], 1.0) + 1) / bell.sum())[inside]
    return {"heat": heat, "box": box, "share": share}


def _bell(count: int, middle: int, length: float) -> np.ndarray:
    """A Gaussian over cells (count,), 1 in the middle one and 0 beyond three standard deviations."""
    reach = max(SPREAD * length / 2, 0.5)
    away = np.abs(np.arange(count) - middle)
    return np.where(away <= reach, np.exp(-0.5 * (3 * away / reach) ** 2), 0.0).astype(np.float32)


def boxes_of(edges: Tensor) -> Tensor:
    """Distances (B, 4, H, W) from the middle of each cell to left, top, right and bottom, as boxes in cells."""
    high, wide = edges.shape[2:]
    x = torch.arange(wide, device=edges.device) + 0.5
    y = (torch.arange(high, device=edges.device) + 0.5)[:, None]
    left, top, right, bottom = edges.unbind(1)
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=1)


def peaks(heat: Tensor, boxes: Tensor) -> list[np.ndarray]:
    """Boxes of every picture (k, 6), coordinates as shares of width and height: cells hotter than their eight neighbours.

    Args:
        heat: Scores in [0, 1] (B, C, H, W).
        boxes: In cells (B, 4, H, W).
    """
    high, wide = heat.shape[2:]
    top = torch.where(F.max_pool2d(heat, 3, 1, 1) == heat, heat, torch.zeros_like(heat)).flatten(1)
    best = torch.topk(top, min(3 * PEAKS, top.shape[1]), dim=1)
    found = []
    for all_scores, all_places, each in zip(best.values, best.indices, boxes.flatten(2), strict=True):
        kept = all_scores > FAINT
        scores, places = all_scores[kept], all_places[kept]
        cell, kind = places % (high * wide), places // (high * wide)
        corners = (each[:, cell] / torch.tensor([[wide], [high], [wide], [high]], device=each.device)).T.clamp(0, 1)
        whole = (
            torch.cat([corners, kind[:, None].to(corners), scores[:, None].to(corners)], dim=1).cpu().double().numpy()
        )
        found.append(suppressed(whole[area(whole) > 0], OVERLAP, PEAKS))
    return found
