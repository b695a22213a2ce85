"""Writing systems: which script a text is in, and whether a tokenizer and a model card cover it."""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

from graft.sources.base import Coverage

SAMPLE = 500  # rows looked at
LETTERS = 1000  # characters of each row looked at
UNCOVERED = 0.2  # share of unknown letters from which a row counts as not covered

# ISO 639-1 codes of languages that are not written in Latin letters; every other code is taken to be Latin.
_CYRILLIC = ("be", "bg", "kk", "ky", "mk", "mn", "ru", "sr", "tg", "uk")
_SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_CYRILLIC, ("Cyrillic",)),
    **dict.fromkeys(("ar", "fa", "ps", "sd", "ug", "ur", "ckb"), ("Arabic",)),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), ("Devanagari",)),
    **dict.fromkeys(("he", "iw", "yi"), ("Hebrew",)),
    **dict.fromkeys(("bn", "as"), ("Bengali",)),
    **dict.fromkeys(("am", "ti"), ("Ethiopic",)),
    **dict.fromkeys(("bo", "dz"), ("Tibetan",)),
    "zh": ("Han", "Bopomofo"), "ja": ("Han", "Hiragana", "Katakana"), "ko": ("Hangul", "Han"),
    "el": ("Greek",), "hy": ("Armenian",), "ka": ("Georgian",), "th": ("Thai",), "lo": ("Lao",), "km": ("Khmer",),
    "my": ("Myanmar",), "ta": ("Tamil",), "te": ("Telugu",), "kn": ("Kannada",), "ml": ("Malayalam",),
    "gu": ("Gujarati",), "pa": ("Gurmukhi",), "or": ("Oriya",), "si": ("Sinhala",),
}  # fmt: skip
_ANY = frozenset({"multilingual", "mul", "multi", "code", "und", "any"})
_NAMES = {"CJK": "Han", "IDEOGRAPHIC": "Han", "FULLWIDTH": "Latin", "HALFWIDTH": "Katakana"}


@functools.lru_cache(maxsize=65536)
def script(letter: str) -> str:
    """Script of a letter, from its Unicode name; empty for what is not a letter.

    Example:
        >>> script("a"), script("学"), script("7")
        ('Latin', 'Han', '')
    """
    if not unicodedata.category(letter).startswith("L"):
        return ""
    first = unicodedata.name(letter, "").split(" ")[0]
    if first in {"MODIFIER", "MICRO", "FEMININE", "MASCULINE"}:
        return ""
    return _NAMES.get(first, first.capitalize())


def main_script(text: str) -> str:
    """The script of most letters of a text; empty where it has no letters."""
    counts = Counter(script(letter) for letter in text)
    counts.pop("", None)
    return counts.most_common(1)[0][0] if counts else ""


def scripts_of(languages: Sequence[str]) -> frozenset[str]:
    """Scripts in which the languages are written; empty for no restriction."""
    codes = [language.lower().replace("_", "-") for language in languages]
    if not codes or any(code in _ANY for code in codes):
        return frozenset()
    return frozenset(name for code in codes for name in _SCRIPTS.get(code.split("-")[0], ("Latin",)))


def unknown_share(text: str, encoding: Any, unknown: int | None) -> float:
    """Share of the letters that a tokenizer turns into its unknown piece or into single bytes.

    Args:
        text: The text.
        encoding: What the tokenizer made of it, with the span of characters of every piece.
        unknown: Number of the unknown piece.
    """
    letters = [i for i, letter in enumerate(text) if script(letter)]
    if not letters:
        return 0.0
    pieces = Counter[int]()  # how many pieces a single character was cut into
    lost: set[int] = set()
    reached: set[int] = set()
    for number, piece, (start, end) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True):
        reached.update(range(start, end))
        if number == unknown or (piece.startswith("<0x") and piece.endswith(">")):
            lost.update(range(start, end))
        elif end - start == 1:
            pieces[start] += 1
    lost.update(start for start, count in pieces.items() if count > 1)
    return sum(1 for i in letters if i in lost or i not in reached) / len(letters)


def join(example: Any) -> str:
    """A text, or the texts of a pair, as one string."""
    return example if isinstance(example, str) else " ".join(map(str, example))


def coverage(examples: Sequence[Any], tokenizer: Any, unknown: int | None, languages: Sequence[str]) -> Coverage:
    """Whether a tokenizer and the languages on the model card cover the letters of a sample of rows.

    A row is not covered if more than a fifth of its letters are unknown to the vocabulary, or if it is mostly in a
    script in which none of the stated languages is written.
    """
    step = max(1, -(-len(examples) // SAMPLE))
    texts = [join(examples[i])[:LETTERS] for i in range(0, len(examples), step)]
    if not texts:
        return Coverage()
    allowed = scripts_of(languages)
    bad = Counter[str]()
    by_card = 0
    for text, encoding in zip(texts, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True):
        name = main_script(text)
        stated = not allowed or not name or name in allowed
        if not stated or unknown_share(text, encoding, unknown) > UNCOVERED:
            bad[name] += 1
            by_card += not stated
    if not bad:
        return Coverage()
    name, count = bad.most_common(1)[0]
    rows = f"{100 * count / len(texts):.0f} % of the rows are in {name} script"
    if by_card:
        what = (
            f"its vocabulary and model card cover {' and '.join(sorted(allowed))} script ({', '.join(languages[:4])})"
        )
    else:
        what = "its vocabulary does not know most of the letters"
        rows = f"{100 * sum(bad.values()) / len(texts):.0f} % of the rows, mostly in {name} script"
    return Coverage(1 - sum(bad.values()) / len(texts), f"{what}, {rows}")
