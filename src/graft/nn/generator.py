"""A convolutional generator: pictures out of latent codes, and how it is kept on disk."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from graft.core.errors import SourceError, UsageError

FORMAT = 1  # of generator.json
SIZES = {"tiny": 32, "small": 64, "base": 128}  # channels before the last layer
MOST = 8  # the coarsest stage has at most this many times as many
DRAWN = 64  # pictures drawn at a time
INIT = 0.05  # standard deviation of fresh weights: with the usual 0.02 black stays grey for hundreds of steps


class Generator(nn.Module):
    """Transposed convolutions that double the side up to the picture, the tanh of the last one in [-1, 1].

    A linear layer makes a map of 3 to 7 pixels a side; each stage is a 4×4 transposed convolution of stride 2, batch
    normalisation and ReLU, without pooling or other dense layers.  Radford et al. (2016).

    Args:
        channels: Of the picture.
        side: Its height and width, a multiple of 8.
        latent: Numbers of a latent code.
        width: Channels before the last layer; they double towards the coarse end, to eight times this at most.

    Raises:
        UsageError: The side is no multiple of 8.

    Example:
        >>> generator = Generator(1, side=16, latent=8, width=16)
        >>> generator(torch.zeros(2, 8)).shape
        torch.Size([2, 1, 16, 16])
    """

    def __init__(self, channels: int = 3, *, side: int = 32, latent: int = 64, width: int = 64) -> None:
        super().__init__()
        if side < 8 or side % 8:
            raise UsageError(f"a side of {side} pixels cannot be drawn", hint="use a multiple of 8")
        self.arguments = {"channels": channels, "side": side, "latent": latent, "width": width}
        stages, start = 1, side // 2
        while start % 2 == 0 and start >= 6:
            stages, start = stages + 1, start // 2
        widths = [min(MOST, 2**stage) * width for stage in range(stages - 1, -1, -1)]
        self.latent, self.start, self.first = latent, start, widths[0]
        self.dense = nn.Linear(latent, widths[0] * start * start, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for inputs, outputs in itertools.pairwise(widths):
            up = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
            layers += [up, nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1))
        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=INIT)

    def forward(self, codes: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [-1, 1] from codes (B, L) of a standard normal distribution."""
        coarse = self.dense(codes).view(-1, self.first, self.start, self.start)
        pictures: Tensor = torch.tanh(self.layers(coarse).float())
        return pictures

    def sample(self, count: int, seed: int = 0) -> np.ndarray:
        """Draw pictures (N, H, W, C) uint8; equal seeds draw equal pictures, and a larger N begins with the smaller."""
        if count < 1:
            raise UsageError(f"{count} pictures cannot be drawn", hint="draw one or more")
        codes = latent_codes(count, self.latent, seed)
        place = next(self.parameters()).device
        was, parts = self.training, []
        self.eval()
        with torch.inference_mode():
            for start in range(0, count, DRAWN):
                block = codes[start : start + DRAWN]
                padded = torch.zeros(DRAWN, self.latent)  # one shape: the last block takes the same kernels
                padded[: len(block)] = block
                values = (self(padded.to(place))[: len(block)].cpu() + 1.0) * 127.5
                parts.append(values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())
        self.train(was)
        return np.concatenate(parts)

    def save(self, folder: Path) -> None:
        """Write ``generator.safetensors`` and its arguments, ``generator.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, folder / "generator.safetensors")
        facts = {"format": FORMAT, "kind": "generator", "arguments": self.arguments}
        (folder / "generator.json").write_text(json.dumps(facts), encoding="utf-8")


def latent_codes(count: int, latent: int, seed: int) -> Tensor:
    """Standard normal codes (N, L) of a seed."""
    draws = np.random.default_rng(seed).standard_normal((count, latent))
    return torch.from_numpy(draws.astype(np.float32))


def open_generator(folder: str | Path) -> Generator:
    """Open the generator that a training of the objective ``gan`` left beside its source.

    Raises:
        SourceError: There is none, or it is damaged.

    Example:
        ``open_generator("sources/digits-gan").sample(16, seed=1)`` draws sixteen pictures (16, H, W, C) uint8.
    """
    folder = Path(folder).expanduser()
    try:
        facts: dict[str, Any] = json.loads((folder / "generator.json").read_text(encoding="utf-8"))
        if facts.get("kind") != "generator" or facts.get("format") != FORMAT:
            raise SourceError(f"{folder}/generator.json describes no generator", hint=f"graft reads format {FORMAT}")
        tensors = load_file(folder / "generator.safetensors")
        with torch.random.fork_rng(devices=[]):  # opening must not move the caller's random state
            generator = Generator(**facts["arguments"])
        generator.load_state_dict(tensors)
    except FileNotFoundError as error:
        hint = "make one with graft pretrain PICTURES --objective gan"
        raise SourceError(f"no generator in {folder}", hint=hint) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        line = str(error).splitlines()[-1].strip()
        raise SourceError(f"the generator in {folder} is damaged: {line}", hint="make it again") from error
    return generator.requires_grad_(requires_grad=False).eval()
