"""Next-element prediction over sounds (次序预测): a frame of the spectrogram is predicted from those before it.

Idea: to say how a sound goes on, a network must know what it is the sound of.  Helps when: there are hours of sounds of
the field, above all speech, and few labels.  Hurts when: sounds are short or hardly change, so that the last frame says
all that can be known.
Reference: Chung et al. (2019), An unsupervised autoregressive model for speech representation learning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from graft.core.errors import DataError, UsageError
from graft.core.registry import OBJECTIVES
from graft.core.runtime import Progress
from graft.core.types import Dataset
from graft.engine.objective import Batch, Loss, Objective
from graft.pretrain.base import decayed
from graft.pretrain.sounds import SHOWN, SoundPretrain, rows_of
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone

FARTHEST = 7  # frames that can be looked ahead: batches have at least eight


class Ahead(Objective):
    """The frame at t + k, a linear map of the state at t, which has seen the frames up to t.

    The loss of a sound is the mean absolute error over its frames and bands.

    Args:
        backbone: A causal encoder of frames.
        bands: Numbers of a frame.
        ahead: k.
        lr: Peak rate.
        weight_decay: Of matrices.
    """

    def __init__(self, backbone: NativeBackbone, bands: int, *, ahead: int, lr: float, weight_decay: float) -> None:
        super().__init__()
        self.backbone, self.ahead, self.lr, self.weight_decay = backbone, ahead, lr, weight_decay
        self.out = nn.Linear(backbone.spec.hidden_size, bands)

    def players(self) -> dict[str, list[dict[str, Any]]]:
        return {"model": decayed(self, lr=self.lr, weight_decay=self.weight_decay)}

    def predicted(self, batch: Batch) -> Tensor:
        """Frames k and following (B, T - k, F)."""
        states = self.backbone.body.forward_features({"frames": batch["frames"][:, : -self.ahead]})[-1]
        out: Tensor = self.out(states)
        return out.float()

    def wanted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The true frames (B, T - k, F), and which of them are real (B, T - k)."""
        return batch["frames"][:, self.ahead :], batch["attention_mask"][:, self.ahead :]

    def loss(self, batch: Batch, player: str) -> Loss:
        del player
        true, real = self.wanted(batch)
        return Loss(rows_of((self.predicted(batch) - true).abs(), real))


@OBJECTIVES.register("next-audio")
class NextAudio(SoundPretrain):
    """Predict frames of log-mel spectrograms k frames ahead; the loss is the mean of |x_t+k - W h_t|.

    The score stands beside a frame that stays as the last one was, and beside the mean frame.

    Args:
        encoder: ``"lstm"``, ``"gru"`` or ``"transformer"``; the first if None.
        size: ``"tiny"``, ``"small"`` or ``"base"``.
        length: Frames read of a sound, a multiple of 8; None: so many that 95 % of the sounds fit, at most 128.
        ahead: Frames to look ahead: the next one alone is too much like the last.
        epochs: Passes over the sounds; None: as many as the time allows, or 3 without a budget.
        batch_size: Sounds of a step.
        lr: Peak rate.
        weight_decay: Decoupled weight decay.
        seed: Seed of weights and order.

    Example:
        >>> import numpy as np
        >>> from graft.pretrain.next_audio import NextAudio
        >>> tones = [(np.sin(np.arange(2000) * pitch / 40), 8000) for pitch in range(1, 21)]
        >>> made = NextAudio(encoder="gru", size="tiny", epochs=1).fit(tones)
        >>> sorted(made.record_["scores"][0]["baselines"])
        ['as the last frame', 'mean frame']
    """

    name = "next-audio"
    label = "next-element prediction over sounds"
    encoders: ClassVar[dict[str, tuple[str, ...]]] = {"audio": ("lstm", "gru", "transformer")}
    causal = True

    def __init__(
        self,
        *,
        encoder: str | None = None,
        size: str = "small",
        length: int | None = None,
        ahead: int = 3,
        epochs: float | None = None,
        batch_size: int = 32,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(
            encoder=encoder, size=size, length=length, epochs=epochs, batch_size=batch_size, lr=lr,
            weight_decay=weight_decay, seed=seed,
        )  # fmt: skip
        self.ahead = ahead

    def _start(
        self, data: Dataset, folder: Path, progress: Progress
    ) -> tuple[Backbone, Objective, Callable[[int], Iterable[Batch]], int]:
        if not 1 <= self.ahead <= FARTHEST:
            raise UsageError(f"cannot look {self.ahead} frames ahead", hint=f"use 1 to {FARTHEST}")
        return super()._start(data, folder, progress)

    def _check(self) -> None:
        for frames in (self.train_, self.held_out_):
            if np.diff(frames.ends, prepend=0).max() <= self.ahead:
                raise DataError(
                    f"no {self.unit} is longer than {self.ahead} frames", hint="lower ahead, or add longer ones"
                )

    def _objective(self, backbone: NativeBackbone) -> Ahead:
        options = {"ahead": self.ahead, "lr": self.lr, "weight_decay": self.weight_decay}
        return Ahead(backbone, self.reader_.bands, **options)

    def _batch(self, frames: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> Batch:
        del rng
        return {"frames": torch.from_numpy(frames), "attention_mask": torch.from_numpy(real)}

    def _measure(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, Ahead)
        mean = torch.from_numpy(self._mean())
        parts: dict[str, list[np.ndarray]] = {"": [], "as the last frame": [], "mean frame": []}
        decibels: dict[str, list[np.ndarray]] = {name: [] for name in parts}
        with torch.inference_mode():
            for batch in self._held_out_batches(objective):
                true, real = objective.wanted(batch)
                kept = real.sum(dim=1) > 0  # a sound of fewer frames says nothing
                spread = torch.from_numpy(self.reader_.spread).to(true.device)
                guesses = {
                    "": objective.predicted(batch),
                    "as the last frame": batch["frames"][:, : -self.ahead],
                    "mean frame": mean.to(true.device).expand_as(true),
                }
                for name, guess in guesses.items():
                    error = (guess - true).abs()
                    parts[name].append(rows_of(error, real)[kept].cpu().numpy())
                    decibels[name].append(rows_of(error * spread, real)[kept].cpu().numpy())
        scores = []
        called = f"absolute error {self.ahead} frame{'s' * (self.ahead > 1)} ahead"
        for found, unit in ((parts, "of bands with deviation 1"), (decibels, "dB")):
            errors = {key: np.concatenate(values).astype(np.float64) for key, values in found.items()}
            name = called if found is parts else f"{called}, in dB"
            scores.append(self._score(name, errors.pop(""), errors, float, unit))
        return scores

    def _samples(self, objective: Objective) -> list[dict[str, Any]]:
        assert isinstance(objective, Ahead)
        with torch.inference_mode():
            batch = next(iter(self._held_out_batches(objective, SHOWN)))
            frames = batch["frames"]
            told = torch.cat([frames[:, : self.ahead], objective.predicted(batch)], dim=1)  # the first ones are given
        return [{"kind": "predicted", "picture": self._sheet([told, frames], batch["attention_mask"])}]

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "ahead": self.ahead}
