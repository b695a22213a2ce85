"""Find a model's folder: on this disk, in the Hugging Face cache, or on the hub; local first, and fast to give up."""

from __future__ import annotations

import os
from pathlib import Path

from graft.core.errors import SourceError, UnsafeSourceError
from graft.sources.folder import SAVE_SAFELY, refuse_pickle
from graft.sources.loading import first_line, quiet

TIMEOUT = 5.0  # seconds for the hub's first answer
_WANTED = ("*.json", "*.txt", "*.model", "*.safetensors", "README.md")
_UNWANTED = ("onnx/*", "openvino/*", "*.onnx", "*/pytorch_model*")


def split_revision(location: str) -> tuple[str, str | None]:
    """Split ``name@revision``."""
    name, at, revision = location.partition("@")
    return name, revision if at else None


def cache_folder() -> Path:
    """The Hugging Face cache of models, from the environment as it is now."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(named or Path(home) / "hub").expanduser()


def _snapshot(repository: Path, revision: str | None) -> Path | None:
    """The folder of a revision in the cache, if it holds a configuration."""
    reference = repository / "refs" / (revision or "main")
    try:
        commit = reference.read_text().strip() if reference.is_file() else revision or ""
    except OSError:
        return None
    folder = repository / "snapshots" / commit
    return folder if commit and (folder / "config.json").is_file() else None


def cached_models() -> list[tuple[str, Path]]:
    """Name and folder of every model in the Hugging Face cache that holds safetensors."""
    root, found = cache_folder(), []
    try:
        repositories = sorted(root.glob("models--*")) if root.is_dir() else []
    except OSError:
        return []
    for repository in repositories:
        folder = _snapshot(repository, None)
        if folder is not None and any(folder.glob("*.safetensors")):
            found.append((repository.name.removeprefix("models--").replace("--", "/"), folder))
    return found


def find_folder(location: str) -> Path:
    """The local folder of a model; it is fetched if it is only on the hub.

    Raises:
        SourceError: There is no such model, or the hub is out of reach.
        UnsafeSourceError: The location is a pickle, or the hub has only pickles.
    """
    path = Path(location).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.is_file():
        refuse_pickle(path)
        raise SourceError(f"{location} is a file", hint="name the folder that holds it")
    name, revision = split_revision(location)
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise SourceError(f"no folder {location}", hint="check the path")
    folder = _snapshot(cache_folder() / f"models--{name.replace('/', '--')}", revision)
    if folder is not None:
        return folder
    return _fetch(name, revision)


def check_files(name: str, files: list[str]) -> None:
    """Refuse a repository without safe weights before anything is fetched.

    Raises:
        UnsafeSourceError: It has only pickles.
        SourceError: It has no weights that graft reads.
    """
    if any(file.endswith(".safetensors") for file in files):
        return
    pickle = next((file for file in files if file.endswith((".bin", ".pt", ".ckpt"))), None)
    if pickle:
        raise UnsafeSourceError(f"{name} has only pickled weights ({pickle})", hint=SAVE_SAFELY)
    raise SourceError(f"{name} has no safetensors weights", hint="choose another model")


def _fetch(name: str, revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise SourceError(f"no model {name!r} here, and HF_HUB_OFFLINE is set", hint="name a folder, or go online")
    try:
        facts = huggingface_hub.HfApi().model_info(name, revision=revision, timeout=TIMEOUT)
        files = [str(item.rfilename) for item in facts.siblings or ()]
        check_files(name, files)
        with quiet():
            folder = huggingface_hub.snapshot_download(
                name,
                revision=revision,
                cache_dir=cache_folder(),
                allow_patterns=list(_WANTED),
                ignore_patterns=list(_UNWANTED),
                etag_timeout=TIMEOUT,
            )
    except SourceError:
        raise
    except errors.GatedRepoError as error:
        raise SourceError(
            f"{name} is gated", hint="accept its terms on huggingface.co and log in with hf auth"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SourceError(
            f"no model {name!r} on the hub", hint="check the spelling; private ones need a login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(f"{name} has no revision {revision!r}") from error
    except errors.HFValidationError as error:
        raise SourceError(f"{name!r} is neither a folder nor a name on the hub", hint="check the spelling") from error
    except Exception as error:  # the HTTP client's errors differ by version; each means that the hub was not reached
        hint = f"the hub did not answer ({first_line(error)}); name a local folder"
        raise SourceError(f"no model {name!r} here", hint=hint) from error
    return Path(folder)
