"""Open a transformers folder: safe, complete and silent, or refused with the reason.

transformers is imported where it is used: what needs no model of it is spared a second and a half.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graft.core.errors import GraftError, SourceError
from graft.sources.folder import header as read_header
from graft.sources.folder import read_json, refuse_code, weight_files
from graft.sources.layers import find_blocks

_HEADS = ("ForSequenceClassification", "ForImageClassification")
_MAY_BE_MISSING = re.compile(r"(^|\.)pooler\.")  # not used for features
_LOCK = threading.Lock()  # transformers' verbosity is one switch for the whole process


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers inside the block and put its settings back."""
    from transformers.utils import logging

    with _LOCK:
        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity(logging.CRITICAL)
        if bars:
            logging.disable_progress_bar()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()


def read_config(folder: Path) -> Any:
    """The configuration of a model folder.

    Raises:
        SourceError: There is none, or the architecture is unknown.
        UnsafeSourceError: It asks for code of its own.
    """
    if not (folder / "config.json").is_file():
        raise SourceError(f"no config.json in {folder}", hint="a model folder holds config.json and model.safetensors")
    refuse_code(folder)
    import transformers

    raw = read_json(folder / "config.json")
    kind = raw.get("model_type")
    if not isinstance(kind, str):
        raise SourceError(f"{folder} is not a transformers model", hint="its config.json names no model_type")
    if {"text_config", "vision_config"} <= set(raw):
        hint = "graft opens networks with one kind of input; save its text or vision part alone"
        hint = f"open it with clip:{folder}" if kind == "clip" else hint
        raise SourceError(f"{folder.name} reads pictures and texts ({kind})", hint=hint)
    if raw.get("quantization_config"):
        raise SourceError(f"the weights of {folder.name} are quantised", hint="use the model before quantisation")
    if kind not in transformers.CONFIG_MAPPING:
        hint = f"transformers {transformers.__version__} does not know it; update transformers or use another model"
        raise SourceError(f"unknown architecture {kind!r} in {folder}", hint=hint)
    try:
        with quiet():
            return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a damaged configuration sets off
        raise SourceError(f"the configuration of {folder} is damaged: {first_line(error)}") from error


def reads_sounds(raw: dict[str, Any]) -> bool:
    """Whether a configuration is that of an audio model: it counts mel bands, or convolutions over a wave."""
    return bool({"num_mel_bins", "conv_dim", "feat_extract_norm"} & set(raw))


def own_classes(config: Any) -> tuple[str, ...]:
    """Names of the classes that the model's trained head predicts; empty without such a head or without real names."""
    architecture = (config.architectures or [""])[0]
    if not architecture.endswith(_HEADS) or config.problem_type not in (None, "single_label_classification"):
        return ()
    if reads_sounds(config.to_dict()):  # whose heads do not come with the features
        return ()
    names = [str(config.id2label.get(i, "")) for i in range(config.num_labels)]
    if len(names) < 2 or all(re.fullmatch(r"LABEL_\d+|\d*", name) for name in names):
        return ()
    # ImageNet has two cranes and two maillots: each class needs a name of its own.
    return tuple(name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names))


def open_network(folder: Path, config: Any) -> tuple[nn.Module, bool]:
    """Load a network, with its head if that is trained and names its classes.

    Returns:
        The model, and whether it has a head.

    Raises:
        SourceError: Weights are missing, broken, of the wrong shape or of another architecture.
        UnsafeSourceError: There are only pickles.
    """
    import transformers

    for path in weight_files(folder):
        read_header(path)
    if own_classes(config):
        suffix = next(name for name in _HEADS if config.architectures[0].endswith(name))
        model, report = _load(getattr(transformers, f"AutoModel{suffix}"), folder, config)
        base = model.base_model_prefix + "."
        if all(name.startswith(base) for name in report["missing_keys"]):
            _check(folder, model, report, head=True)
            return model.eval(), True
    model, report = _load(transformers.AutoModel, folder, config)
    _check(folder, model, report, head=False)
    if getattr(config, "is_encoder_decoder", False):
        model = model.get_encoder()
    return model.eval(), False


def _load(loader: Any, folder: Path, config: Any) -> tuple[nn.Module, dict[str, Any]]:
    options: dict[str, Any] = {
        "config": config,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # reported, and refused by us with the name of the tensor
        "use_safetensors": True,
        "local_files_only": True,
        "trust_remote_code": False,
        "dtype": torch.float32,
        "attn_implementation": "sdpa",
    }
    try:
        with quiet():
            if _has_spare_pooler(loader, config):
                options["add_pooling_layer"] = False
            try:
                return loader.from_pretrained(folder, **options)
            except ValueError as error:
                if "attn_implementation" not in str(error) and "scaled_dot_product" not in str(error):
                    raise
                options.pop("attn_implementation")
                return loader.from_pretrained(folder, **options)
    except GraftError:
        raise
    except MemoryError as error:
        raise SourceError(f"not enough memory to open {folder.name}") from error
    except Exception as error:  # transformers and safetensors raise many kinds; each becomes one line
        raise SourceError(f"cannot open {folder}: {first_line(error)}", hint="the model is damaged") from error


def _has_spare_pooler(loader: Any, config: Any) -> bool:
    """Whether the bare network comes with a pooler: features do not use it, so it would never get a gradient."""
    import transformers

    if loader is not transformers.AutoModel:
        return False
    network = transformers.AutoModel._model_mapping.get(type(config), None)  # noqa: SLF001  (there is no public way)
    is_text = hasattr(config, "vocab_size")
    return is_text and network is not None and "add_pooling_layer" in inspect.signature(network.__init__).parameters


def _check(folder: Path, model: nn.Module, report: dict[str, Any], *, head: bool) -> None:
    if report["mismatched_keys"]:
        name, found, wanted = min(report["mismatched_keys"])
        what = f"tensor {name} of {folder} has shape {tuple(found)}, its configuration asks for {tuple(wanted)}"
        raise SourceError(what, hint="weights and config.json belong to different models")
    missing = sorted(name for name in report["missing_keys"] if head or not _MAY_BE_MISSING.search(name))
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        hint = "graft does not fill them with random numbers"
        raise SourceError(f"the weights of {folder} lack {shown}", hint=hint)
    network = model.base_model if head else model
    path, blocks = find_blocks(network)
    pattern = re.compile(rf"(^|\.){re.escape(path)}\.(\d+)\.")
    for name in sorted(report["unexpected_keys"]):
        match = pattern.search(name)
        if path and match and int(match.group(2)) >= len(blocks):
            what = f"the weights of {folder} hold more blocks than the {len(blocks)} of its config.json ({name})"
            raise SourceError(what, hint="weights and config.json belong to different models")


def open_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a model folder.

    Raises:
        SourceError: There is none, or it needs a package that is not there.
    """
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
    if not any((folder / name).is_file() for name in names):
        raise SourceError(f"no tokenizer in {folder}", hint="copy tokenizer.json from where the model came from")
    try:
        with quiet():
            import transformers

            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_fast=True
            )
    except Exception as error:  # transformers and tokenizers raise many kinds; each becomes one line
        raise SourceError(f"the tokenizer of {folder} cannot be opened: {first_line(error)}") from error
    if not tokenizer.is_fast:
        raise SourceError(f"the tokenizer of {folder} has no tokenizer.json", hint="save it once with use_fast=True")
    return tokenizer


def first_line(error: BaseException) -> str:
    """First line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
