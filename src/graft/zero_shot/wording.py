"""Classes in words: names or descriptions from a list, an object or a file, and the sentences made of them."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graft.core.errors import DataError, UsageError
from graft.sources.scripts import main_script

Classes = Mapping[str, str | Sequence[str]] | Sequence[str]
TEMPLATES = {  # several wordings of a name are averaged: Radford et al. (2021) for pictures
    ("text", "Latin"): ("{}", "This text is about {}."),  # those of text: benchmarks/experiments/wordings.toml
    ("text", "Han"): ("{}", "这段文字是关于{}的。"),
    ("image", "Latin"): ("a photo of a {}.", "a picture of a {}.", "{}"),
    ("image", "Han"): ("一张{}的照片。", "一幅{}的图片。", "{}"),
}
HYPOTHESES = {"Latin": ("This text is about {}.",), "Han": ("这段文字是关于{}的。",)}  # for models of entailment
EMPTY = {"text": ("", "N/A", "…"), "Han": ("", "无", "…")}  # texts that say nothing


def words_of(name: str) -> str:
    """A class name as words.

    Example:
        >>> words_of("card_arrival"), words_of("lostCard")
        ('card arrival', 'lost card')
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name)
    spaced = " ".join(apart.replace("_", " ").replace("-", " ").split())
    return spaced.lower() if apart != name else spaced


def read_classes(text: str) -> dict[str, tuple[str, ...]]:
    r"""Classes from ``"a, b, c"`` or from a file: names, or names with descriptions.

    A text file has a class per line, a description behind a tab; JSON a list of names or an object of descriptions, TOML a
    table of them.  A description is a text or a list of texts.

    Raises:
        DataError: The file cannot be read as that.
        UsageError: A class twice, a class without words, or fewer than two.

    Example:
        >>> read_classes("card_arrival, lost card")
        {'card_arrival': (), 'lost card': ()}
    """
    path = Path(text).expanduser()
    suffix = path.suffix.lower()
    if suffix not in {".txt", ".tsv", ".json", ".toml"} or (not path.exists() and "," in text):
        return check_classes([name.strip() for name in re.split(r"[,，、;；\n]", text) if name.strip()])
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"no classes in {text}: {error.strerror}", hint="give a file, or names with commas") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{text} is not UTF-8 ({error.reason})", hint="save it as UTF-8") from None
    try:
        if suffix == ".json":
            return check_classes(json.loads(content, object_pairs_hook=_once))
        if suffix == ".toml":
            return check_classes(tomllib.loads(content))
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{text} cannot be read: {error}", hint="a list of names, or a description for each") from None
    lines = [line.split("\t") for line in content.splitlines() if line.strip()]
    if all(len(cells) == 1 for cells in lines):
        return check_classes([cells[0].strip() for cells in lines])
    return check_classes(_once([(cells[0].strip(), [cell.strip() for cell in cells[1:]]) for cells in lines]))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"class {twice[0]!r} stands twice", hint="leave one out")
    return dict(pairs)


def check_classes(classes: Any) -> dict[str, tuple[str, ...]]:
    """Names with their descriptions, none where the name speaks for itself.

    Raises:
        UsageError: They cannot be told apart or hold no words.
    """
    if isinstance(classes, str) or not isinstance(classes, Mapping | Sequence):
        raise UsageError(f"classes are a list of names or a mapping to descriptions, not {type(classes).__name__}")
    pairs = list(classes.items()) if isinstance(classes, Mapping) else [(name, ()) for name in classes]
    found: dict[str, tuple[str, ...]] = {}
    spoken: dict[tuple[str, ...], str] = {}
    for name, description in pairs:
        if not isinstance(name, str) or not re.search(r"\w", name):
            raise UsageError(f"class {name!r} has no words", hint="name it")
        several = (description,) if isinstance(description, str) else tuple(description or ())
        if isinstance(description, str) and not description.strip():
            several = ("",)
        if any(not isinstance(text, str) or not re.search(r"\w", text) for text in several):
            raise UsageError(f"the description of class {name!r} is empty", hint="describe it, or give its name alone")
        if name in found:
            raise UsageError(f"class {name!r} stands twice", hint="leave one out")
        same = spoken.setdefault(several or (words_of(name).casefold(),), name)
        if same != name:
            raise UsageError(
                f"classes {same!r} and {name!r} have the same words", hint="describe what tells them apart"
            )
        found[name] = several
    if len(found) < 2:
        what = f"only the class {next(iter(found))!r}" if found else "no class"
        raise UsageError(f"{what} is given", hint="zero-shot classification needs two or more")
    return found


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates, each with one ``{}`` for the class.

    Raises:
        UsageError: One has none or several.
    """
    wrong = next((text for text in templates if text.count("{}") != 1), None)
    if wrong is not None:
        raise UsageError(
            f"template {wrong!r} does not hold {{}} once", hint="write for example 'This text is about {}.'"
        )
    return tuple(templates)


def script_of(classes: Mapping[str, tuple[str, ...]]) -> str:
    """``"Han"`` where classes are mostly in Han script, else ``"Latin"``."""
    text = " ".join([*classes, *(part for parts in classes.values() for part in parts)])
    return "Han" if main_script(text) == "Han" else "Latin"


def sentences(
    classes: Mapping[str, tuple[str, ...]], templates: Sequence[str] | None, *, modality: str, entailment: bool
) -> list[list[str]]:
    """What is said of each class: its name in every template; descriptions as they are.

    For a model of entailment a description that is no sentence is put into the templates, too.

    Example:
        >>> sentences({"sport": (), "law": ("Courts and judges.",)}, ("about {}",), modality="text", entailment=False)
        [['about sport'], ['Courts and judges.']]
    """
    script = script_of(classes)
    usual = HYPOTHESES[script] if entailment else TEMPLATES[modality, script]
    forms = check_templates(templates) if templates else usual
    said = []
    for name, descriptions in classes.items():
        whole = [text for text in descriptions if not entailment or text.rstrip().endswith((".", "。", "!", "！"))]
        parts = [text for text in descriptions if text not in whole] if descriptions else [words_of(name)]
        said.append([*whole, *(form.replace("{}", part) for part in parts for form in forms)])
    return said
