"""The network that both domains go through: made from the rows of both, and its batch statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from graft.adaptation.domains import Domains
from graft.core.rows import evenly_spaced
from graft.core.types import ModelSpec
from graft.engine.objective import Batch
from graft.sources.base import Backbone
from graft.sources.native import NativeBackbone, build_backbone
from graft.sources.readers import ImageReader, TextReader

SAMPLE = 64  # pictures of each domain from which their size is read
SMALLEST, LARGEST, STEP = 8, 32, 4  # sides of the pictures of a network trained from scratch
DEPTH = 8  # of its residual network


def fresh_backbone(domains: Domains) -> NativeBackbone:
    """A small network from scratch whose preprocessing suits both domains; no label is read.

    Pictures of both domains are brought to one size, that of the domain with the smaller ones (its median, at most 32 px,
    a multiple of 4): what only the finer domain shows cannot be shared.  They are grey where both are.  The network for
    pictures has batch normalisation, so that each domain can keep statistics of its own.  Texts get one vocabulary.
    """
    modality = domains.source.task.modality
    if modality == "text":
        words = TextReader.build([*domains.source.take(), *domains.target.take()])
        spec = ModelSpec("new:textcnn", "textcnn", modality, architecture="textcnn", objective="")
        return NativeBackbone("textcnn", {"vocabulary": words.vocabulary}, words, spec)
    if modality != "image":
        return build_backbone(domains.source)
    reader = shared_reader(domains)
    name, arguments = "resnet-cifar", {"channels": reader.channels, "depth": DEPTH}
    spec = ModelSpec(f"new:{name}", name, modality, architecture=name, objective="")
    return NativeBackbone(name, arguments, reader, spec)


def shared_reader(domains: Domains) -> ImageReader:
    """One size and one set of channels for the pictures of both domains."""
    some = [side.take(evenly_spaced(len(side), SAMPLE)) for side in (domains.source, domains.target)]
    side = min(float(np.median([max(picture.shape[:2]) for picture in pictures])) for pictures in some)
    grey = all(np.ptp(picture.astype(np.int16), axis=2).max() == 0 for pictures in some for picture in pictures)
    size = int(min(LARGEST, max(SMALLEST, STEP * round(side / STEP))))
    return ImageReader(size, grey=grey, bands=some[0][0].shape[2])


def normalisations(network: nn.Module) -> list[_BatchNorm]:
    """Layers of batch normalisation that keep running statistics."""
    return [part for part in network.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]


def set_statistics(network: nn.Module, batches: Iterable[Batch], device: str) -> None:
    """Replace the running statistics of batch normalisation by those of some batches: the mean over them, of equal weight.

    Args:
        network: A backbone; one without batch normalisation stays as it is.
        batches: What it reads.
        device: Where it lives.
    """
    layers = normalisations(network)
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean
        layer.train()
    with torch.no_grad():
        for batch in batches:
            network({key: value.to(device) for key, value in batch.items()})
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def row_batches(backbone: Backbone, encoded: list, batch_size: int) -> Callable[[], Iterable[Batch]]:
    """All rows in their order, in batches of nearly equal size."""
    parts = np.array_split(np.arange(len(encoded)), max(1, -(-len(encoded) // batch_size)))
    return lambda: (dict(backbone.collate([encoded[i] for i in part])) for part in parts)
