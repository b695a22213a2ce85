"""The residual network for pictures of 32 pixels that CIFAR checkpoints hold, with the names they use."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.errors import UsageError

Batch = dict[str, Tensor]


class _Block(nn.Module):
    """Two 3×3 convolutions and a shortcut without weights: where shapes differ, every second pixel, zeros around."""

    def __init__(self, inputs: int, outputs: int, stride: int, eps: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs, eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, eps)
        self.stride = stride
        self.front = (outputs - inputs) // 2
        self.behind = outputs - inputs - self.front

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        kept = x[:, :, :: self.stride, :: self.stride]
        return F.relu(inner + F.pad(kept, (0, 0, 0, 0, self.front, self.behind)))


class CifarResNet(nn.Module):
    """Residual network of depth 2·n·S + 2 with S stages of n blocks; He et al. (2016), section 4.2, shortcut A.

    Batch: ``pixel_values`` (B, C, H, W).  The names of its weights are those of common checkpoints (``conv1``, ``bn1``,
    ``layer1.0.conv1`` …, ``linear``).  Batch normalisation: train it with batches of a few dozen pictures.

    Args:
        channels: Of the picture.
        depth: Layers with weights, 20, 32, 44, 56 … for three stages.
        widths: Channels of each stage; from the second on a stage halves the resolution.
        classes: Outputs of ``linear``; 0 for a network without it.
        eps: Of the normalisation.

    Raises:
        UsageError: There is no network of this depth or these widths.

    Example:
        >>> sum(p.numel() for p in CifarResNet(depth=20, classes=10).parameters())
        269722
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        depth: int = 20,
        widths: tuple[int, ...] = (16, 32, 64),
        classes: int = 0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 2 * len(widths)) if widths else (0, 1)
        if rest or blocks < 1:
            hint = f"with {len(widths)} stages it is {2 * len(widths)}·n + 2, for example {6 * len(widths) + 2}"
            raise UsageError(f"no residual network has the depth {depth}", hint=hint)
        if any(below > above for below, above in zip((1, *widths), widths, strict=False)):
            raise UsageError(f"the widths {widths} do not grow", hint="shortcuts only add channels")
        self.conv1 = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0], eps)
        inputs = widths[0]
        self._stages = [f"layer{number}" for number in range(1, len(widths) + 1)]
        for name, outputs in zip(self._stages, widths, strict=True):
            stride = 1 if name == "layer1" else 2
            first = _Block(inputs, outputs, stride, eps)
            self.add_module(name, nn.Sequential(first, *(_Block(outputs, outputs, 1, eps) for _ in range(blocks - 1))))
            inputs = outputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.linear = nn.Linear(inputs, classes) if classes else None
        self.hidden_size = inputs

    def blocks(self) -> list[nn.Module]:
        """First convolution with its normalisation, then stages."""
        return [nn.ModuleList([self.conv1, self.bn1]), *(self.get_submodule(name) for name in self._stages)]

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Feature maps (B, D, H, W) of each stage."""
        x = F.relu(self.bn1(self.conv1(batch["pixel_values"])))
        maps = []
        for name in self._stages:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over the picture."""
        del batch
        return hidden.mean(dim=(2, 3))

    def logits(self, hidden: Tensor) -> Tensor | None:
        """Logits (B, K) for the maps of the last stage; None for a network without ``linear``."""
        logits: Tensor | None = None if self.linear is None else self.linear(hidden.mean(dim=(2, 3)))
        return logits
