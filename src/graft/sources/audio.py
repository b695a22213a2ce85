"""Audio backbones over the encoders of transformers: of raw waves, of patches of a spectrogram, and Whisper's.

Settings come from ``preprocessor_config.json``.  A sound gives the same features alone and beside longer ones: what is
padded is masked, also where waves are normalised over time, and the inputs of the other two have one length.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from graft.core.errors import DataError, SourceError
from graft.core.types import ModelSpec
from graft.data.spectrogram import Sound, resampled
from graft.sources.base import Batch
from graft.sources.folder import weight_files
from graft.sources.layers import NetworkBackbone, find_blocks
from graft.sources.loading import first_line, open_network, quiet
from graft.sources.pictures import keep_statistics
from graft.sources.plain import load_weights, read_weights
from graft.sources.text import config_digest, copy_card, save_network

WAVES = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")  # whose padding can be masked exactly
WHISPER, PATCHES = "whisper", "audio-spectrogram-transformer"
TOGETHER = {"waves": 2048, "spectrogram": 8}  # frames, or spectrograms of fixed length, in one batch of a pass


class AudioBackbone(NetworkBackbone):
    """An encoder of sounds with its feature extractor, all layers pooled over what is heard.

    Args:
        network: The network without head.
        extractor: The feature extractor, one that needs numpy or torch alone.
        spec: What is known of the model.
    """

    batch_tokens = TOGETHER["spectrogram"]
    _has_head = False

    def __init__(self, network: nn.Module, extractor: Any, spec: ModelSpec) -> None:
        super().__init__()
        self.model, self.extractor, self.spec = network, extractor, spec
        self._path = find_blocks(network)[0]
        parts: Any = network.modules()
        for part in parts:
            if isinstance(getattr(part, "layerdrop", None), float):
                part.layerdrop = 0.0  # whole blocks left out at random change how many layers there are
        if hasattr(network.config, "layerdrop"):
            network.config.layerdrop = 0.0

    @property
    def rate(self) -> int:
        """Samples per second that the network was trained on."""
        return int(self.extractor.sampling_rate)

    def preprocess(self, examples: Any) -> list[np.ndarray]:
        """Waves or spectrograms of sounds, brought to the network's rate and without padding.

        Raises:
            DataError: An example is no sound.
        """
        return [self._encode(self._samples(example)) for example in examples]

    def _samples(self, example: Any) -> np.ndarray:
        if not isinstance(example, Sound):
            raise DataError(f"a sound is a Sound, not {type(example).__name__}", hint="load them with graft.load_data")
        samples = resampled(example, self.rate)
        least = int(0.025 * self.rate)
        return samples if len(samples) >= least else np.pad(samples, (0, least - len(samples)))

    @abstractmethod
    def _encode(self, samples: np.ndarray) -> np.ndarray:
        """What the network reads of one sound."""

    def _extracted(self, samples: np.ndarray) -> np.ndarray:
        """The extractor's own output for one sound."""
        with quiet():
            found = self.extractor(samples, sampling_rate=self.rate, return_tensors="np")
        return np.asarray(found[self.extractor.model_input_names[0]][0], np.float32)

    def length(self, encoded: np.ndarray) -> int:
        """One: all spectrograms cost the same."""
        del encoded
        return 1

    def _layers(self, output: Any) -> list[Tensor]:
        return [*output.hidden_states[1:-1], output.last_hidden_state]

    def set_dropout(self, share: float) -> None:
        """Set every dropout inside, those that these networks keep as a number included."""
        super().set_dropout(share)
        for part in self.modules():
            for name in ("dropout", "activation_dropout"):
                if isinstance(getattr(part, name, None), float):
                    setattr(part, name, share)

    def train(self, mode: bool = True) -> AudioBackbone:
        """Switch to training; BatchNorm layers stay in evaluation."""
        super().train(mode)
        keep_statistics(self)
        return self

    def preprocessing(self) -> dict[str, Any]:
        """How sounds become what the network reads."""
        facts = {name: value for name, value in self.extractor.to_dict().items() if "processor_class" not in name}
        text = json.dumps(facts, sort_keys=True, default=str)
        return {
            "extractor": hashlib.sha256(text.encode()).hexdigest(),
            "config": config_digest(self.model.config),
        }

    def save(self, folder: Path) -> None:
        """Write the network as transformers does, with its feature extractor and model card."""
        folder.mkdir(parents=True, exist_ok=True)
        self._save_weights(folder)
        self.extractor.save_pretrained(folder)
        copy_card(self.spec, folder)

    def _save_weights(self, folder: Path) -> None:
        save_network(self.model, folder)


