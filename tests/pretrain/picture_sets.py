"""Made pictures whose rules are known, for the tests of objectives over pictures."""

import numpy as np

from graft.core.runtime import seeded
from graft.sources.native import NativeBackbone
from graft.transfer.probe import Probe


def stripes(n, *, side=16, seed=0, channels=1, noise=4):
    """Stripes across or down, of random phase, width and strength, with noise; and which of both."""
    rng = np.random.default_rng(seed)
    down = rng.random(n) < 0.5
    waves = np.sin(2 * np.pi * (np.arange(side) / rng.choice([4, 8], (n, 1)) + rng.random((n, 1))))
    pictures = np.where(down[:, None, None], waves[:, :, None], waves[:, None, :])
    pictures = 128 + 90 * rng.uniform(0.6, 1.0, (n, 1, 1)) * pictures + noise * rng.normal(size=(n, side, side))
    grey = pictures.clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], channels, axis=3), np.where(down, "down", "across").tolist()


def crosses(n, *, side=16, seed=0, channels=1):
    """A plus or a cross of any place and brightness on uneven ground with noise; and which of both."""
    rng = np.random.default_rng(seed)
    plus = rng.random(n) < 0.5
    pictures = np.empty((n, side, side, channels), np.uint8)
    at = np.arange(side)
    for i in range(n):
        middle = rng.integers(4, side - 4, 2)
        y, x = np.abs(at - middle[0])[:, None], np.abs(at - middle[1])[None]
        shape = ((y == 0) & (x < 4)) | ((x == 0) & (y < 4)) if plus[i] else (x == y) & (x < 3)
        ground = 80 + 60 * rng.random() + 2.5 * (rng.normal() * at[:, None] + rng.normal() * at)
        picture = ground + np.where(shape, rng.choice([-70, 70]), 0) + 8 * rng.normal(size=(side, side))
        tint = rng.uniform(0.8, 1.2, channels) if channels > 1 else np.ones(1)
        pictures[i] = (picture[..., None] * tint).clip(0, 255)
    return pictures, np.where(plus, "plus", "cross").tolist()


def accuracy_of(backbone, pictures, labels, *, labelled):
    """Accuracy of a probe on the rows after the first ``labelled`` ones."""
    probe = Probe(backbone).fit(pictures[:labelled], labels[:labelled])
    return float(np.mean(probe.predict(pictures[labelled:]) == np.asarray(labels[labelled:])))


def untrained(backbone, seed=1):
    """The same network with fresh weights."""
    with seeded(seed):
        return NativeBackbone(backbone.encoder, backbone.arguments, backbone.reader, backbone.spec).eval()


def score_of(made, name):
    """One score of a record by its name."""
    return next(score for score in made.record_["scores"] if score["name"] == name)
