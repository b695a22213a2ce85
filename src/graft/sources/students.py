"""Students: networks small enough to learn from a larger one, fresh by name and size, or the lower blocks of another."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from graft.core.errors import SourceError, UsageError
from graft.core.registry import MODALITIES
from graft.core.rows import evenly_spaced
from graft.core.types import Dataset, ModelSpec
from graft.nn.encoders import ENCODERS, SIZES, size_of
from graft.sources.base import Backbone, describe_model
from graft.sources.layers import NetworkBackbone
from graft.sources.native import NativeBackbone
from graft.sources.readers import CountReader, ImageReader, Reader, TableReader, TextReader, letter_reader
from graft.sources.series import SeriesReader
from graft.sources.sounds import CHANNELS, AudioReader

Student = str | ModelSpec | Backbone
FRESH: dict[str, tuple[str, ...]] = {  # encoders that can be made for each kind of rows, the first by default
    "text": ("textcnn", "mean", "cnn", "gru", "lstm", "transformer"),
    "image": ("resnet", "patches", "vgg"),
    "audio": ("transformer", "gru", "lstm", "resnet", "vgg"),
    "sequence": ("cnn", "textcnn", "gru", "lstm", "transformer"),
    "series": ("cnn", "gru", "lstm", "transformer"),
    "table": ("mlp", "linear"),
    "counts": ("mlp", "linear"),
}
AS_PICTURES = ("resnet", "vgg")  # encoders that read sounds as pictures instead of frame by frame
DEEP = ("cnn", "gru", "lstm", "mlp", "patches", "transformer")  # whose ``depth`` counts their blocks
SEEN = 64  # pictures from which size and colour are read off
CHUNK = 4096  # texts read at a time
BLOCKS = "blocks:"  # before the number of the teacher's blocks that a student keeps


def student_options(asked: Student | Sequence[Student] | None, modality: str, *, sizes: bool) -> list[Student]:
    """The students that were asked for, each encoder with its size.

    Args:
        asked: An encoder with or without a size, ``"blocks:K"``, a source, several of these, or None.
        modality: Of the rows; None asks for the first encoder that reads them.
        sizes: Whether an encoder without a size stands for all its sizes; else for ``"small"``.

    Raises:
        UsageError: There is no such student, or it does not read these rows.

    Example:
        >>> student_options(["lstm", "blocks:2"], "text", sizes=False)
        ['lstm:small', 'blocks:2']
    """
    several: list[Any] = [FRESH[modality][0] if asked is None else asked]
    if isinstance(asked, list | tuple):
        several = list(asked)
    found: list[Student] = []
    for one in several:
        name, colon, size = one.partition(":") if isinstance(one, str) else ("", "", "")
        if name in ENCODERS:
            if name not in FRESH[modality]:
                hint = f"use {', '.join(FRESH[modality])}"
                raise UsageError(f"no student {name!r} for {modality}", hint=hint)
            if colon:
                size_of(name, size)  # raises, naming the sizes
            found += [one] if colon else [f"{name}:{size}" for size in (SIZES[name] if sizes else ("small",))]
            continue
        if f"{name}:" == BLOCKS and not (size.isdigit() and int(size)):
            raise UsageError(f"{one!r} is not a number of blocks", hint="write blocks:2")
        if isinstance(one, str) and not colon and not Path(one).exists():
            hint = f"use {', '.join(FRESH[modality])}, blocks:2, or a source such as hf:NAME"
            raise UsageError(f"no student {one!r}", hint=hint)
        if not isinstance(one, str) or f"{name}:" != BLOCKS:
            spec = one if isinstance(one, ModelSpec) else one.spec if isinstance(one, Backbone) else describe_model(one)
            if spec.modality != modality:
                raise SourceError(f"{spec.uri} reads {spec.modality}, the data are {modality}")
        found.append(one)
    return found


def is_fresh(student: Student) -> bool:
    """Whether it is an encoder without a past."""
    return isinstance(student, str) and student.partition(":")[0] in ENCODERS


def student_name(student: Student) -> str:
    """How to ask for it: ``encoder:size``, ``blocks:K`` or the URI of a source."""
    if isinstance(student, str):
        return student
    return (student.spec if isinstance(student, Backbone) else student).uri


def fresh_reader(data: Dataset, encoder: str, *, vocabulary: int) -> Reader:
    """What turns the rows into the input of an encoder, learned from them.

    Args:
        data: The rows; labels are not looked at.
        encoder: A name in ``FRESH`` for this kind of rows.
        vocabulary: Words at most.
    """
    modality = data.task.modality
    if modality == "text":
        return TextReader.build(_texts(data), vocabulary=vocabulary)
    if modality == "image":
        some = evenly_spaced(len(data), SEEN)
        return ImageReader.build(data.take(some))
    if modality == "audio":
        return AudioReader.of(data, form="picture" if encoder in AS_PICTURES else "frames")
    if modality in {"sequence", "series"}:
        return letter_reader(data) if modality == "sequence" else SeriesReader.of(data)
    if modality == "counts":
        return CountReader.build(data)
    return TableReader(MODALITIES["table"].vectors().fit(data))


def _texts(data: Dataset) -> Iterator[Any]:
    for start in range(0, len(data), CHUNK):
        yield from data.take(slice(start, start + CHUNK))


def fresh_backbone(encoder: str, size: str, reader: Reader, modality: str) -> NativeBackbone:
    """An encoder of a named size with fresh weights from torch's random state.

    Example:
        >>> from graft.testing import toy_data
        >>> data = toy_data("table")
        >>> reader = fresh_reader(data, "mlp", vocabulary=0)
        >>> fresh_backbone("mlp", "tiny", reader, "table").spec.hidden_size
        64
    """
    arguments: dict[str, Any] = dict(size_of(encoder, size))
    if isinstance(reader, TextReader):
        arguments["vocabulary"] = reader.vocabulary
    elif isinstance(reader, ImageReader):
        arguments["channels"] = reader.channels
        if encoder == "patches":
            arguments |= {"size": reader.size, "patch": max(2, reader.size // 8)}
    elif isinstance(reader, AudioReader):
        arguments |= {"channels": CHANNELS} if reader.form == "picture" else {"bands": reader.bands}
    elif isinstance(reader, SeriesReader):
        arguments["bands"] = reader.bands
    elif isinstance(reader, TableReader):
        arguments["inputs"] = reader.vectors.width
    elif isinstance(reader, CountReader):
        arguments["inputs"] = reader.width
    spec = ModelSpec(f"new:{encoder}", f"{encoder}:{size}", modality, architecture=encoder)
    return NativeBackbone(encoder, arguments, reader, spec)


def lower_blocks(backbone: Backbone, count: int) -> Backbone:
    """A copy of a network with its lowest blocks alone, and what comes before and after the blocks.

    Blocks of one width that follow each other need no other change: Sanh et al. (2019), DistilBERT.

    Args:
        backbone: The whole network; it stays as it is.
        count: Blocks to keep.

    Raises:
        UsageError: It has no more blocks than that.
        SourceError: Its blocks differ in width, or graft cannot say to its configuration that some are gone.

    Example:
        >>> from graft.sources.base import open_model
        >>> len(lower_blocks(open_model("sbert:all-MiniLM-L6-v2"), 2).blocks())
        2
    """
    name, total = backbone.spec.name, len(backbone.blocks())
    if not 1 <= count < total:
        hint = f"keep 1 to {total - 1}" if total > 1 else "choose another student"
        raise UsageError(f"{name} has {total} block(s), {count} of them are no smaller network", hint=hint)
    if isinstance(backbone, NativeBackbone) and backbone.encoder in DEEP:
        spec = dataclasses.replace(backbone.spec, name=f"{name}, lower {count} blocks")
        own = NativeBackbone(backbone.encoder, {**backbone.arguments, "depth": count}, backbone.reader, spec)
        whole = backbone.body.state_dict()
        own.body.load_state_dict({key: whole[key] for key in own.body.state_dict()})
        return own.eval()
    small: Any = copy.deepcopy(backbone)
    path = small._path if isinstance(small, NetworkBackbone) else ""  # noqa: SLF001  (what finds its blocks)
    config: Any = small.model.config if path else None
    if getattr(config, "num_hidden_layers", None) != total or hasattr(config, "layer_types"):
        raise SourceError(f"{name} cannot be cut between its blocks", hint="choose another student")
    del small.network.get_submodule(path)[count:]
    small.model.config.num_hidden_layers = small.network.config.num_hidden_layers = count
    if hasattr(small, "_count"):  # by which networks for pictures know the output of the stem from those of blocks
        small._count = count  # noqa: SLF001
    parameters = sum(p.numel() for p in small.parameters())
    small.spec = dataclasses.replace(
        small.spec, name=f"{name}, lower {count} blocks", parameters=parameters, bytes=4 * parameters, weights_sha256=""
    )
    small.eval()
    return small  # type: ignore[no-any-return]
