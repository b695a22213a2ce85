"""Augmentation of sounds: another take of the same thing, from random numbers that are given."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

DRAWS = 13  # random numbers that one take needs
SPEED, PITCH = 1.15, 1.08  # largest factors on tempo and on the scale of bands, and their inverses
EARLIER, HIGHER = 0.1, 0.05  # largest shares of a sound's length, and of its bands, by which it is moved
FRAMES, BANDS = 0.15, 0.15  # largest shares of the frames, and of the bands, that one mask hides; there are two of each
NOISE = 0.1  # largest deviation of noise that is added to a wave, over that of the wave


def retaken(inputs: dict[str, Tensor], draws: Tensor) -> dict[str, Tensor]:
    """Another take of each sound of a batch, in whatever form a network reads it.

    Spectrograms (``frames`` or ``pixel_values``) are spoken faster or slower, earlier or later, higher or lower, and
    parts of them are hidden (``warped``, ``hidden``); those of Whisper and AST (``input_features``, ``input_values`` of
    three axes), whose lengths are fixed, are only hidden in part; waves (``input_values``) get noise, and parts of them
    are silenced.  Equal draws give equal takes.

    Args:
        inputs: The batch; it is not changed.
        draws: Uniform random numbers (B, 13) in [0, 1).

    Returns:
        A batch of the same shapes.

    References:
        Park et al. (2019), SpecAugment; Ko et al. (2015), Audio augmentation for speech recognition (speed); Jaitly &
        Hinton (2013), Vocal tract length perturbation improves speech recognition (bands).

    Example:
        >>> import torch
        >>> middle = torch.tensor([[0.5] * 5 + [0.0] * 8])  # the middle of all ranges, and masks without width
        >>> frames = torch.arange(48.0).reshape(1, 6, 8)
        >>> same = retaken({"frames": frames, "attention_mask": torch.ones(1, 6)}, middle)["frames"]
        >>> bool(torch.allclose(same, frames, atol=1e-4))
        True
    """
    found = dict(inputs)
    with torch.autocast(draws.device.type, enabled=False):
        if "frames" in found:
            maps, real = warped(found["frames"].float().transpose(1, 2)[:, None], draws, found.get("attention_mask"))
            found["frames"] = hidden(maps, draws, real)[:, 0].transpose(1, 2)
            if real is not None:
                found["attention_mask"] = real
        elif "pixel_values" in found:
            pixels = found["pixel_values"].float()
            energy = pixels[:, :1] if pixels.shape[1] == 2 else pixels  # the second channel says where a band is
            energy = hidden(warped(energy, draws)[0], draws)
            found["pixel_values"] = torch.cat([energy, pixels[:, energy.shape[1] :]], dim=1)
        elif "input_features" in found:
            found["input_features"] = hidden(found["input_features"].float()[:, None], draws)[:, 0]
        elif found["input_values"].ndim == 3:
            maps = found["input_values"].float().transpose(1, 2)[:, None]
            found["input_values"] = hidden(maps, draws)[:, 0].transpose(1, 2)
        else:
            found["input_values"] = _noisy(found["input_values"].float(), draws)
    return found


def warped(maps: Tensor, draws: Tensor, real: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Change tempo, beginning, and the scale and place of bands of spectrograms by one affine map.

    Args:
        maps: Spectrograms (B, C, F, T).
        draws: Uniform random numbers (B, 4 or more) in [0, 1).
        real: Which frames hold sound (B, T), ones before zeros; without it sounds fill their maps.

    Returns:
        Maps of the same shape, what is not real zero, and which frames are real.
    """
    tempo, late, scale, high = (2 * draws[:, :4] - 1).T
    speed, stretch, total = SPEED**tempo, PITCH**scale, maps.shape[3]
    length = torch.full_like(speed, total) if real is None else real.sum(1).to(speed.dtype)
    late = EARLIER * late * length  # in frames
    move = -2 * speed * late / total
    if real is not None:  # time counts from the beginning, not from the middle of a map that is partly empty
        move = move + speed - 1 + (1 - speed) / total
    none = torch.zeros_like(speed)
    rows = [torch.stack([speed, none, move], dim=1), torch.stack([none, stretch, 2 * HIGHER * high], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(maps.shape), align_corners=False)
    if real is None:
        return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False), None
    moved = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    end = (length / speed + late).clamp(1, total)
    still = (torch.arange(total, device=maps.device) < end.round()[:, None]).to(real.dtype)
    return moved * still[:, None, None], still


def hidden(maps: Tensor, draws: Tensor, real: Tensor | None = None) -> Tensor:
    """Hide two spans of frames and two of bands behind the mean of each spectrogram, or zero where ``real`` is known.

    Args:
        maps: Spectrograms (B, C, F, T).
        draws: Uniform random numbers (B, 13) in [0, 1), of which the last eight are used.
        real: Which frames hold sound (B, T).
    """
    count, _, bands, frames = maps.shape
    length = torch.full((count,), float(frames), device=maps.device) if real is None else real.sum(1).float()
    gone = torch.zeros(count, bands, frames, dtype=torch.bool, device=maps.device)
    sizes = torch.full_like(length, float(bands))
    for start, size, share, axis in ((5, length, FRAMES, 2), (9, sizes, BANDS, 1)):
        places = torch.arange(maps.shape[axis + 1], device=maps.device)
        for turn in (start, start + 2):
            width = draws[:, turn] * share * size
            first = draws[:, turn + 1] * (size - width)
            span = (places >= first[:, None]) & (places < (first + width).floor()[:, None])
            gone |= span[:, None, :] if axis == 2 else span[:, :, None]
    fill = 0.0 if real is not None else maps.mean(dim=(2, 3), keepdim=True)
    return torch.where(gone[:, None], fill, maps)


def _noisy(waves: Tensor, draws: Tensor) -> Tensor:
    """White noise beside the waves (B, N), and two silenced spans."""
    seed = int(draws[:, 4].sum().item() * 1e6)
    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(seed)).to(waves.device)
    level = waves.square().mean(1, keepdim=True).sqrt() * NOISE * draws[:, 4:5]
    return hidden((waves + level * noise)[:, None, None], torch.cat([draws[:, :9], draws[:, 9:] * 0], dim=1))[:, 0, 0]
