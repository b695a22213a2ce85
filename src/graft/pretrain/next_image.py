"""Next-element prediction over pictures (次序预测): every pixel is predicted from those before it, row by row.

Idea: to say how a picture goes on, a network must know what such pictures look like.  Helps when: pictures are small
and simple, and their drawing is wanted too: it can draw.  Hurts when: pictures are large, as its cost grows with the
square of their pixels; then hide parts instead.
References: van den Oord et al. (2016), Pixel recurrent neural networks; Chen et al. (2020), Generative pretraining from
pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from graft.core.registry import OBJECTIVES
from graft.core.rows import evenly_spaced
from graft.core.types import ModelSpec
from graft.engine.objective import Batch, Objective
from graft.pretrain.language import TokenObjective
from graft.pretrain.pictures import PicturePretrain, sheet
from graft.sources.native import NativeBackbone
from graft.sources.readers import ImageReader, PixelReader

PIXELS = 256  # numbers of a picture whose side is not asked for, at most
COUNTED = 10_000  # training pictures that simple models are made of
DRAWN = 8  # pictures of a sample
MEASURED_NUMBERS = 60_000  # of held-out pictures that are scored at most


class NextPixel(TokenObjective):
    """The next pixel from the states up to it; the tokens that name rows are given, not predicted.

    Args:
        backbone: The encoder.
        reader: Says which tokens name rows.
        lr: Peak rate.
        weight_decay: Of matrices other than the embeddings.
    """

    places: Tensor

    def __init__(self, backbone: NativeBackbone, reader: PixelReader, *, lr: float, weight_decay: float) -> None:
        super().__init__(backbone, lr=lr, weight_decay=weight_decay, bridge=False)
        row = 1 + reader.size * reader.channels
        places = torch.arange(reader.size * row)
        self.register_buffer("places", places[places % row > 0], persistent=False)

    def predicted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        ids = batch["ids"]
        return self.states(ids[:, :-1])[:, self.places - 1], ids[:, self.places]


@OBJECTIVES.register("next-image")
class NextImage(PicturePretrain):
    """Predict every pixel from those above it and to its left; the loss is the mean of -log p(x_t | x_<t).

    Brightness is cut into steps, the colours of a pixel follow each other.  The score is in bits per number (a pixel of
    a grey picture, one of three colours otherwise), beside models that look at the place, or at the neighbours.

    Args:
        encoder: ``"transformer"``, ``"lstm"`` or ``"gru"``; the first if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        side: Height and width that pictures are brought to, a multiple of 8; None: at most 16, or 8 in colour.
        levels: Steps of brightness.
        epochs: Passes over the pictures; None: as many as the time allows, or 3 without a budget.
        batch_size: Pictures of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights, order and what is drawn.

    Example:
        >>> import numpy as np
        >>> from graft.pretrain.next_image import NextImage
        >>> pictures = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 1), dtype=np.uint8)
        >>> made = NextImage(encoder="gru", size="tiny", levels=4, epochs=1).fit(list(pictures))
        >>> [score["name"] for score in made.record_["scores"]]
        ['bits per number']
    """

    name = "next-image"
    label = "next-element prediction over pixels"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"image": ("transformer", "lstm", "gru")}

    def __init__(
        self,
        *,
        encoder: str | None = None,
        size: str = "tiny",
        side: int | None = None,
        levels: int = 16,
        epochs: float | None = None,
        batch_size: int = 32,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(
            encoder=encoder, size=size, side=side, epochs=epochs, batch_size=batch_size, lr=lr,
            weight_decay=weight_decay, seed=seed,
        )  # fmt: skip
        self.levels = levels

    def _side(self, found: ImageReader) -> int:
        channels = 1 if found.grey else 3
        return min(found.size, max(8, 8 * (math.isqrt(PIXELS // channels) // 8)))

    def _backbone(self, name: str, arguments: dict[str, Any]) -> NativeBackbone:
        reader = PixelReader(self.reader_.size, grey=self.reader_.grey, levels=self.levels)
        self.pixels_ = reader
        spec = ModelSpec(f"new:{name}", name, "image", architecture=f"{name}-{self.size}")
        return NativeBackbone(name, {"vocabulary": reader.vocabulary, **arguments, "causal": True}, reader, spec)

    def _objective(self, backbone: NativeBackbone) -> Objective:
        return NextPixel(backbone, self.pixels_, lr=self.lr, weight_decay=self.weight_decay)

    def _batch(self, pictures: np.ndarray, rng: np.random.Generator) -> Batch:
        del rng
        return {"ids": torch.from_numpy(self.pixels_.tokens(pictures))}

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "levels": self.levels}

    def _measure(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, NextPixel)
        most = max(1, MEASURED_NUMBERS // (self.reader_.size**2 * self.channels))
        with torch.inference_mode():
            batches = self._held_out_batches(objective, most)
            nats = [objective.nats(batch).mean(dim=1).cpu().numpy() for batch in batches]
        train = self.pictures_.train
        some = train[evenly_spaced(len(train), COUNTED)]
        simple = Neighbours(self.pixels_.brightness(some), self.levels)
        baselines = simple.nats(self.pixels_.brightness(self._held_out(most)))
        own = np.concatenate(nats).astype(np.float64)
        return [self._score("bits per number", own, baselines, lambda value: value / math.log(2), "bits")]

    def _samples(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, NextPixel)
        ids = self.pixels_.tokens(self._held_out(DRAWN))
        half = ids.shape[1] // 2
        true, completed = self.pixels_.pictures(ids), self.pixels_.pictures(self.draw(objective, ids[:, :half]))
        given = true.copy()
        given[:, self.reader_.size // 2 :] = 128
        drawn = self.pixels_.pictures(self.draw(objective, np.zeros((DRAWN, 0), np.int64)))
        return [
            {"kind": "drawn", "picture": sheet([drawn])},
            {"kind": "completed", "picture": sheet([given, completed, true])},
        ]

    def draw(self, objective: NextPixel, begun: np.ndarray) -> np.ndarray:
        """Token numbers (B, T) of whole pictures, drawn number by number after what is given.

        Args:
            objective: The trained objective, which holds the output layer.
            begun: Token numbers (B, K) of the first parts of the pictures; K may be 0.
        """
        reader, place = self.pixels_, next(objective.parameters()).device
        generator = torch.Generator().manual_seed(self.seed)
        row = 1 + reader.size * reader.channels
        ids = np.zeros((len(begun), reader.size * row), np.int64)
        ids[:, : begun.shape[1]] = begun
        past: list[Any] = []
        scores = torch.zeros(len(ids), reader.vocabulary)  # of the number to come
        with torch.inference_mode():
            for at in range(ids.shape[1]):
                if at % row == 0:
                    ids[:, at] = reader.vocabulary - reader.size + at // row
                elif at >= begun.shape[1]:
                    first = 1 + reader.levels * ((at % row - 1) % reader.channels)
                    chances = torch.softmax(scores[:, first : first + reader.levels], dim=1)
                    ids[:, at] = first + torch.multinomial(chances, 1, generator=generator)[:, 0].numpy()
                states = objective.backbone.body.step(torch.from_numpy(ids[:, at]).to(place), past)
                scores = objective.logits(states).float().cpu()
        return ids


class Neighbours:
    """Smoothed counts of brightness alone, by place, and by neighbours of the same colour: what must be beaten.

    p(v | context) = (c(context, v) + L · q(v)) / (c(context) + L) with L steps of brightness, where q is the unigram of
    the colour, and for both neighbours the model of the left one.

    Args:
        values: Steps of brightness (N, H, W, C) of training pictures.
        levels: How many steps L there are.

    Example:
        >>> import numpy as np
        >>> striped = np.tile(np.array([0, 1, 0, 1])[None, None, :, None], (50, 4, 1, 1))
        >>> nats = {name: float(values.mean()) for name, values in Neighbours(striped, 2).nats(striped).items()}
        >>> round(nats["unigram"], 2), nats["unigram by place"] < 0.05, nats["left neighbour"] < 0.05
        (0.69, True, True)
    """

    def __init__(self, values: np.ndarray, levels: int) -> None:
        self.levels = levels
        self.chances: dict[str, np.ndarray] = {}
        for name, context, count in self._contexts(values):
            counts = np.bincount((context * levels + values).ravel(), minlength=count * levels).reshape(count, levels)
            less = self.chances.get("left neighbour" if name == "both neighbours" else "unigram")
            less = np.full((1, levels), 1 / levels) if less is None else less
            prior = levels * np.tile(less, (count // len(less), 1))  # contexts are numbered so that this fits
            self.chances[name] = (counts + prior) / (counts.sum(axis=1, keepdims=True) + levels)

    def _contexts(self, values: np.ndarray) -> Iterator[tuple[str, np.ndarray, int]]:
        """Each model's name, the number of the context of every value, and how many contexts there are."""
        _, height, width, channels = values.shape
        colour = np.arange(channels)
        place = np.arange(height * width).reshape(height, width, 1) * channels + colour
        padded = np.pad(values, ((0, 0), (1, 0), (1, 0), (0, 0)), constant_values=self.levels)  # outside: one more step
        left, upper, steps = padded[:, 1:, :-1], padded[:, :-1, 1:], self.levels + 1
        yield "unigram", np.broadcast_to(colour, values.shape), channels
        yield "unigram by place", np.broadcast_to(place, values.shape), height * width * channels
        yield "left neighbour", left * channels + colour, steps * channels
        yield "upper neighbour", upper * channels + colour, steps * channels
        yield "both neighbours", (upper * steps + left) * channels + colour, steps**2 * channels

    def nats(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Mean negative log-likelihood (N,) per number of pictures, by model."""
        return {
            name: -np.log(self.chances[name][context, values]).mean(axis=(1, 2, 3))
            for name, context, _ in self._contexts(values)
        }
