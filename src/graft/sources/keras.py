"""``keras:``: networks of Keras and tf.keras that read pictures, opened by Keras 3 on its torch backend.

``keras:FILE`` opens a whole saved model (``.keras``, or ``.h5`` of tf.keras); ``keras:NAME@FILE`` a network of
``keras.applications`` (VGG16, ResNet50 …) with a file of weights; ``keras:FOLDER`` what a run of ``graft fit`` kept.
Nothing is ever downloaded.  ``?input=raw|unit|tf|torch|caffe`` says which pixels the network wants (``raw``: 0 to 255,
the default for files), ``?classes=a,b,c`` names its classes, as does ``classes.txt`` beside the file.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from graft.core.errors import GraftError, MissingExtraError, SourceError, UsageError
from graft.core.registry import SOURCES
from graft.core.runtime import require
from graft.core.types import ModelSpec
from graft.sources import folder as folders_
from graft.sources import keras_files as files_
from graft.sources.base import Backbone, Source
from graft.sources.keras_graph import undisturbed
from graft.sources.keras_network import KerasBackbone, restore
from graft.sources.loading import first_line
from graft.sources.pictures import IMAGENET, PictureReader

SIDE = 224  # pixels where a network takes pictures of any size
INPUTS: dict[str, dict[str, Any]] = {
    "raw": {},
    "unit": {"scale": 1 / 255},
    "tf": {"scale": 1 / 127.5, "mean": (1.0,)},
    "torch": {"scale": 1 / 255, **IMAGENET},
    "caffe": {"mean": (103.939, 116.779, 123.68), "blue_first": True},
}
# What the preprocess_input beside each application does, and the side of its pictures; the first that fits counts.
_APPLICATIONS = (
    (r"VGG|ResNet\d+$", "caffe"), (r"DenseNet", "torch"), (r"EfficientNet|ConvNeXt|MobileNetV3", "raw"), (r"", "tf"),
)  # fmt: skip
_SIDES = (
    (r"Xception|Inception", 299), (r"NASNetLarge", 331), (r"EfficientNet(V2)?B1$", 240), (r"EfficientNet(V2)?B2$", 260),
    (r"EfficientNet(V2)?B3$", 300), (r"EfficientNetB4", 380), (r"EfficientNetB5", 456), (r"EfficientNetB6", 528),
    (r"EfficientNetB7", 600), (r"EfficientNetV2S", 384), (r"EfficientNetV2[ML]", 480), (r"", SIDE),
)  # fmt: skip


@dataclass(frozen=True)
class _Place:
    """What a location names: the file (or the folder that graft wrote), and what is said about it."""

    path: Path
    application: str = ""
    input: str = ""
    classes: tuple[str, ...] = ()


def _place(location: str) -> _Place:
    body, _, query = location.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = set(options) - {"input", "classes"}
    if unknown:
        raise UsageError(f"keras: knows no option {min(unknown)!r}", hint="use ?input=… or ?classes=…")
    if options.get("input", "raw") not in INPUTS:
        raise UsageError(f"no input {options['input']!r}", hint=f"use {', '.join(INPUTS)}")
    application, at, rest = body.partition("@")
    if not at or Path(body).expanduser().exists():
        application, rest = "", body
    path = Path(rest).expanduser()
    if path.is_dir():
        path = _inside(path)
    elif not path.is_file():
        if not at and re.fullmatch(r"\w+", body):
            hint = f"graft downloads none: write keras:{body}@FILE.h5, or the path of a saved model"
            raise SourceError(f"keras:{body} names no file of weights", hint=hint)
        raise SourceError(f"no file {rest}", hint="check the path")
    elif path.name == "keras.json":
        path = path.parent
    elif path.suffix.lower() not in files_.SUFFIXES:
        folders_.refuse_pickle(path)
        raise SourceError(f"{path} is no Keras file", hint=f"its name must end in {', '.join(files_.SUFFIXES)}")
    classes = tuple(name.strip() for name in options.get("classes", "").split(",") if name.strip())
    return _Place(path.resolve(), application, options.get("input", ""), classes or _beside(path))


def _inside(folder: Path) -> Path:
    """The one Keras file of a folder, or the folder itself where graft wrote it."""
    if (folder / "keras.json").is_file():
        return folder
    if (folder / "saved_model.pb").is_file():
        hint = "save it again with the TensorFlow that wrote it: tf.keras.models.load_model(FOLDER).save('model.h5')"
        raise SourceError(f"{folder} is a TensorFlow SavedModel, which Keras 3 does not open", hint=hint)
    found = _files(folder)
    if len(found) != 1:
        what = f"{folder} holds {len(found)} Keras files" if found else f"no Keras file in {folder}"
        raise SourceError(what, hint="name one file" if found else f"it must end in {', '.join(files_.SUFFIXES)}")
    return found[0]


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() in files_.SUFFIXES and path.is_file())
    except OSError:
        return []


def _beside(path: Path) -> tuple[str, ...]:
    """Class names from ``classes.txt`` beside the file, one per line."""
    names = path.parent / "classes.txt"
    if path.is_dir() or not names.is_file():
        return ()
    try:
        return tuple(line.strip() for line in names.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {names}: {error}", hint="write one class name per line, in UTF-8") from error


def _facts(folder: Path) -> dict[str, Any]:
    """The ``keras.json`` that graft wrote, checked like any other configuration."""
    facts = folders_.read_json(folder / "keras.json")
    parts = [facts.get(name) for name in ("config", "reader", "spec")]
    if facts.get("format") != 1 or not all(isinstance(part, dict) for part in parts):
        raise SourceError(f"{folder}/keras.json describes no network of this graft", hint="update graft")
    files_.check_config(facts["config"], folder / "keras.json")
    return facts


def _describe(place: _Place, uri: str) -> ModelSpec:
    path = place.path
    if path.is_dir():
        facts = dict(_facts(path)["spec"])
        names = {item.name for item in dataclasses.fields(ModelSpec)}
        known = {key: tuple(v) if isinstance(v, list) else v for key, v in facts.items() if key in names}
        files = folders_.weight_files(path)
        known |= {"uri": uri, "path": str(path), "bytes": sum(file.stat().st_size for file in files)}
        known |= {"classes": place.classes} if place.classes else {}
        return ModelSpec(**({"name": path.name, "modality": "image"} | known))
    modality, architecture = "image", place.application
    if not place.application:
        config = files_.read_config(path)
        files_.check_config(config, path)
        modality = "image" if files_.reads_pictures(files_.input_shape(config)) else ""
        architecture = str(config["config"].get("name") or config.get("class_name"))
    return ModelSpec(
        uri=uri,
        name=path.stem,
        modality=modality,
        architecture=architecture,
        parameters=files_.count_weights(files_.weight_shapes(path)),
        bytes=path.stat().st_size,
        licence=str(folders_.card(path.parent).get("license") or ""),
        classes=place.classes,
        path=str(path.parent if len(_files(path.parent)) == 1 else path),
    )


def import_keras() -> Any:
    """Keras 3 with its torch backend.

    Raises:
        MissingExtraError: Keras is not installed.
        SourceError: Keras is loaded already with another backend, or is older.
    """
    fresh, asked = "keras" not in sys.modules, os.environ.get("KERAS_BACKEND")
    try:
        if fresh:
            os.environ["KERAS_BACKEND"] = "torch"
        with undisturbed():
            keras = require("keras", extra="keras")
    finally:
        if fresh:
            os.environ.pop("KERAS_BACKEND")
            os.environ.update({"KERAS_BACKEND": asked} if asked is not None else {})
    if not keras.__version__.startswith("3"):
        raise SourceError(
            f"Keras {keras.__version__} is installed", hint="graft needs Keras 3: pip install 'keras>=3.10'"
        )
    if keras.config.backend() != "torch":
        hint = "set KERAS_BACKEND=torch before keras is imported"
        raise SourceError(f"keras runs on {keras.config.backend()} in this process", hint=hint)
    return keras


def _network(keras: Any, place: _Place) -> Any:
    """The Keras model, with its weights."""
    if place.application:
        return _application(keras, place.application, place.path)
    config = files_.read_config(place.path)
    files_.check_config(config, place.path)
    return keras.saving.load_model(place.path, compile=False, safe_mode=True)


def _application(keras: Any, name: str, path: Path) -> Any:
    """A network of ``keras.applications`` whose top is read off the shapes in a file of weights."""
    known = [other for other in dir(keras.applications) if other[:1].isupper()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise SourceError(f"Keras has no application {name!r}", hint=hint)
    make, found = getattr(keras.applications, name), Counter(files_.weight_shapes(path).values())
    network = make(weights=None, include_top=False)
    body = _shapes(network)
    extra = found - body
    widths = sorted({shape[-1] for shape in extra if len(shape) > 1 and (shape[-1],) in extra})
    candidates = iter(widths if not body - found else ())
    while _shapes(network) != found:
        width = next(candidates, None)
        if width is None:
            lacks = min(body - found, default=None)
            what = f"lacks a tensor of shape {lacks}" if lacks else f"has one of shape {max(extra, key=len)} too many"
            raise SourceError(f"{path} does not hold the weights of {name}: it {what}", hint="name its own network")
        network = make(weights=None, include_top=True, classes=width)
    network.load_weights(path)
    return network


def _shapes(network: Any) -> Counter[tuple[int, ...]]:
    return Counter(tuple(weight.shape) for weight in network.weights)


def _reader(network: Any, place: _Place) -> PictureReader:
    """How pictures become the pixels of a network's input."""
    inputs, outputs = getattr(network, "inputs", None) or (), getattr(network, "outputs", None) or ()
    shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
    if not files_.reads_pictures(shape) or len(outputs) != 1:
        found = f"an input of shape {shape}" if shape else f"{len(inputs)} inputs"
        what = f"{place.path.name} reads {found} and gives {len(outputs)} outputs"
        raise SourceError(what, hint="graft opens Keras networks from one picture, channels last, to one output")
    side = next(side for pattern, side in _SIDES if re.match(pattern, place.application))
    usual = next(kind for pattern, kind in _APPLICATIONS if re.match(pattern, place.application))
    kind = place.input or (usual if place.application else "raw")
    values = INPUTS[kind]
    if shape[3] == 1 and kind in ("torch", "caffe"):
        raise UsageError(f"{place.path.name} reads shades of grey", hint="use ?input=raw, unit or tf")
    return PictureReader(shape[1] or side, shape[2] or side, shape[3], **values)