class _TimedNorm(nn.GroupNorm):
    """Normalise every channel over its real frames: ``counts`` (B,) of them; over all where it is None."""

    counts: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.counts is None:
            return super().forward(x)
        x = x.float()
        real = (torch.arange(x.shape[2], device=x.device) < self.counts[:, None]).float()[:, None]
        total = real.sum(2, keepdim=True)
        mean = (x * real).sum(2, keepdim=True) / total
        spread = ((x - mean).square() * real).sum(2, keepdim=True) / total
        scaled = (x - mean) * torch.rsqrt(spread + self.eps)
        out: Tensor = scaled * self.weight[:, None] + self.bias[:, None]
        return out


class WaveBackbone(AudioBackbone):
    """Wav2Vec2 and its kin: convolutions over the raw wave, then a transformer over some 50 frames a second."""

    batch_tokens = TOGETHER["waves"]

    def __init__(self, network: nn.Module, extractor: Any, spec: ModelSpec) -> None:
        super().__init__(network, extractor, spec)
        self._path = "encoder.layers"
        for part in self.model.feature_extractor.modules():
            if type(part) is nn.GroupNorm and part.num_groups == part.num_channels:
                part.__class__ = _TimedNorm  # the same weights under the same names

    def blocks(self) -> list[nn.Module]:
        return list(self.model.encoder.layers)

    def _encode(self, samples: np.ndarray) -> np.ndarray:
        values = self._extracted(samples)
        short = self._receptive() - len(values)
        return np.pad(values, (0, short)) if short > 0 else values

    def _receptive(self) -> int:
        """Samples that one frame is made of."""
        seen, config = 1, self.model.config
        for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
            seen = (seen - 1) * stride + kernel
        return int(seen)

    def _frames(self, samples: Any, layers: int | None = None) -> Any:
        """Frames after some of the convolutions, after all by default, of so many samples."""
        config = self.model.config
        for kernel, stride in list(zip(config.conv_kernel, config.conv_stride, strict=True))[:layers]:
            samples = (samples - kernel) // stride + 1
        return samples

    def length(self, encoded: np.ndarray) -> int:
        """Frames."""
        return int(self._frames(len(encoded)))

    def collate(self, encoded: list[np.ndarray]) -> Batch:
        """``input_values`` (B, N), samples of each ``counts`` (B,), and which frames are real, ``attention_mask`` (B, T)."""
        counts = np.array([len(values) for values in encoded])
        waves = np.zeros((len(encoded), counts.max()), np.float32)
        for row, values in zip(waves, encoded, strict=True):
            row[: len(values)] = values
        real = np.arange(self._frames(counts.max())) < self._frames(counts)[:, None]
        return {
            "input_values": torch.from_numpy(waves),
            "counts": torch.from_numpy(counts),
            "attention_mask": torch.from_numpy(real.astype(np.float32)),
        }

    def forward_features(self, batch: Batch) -> list[Tensor]:
        """Outputs of every block (B, T, D), the last one after the last normalisation."""
        network, mask, found = self.model, batch["attention_mask"].bool(), []
        with self._counted(batch["counts"]):
            states = network.feature_extractor(batch["input_values"]).transpose(1, 2)
        states = network.feature_projection(states)
        states = states[0] if isinstance(states, tuple) else states  # HuBERT's gives no second output
        handles = [
            block.register_forward_hook(lambda _block, _inputs, out: found.append(out if isinstance(out, Tensor) else out[0]))
            for block in self.blocks()
        ]  # fmt: skip
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # WavLM has masks of two types
                # the encoder writes into what it is given
                last: Tensor = network.encoder(states.clone(), attention_mask=mask).last_hidden_state
        finally:
            for handle in handles:
                handle.remove()
        return [*found[:-1], last]

    @contextlib.contextmanager
    def _counted(self, counts: Tensor) -> Iterator[None]:
        """Tell every normalisation over time how many of its frames are real."""
        layers = [(i, part.modules()) for i, part in enumerate(self.model.feature_extractor.conv_layers, start=1)]
        norms = [(i, part) for i, parts in layers for part in parts if isinstance(part, _TimedNorm)]
        try:
            for i, norm in norms:
                norm.counts = self._frames(counts, i)
            yield
        finally:
            for _, norm in norms:
                norm.counts = None

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Mean over real frames."""
        if hidden.ndim == 2:
            return hidden
        real = batch["attention_mask"].to(hidden.dtype)[..., None]
        return (hidden * real).sum(1) / real.sum(1)


class PatchBackbone(AudioBackbone):
    """AST: a transformer over patches of a log-mel spectrogram of one length; what is short ends in silence.

    A layer is pooled to the mean of its two class tokens, which is what the model's own head reads.
    """

    def _encode(self, samples: np.ndarray) -> np.ndarray:
        frames = 1 + (len(samples) - int(0.025 * self.rate)) // int(0.010 * self.rate)
        return self._extracted(samples)[: max(1, frames)]

    def collate(self, encoded: list[np.ndarray]) -> Batch:
        """``input_values`` (B, T, F)."""
        silence = float(self.extractor.normalize(np.zeros(1))[0]) if self.extractor.do_normalize else 0.0
        maps = np.full((len(encoded), self.extractor.max_length, encoded[0].shape[1]), silence, np.float32)
        for row, values in zip(maps, encoded, strict=True):
            row[: len(values)] = values
        return {"input_values": torch.from_numpy(maps)}

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        del batch
        return hidden if hidden.ndim == 2 else hidden[:, :2].mean(1)


class WhisperBackbone(AudioBackbone):
    """The encoder of Whisper: a transformer over a log-mel spectrogram of 30 s; what is short ends in silence.

    A layer is pooled to the mean of the frames that hold sound.
    """

    def _encode(self, samples: np.ndarray) -> np.ndarray:
        hop = self.extractor.hop_length
        kept = -(-len(samples) // hop) + self.extractor.n_fft // (2 * hop) + 1  # windows reach beyond the end
        return np.ascontiguousarray(self._extracted(samples)[:, : kept + 1])

    def collate(self, encoded: list[np.ndarray]) -> Batch:
        """``input_features`` (B, F, T), and which frames of the layers hold sound, ``heard`` (B, T / 2)."""
        total, spill = self.extractor.nb_max_frames, self.extractor.n_fft // (2 * self.extractor.hop_length) + 2
        maps = np.empty((len(encoded), encoded[0].shape[0], total), np.float32)
        heard = np.zeros((len(encoded), total // 2), np.float32)
        for row, values in enumerate(encoded):
            maps[row, :, : values.shape[1]] = values
            maps[row, :, values.shape[1] :] = values[:, -1:]  # silence
            real = total if values.shape[1] == total else values.shape[1] - spill
            heard[row, : max(1, -(-real // 2))] = 1
        return {"input_features": torch.from_numpy(maps), "heard": torch.from_numpy(heard)}

    def forward_features(self, batch: Batch) -> list[Tensor]:
        output = self.model(batch["input_features"], output_hidden_states=True, return_dict=True)
        return self._layers(output)

    def pool(self, hidden: Tensor, batch: Batch) -> Tensor:
        if hidden.ndim == 2:
            return hidden
        real = batch["heard"].to(hidden.dtype)[..., None]
        return (hidden * real).sum(1) / real.sum(1)

    def _save_weights(self, folder: Path) -> None:
        self.model.config.save_pretrained(folder)
        tensors = {f"encoder.{name}": value.contiguous() for name, value in self.model.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")


def open_audio(folder: Path, config: Any, spec: ModelSpec) -> AudioBackbone:
    """Open the audio model of a folder.

    Raises:
        SourceError: graft does not know its family, or it lacks its feature extractor or weights.
    """
    kind = str(config.model_type)
    if kind not in (*WAVES, WHISPER, PATCHES):
        known = ", ".join((*WAVES, PATCHES, WHISPER))
        raise SourceError(f"{spec.name} is an audio model of the kind {kind}", hint=f"graft opens {known}")
    extractor = _open_extractor(folder)
    wanted = "features" if kind == WHISPER else "values"
    if extractor.model_input_names[0] != f"input_{wanted}":
        raise SourceError(f"the feature extractor of {folder} is that of another kind of model", hint="fetch it again")
    if kind == WHISPER:
        if extractor.nb_max_frames != 2 * config.max_source_positions:
            what = f"the feature extractor of {folder} gives {extractor.nb_max_frames} frames"
            raise SourceError(what, hint=f"its network reads {2 * config.max_source_positions}")
        return WhisperBackbone(_whisper_encoder(folder, config), extractor, spec)
    network, _ = open_network(folder, config)
    return (PatchBackbone if kind == PATCHES else WaveBackbone)(network, extractor, spec)


def _whisper_encoder(folder: Path, config: Any) -> nn.Module:
    """The encoder alone; the decoder is not read into a network."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    tensors: dict[str, Tensor] = {}
    for name, value in read_weights(weight_files(folder)).items():
        bare = name.removeprefix("model.")
        if bare.startswith("encoder."):
            tensors[bare.removeprefix("encoder.")] = value
    with quiet(), torch.random.fork_rng(devices=[]):
        network: nn.Module = WhisperEncoder._from_config(config, attn_implementation="sdpa", dtype=torch.float32)  # noqa: SLF001  (has no other name)
    load_weights(network, tensors, folder, "whisper")
    return network.eval()


def _open_extractor(folder: Path) -> Any:
    if not (folder / "preprocessor_config.json").is_file():
        hint = "without it the rate and normalisation of sounds are unknown"
        raise SourceError(f"no preprocessor_config.json in {folder}", hint=hint)
    try:
        with quiet():
            from transformers import AutoFeatureExtractor

            return AutoFeatureExtractor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds; each becomes one line
        raise SourceError(f"the feature extractor of {folder} cannot be opened: {first_line(error)}") from error
