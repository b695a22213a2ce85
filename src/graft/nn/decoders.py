"""Decoders: from what an encoder of pictures gives back to pixels; they are thrown away after pretraining."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.nn.patches import sine_places
from graft.nn.transformer import INIT, Stack


class PatchDecoder(Stack):
    """A light transformer that says what hidden patches show, from the states of those that are seen.

    The states, narrowed, and one mark per hidden patch, both with their places, go through a few blocks; only the marks
    reach the output.  He et al. (2022), Masked autoencoders are scalable vision learners, CVPR.

    Args:
        inputs: Width of the states.
        outputs: Numbers per patch.
        side: Patches per side of the picture.
        width: Of the decoder, a multiple of 4.
        depth: Number of its blocks.
    """

    places: Tensor

    def __init__(self, inputs: int, outputs: int, *, side: int, width: int = 64, depth: int = 2) -> None:
        super().__init__(width, depth, max(1, width // 32), 0.0)
        self.enter, self.leave = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.mark = nn.Parameter(torch.empty(width))
        self.register_buffer("places", sine_places(side, width), persistent=False)
        self._fresh(std=width**-0.5)
        nn.init.normal_(self.enter.weight, std=inputs**-0.5)
        nn.init.normal_(self.mark, std=INIT)

    def forward(self, states: Tensor, kept: Tensor, hidden: Tensor) -> Tensor:
        """Numbers (B, M, K) of the hidden patches (B, M), from states (B, N - M, D) of the kept ones (B, N - M)."""
        seen = self.enter(states)
        marks = (self.mark + self.places[hidden]).to(seen.dtype)
        x = torch.cat([seen + self.places[kept].to(seen.dtype), marks], dim=1)
        out: Tensor = self.leave(self._states(x, None, None)[-1][:, kept.shape[1] :])
        return out


class MapDecoder(nn.Module):
    """Convolutions over a coarse feature map, each of whose places then becomes the pixels it stands for.

    Shi et al. (2016) for the step to pixels, which leaves no checkerboard; the 3×3 convolutions carry what is seen into
    the middle of a gap.

    Args:
        inputs: Channels D of the map, a multiple of 8.
        channels: Of the picture.
        times: Side of the picture over side of the map.
        depth: Number of 3×3 convolutions.
    """

    def __init__(self, inputs: int, channels: int, *, times: int, depth: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, inputs, 3, 1, 1, bias=False), nn.GroupNorm(8, inputs), nn.ReLU()]
        self.across, self.times = nn.Sequential(*layers), times
        self.leave = nn.Conv2d(inputs, channels * times * times, 1)
        for module in self.across:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.normal_(self.leave.weight, std=INIT)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, maps: Tensor) -> Tensor:
        """Pictures (B, C, H, W) from maps (B, D, H / times, W / times)."""
        return F.pixel_shuffle(self.leave(self.across(maps)), self.times)
