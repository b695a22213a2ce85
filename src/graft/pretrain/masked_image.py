"""Fill-in-the-blank prediction over pictures (填充预测): hidden parts are predicted from those that are seen.

Idea: who can complete a picture knows what things look like.  Helps when: there are thousands of unlabelled pictures of
the field and few labels.  Hurts when: pictures are few, or the task hangs on details smaller than a patch.
References: He et al. (2022), whose encoder sees only the patches that are left; Xie et al. (2022), whose encoder sees
grey where patches are hidden; Pathak et al. (2016), who cut out a square.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.registry import OBJECTIVES
from graft.core.rows import evenly_spaced
from graft.core.runtime import Progress
from graft.core.types import Dataset
from graft.engine.objective import Batch, Loss, Objective
from graft.nn.decoders import MapDecoder, PatchDecoder
from graft.nn.patches import cut, joined
from graft.pretrain.base import decayed, hidden_share
from graft.pretrain.pictures import PicturePretrain, as_pictures, as_pixels, patch_of, sheet
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone

SHARES = {"patches": 0.75, "block": 0.25}  # of the picture that is hidden
NOISE = 1e-3  # added to the variance of a patch, so that the noise of a flat one is not blown up
MEAN_OF = 2_000  # training pictures that the mean picture is made of
SHOWN = 8  # pictures of a sample
ROUNDS = 8  # of smoothing per size in ``interpolated``


class Filling(Objective):
    """An encoder and a decoder that predicts hidden patches.

    Args:
        backbone: The encoder.
        decoder: Goes from its states to pixels.
        patch: Height and width of a patch.
        lr: Peak rate.
        weight_decay: Of matrices and kernels.
    """

    def __init__(
        self, backbone: NativeBackbone, decoder: nn.Module, *, patch: int, lr: float, weight_decay: float
    ) -> None:
        super().__init__()
        self.backbone, self.decoder, self.patch = backbone, decoder, patch
        self.lr, self.weight_decay = lr, weight_decay

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": decayed(self, lr=self.lr, weight_decay=self.weight_decay)}

    def wanted(self, pixels: Tensor, batch: Batch) -> Tensor:
        """The hidden patches (B, M, C·p·p) of pictures (B, C, H, W)."""
        patches = cut(pixels, self.patch)
        return patches.gather(1, batch["hidden"][..., None].expand(-1, -1, patches.shape[2]))

    def seen(self, batch: Batch) -> Tensor:
        """1 where a pixel is seen, 0 where it is hidden: (B, 1, H, W)."""
        rows, kept = batch["kept"].shape
        cells = torch.zeros(rows, kept + batch["hidden"].shape[1], device=batch["kept"].device)
        return joined(cells.scatter(1, batch["kept"], 1.0)[..., None].expand(-1, -1, self.patch**2), self.patch)

    @abstractmethod
    def predicted(self, batch: Batch) -> Tensor:
        """Pixels in [-1, 1] of the hidden patches (B, M, C·p·p)."""

    def filled(self, batch: Batch) -> Tensor:
        """Pictures (B, C, H, W) with what is hidden filled in; what is seen stays as it is."""
        patches, found = cut(batch["pixel_values"], self.patch), self.predicted(batch).clamp(-1, 1)
        places = batch["hidden"][..., None].expand(-1, -1, patches.shape[2])
        return joined(patches.scatter(1, places, found.to(patches.dtype)), self.patch)


class _FromPatches(Filling):
    """The encoder sees only the patches that are left.

    The decoder gives every hidden patch its mean m, spread s and shape z; the picture is m + s · z.  The loss is the
    squared error of all three, z against the patch standardised by its own mean and spread, as in He et al. (2022),
    who take both from the true patch: here nothing of it is needed to draw a picture.
    """

    def _parts(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        inputs = {"pixel_values": batch["pixel_values"], "kept": batch["kept"]}
        states = self.backbone.body.forward_features(inputs)[-1]
        out = self.decoder(states, batch["kept"], batch["hidden"]).float()
        return out[..., :1], out[..., 1:2], out[..., 2:]

    def predicted(self, batch: Batch) -> Tensor:
        mean, spread, shape = self._parts(batch)
        return mean + spread * shape

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        mean, spread, shape = self._parts(batch)
        wanted = self.wanted(batch["pixel_values"], batch)
        true_mean = wanted.mean(dim=2, keepdim=True)
        true_spread = (wanted.var(dim=2, keepdim=True, correction=0) + NOISE).sqrt()
        errors = (shape - (wanted - true_mean) / true_spread).square().mean(dim=2, keepdim=True)
        errors = errors + (mean - true_mean).square() + (spread - true_spread).square()
        return Loss(errors.mean(dim=(1, 2)))


class _FromPicture(Filling):
    """The encoder sees the picture with grey where something is hidden; the loss is the squared error there."""

    def predicted(self, batch: Batch) -> Tensor:
        pixels = batch["pixel_values"]
        maps = self.backbone.body.forward_features({"pixel_values": pixels * self.seen(batch)})[-1]
        return self.wanted(self.decoder(maps).float(), batch)

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        return Loss((self.predicted(batch) - self.wanted(batch["pixel_values"], batch)).square().mean(dim=(1, 2)))


@OBJECTIVES.register("masked-image")
class MaskedImage(PicturePretrain):
    """Predict hidden parts of a picture; the loss is the mean squared error over them.

    A transformer over patches sees only what is left, a convolutional network sees grey in place of what is hidden.
    Scores stand beside the mean picture, the mean colour of what is seen, and smooth interpolation from it.

    Args:
        encoder: ``"patches"``, ``"resnet"`` or ``"vgg"``; the first if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        side: Height and width that pictures are brought to, a multiple of 8; read off the pictures (at most 64) if None.
        gap: ``"patches"`` hides patches here and there, ``"block"`` one square; None: patches for an encoder of
            patches, else a block.
        hidden: Share of the picture that is hidden; None: 0.75 of the patches, or a block of 0.25.
        epochs: Passes over the pictures; None: as many as the time allows, or 3 without a budget.
        batch_size: Pictures of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and what is hidden.

    Example:
        >>> import numpy as np
        >>> from graft.pretrain.masked_image import MaskedImage
        >>> pictures = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3), dtype=np.uint8)
        >>> made = MaskedImage(size="tiny", epochs=1).fit(list(pictures))
        >>> [score["name"] for score in made.record_["scores"]]
        ['squared error of what is hidden', 'signal to noise of what is hidden']
    """

    name = "masked-image"
    label = "fill-in-the-blank prediction over pictures"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"image": ("patches", "resnet", "vgg")}

    def __init__(
        self,
        *,
        encoder: str | None = None,
        size: str = "small",
        side: int | None = None,
        gap: str | None = None,
        hidden: float | None = None,
        epochs: float | None = None,
        batch_size: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(
            encoder=encoder, size=size, side=side, epochs=epochs, batch_size=batch_size, lr=lr,
            weight_decay=weight_decay, seed=seed,
        )  # fmt: skip
        self.gap = gap
        self.hidden = hidden

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        hidden_share(self._gap, self.hidden, SHARES)  # refused before anything is read
        return super()._start(data, folder, progress)

    @property
    def _gap(self) -> str:
        return self.gap or ("patches" if (self.encoder or "patches") == "patches" else "block")

    @property
    def _share(self) -> float:
        return hidden_share(self._gap, self.hidden, SHARES)

    def _objective(self, backbone: NativeBackbone) -> Objective:
        side, width, channels = self.reader_.size, backbone.spec.hidden_size, self.channels
        patch = patch_of(side)
        options = {"patch": patch, "lr": self.lr, "weight_decay": self.weight_decay}
        if backbone.encoder == "patches":
            outputs = channels * patch**2 + 2
            decoder = PatchDecoder(width, outputs, side=side // patch, width=max(32, width // 2))
            return _FromPatches(backbone, decoder, **options)
        with torch.no_grad():
            coarse = backbone.body.forward_features({"pixel_values": torch.zeros(1, channels, side, side)})[-1]
        return _FromPicture(backbone, MapDecoder(width, channels, times=side // coarse.shape[-1]), **options)

    def _batch(self, pictures: np.ndarray, rng: np.random.Generator) -> Batch:
        hidden = self._places(len(pictures), self.reader_.size // patch_of(self.reader_.size), rng)
        order = torch.from_numpy(np.argsort(hidden, axis=1, kind="stable"))  # what is kept, then what is hidden
        kept = int((~hidden[0]).sum())
        return {"pixel_values": as_pixels(pictures), "kept": order[:, :kept], "hidden": order[:, kept:]}

    def _places(self, rows: int, side: int, rng: np.random.Generator) -> np.ndarray:
        """Which of the patches (B, side²) are hidden; equally many in every row."""
        if self._gap == "patches":
            count = min(max(1, round(self._share * side**2)), side**2 - 1)
            return rng.random((rows, side**2)).argsort(axis=1).argsort(axis=1) < count
        length = min(max(1, round(math.sqrt(self._share) * side)), side - 1)
        first = rng.integers(0, side - length + 1, (2, rows, 1))
        down, across = (np.arange(side) >= first) & (np.arange(side) < first + length)
        return (down[:, :, None] & across[:, None, :]).reshape(rows, -1)

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "gap": self._gap, "hidden": self._share}

    def _measure(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, Filling)
        train = self.pictures_.train
        some = train[evenly_spaced(len(train), MEAN_OF)]
        mean = torch.from_numpy(some.mean(axis=0) / 127.5 - 1).permute(2, 0, 1).float()
        parts: dict[str, list[np.ndarray]] = {"": [], "mean picture": [], "mean colour": [], "interpolation": []}
        with torch.inference_mode():
            for batch in self._held_out_batches(objective):
                pixels, seen = batch["pixel_values"], objective.seen(batch)
                colour = (pixels * seen).sum(dim=(2, 3), keepdim=True) / seen.sum(dim=(2, 3), keepdim=True)
                guesses = {
                    "mean picture": mean.to(pixels.device).expand_as(pixels),
                    "mean colour": colour.expand_as(pixels),
                    "interpolation": interpolated(pixels, seen),
                }
                found = {name: objective.wanted(guess, batch) for name, guess in guesses.items()}
                found[""] = objective.predicted(batch).clamp(-1, 1)
                true = objective.wanted(pixels, batch)
                for name, guess in found.items():
                    parts[name].append(((guess - true) / 2).square().mean(dim=(1, 2)).cpu().numpy())
        errors = {name: np.concatenate(values).astype(np.float64) for name, values in parts.items()}
        own = errors.pop("")
        return [
            self._score("squared error of what is hidden", own, errors, float, "of pixels from 0 to 1"),
            self._score("signal to noise of what is hidden", own, errors, _decibel, "dB"),
        ]

    def _samples(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, Filling)
        with torch.inference_mode():
            batch = next(iter(self._held_out_batches(objective, SHOWN)))
            rows = [batch["pixel_values"] * objective.seen(batch), objective.filled(batch), batch["pixel_values"]]
        kind = "reconstructed" if self._gap == "patches" else "inpainted"
        return [{"kind": kind, "picture": sheet([as_pictures(row) for row in rows])}]


def _decibel(error: float) -> float:
    """Peak signal-to-noise ratio of a squared error of pixels in [0, 1]."""
    return -10 * math.log10(max(error, 1e-10))


def interpolated(pixels: Tensor, seen: Tensor) -> Tensor:
    """Fill what is not seen smoothly from what is: from coarse to fine, each size smoothed.  Gortler et al. (1996).

    Args:
        pixels: Pictures (B, C, H, W).
        seen: 1 where a pixel is seen, 0 elsewhere (B, 1, H, W); at least one of each picture is.

    Example:
        >>> import torch
        >>> line = torch.tensor([0.0, 9.0, 9.0, 3.0]).expand(1, 1, 4, 4)
        >>> seen = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(1, 1, 4, 4)
        >>> [round(value, 1) for value in interpolated(line, seen)[0, 0, 0].tolist()]
        [0.0, 1.0, 2.0, 3.0]
    """
    if min(pixels.shape[2:]) == 1:
        return (pixels * seen).sum(dim=(2, 3), keepdim=True) / seen.sum(dim=(2, 3), keepdim=True)
    share = F.avg_pool2d(seen, 2, ceil_mode=True)
    coarse = interpolated(F.avg_pool2d(pixels * seen, 2, ceil_mode=True) / share.clamp(min=1e-6), (share > 0).float())
    filled = torch.where(seen > 0, pixels, F.interpolate(coarse, pixels.shape[2:], mode="bilinear"))
    for _ in range(ROUNDS):
        wide = F.pad(filled, (1, 1, 1, 1), mode="replicate")
        around = wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1] + wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]
        filled = torch.where(seen > 0, pixels, around / 4)
    return filled
