"""What a Keras file says of itself, read with h5py and zipfile alone: nothing of Keras is imported, no code is run."""

from __future__ import annotations

import contextlib
import json
import math
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graft.core.errors import SourceError, UnsafeSourceError
from graft.core.runtime import require

SUFFIXES = (".h5", ".hdf5", ".keras")
LARGEST_CONFIG = 64 << 20  # bytes of a configuration; what is larger is no network
_DAMAGED = "the file is damaged; fetch it again"
_STATISTICS = re.compile(r"(moving_|batch_normalization(_\d+)?/vars/[23]|normalization(_\d+)?/(mean|variance|count))")
_SKIPPED = re.compile(r"(^|/)(optimizer|optimizer_weights|seed_generator|seed_generator_state)(/|$)")

# Layers of Keras itself that compute on pictures and can neither run code nor read other files.
LAYERS = frozenset(
    """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D
    AveragePooling2D BatchNormalization CenterCrop Concatenate Conv1D Conv2D Conv2DTranspose Convolution2D Cropping2D
    CustomScaleLayer Dense DepthwiseConv2D Dot Dropout ELU EinsumDense Embedding Flatten Functional GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D
    GroupNormalization GroupQueryAttention Identity InputLayer LayerNormalization LayerScale LeakyReLU MaxPooling1D
    MaxPooling2D Maximum Minimum Model MultiHeadAttention Multiply Normalization PReLU Permute RMSNormalization
    RandomBrightness RandomContrast RandomCrop RandomFlip RandomHeight RandomRotation RandomTranslation RandomWidth
    RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv2D Sequential Softmax SpatialDropout1D
    SpatialDropout2D SpectralNormalization StochasticDepth Subtract UnitNormalization UpSampling2D ZeroPadding2D
    """.split()  # noqa: SIM905  (seventy quoted names are harder to read)
)
_INNER = ("layers", "layer", "forward_layer", "backward_layer")  # where a configuration holds layers
_REASONS = {
    "Lambda": "holds Python code",
    "TFOpLambda": "is an operation of TensorFlow between layers",
    "SlicingOpLambda": "is an operation of TensorFlow between layers",
    "TensorFlowOpLayer": "is an operation of TensorFlow between layers",
    "TorchModuleWrapper": "holds a pickle",
    "TFSMLayer": "runs a TensorFlow SavedModel",
}


@contextlib.contextmanager
def open_h5(path: Path) -> Iterator[Any]:
    """The HDF5 file ``path``, or the one with the weights inside a ``.keras`` file.

    Raises:
        SourceError: It is cut off or no such file.
        MissingExtraError: h5py is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # h5py warns where it was built for a neighbouring version of HDF5
        h5py = require("h5py", extra="keras")
    try:
        if path.suffix.lower() != ".keras":
            with h5py.File(path, "r") as file:
                yield file
            return
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as inner, h5py.File(inner, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path} is cut off or not a Keras file: {str(error)[:200]}", hint=_DAMAGED) from error


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of the network in a whole saved model.

    Raises:
        SourceError: The file is damaged, or holds weights without a network.
    """
    text: Any
    if path.suffix.lower() == ".keras":
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > LARGEST_CONFIG:
                    raise SourceError(f"the configuration in {path} is larger than any network's", hint=_DAMAGED)
                text = archive.read("config.json")
        except (OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            raise SourceError(f"{path} is cut off or not a .keras file: {error}", hint=_DAMAGED) from error
    else:
        with open_h5(path) as file:
            text = file.attrs.get("model_config")
            if text is None:
                hint = "name the network, for example keras:VGG16@FILE, or save the whole model: model.save('m.keras')"
                raise SourceError(f"{path} holds weights without a network", hint=hint)
    try:
        config = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise SourceError(f"the configuration in {path} is not valid JSON", hint=_DAMAGED) from error
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise SourceError(f"the configuration in {path} describes no network", hint="save it again with Keras 3")
    return config


def check_config(config: dict[str, Any], path: Path) -> None:
    """Refuse a network that needs code of its own, before Keras sees it.

    Allowed are the layers in ``LAYERS`` and the operations of ``keras.ops``, with initialisers, regularisers and so on
    of Keras itself.

    Raises:
        UnsafeSourceError: A part is none of these; it is named, with the reason.
    """
    top = {key: value for key, value in config.items() if key != "compile_config"}  # it is never read
    for node, is_layer in _parts(top, layer=True):
        reason = _refusal(node, is_layer=is_layer)
        if reason:
            inner = node.get("config")
            name = node.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
            what = "layer" if is_layer else "part"
            called = f"the {what} {name!r} ({node['class_name']})" if name else f"the {what} {node['class_name']}"
            hint = "graft runs no code from model files; build the network of Keras's own layers and save it again"
            raise UnsafeSourceError(f"{called} of {path} {reason}", hint=hint)


def _parts(node: Any, *, layer: bool) -> Iterator[tuple[dict[str, Any], bool]]:
    """Every serialised object, and whether it stands where a layer stands."""
    if isinstance(node, dict):
        if "class_name" in node:
            yield node, layer
        for key, value in node.items():
            yield from _parts(value, layer=key in _INNER)
    elif isinstance(node, list):
        for value in node:
            yield from _parts(value, layer=layer)


def _refusal(node: dict[str, Any], *, is_layer: bool) -> str:
    kind, module, registered = str(node["class_name"]), node.get("module", "keras"), node.get("registered_name")
    if kind in _REASONS:
        return _REASONS[kind]
    if kind in ("function", "__lambda__"):
        return "is a Python function"
    own = module == "keras" or str(module).startswith("keras.")
    if not own or registered not in (None, "", kind) or ">" in kind:
        return f"is a class of its own ({registered or module or kind})"
    operation = str(module).startswith(("keras.ops", "keras.src.ops"))
    if is_layer and kind not in LAYERS and not operation:
        return "is no layer for pictures that Keras has"
    return ""


def input_shape(config: dict[str, Any]) -> tuple[int | None, ...]:
    """Shape of the first input, the batch first; empty where the configuration states none."""
    found = _first(config)
    return tuple(None if side is None else int(side) for side in found) if found else ()


def _first(node: Any) -> list[Any] | None:
    if isinstance(node, dict):
        for key in ("batch_shape", "batch_input_shape"):
            if isinstance(node.get(key), list):
                return list(node[key])
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return next((found for found in map(_first, children) if found is not None), None)


def reads_pictures(shape: tuple[int | None, ...]) -> bool:
    """Whether an input of this shape, the batch first, is a picture with its channels last."""
    return len(shape) == 4 and shape[3] in (1, 3)


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights in a file by name, without those of an optimizer.

    Raises:
        SourceError: The file is cut off or no such file.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, item: Any) -> None:
        if hasattr(item, "shape") and not _SKIPPED.search(name):
            shapes[name] = tuple(map(int, item.shape))

    with open_h5(path) as file:
        file.get("model_weights", file).visititems(note)
    return shapes


def count_weights(shapes: dict[str, tuple[int, ...]]) -> int:
    """Number of weights, without the statistics of normalisations."""
    return sum(math.prod(shape) for name, shape in shapes.items() if not _STATISTICS.search(name))
