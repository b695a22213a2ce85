"""Adversarial generation (生成对抗网络): a generator learns to draw what a discriminator cannot tell from real pictures.

Idea: to find every fault of drawn pictures, the discriminator must learn what real ones are made of; it is the source,
the generator is kept beside it.  Helps when: pictures without labels are plenty and new ones of their kind are wanted.
Hurts when: pictures are few (it learns them by heart) or time is short; as a source, contrast or blanks often do better.
References: Goodfellow et al. (2014); Radford et al. (2016) for the generator and for the discriminator as a source;
Mescheder et al. (2018) for the penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from graft.core.errors import UsageError
from graft.core.registry import OBJECTIVES
from graft.core.runtime import Progress
from graft.core.types import Dataset
from graft.engine.loop import History
from graft.engine.objective import Batch, Loss, Objective
from graft.nn.generator import SIZES, Generator, latent_codes, open_generator
from graft.pretrain.fidelity import (
    DIMENSIONS,
    FixedFeatures,
    faults,
    frechet,
    gaussian_pictures,
    moments,
    nearest,
    spread,
)
from graft.pretrain.pictures import PicturePretrain, as_pixels, sheet
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone

__all__ = ["GAN", "open_generator"]

FORMS = ("r1", "non-saturating", "minimax")
BETAS = (0.0, 0.99)  # of Adam, for both players.  Mescheder et al. (2018), Karras et al. (2020)
EVERY = 4  # steps from one penalty to the next, each weighted by this.  Karras et al. (2020)
FITTED = 2_000  # training pictures from which rulers and baselines are made
TIMES = 200  # bootstrap resamples: each costs two eigendecompositions
DRAWN, NEIGHBOURS = (5, 10), (5, 6)  # rows and columns of the two sheets
CERTAIN, LOST = 0.99, 0.02  # shares told apart from which one player has won, and around a half where nothing is told


class Duel(Objective):
    """Discriminator D(x) = w · (h(x), mean, deviation of the pixels) + b over an encoder h, against a generator G.

    With f⁺(t) = log(1 + eᵗ) the discriminator minimises f⁺(-D(x)) + f⁺(D(G(z))), in the form ``"r1"`` also
    γ/2 |∇D(x)|² on real pictures; the generator f⁺(-D(G(z))), or -f⁺(D(G(z))) = log(1 - σ(D(G(z)))) in the form
    ``"minimax"``.  Mean and deviation are given to D because normalisation leaves its encoder blind to contrast.

    Args:
        backbone: The encoder of the discriminator.
        generator: What it plays against.
        form: ``"r1"``, ``"non-saturating"`` or ``"minimax"``.
        lr: Peak rate of both.
        penalty: γ.
    """

    def __init__(self, backbone: NativeBackbone, generator: Generator, *, form: str, lr: float, penalty: float) -> None:
        super().__init__()
        self.backbone, self.generator = backbone, generator
        self.form, self.lr, self.penalty = form, lr, penalty
        self.output = nn.Linear(backbone.spec.hidden_size + 2, 1)

    def players(self) -> dict[str, list[dict[str, Any]]]:
        same = {"lr": self.lr, "betas": BETAS, "weight_decay": 0.0}
        return {
            "discriminator": [{"params": self._judging(), **same}],
            "generator": [{"params": list(self.generator.parameters()), **same}],
        }

    def _judging(self) -> list[nn.Parameter]:
        return [*self.backbone.parameters(), *self.output.parameters()]

    def judge(self, pixels: Tensor) -> Tensor:
        """Scores (B,) of pictures (B, C, H, W): above 0 for real."""
        pooled = self.backbone({"pixel_values": pixels}).float()
        mean = pixels.mean(dim=(1, 2, 3))
        deviation = (pixels.var(dim=(1, 2, 3), unbiased=False) + 1e-4).sqrt()
        scores: Tensor = self.output(torch.cat([pooled, mean[:, None], deviation[:, None]], dim=1)).float()
        return scores[:, 0]

    def loss(self, batch: Batch, player: str) -> Loss:
        if player == "generator":
            return Loss(self._drawing(batch["codes_generator"]))
        with torch.no_grad():
            drawn = self.generator(batch["codes"])
        real = batch["pixel_values"]
        penalised = self.form == "r1" and bool(batch["penalised"])
        real = real.detach().requires_grad_(requires_grad=penalised)
        on_real, on_drawn = self.judge(real), self.judge(drawn)
        per_example = F.softplus(-on_real) + F.softplus(on_drawn)
        told = 0.5 * float((on_real > 0).float().mean() + (on_drawn < 0).float().mean())
        if penalised:
            per_example = per_example + EVERY * self.penalty / 2 * slope(on_real, real)
        return Loss(per_example, logs={"told_apart": told})

    def _drawing(self, codes: Tensor) -> Tensor:
        judging = self._judging()
        for parameter in judging:  # its gradients would be made and thrown away
            parameter.requires_grad_(requires_grad=False)
        try:
            scores = self.judge(self.generator(codes))
        finally:
            for parameter in judging:
                parameter.requires_grad_(requires_grad=True)
        return -F.softplus(scores) if self.form == "minimax" else F.softplus(-scores)


def slope(scores: Tensor, pixels: Tensor) -> Tensor:
    """|∇D(x)|² (B,) of scores (B,) at the pictures (B, C, H, W) they were made of, differentiable again."""
    (gradient,) = torch.autograd.grad(scores.sum(), pixels, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3))


@OBJECTIVES.register("gan")
class GAN(PicturePretrain):
    """Let a generator and a discriminator play; the discriminator's encoder becomes the source.

    Scored by the Fréchet distance between drawn and held-out pictures in the features of a fixed random network, in
    parts of the variance of real pictures, beside a Gaussian of the same pixels and beside training pictures (the
    floor).  A collapse is looked for and said.

    Args:
        form: ``"r1"``, the non-saturating loss with a gradient penalty on real pictures, converges where the plain forms
            circle; ``"non-saturating"``; ``"minimax"``, the original one.
        latent: Numbers of a latent code.
        penalty: Weight γ of the gradient penalty.
        encoder: Of the discriminator.
        size: Of both players.
        side: Height and width of the pictures.
        epochs: Passes over the pictures; None: as many as the time allows, or 3 without a budget.
        batch_size: Pictures of a step, real and drawn each.
        lr: Peak rate of both players.
        seed: Seed of weights, order and codes.

    Example:
        >>> from graft.pretrain.gan import GAN
        >>> pictures = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
        >>> made = GAN(size="tiny", epochs=1, batch_size=8).fit(pictures)
        >>> made.generator_.sample(3, seed=0).shape
        (3, 8, 8, 1)
    """

    name = "gan"
    label = "adversarial generation"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"image": ("vgg", "resnet")}
    smallest = 2
    training: ClassVar[dict[str, Any]] = {"clip": 0.0, "warmup": 0.02}  # clipping would change who moves how far

    generator_: Generator

    def __init__(
        self,
        *,
        form: str = "r1",
        latent: int = 64,
        penalty: float = 1.0,
        encoder: str | None = None,
        size: str = "small",
        side: int | None = None,
        epochs: float | None = None,
        batch_size: int = 32,
        lr: float = 4e-3,
        seed: int = 0,
    ) -> None:
        super().__init__(
            encoder=encoder, size=size, side=side, epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=0.0,
            seed=seed,
        )  # fmt: skip
        self.form = form
        self.latent = latent
        self.penalty = penalty

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        if self.form not in FORMS:
            raise UsageError(f"no form {self.form!r} of {self.label}", hint=f"use {', '.join(FORMS)}")
        if self.latent < 1 or self.penalty < 0:
            raise UsageError("a latent code needs a number, and a penalty cannot be negative")
        return super()._start(data, folder, progress)

    def _objective(self, backbone: NativeBackbone) -> Duel:
        generator = Generator(self.channels, side=self.reader_.size, latent=self.latent, width=SIZES[self.size])
        return Duel(backbone, generator, form=self.form, lr=self.lr, penalty=self.penalty)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        for position, batch in enumerate(super()._batches(epoch)):
            yield {**batch, "penalised": torch.tensor(position % EVERY == 0)}

    def _batch(self, pictures: np.ndarray, rng: np.random.Generator) -> Batch:
        seed = int(rng.integers(1 << 62))
        codes = latent_codes(2 * len(pictures), self.latent, seed)
        return {
            "pixel_values": as_pixels(pictures),
            "codes": codes[: len(pictures)],
            "codes_generator": codes[len(pictures) :],
        }

    def _measure(self, objective: Duel) -> list[dict[str, Any]]:
        self.generator_ = objective.generator.requires_grad_(requires_grad=False)
        real, rng = self._held_out(), np.random.default_rng((self.seed, 4))
        count, every = len(real), len(self.pictures_.train)
        rows = np.sort(rng.choice(every, min(FITTED, every), replace=False))
        train = np.asarray(self.pictures_.train[rows])
        look = FixedFeatures(train, min(DIMENSIONS, max(1, count // 4)))
        seen, there = look(train), look(real)
        drawn = look(self.generator_.sample(count, self.seed))
        gaussian = look(gaussian_pictures(train, count, rng))
        floor = seen[rng.choice(len(seen), min(count, len(seen)), replace=False)]
        self.look_, self.seen_, self.train_ = look, seen, train
        self.faults_ = faults(drawn, there, seen)

        def distance(weights: np.ndarray) -> np.ndarray:
            weights = weights + 1e-9  # of a handful of pictures a resample may hold none of one side
            pairs = [(moments(drawn, w[:count]), moments(there, w[count:])) for w in weights]
            return np.array([frechet(*pair) for pair in pairs]) / look.variance

        def apart(weights: np.ndarray) -> np.ndarray:
            trace = np.array([np.trace(moments(drawn, w)[1]) for w in weights])
            return np.sqrt(2 * trace) / (spread(there) or 1.0)

        beside = {"gaussian of pixels": gaussian, "training pictures": floor}
        far = {name: frechet(moments(other), moments(there)) / look.variance for name, other in beside.items()}
        wide = {name: spread(other) / (spread(there) or 1.0) for name, other in beside.items()}
        score = self._scored("Fréchet distance", distance, 2 * count, far, "of the variance", times=TIMES)
        score["low"] = max(0.0, score["low"])
        return [score, self._scored("spread beside real pictures", apart, count, wide, "share", times=TIMES)]

    def _samples(self, objective: Duel) -> list[dict[str, Any]]:
        del objective
        down, across = DRAWN
        pictures = self.generator_.sample(down * across, self.seed)
        rows = list(pictures.reshape(down, across, *pictures.shape[1:]))
        some, wide = NEIGHBOURS
        places, _ = nearest(self.look_(pictures[:some]), self.seen_, wide)
        beside = [np.concatenate([pictures[i : i + 1], self.train_[places[i]]]) for i in range(some)]
        return [{"kind": "drawn", "picture": sheet(rows)}, {"kind": "nearest", "picture": sheet(beside)}]

    def _notes(self, history: History) -> list[str]:
        said, points = [*super()._notes(history), *self.faults_], history.points[3 * len(history.points) // 4 :]
        told = np.mean([point["told_apart"] for point in points if "told_apart" in point] or [0.75])
        won = f"At the end the discriminator told {told:.0%} of the pictures apart:"
        if told > CERTAIN:
            return [*said, f"{won} the generator learned little from it any more."]
        if abs(told - 0.5) < LOST:
            return [*said, f"{won} it no longer learned, or there was nothing left to tell."]
        return said

    def save(self, folder: str | Path) -> Path:
        """Write the source, its record, and the generator: ``generator.safetensors`` and ``generator.json``."""
        folder = super().save(folder)
        self.generator_.save(folder)
        return folder