class Keras(Source):
    """Files of Keras and tf.keras, and folders that graft wrote from them."""

    modalities = ("image",)

    def recognises(self, folder: Path) -> bool:
        """Whether it is a Keras file, a folder with one, or one that graft wrote."""
        if not folder.is_dir():
            return folder.suffix.lower() in files_.SUFFIXES
        if (folder / "keras.json").is_file() or (folder / "saved_model.pb").is_file():
            return True
        others = ("config.json", "graft.json", "run.json")
        return not any((folder / name).is_file() for name in others) and len(_files(folder)) == 1

    def list(self, folders: tuple[str, ...]) -> list[ModelSpec]:
        """Whole saved models in the folders and in ``GRAFT_MODELS``, where Keras is installed."""
        if importlib.util.find_spec("keras") is None:
            return []
        places = (*folders, *filter(None, os.environ.get("GRAFT_MODELS", "").split(os.pathsep)))
        specs: list[ModelSpec] = []
        for folder in folders_.local_folders(places):
            own = (folder / "keras.json").is_file()
            for path in [folder] if own else _files(folder):
                try:
                    specs.append(self.describe(str(path)))
                except MissingExtraError:
                    return specs
                except SourceError as error:
                    if "without a network" not in error.what:  # weights alone are left out; else opening it says why
                        specs.append(ModelSpec(uri=f"keras:{path}", name=path.stem, modality="", path=str(path)))
        return specs

    def describe(self, location: str) -> ModelSpec:
        """Facts about one model; Keras is not imported."""
        return _describe(_place(location), f"keras:{location}")

    def open(self, location: str) -> Backbone:
        """Open one model."""
        place = _place(location)
        keras = import_keras()
        spec = _describe(place, f"keras:{location}")
        files = folders_.weight_files(place.path) if place.path.is_dir() else [place.path]
        spec = dataclasses.replace(spec, weights_sha256=folders_.weights_digest(files))
        try:
            if place.path.is_dir():
                facts = _facts(place.path)
                tensors = {
                    name: tensor for file in files if folders_.header(file) for name, tensor in load_file(file).items()
                }
                backbone = restore(facts["config"], PictureReader.from_state(facts["reader"]), spec, tensors)
            else:
                with undisturbed(), torch.random.fork_rng(devices=[]), keras.device("cpu"):
                    network = _network(keras, place)
                    backbone = KerasBackbone(network, _reader(network, place), spec)
        except GraftError:
            raise
        except MemoryError as error:
            raise SourceError(f"not enough memory to open {place.path.name}") from error
        except SafetensorError as error:
            raise SourceError(f"{files[0]} is damaged: {error}", hint="make it again") from error
        except Exception as error:  # Keras raises many kinds; each becomes one line
            hint = "the file is damaged, or written for another Keras"
            raise SourceError(f"cannot open {place.path}: {first_line(error)}", hint=hint) from error
        if spec.classes and len(spec.classes) != backbone.outputs:
            what = f"{len(spec.classes)} classes are named, {place.path.name} tells {backbone.outputs} apart"
            raise SourceError(what, hint="correct classes.txt or ?classes=…")
        return backbone.eval()


SOURCES.register("keras")(Keras())
