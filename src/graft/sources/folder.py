"""What a model folder says of itself: configuration, weight headers, model card.  Nothing is loaded or run."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from graft.core.errors import SourceError, UnsafeSourceError
from graft.core.store import Store

REPORT_FILE = "reshape.json"  # beside a network that another was reshaped into: what became of every tensor
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
SAVE_SAFELY = (
    "pickles can run code when opened: convert it with torch.load(FILE, weights_only=True) "
    "and write it with safetensors.torch.save_file(weights, 'model.safetensors')"
)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "position_ids")
_MODEL_PICKLE = re.compile(
    r"^(pytorch_model|model|tf_model|adapter_model|weights|checkpoint).*|.*model.*$", re.IGNORECASE
)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        SourceError: The file cannot be read or is not a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"cannot read {path}", hint=error.strerror or str(error)) from error
    except ValueError as error:
        raise SourceError(f"{path} is not valid JSON", hint="the file is damaged; fetch the model again") from error
    if not isinstance(data, dict):
        raise SourceError(f"{path} does not hold a JSON object", hint="the file is damaged; fetch the model again")
    return data


def refuse_pickle(path: Path) -> None:
    """Refuse a file that could run code when opened.

    Raises:
        UnsafeSourceError: The file is a pickle, with how to convert it.
    """
    if path.suffix.lower() in PICKLES:
        raise UnsafeSourceError(f"{path} is a pickle and is not opened", hint=SAVE_SAFELY)


def refuse_code(folder: Path) -> None:
    """Refuse a folder whose configuration asks for code of its own.

    Raises:
        UnsafeSourceError: A configuration holds ``auto_map``.
        SourceError: The folder is an adapter without its model.
    """
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file() and "auto_map" in read_json(folder / name):
            hint = "graft runs no code from model folders; use a model of an architecture that transformers knows"
            raise UnsafeSourceError(f"{folder.name} needs code of its own ({name} holds auto_map)", hint=hint)
    if (folder / "adapter_config.json").is_file():
        hint = "merge it into its base model first (peft: merge_and_unload, then save_pretrained)"
        raise SourceError(f"{folder} is an adapter, not a model (adapter_config.json)", hint=hint)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the model in ``folder``: one file, or the shards that its index names.

    Raises:
        UnsafeSourceError: There are only pickles.
        SourceError: There are no weights, or a shard is missing.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        shards = sorted({str(name) for name in read_json(index).get("weight_map", {}).values()})
        for shard in shards:
            if Path(shard).name != shard:  # a name such as ../../x would leave the folder
                raise UnsafeSourceError(f"{index} names a file outside its folder: {shard!r}", hint="fetch it again")
            if not (folder / shard).is_file():
                raise SourceError(f"{folder} lacks the weight file {shard}", hint="fetch the model again")
        if shards:
            return [folder / shard for shard in shards]
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if _MODEL_PICKLE.match(path.name):
            refuse_pickle(path)
    raise SourceError(f"no weights in {folder}", hint="it must hold model.safetensors")


def header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, types and shapes of the tensors in a safetensors file, checked against the size of the file.

    Raises:
        SourceError: The file is cut off or damaged.
    """
    size = path.stat().st_size
    hint = "fetch the model again"
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, 100_000_000):
                raise SourceError(f"{path} is cut off or not a safetensors file", hint=hint)
            entries = json.loads(file.read(length))
        entries.pop("__metadata__", None)
        tensors = {name: (str(entry["dtype"]), tuple(map(int, entry["shape"]))) for name, entry in entries.items()}
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SourceError(f"{path} has a damaged header", hint=hint) from error
    if 8 + length + end != size:
        raise SourceError(f"{path} is cut off: {size} bytes, its header asks for {8 + length + end}", hint=hint)
    return tensors


def count_parameters(files: list[Path]) -> tuple[int, int]:
    """Number of weights in safetensors files, and of those inside numbered blocks, without reading them."""
    total = inside = 0
    for path in files:
        for name, (_, shape) in header(path).items():
            if not name.endswith(_STATISTICS):
                count = math.prod(shape)
                total += count
                inside += count if re.search(r"\.\d+\.", name) else 0
    return total, inside


def _stamp(path: Path) -> str:
    facts = path.stat()
    return f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}"


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, stamp: str) -> str:
    """Digest of a file as its stamp found it: a process reads it once, with a cache on disk or without."""
    del stamp
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(files: list[Path]) -> str:
    """SHA-256 of the weight files; remembered in the store by path, size and time of change.

    The digest of one file is the plain SHA-256 of its bytes, as published beside models.
    """
    digests = []
    for path in files:
        store, stamp = Store(), _stamp(path)
        key = "digest-" + hashlib.sha256(stamp.encode()).hexdigest()[:40]
        known = store.recall(key)
        if known is None:
            known = {"sha256": _sha256(path, stamp)}
            store.remember(key, known, kind="digest")
        digests.append(str(known["sha256"]))
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def files_digest(folder: Path, names: tuple[str, ...]) -> str:
    """Digest of small files of a folder (configuration, vocabulary), by name and content."""
    digest = hashlib.sha256()
    for name in names:
        if (folder / name).is_file():
            digest.update(name.encode() + b"\0" + hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def card(folder: Path) -> dict[str, Any]:
    """Front matter of the model card (README.md); empty where there is none or it cannot be read."""
    path = folder / "README.md"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    match = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        data = yaml.safe_load(match.group(1)) if match else {}
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def as_names(value: Any) -> tuple[str, ...]:
    """A string or a list of strings of a model card as a tuple; YAML reads the language ``no`` as false."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    return tuple("no" if item is False else str(item) for item in values)


def local_folders(folders: tuple[str, ...]) -> Iterator[Path]:
    """The named folders and the folders one level below, each once, in order."""
    seen: set[Path] = set()
    for name in folders:
        root = Path(name).expanduser()
        try:
            below = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        except OSError:
            continue
        for path in [root, *below]:
            if path.is_dir() and path.resolve() not in seen:
                seen.add(path.resolve())
                yield path


def is_structure(folder: Path) -> bool:
    """Whether a folder holds a structure alone, whose weights have learned nothing."""
    try:
        return (folder / REPORT_FILE).is_file() and bool(read_json(folder / REPORT_FILE)["changes"].get("fresh"))
    except (SourceError, KeyError, AttributeError):
        return False
