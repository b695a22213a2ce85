"""Tiny random Keras networks, written to files as Keras writes them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from graft.sources.keras import import_keras
from graft.sources.keras_graph import undisturbed


def residual(*, classes: int = 3, end: str = "softmax", channels: int = 3, dropout: float = 0.0) -> Any:
    """Two residual blocks over 16×16 pixels, 8 and then 12 channels wide, and a classifier."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    picture = keras.Input((16, 16, channels))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(picture)
    x = layers.Conv2D(8, 3, padding="same", name="first")(x)
    x = layers.Activation("relu", name="relu_0")(layers.BatchNormalization(name="norm_0")(x))
    for number, (width, stride) in enumerate([(8, 1), (12, 2)], start=1):
        inner = layers.Conv2D(width, 3, stride, padding="same", name=f"conv_{number}")(x)
        inner = layers.BatchNormalization(name=f"norm_{number}")(inner)
        if stride > 1:
            x = layers.Conv2D(width, 1, stride, name=f"shortcut_{number}")(x)
        x = layers.Activation("relu", name=f"relu_{number}")(layers.Add(name=f"add_{number}")([inner, x]))
    head = layers.Dense(classes, activation=end, name="head")  # before the dropout, which draws a seed
    x = layers.Dropout(dropout, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(x))
    return _trained(keras.Model(picture, head(x), name="tiny"))


def stacked(*, classes: int = 3) -> Any:
    """Two groups of convolutions, each ended by a pooling, flattened, with a hidden Dense layer."""
    keras = import_keras()
    keras.utils.set_random_seed(1)
    layers = keras.layers
    parts = [keras.Input((12, 12, 3)), layers.Conv2D(6, 3, padding="same", activation="relu", name="a")]
    parts += [layers.Conv2D(6, 3, padding="same", activation="relu", name="b"), layers.MaxPooling2D(name="p")]
    parts += [layers.Conv2D(8, 3, padding="same", activation="relu", name="c"), layers.MaxPooling2D(name="q")]
    parts += [layers.Flatten(name="f"), layers.Dense(10, activation="relu", name="d")]
    parts += [layers.Dense(classes, name="e"), layers.Softmax(name="s")]
    return _trained(keras.Sequential(parts, name="stacked"))


def nested() -> Any:
    """A network inside another, as fine-tuning with Keras makes them, after a normalisation of the input."""
    keras = import_keras()
    keras.utils.set_random_seed(2)
    layers = keras.layers
    inside = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="one")(inside)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="two")(x)
    body = keras.Model(inside, layers.Conv2D(10, 3, strides=2, name="three")(x), name="body")
    body.trainable = False
    outside = keras.Input((16, 16, 3))
    norm = layers.Normalization(name="normal")
    x = body(norm(outside), training=False)
    x = layers.Dense(4, activation="softmax", name="top")(layers.GlobalAveragePooling2D(name="mean")(x))
    model = _trained(keras.Model(outside, x, name="outer"))
    norm.adapt(np.random.default_rng(5).integers(0, 256, (20, 16, 16, 3)).astype(np.float32))
    return model


def _trained(model: Any) -> Any:
    """Statistics and biases that are not those of a fresh network."""
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name in ("moving_mean", "beta", "bias"):
            weight.assign(rng.normal(size=weight.shape) * 0.1)
        elif weight.name in ("moving_variance", "gamma"):
            weight.assign(rng.uniform(0.5, 2, size=weight.shape))
    return model


@undisturbed()
def save(model: Any, path: Path, *, weights: bool = False) -> Any:
    """Write a network, or its weights alone; Keras warns while it writes."""
    model.save_weights(path) if weights else model.save(path)
    return model


@undisturbed()
def probabilities(model: Any, pictures: np.ndarray) -> np.ndarray:
    """What Keras itself says."""
    return import_keras().ops.convert_to_numpy(model(np.asarray(pictures, dtype=np.float32), training=False))


def change_config(path: Path, change: Any) -> Path:
    """Apply ``change`` to the configuration in a ``.keras`` file."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path
